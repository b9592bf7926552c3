//! Admission: rules that look beyond the object itself. One plugin a file, in upstream's order.

mod claim_resize;
mod default_classes;
mod default_tolerations;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_references;
mod pod_resize;
mod pod_secrets;
mod pod_security;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod taint_nodes;
mod timing;
mod tolerations;
mod topology_labels;

use std::time::Instant;

use auth::UserInfo;
use machinery::status::Status;
use serde_json::Value;

use self::timing::{Step, Times};
use super::{Registry, ResourceHandle};

pub(crate) use namespace_lifecycle::ending;

/// What is about to happen to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Create,
    /// It is changed.
    Update,
    /// It goes away.
    Delete,
}

/// What admission may know of the request.
#[derive(Clone, Copy)]
pub struct AdmissionContext<'a> {
    /// All resources, to look things up.
    pub registry: &'a Registry,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The resource.
    pub handle: &'a ResourceHandle,
    /// What is asked.
    pub operation: Operation,
    /// The verb of the request.
    pub verb: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name, or empty while it is not yet generated.
    pub name: &'a str,
    /// Nothing will be stored.
    pub dry_run: bool,
}

impl AdmissionContext<'_> {
    /// Whether the request is about this resource of the given group (not one of its subresources).
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.of(group, plural)
    }

    /// Whether the request is about this resource or something below it.
    pub fn of(&self, group: &str, plural: &str) -> bool {
        self.handle.group == group && self.handle.plural == plural
    }

    /// The 403 for this object.
    pub fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        self.handle.forbidden(self.name, why)
    }
}

/// One rule of admission. Objects are in the stored version.
#[async_trait::async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Changes an object before it is validated. Runs again when an update is retried.
    async fn mutate(
        &self,
        _context: &AdmissionContext<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses an object after it was validated.
    async fn validate(
        &self,
        _context: &AdmissionContext<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// What to tell the client about an object that nothing refuses.
    fn warnings(
        &self,
        _context: &AdmissionContext<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Vec<String> {
        Vec::new()
    }

    /// Refuses a deletion. `old` is absent for the deletion of a collection.
    async fn delete(&self, _context: &AdmissionContext<'_>, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// A plugin under upstream's name.
struct Installed {
    plugin: Box<dyn Plugin>,
    admit: Times,
    validate: Times,
}

/// The plugins that are on, in the order in which they run.
pub(super) struct Plugins {
    list: Vec<Installed>,
    admit: Times,
    validate: Times,
}

impl Plugins {
    /// All plugins, which report to `metrics` how long they take.
    pub fn new(metrics: &machinery::metrics::Registry) -> Self {
        let times = |name, step| Times::new(metrics, name, step);
        let list = plugins().into_iter().map(|(name, plugin)| Installed {
            plugin,
            admit: times(Some(name), Step::Admit),
            validate: times(Some(name), Step::Validate),
        });
        Self { list: list.collect(), admit: times(None, Step::Admit), validate: times(None, Step::Validate) }
    }
}

fn plugins() -> Vec<(&'static str, Box<dyn Plugin>)> {
    vec![
        ("NamespaceLifecycle", Box::new(namespace_lifecycle::NamespaceLifecycle)),
        ("LimitRanger", Box::new(limit_ranger::LimitRanger)),
        ("ServiceAccount", Box::new(service_account::ServiceAccount)),
        ("NodeRestriction", Box::new(node_restriction::NodeRestriction)),
        ("TaintNodesByCondition", Box::new(taint_nodes::TaintNodesByCondition)),
        ("PodSecurity", Box::new(pod_security::PodSecurity)),
        ("Priority", Box::new(priority::Priority)),
        ("DefaultTolerationSeconds", Box::new(default_tolerations::DefaultTolerationSeconds)),
        ("DefaultStorageClass", Box::new(default_classes::DefaultStorageClass)),
        ("StorageObjectInUseProtection", Box::new(storage_protection::StorageObjectInUseProtection)),
        ("PersistentVolumeClaimResize", Box::new(claim_resize::PersistentVolumeClaimResize)),
        ("RuntimeClass", Box::new(runtime_class::RuntimeClass)),
        ("DefaultIngressClass", Box::new(default_classes::DefaultIngressClass)),
        // Upstream has three for this, of which one approves and one signs.
        ("CertificateApproval", Box::new(crate::access::CertificateSigners)),
        ("PodTopologyLabels", Box::new(topology_labels::PodTopologyLabels)),
        ("PodResizeValidator", Box::new(pod_resize::PodResizeValidator)),
        // Counts, and so comes after everything that may still change or refuse.
        ("ResourceQuota", Box::new(resource_quota::ResourceQuota::default())),
        // Upstream has this in front of its storage.
        ("RBACEscalation", Box::new(crate::access::RbacEscalation)),
    ]
}

/// Runs all mutating rules.
pub(super) async fn mutate(
    context: &AdmissionContext<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let (plugins, operation) = (&context.registry.plugins, context.operation);
    let began = Instant::now();
    let (mut since, mut result) = (began, Ok(()));
    for Installed { plugin, admit, .. } in &plugins.list {
        result = plugin.mutate(context, object, old).await;
        since = admit.add(operation, result.is_err(), since);
        if result.is_err() {
            break;
        }
    }
    plugins.admit.add(operation, result.is_err(), began);
    result
}

/// Runs all validating rules.
pub(super) async fn validate(
    context: &AdmissionContext<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let (plugins, operation) = (&context.registry.plugins, context.operation);
    let began = Instant::now();
    let (mut since, mut result) = (began, Ok(()));
    for Installed { plugin, validate, .. } in &plugins.list {
        result = plugin.validate(context, object, old).await;
        since = validate.add(operation, result.is_err(), since);
        if result.is_err() {
            break;
        }
    }
    plugins.validate.add(operation, result.is_err(), began);
    result
}

/// What all rules have to say about an object that none refuses.
pub(super) fn warnings(context: &AdmissionContext<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
    let plugins = context.registry.plugins.list.iter();
    plugins.flat_map(|installed| installed.plugin.warnings(context, object, old)).collect()
}

/// Runs the rules about deletions.
pub(super) async fn delete(context: &AdmissionContext<'_>, old: Option<&Value>) -> Result<(), Status> {
    let plugins = &context.registry.plugins;
    let began = Instant::now();
    let (mut since, mut result) = (began, Ok(()));
    for Installed { plugin, validate, .. } in &plugins.list {
        result = plugin.delete(context, old).await;
        since = validate.add(Operation::Delete, result.is_err(), since);
        if result.is_err() {
            break;
        }
    }
    plugins.validate.add(Operation::Delete, result.is_err(), began);
    result
}
