//! Secrets that pods use, and those that a service account lets its pods use.

use machinery::meta;
use serde_json::Value;

use crate::registry::kinds::value::{list, text};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Secrets of a container's variables, each with the variable, or without one for those that are all of a secret's.
fn of_container(container: &Value) -> Vec<(Option<&str>, &str)> {
    let variables = list(container, "env").iter().filter_map(|variable| {
        let secret = variable.pointer("/valueFrom/secretKeyRef")?;
        Some((Some(text(variable, "name")), text(secret, "name")))
    });
    let sources = list(container, "envFrom").iter().filter_map(|source| source.get("secretRef"));
    variables.chain(sources.map(|secret| (None, text(secret, "name")))).collect()
}

/// Whether pods of the account may use its secrets only.
pub(super) fn are_limited(account: &Value) -> bool {
    let said = meta::annotation(account, ENFORCE).unwrap_or_default();
    matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

fn names<'a>(account: &'a Value, field: &str) -> Vec<&'a str> {
    list(account, field).iter().map(|secret| text(secret, "name")).collect()
}

/// The first use of a secret that is not the account's.
pub(super) fn foreign(pod: &Value, account: &Value) -> Option<String> {
    let (spec, name) = (&pod["spec"], meta::name(account));
    let own = names(account, "secrets");
    let mounted = list(spec, "volumes").iter().filter_map(|volume| volume.get("secret"));
    let mut mounted = mounted.map(|secret| text(secret, "secretName"));
    if let Some(secret) = mounted.find(|secret| !own.contains(secret)) {
        return Some(format!(
            "volume with secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
        ));
    }
    let of_list = |field, what| list(spec, field).iter().find_map(|c| foreign_variable(c, what, &own, name));
    of_list("initContainers", "init container")
        .or_else(|| of_list("containers", "container"))
        .or_else(|| foreign_pull_secret(spec, account))
}

/// The same of containers that are added to a pod.
pub(super) fn foreign_of_ephemeral(pod: &Value, account: &Value) -> Option<String> {
    let (own, name) = (names(account, "secrets"), meta::name(account));
    let mut containers = list(&pod["spec"], "ephemeralContainers").iter();
    containers.find_map(|container| foreign_variable(container, "ephemeral container", &own, name))
}

fn foreign_variable(container: &Value, what: &str, own: &[&str], account: &str) -> Option<String> {
    let used = of_container(container).into_iter().find(|(_, secret)| !own.contains(secret));
    let (variable, secret) = used?;
    let how = variable.map_or_else(|| "envFrom".to_owned(), |variable| format!("envVar {variable}"));
    let container = text(container, "name");
    Some(format!(
        "{what} {container} with {how} referencing secret.secretName=\"{secret}\" is not allowed because service account {account} does not reference that secret"
    ))
}

fn foreign_pull_secret(spec: &Value, account: &Value) -> Option<String> {
    let own = names(account, "imagePullSecrets");
    let used = list(spec, "imagePullSecrets").iter().map(|secret| text(secret, "name"));
    let (i, secret) = used.enumerate().find(|(_, secret)| !own.contains(secret))?;
    let account = meta::name(account);
    Some(format!(
        "imagePullSecrets[{i}].name=\"{secret}\" is not allowed because service account {account} does not reference that imagePullSecret"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_others() {
        let account = json!({"metadata": {"name": "a", "annotations": {ENFORCE: "true"}},
            "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]});
        assert!(are_limited(&account));
        let because = "is not allowed because service account a does not reference that";
        let key = |secret: &str| json!({"name": "c", "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": secret}}}]});
        let all = json!({"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]});
        for (spec, said) in [
            (
                json!({"volumes": [{"secret": {"secretName": "own"}}], "containers": [key("own")]}),
                String::new(),
            ),
            (
                json!({"volumes": [{"secret": {"secretName": "x"}}]}),
                format!("volume with secret.secretName=\"x\" {because} secret"),
            ),
            (
                json!({"containers": [key("x")]}),
                format!("container c with envVar V referencing secret.secretName=\"x\" {because} secret"),
            ),
            (
                json!({"initContainers": [all]}),
                format!("init container c with envFrom referencing secret.secretName=\"x\" {because} secret"),
            ),
            (
                json!({"imagePullSecrets": [{"name": "pull"}, {"name": "x"}]}),
                format!("imagePullSecrets[1].name=\"x\" {because} imagePullSecret"),
            ),
        ] {
            let pod = json!({ "spec": spec });
            assert_eq!(foreign(&pod, &account).unwrap_or_default(), said, "{spec}");
        }
        let debugged = json!({"spec": {"ephemeralContainers": [key("x")]}});
        let said = format!(
            "ephemeral container c with envVar V referencing secret.secretName=\"x\" {because} secret"
        );
        assert_eq!(foreign_of_ephemeral(&debugged, &account), Some(said));
    }
}
