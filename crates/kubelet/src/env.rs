//! Environment of a container: values, references, expansion of `$(VAR)`, service variables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{ConfigMap, Container, EnvVarSource, Secret, Service};

use crate::fields::{self, FieldError, PodFacts};
use crate::pod::PodInfo;

/// Why a container's environment cannot be made; the text becomes the message of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvError {
    #[error("configmap {0:?} not found")]
    ConfigMapNotFound(String),
    #[error("secret {0:?} not found")]
    SecretNotFound(String),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyNotFound { key: String, kind: &'static str, namespace: String, name: String },
    #[error("container {0} not found")]
    ContainerNotFound(String),
    #[error("environment variables from files are not supported by this node")]
    FileKeyRef,
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Objects of the pod's namespace that the environment refers to; `None`: not there.
#[derive(Debug, Clone, Default)]
pub(crate) struct EnvObjects {
    pub config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    pub secrets: BTreeMap<String, Option<Arc<Secret>>>,
}

/// Names of config maps and of secrets that the container's environment refers to.
pub(crate) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for source in container.env_from.iter().flatten() {
        config_maps.extend(source.config_map_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_ref.as_ref().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// The variables of a container in order, each name once.
pub(crate) fn make(
    pod: &PodInfo,
    container: &Container,
    objects: &EnvObjects,
    services: &BTreeMap<String, String>,
    facts: &PodFacts,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut variables = Variables::default();
    for source in container.env_from.iter().flatten() {
        from_source(&mut variables, source, objects)?;
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => {
                Some(expand(value, |name| variables.get(name).or_else(|| services.get(name).cloned())))
            }
            (_, Some(source)) => from_reference(pod, container, source, objects, facts)?,
            _ => Some(String::new()),
        };
        // A missing optional reference leaves the variable out altogether.
        if let Some(value) = value {
            variables.set(&var.name, value);
        }
    }
    for (name, value) in services {
        if variables.get(name).is_none() {
            variables.set(name, value.clone());
        }
    }
    Ok(variables.list)
}

#[derive(Default)]
struct Variables {
    list: Vec<(String, String)>,
    index: BTreeMap<String, usize>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<String> {
        self.index.get(name).map(|index| self.list[*index].1.clone())
    }

    fn set(&mut self, name: &str, value: String) {
        if let Some(index) = self.index.get(name) {
            self.list[*index].1 = value;
        } else {
            self.index.insert(name.to_owned(), self.list.len());
            self.list.push((name.to_owned(), value));
        }
    }
}

fn from_source(
    variables: &mut Variables,
    source: &api::EnvFromSource,
    objects: &EnvObjects,
) -> Result<(), EnvError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    if let Some(reference) = &source.config_map_ref {
        let Some(map) = objects.config_maps.get(&reference.name).and_then(Option::as_ref) else {
            return missing(reference.optional, EnvError::ConfigMapNotFound(reference.name.clone()));
        };
        for (key, value) in map.data.iter().flatten() {
            set_named(variables, prefix, key, value.clone());
        }
    }
    if let Some(reference) = &source.secret_ref {
        let Some(secret) = objects.secrets.get(&reference.name).and_then(Option::as_ref) else {
            return missing(reference.optional, EnvError::SecretNotFound(reference.name.clone()));
        };
        for (key, value) in secret.data.iter().flatten() {
            set_named(variables, prefix, key, String::from_utf8_lossy(&value.0).into_owned());
        }
    }
    Ok(())
}

fn set_named(variables: &mut Variables, prefix: &str, key: &str, value: String) {
    let name = format!("{prefix}{key}");
    // What cannot be the name of a variable is skipped.
    if !name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        variables.set(&name, value);
    }
}

fn missing(optional: Option<bool>, error: EnvError) -> Result<(), EnvError> {
    if optional == Some(true) { Ok(()) } else { Err(error) }
}

