//! Every namespace has the ConfigMap `kube-root-ca.crt`, by which pods verify the API server.

use super::per_namespace::{self, Standard};
use crate::context::Context;
use api::{ConfigMap, ObjectMeta};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Starts the controller.
pub(crate) fn start(context: &Context) {
    per_namespace::start(context, standard(context.config.ca_pem.clone()));
}

fn standard(ca_pem: String) -> Standard<ConfigMap> {
    Standard {
        account: "root-ca-cert-publisher",
        name: NAME,
        make: Arc::new(move |namespace| ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                namespace: Some(namespace.to_owned()),
                annotations: Some(BTreeMap::from([(
                    "kubernetes.io/description".to_owned(),
                    DESCRIPTION.to_owned(),
                )])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("ca.crt".to_owned(), ca_pem.clone())])),
            ..ConfigMap::default()
        }),
        is_right: |existing, wanted| {
            let has =
                |key: &str| existing.metadata.annotations.as_ref().and_then(|all| all.get(key)).is_some();
            existing.data == wanted.data && existing.binary_data.is_none() && has("kubernetes.io/description")
        },
        correct: |existing, wanted| {
            let mut right = existing.clone();
            right.data.clone_from(&wanted.data);
            right.binary_data = None;
            let annotations = right.metadata.annotations.get_or_insert_default();
            annotations.extend(wanted.metadata.annotations.clone().unwrap_or_default());
            right
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::per_namespace::{Action, plan};
    use super::*;
    use api::{Kind, Namespace};
    use serde_json::json;

    #[test]
    fn a_changed_certificate_is_put_right() {
        let namespace = Namespace::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let standard = standard("new".into());
        let right = (standard.make)("a");
        assert_eq!(plan(&standard, &namespace, Some(&right)), Action::Nothing);
        let mut old = right.clone();
        old.data = Some(BTreeMap::from([("ca.crt".to_owned(), "old".to_owned())]));
        assert_eq!(plan(&standard, &namespace, Some(&old)), Action::Replace(right));
    }
}
