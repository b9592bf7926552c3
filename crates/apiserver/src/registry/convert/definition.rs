//! CustomResourceDefinitions in v1beta1, which nobody serves any more, but upstream still stores
//! (apiextensions-apiserver `pkg/apis/apiextensions/v1/conversion.go`, `v1beta1/defaults.go`).

use serde_json::{Map, Value, json};

/// What v1beta1 has once for all versions when it is the same in all of them, and what v1 calls it in each.
const OF_ALL_VERSIONS: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("validation", "schema"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

pub(super) fn to_v1(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let first = spec.remove("version").filter(|name| name.as_str().is_some_and(|name| !name.is_empty()));
    let versions = spec.entry("versions").or_insert_with(|| json!([]));
    if let (Some(name), Some(true)) = (first, versions.as_array().map(Vec::is_empty)) {
        *versions = json!([{"name": name, "served": true, "storage": true}]);
    }
    for (from, to) in OF_ALL_VERSIONS {
        let Some(shared) = spec.remove(from) else { continue };
        each_version(spec, |version| {
            version.insert(to.to_owned(), shared.clone());
        });
    }
    each_version(spec, columns);
    // What v1 does not say is false, in v1beta1 it is true.
    if spec.get("preserveUnknownFields").is_none_or(|keep| keep == true) {
        spec.insert("preserveUnknownFields".to_owned(), true.into());
    } else {
        spec.remove("preserveUnknownFields");
    }
    let conversion = spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    if let Some(conversion) = conversion.as_object_mut() {
        webhook(conversion);
    }
}

fn each_version(spec: &mut Map<String, Value>, change: impl Fn(&mut Map<String, Value>)) {
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    versions.into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

fn columns(version: &mut Map<String, Value>) {
    let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
    for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(path) = column.remove("JSONPath") {
            column.insert("jsonPath".to_owned(), path);
        }
    }
}

fn webhook(conversion: &mut Map<String, Value>) {
    let (client, versions) =
        (conversion.remove("webhookClientConfig"), conversion.remove("conversionReviewVersions"));
    if conversion.get("strategy").is_none_or(|strategy| strategy != "Webhook") && client.is_none() {
        return;
    }
    let mut webhook = Map::new();
    webhook.insert("conversionReviewVersions".to_owned(), versions.unwrap_or_else(|| json!(["v1beta1"])));
    webhook.extend(client.map(|client| ("clientConfig".to_owned(), client)));
    conversion.insert("webhook".to_owned(), webhook.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(spec: Value) -> Value {
        let mut object = json!({"spec": spec});
        to_v1(&mut object);
        object["spec"].take()
    }

    #[test]
    fn what_all_versions_have_in_common_is_given_to_each() {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let spec = converted(json!({
            "version": "v1", "validation": schema, "subresources": {"status": {}}, "preserveUnknownFields": false,
            "additionalPrinterColumns": [{"name": "A", "type": "string", "JSONPath": ".a"}],
            "selectableFields": [{"jsonPath": ".spec.a"}],
            "versions": [{"name": "v1", "served": true, "storage": true}, {"name": "v2", "served": true, "storage": false}],
            "conversion": {"strategy": "Webhook", "conversionReviewVersions": ["v1"], "webhookClientConfig": {"url": "https://a"}},
        }));
        let version = |name: &str, storage: bool| {
            json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}],
                "selectableFields": [{"jsonPath": ".spec.a"}]})
        };
        let webhook = json!({"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://a"}});
        let want = json!({"versions": [version("v1", true), version("v2", false)],
            "conversion": {"strategy": "Webhook", "webhook": webhook}});
        assert_eq!(spec, want);
    }

    #[test]
    fn the_oldest_form_has_one_version_and_keeps_all_fields() {
        let want = json!({"versions": [{"name": "v1", "served": true, "storage": true}], "preserveUnknownFields": true,
            "conversion": {"strategy": "None"}});
        assert_eq!(converted(json!({"version": "v1"})), want);
    }

    #[test]
    fn versions_that_differ_keep_what_is_theirs() {
        let spec = json!({"version": "v1", "preserveUnknownFields": false, "conversion": {"strategy": "None"}, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}},
             "additionalPrinterColumns": [{"name": "A", "JSONPath": ".a"}]},
            {"name": "v2"}]});
        let want = json!({"conversion": {"strategy": "None"}, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}},
             "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]},
            {"name": "v2"}]});
        assert_eq!(converted(spec), want);
    }
}