fn from_reference(
    pod: &PodInfo,
    container: &Container,
    source: &EnvVarSource,
    objects: &EnvObjects,
    facts: &PodFacts,
) -> Result<Option<String>, EnvError> {
    if let Some(selector) = &source.field_ref {
        return Ok(Some(fields::field(pod, &selector.field_path, facts)?));
    }
    if let Some(selector) = &source.resource_field_ref {
        let of = match selector.container_name.as_deref() {
            Some(name) if !name.is_empty() => {
                pod.container(name).ok_or_else(|| EnvError::ContainerNotFound(name.to_owned()))?.1
            }
            _ => container,
        };
        return Ok(Some(fields::resource(of, selector, facts)?));
    }
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        let Some(map) = objects.config_maps.get(&selector.name).and_then(Option::as_ref) else {
            return absent(optional, EnvError::ConfigMapNotFound(selector.name.clone()));
        };
        return match map.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => Ok(Some(value.clone())),
            None => absent(optional, key_not_found(pod, "ConfigMap", &selector.name, &selector.key)),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        let Some(secret) = objects.secrets.get(&selector.name).and_then(Option::as_ref) else {
            return absent(optional, EnvError::SecretNotFound(selector.name.clone()));
        };
        return match secret.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None => absent(optional, key_not_found(pod, "Secret", &selector.name, &selector.key)),
        };
    }
    if source.file_key_ref.is_some() {
        return Err(EnvError::FileKeyRef);
    }
    Ok(Some(String::new()))
}

fn absent(optional: bool, error: EnvError) -> Result<Option<String>, EnvError> {
    if optional { Ok(None) } else { Err(error) }
}

fn key_not_found(pod: &PodInfo, kind: &'static str, name: &str, key: &str) -> EnvError {
    EnvError::KeyNotFound {
        key: key.to_owned(),
        kind,
        namespace: pod.namespace().to_owned(),
        name: name.to_owned(),
    }
}

/// Replaces `$(NAME)` by its value; `$$` stands for `$`; a reference without a value stays as it is.
pub(crate) fn expand(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value_of(name) {
                Some(value) => result.push_str(&value),
                None => {
                    result.push_str("$(");
                    result.push_str(name);
                    result.push(')');
                }
            }
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    result
}

/// Expands `$(VAR)` in a command or argument list.
pub(crate) fn expand_all(list: Option<&Vec<String>>, env: &[(String, String)]) -> Vec<String> {
    let value_of = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    list.into_iter().flatten().map(|item| expand(item, value_of)).collect()
}

/// Variables that announce Services: those of the pod's namespace when `links`, and the API server's always.
pub(crate) fn service_variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    // The API server's own first, so that a Service of the same name in the pod's namespace wins.
    for master in [true, false] {
        for service in services {
            let meta = &service.metadata;
            let name = meta.name.as_deref().unwrap_or_default();
            let within = meta.namespace.as_deref().unwrap_or_default();
            let is_master = within == "default" && name == "kubernetes";
            let wanted = if master { is_master } else { links && within == namespace && !is_master };
            if wanted {
                announce(&mut variables, name, service);
            }
        }
    }
    variables
}

