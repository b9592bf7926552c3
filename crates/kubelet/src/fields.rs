//! Values of the downward API: fields of the pod and resources of its containers.

use api::{Container, Quantity, ResourceFieldSelector};

use crate::pod::PodInfo;
use crate::resources::{Amounts, limit, milli_value, request};

/// Why a field has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("unsupported fieldPath: {0}")]
    UnsupportedPath(String),
    #[error("invalid container resource {0:?}")]
    UnsupportedResource(String),
    #[error("invalid divisor {0:?}")]
    BadDivisor(String),
}

/// Facts that are not in the pod's specification.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodFacts {
    pub node_name: String,
    pub host_ips: Vec<String>,
    pub pod_ips: Vec<String>,
    /// What the node can give to pods; stands in for limits that are not set.
    pub allocatable: Amounts,
}

/// The value at `path`.
pub(crate) fn field(pod: &PodInfo, path: &str, facts: &PodFacts) -> Result<String, FieldError> {
    let meta = &pod.pod.metadata;
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(meta.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(meta.annotations.as_ref().and_then(|notes| notes.get(key)).cloned().unwrap_or_default());
    }
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => pod.spec().service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(&facts.host_ips),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => first(&facts.pod_ips),
        "status.podIPs" => facts.pod_ips.join(","),
        other => return Err(FieldError::UnsupportedPath(other.to_owned())),
    })
}

/// The key of `path['key']`.
fn subscript<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")
}

/// Lines of `key="value"`, sorted by key.
fn format_map(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// A string in double quotes with escapes, as Go's `%q` writes it.
fn quote(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => text.push_str(&format!("\\x{:02x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A request or limit of `container` in units of the selector's divisor, rounded up.
pub(crate) fn resource(
    container: &Container,
    selector: &ResourceFieldSelector,
    facts: &PodFacts,
) -> Result<String, FieldError> {
    let unsupported = || FieldError::UnsupportedResource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !known {
        return Err(unsupported());
    }
    let amount = match kind {
        "limits" => limit(container, name)
            .filter(|amount| *amount > 0)
            .or_else(|| facts.allocatable.get(name).copied())
            .unwrap_or(0),
        "requests" => request(container, name).unwrap_or(0),
        _ => return Err(unsupported()),
    };
    // In thousandths of the divisor's own unit on both sides, so that 1m and 1Gi both divide exactly.
    let milli = if name == "cpu" { i128::from(amount) } else { i128::from(amount) * 1000 };
    let divisor = divisor(selector.divisor.as_ref())?;
    Ok((milli.div_euclid(divisor) + i128::from(milli.rem_euclid(divisor) != 0)).to_string())
}

fn divisor(quantity: Option<&Quantity>) -> Result<i128, FieldError> {
    let Some(quantity) = quantity else { return Ok(1000) };
    match milli_value(quantity) {
        0 if matches!(quantity.0.as_str(), "" | "0") => Ok(1000),
        milli if milli > 0 => Ok(i128::from(milli)),
        _ => Err(FieldError::BadDivisor(quantity.0.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing::whole;
    use serde_json::json;

    #[test]
    fn fields_of_a_pod() {
        let pod = whole(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u",
                         "labels": {"a/b": "1", "z": "two \"quoted\"\n"}, "annotations": {"n": "v"}},
            "spec": {"serviceAccountName": "sa", "containers": []},
        }));
        let facts = PodFacts {
            node_name: "n1".into(),
            host_ips: vec!["192.0.2.1".into()],
            pod_ips: vec!["10.42.0.5".into(), "fd00::5".into()],
            ..PodFacts::default()
        };
        let cases = [
            ("metadata.name", "p"),
            ("metadata.labels['a/b']", "1"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a/b=\"1\"\nz=\"two \\\"quoted\\\"\\n\""),
            ("metadata.annotations['n']", "v"),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "192.0.2.1"),
            ("status.podIP", "10.42.0.5"),
            ("status.podIPs", "10.42.0.5,fd00::5"),
        ];
        for (path, want) in cases {
            assert_eq!(field(&pod, path, &facts).as_deref(), Ok(want), "{path}");
        }
        assert!(field(&pod, "spec.foo", &facts).is_err());
    }

    #[test]
    fn resources_divide_upwards() {
        let container: Container = serde_json::from_value(json!({
            "name": "c",
            "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1500m"}},
        }))
        .expect("container");
        let facts = PodFacts { allocatable: [("memory".to_owned(), 1 << 30)].into(), ..PodFacts::default() };
        let cases = [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("requests.cpu", Some("0"), "1"),
            ("requests.memory", Some("1Mi"), "64"),
            ("limits.memory", Some("1Gi"), "1"),
            ("requests.ephemeral-storage", None, "0"),
        ];
        for (name, divisor, want) in cases {
            let selector = ResourceFieldSelector {
                container_name: None,
                divisor: divisor.map(|text: &str| Quantity(text.into())),
                resource: name.into(),
            };
            assert_eq!(resource(&container, &selector, &facts).as_deref(), Ok(want), "{name}");
        }
    }
}
