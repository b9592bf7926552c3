//! The environments of Kubernetes 1.37.

use std::sync::LazyLock;

use crate::compile::Compiled;
use crate::cost::{self, Range};
use crate::env::Env;
use crate::types::Type;

/// Objects that expressions of admission speak of.
const ADMISSION: &str = "\
kubernetes.GroupVersionKind: group string, version string, kind string
kubernetes.GroupVersionResource: group string, version string, resource string
kubernetes.UserInfo: username string, uid string, groups list(string), extra map(string, list(string))
kubernetes.AdmissionRequest: kind kubernetes.GroupVersionKind, resource kubernetes.GroupVersionResource, subResource string, requestKind kubernetes.GroupVersionKind, requestResource kubernetes.GroupVersionResource, requestSubResource string, name string, namespace string, operation string, userInfo kubernetes.UserInfo, dryRun bool, options dyn
kubernetes.NamespaceSpec: finalizers list(string)
kubernetes.NamespaceCondition: status string, type string, lastTransitionTime timestamp, message string, reason string
kubernetes.NamespaceStatus: conditions list(kubernetes.NamespaceCondition), phase string
kubernetes.NamespaceMetadata: name string, generateName string, namespace string, labels map(string, string), annotations map(string, string), UID string, creationTimestamp timestamp, deletionGracePeriodSeconds int, deletionTimestamp timestamp, generation int, resourceVersion string, finalizers list(string)
kubernetes.Namespace: metadata kubernetes.NamespaceMetadata, spec kubernetes.NamespaceSpec, status kubernetes.NamespaceStatus";

/// The object whose fields are a policy's variables.
const VARIABLES: &str = "kubernetes.variables";

static ADMISSION_ENV: LazyLock<Env> = LazyLock::new(|| {
    Env::default()
        .objects(ADMISSION)
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .variable("namespaceObject", Type::object("kubernetes.Namespace"))
        .variable("request", Type::object("kubernetes.AdmissionRequest"))
});

static DEVICE_ENV: LazyLock<Env> = LazyLock::new(|| {
    let device = "kubernetes.DRADevice: driver string, allowMultipleAllocations bool, \
                  attributes map(string, map(string, any)), capacity map(string, map(string, kubernetes.Quantity))";
    Env::default().objects(device).variable("device", Type::object("kubernetes.DRADevice")).with_bind()
});

/// What an expression of admission has beside the object and the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// A policy with parameters.
    pub params: bool,
    /// The authorizer may be asked.
    pub authorizer: bool,
    /// Patches can be written.
    pub patch: bool,
}

impl Admission {
    pub fn env(self) -> Env {
        let mut env = ADMISSION_ENV.clone();
        if self.params {
            env = env.variable("params", Type::Dyn);
        }
        if self.authorizer {
            env = env.variable("authorizer", Type::object("kubernetes.authorization.Authorizer")).variable(
                "authorizer.requestResource",
                Type::object("kubernetes.authorization.ResourceCheck"),
            );
        }
        if self.patch { env.with_patches() } else { env }
    }
}

/// An environment in which the variables of a policy are known.
#[must_use]
pub fn with_variables(env: Env, variables: &[(String, Type)]) -> Env {
    let object = format!("{VARIABLES}: ");
    let mut env = env.objects(&object).variable("variables", Type::object(VARIABLES));
    for (name, of) in variables {
        env.add_field(VARIABLES, name, declared(of));
    }
    env
}

/// What is remembered of the type of a variable.
fn declared(of: &Type) -> Type {
    match of {
        Type::List(element) => Type::list(declared(element)),
        Type::Map(key, value) => Type::map(declared(key), declared(value)),
        Type::Any
        | Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::Text
        | Type::Timestamp
        | Type::Uint => of.clone(),
        _ => Type::Dyn,
    }
}

/// The environment of selectors of devices.
pub fn devices() -> &'static Env {
    &DEVICE_ENV
}

/// The most that a selector of devices may cost.
pub fn device_cost(compiled: &Compiled) -> u64 {
    cost::estimate(compiled, &device_size).max
}

/// How big the parts of a device are at most.
fn device_size(path: &[String]) -> Option<Range> {
    /// Bytes of a driver's name and of a domain.
    const NAME: u64 = 63;
    /// Entries of a map.
    const ENTRIES: u64 = 32;
    const IDENTIFIER: u64 = 32;
    const VALUE: u64 = 64;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let max = match path.as_slice() {
        ["device"] => 0,
        ["device", "driver"] => NAME,
        ["device", "allowMultipleAllocations"] => 1,
        ["device", "attributes" | "capacity"] => ENTRIES,
        ["device", "attributes" | "capacity", "@keys"] => NAME,
        ["device", "attributes" | "capacity", "@values" | "@items"] => ENTRIES,
        ["device", "attributes" | "capacity", "@values" | "@items", "@keys"] => IDENTIFIER,
        ["device", "capacity", "@values" | "@items", "@values" | "@items"] => i64::MAX.cast_unsigned(),
        ["device", "attributes", "@values" | "@items", _] => VALUE,
        _ => return None,
    };
    Some(Range::new(0, max))
}