fn announce(variables: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let ip = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => return,
        Some(ip) => ip,
    };
    let prefix = name.to_uppercase().replace('-', "_");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    variables.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let name = name.to_uppercase().replace('-', "_");
            variables.insert(format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string());
        }
    }
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{link}_PORT"), port.port.to_string());
        variables.insert(format!("{link}_ADDR"), ip.to_owned());
        variables.insert(link, url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::pod;
    use api::Kind;
    use serde_json::{Value, json};

    #[test]
    fn expansion() {
        let value_of = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(E)", ""),
            ("$(MISSING)", "$(MISSING)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost $", "cost $"),
            ("$(A)$", "1$"),
            ("", ""),
            ("§$(A)ü", "§1ü"),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text, value_of), want, "{text}");
        }
    }

    fn objects() -> EnvObjects {
        let map = ConfigMap::from_value(json!({"data": {"k": "v", "j": "w"}})).expect("configmap");
        let secret = Secret::from_value(json!({"data": {"pw": "czNjcmV0"}})).expect("secret");
        EnvObjects {
            config_maps: BTreeMap::from([("cm".into(), Some(Arc::new(map))), ("none".into(), None)]),
            secrets: BTreeMap::from([("sec".into(), Some(Arc::new(secret)))]),
        }
    }

    fn env_of(container: Value) -> Result<Vec<(String, String)>, EnvError> {
        let pod = pod(json!({"containers": [container]}));
        let services = BTreeMap::from([("SVC".to_owned(), "10.0.0.1".to_owned())]);
        make(&pod, pod.regular().next().expect("container"), &objects(), &services, &PodFacts::default())
    }

    #[test]
    fn values_and_references() {
        let got = env_of(json!({
            "name": "web",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "sec"}},
                        {"configMapRef": {"name": "none", "optional": true}}],
            "env": [
                {"name": "A", "value": "a"},
                {"name": "B", "value": "$(A)-$(SVC)-$(P_k)-$(NOPE)"},
                {"name": "A", "value": "again"},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "pw"}}},
                {"name": "E", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "x", "optional": true}}},
                {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "G"},
            ],
        }))
        .expect("environment");
        let want = [
            ("P_j", "w"),
            ("P_k", "v"),
            ("pw", "s3cret"),
            ("A", "again"),
            ("B", "a-10.0.0.1-v-$(NOPE)"),
            ("C", "v"),
            ("D", "s3cret"),
            ("F", "p"),
            ("G", ""),
            ("SVC", "10.0.0.1"),
        ];
        let want: Vec<(String, String)> = want.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn missing_references() {
        let cases = [
            (json!({"configMapKeyRef": {"name": "none", "key": "k"}}), "configmap \"none\" not found"),
            (json!({"secretKeyRef": {"name": "none", "key": "k"}}), "secret \"none\" not found"),
            (
                json!({"configMapKeyRef": {"name": "cm", "key": "x"}}),
                "couldn't find key x in ConfigMap ns/cm",
            ),
            (json!({"secretKeyRef": {"name": "sec", "key": "x"}}), "couldn't find key x in Secret ns/sec"),
        ];
        for (source, want) in cases {
            let error = env_of(json!({"name": "web", "env": [{"name": "A", "valueFrom": source}]}));
            assert_eq!(error.expect_err("refused").to_string(), want);
        }
    }

    #[test]
    fn services_are_announced() {
        let service = |namespace: &str, name: &str, ip: &str, ports: Value| {
            let value = json!({"metadata": {"namespace": namespace, "name": name},
                               "spec": {"clusterIP": ip, "ports": ports}});
            Arc::new(Service::from_value(value).expect("service"))
        };
        let services = [
            service("default", "kubernetes", "10.43.0.1", json!([{"name": "https", "port": 443}])),
            service(
                "ns",
                "my-db",
                "10.43.0.9",
                json!([{"port": 53, "protocol": "UDP"}, {"name": "x-y", "port": 80}]),
            ),
            service("ns", "headless", "None", json!([{"port": 1}])),
            service("other", "far", "10.43.0.8", json!([{"port": 1}])),
        ];
        let got = service_variables(&services, "ns", true);
        assert_eq!(got["KUBERNETES_SERVICE_HOST"], "10.43.0.1");
        assert_eq!(got["KUBERNETES_PORT_443_TCP"], "tcp://10.43.0.1:443");
        assert_eq!(got["MY_DB_SERVICE_PORT"], "53");
        assert_eq!(got["MY_DB_SERVICE_PORT_X_Y"], "80");
        assert_eq!(got["MY_DB_PORT"], "udp://10.43.0.9:53");
        assert_eq!(got["MY_DB_PORT_80_TCP_ADDR"], "10.43.0.9");
        assert!(!got.keys().any(|name| name.starts_with("FAR") || name.starts_with("HEADLESS")));
        let bare = service_variables(&services, "ns", false);
        assert!(bare.keys().all(|name| name.starts_with("KUBERNETES")));
    }
}
