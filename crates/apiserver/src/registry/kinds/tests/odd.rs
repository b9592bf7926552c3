//! Nothing a document may be makes a strategy panic.

use machinery::resources::Resources;
use serde_json::{Value, json};

use crate::registry::kinds::strategy;

const FIELDS: [&str; 24] = [
    "metadata",
    "spec",
    "status",
    "data",
    "stringData",
    "binaryData",
    "rules",
    "subjects",
    "roleRef",
    "subsets",
    "endpoints",
    "ports",
    "webhooks",
    "template",
    "limits",
    "series",
    "involvedObject",
    "overhead",
    "scheduling",
    "aggregationRule",
    "type",
    "value",
    "provisioner",
    "immutable",
];

/// Names that occur below `spec` or `status`.
const INNER: [&str; 34] = [
    "template",
    "containers",
    "initContainers",
    "volumes",
    "ports",
    "selector",
    "strategy",
    "updateStrategy",
    "rollingUpdate",
    "jobTemplate",
    "tolerations",
    "affinity",
    "securityContext",
    "rules",
    "paths",
    "tls",
    "defaultBackend",
    "hard",
    "limits",
    "used",
    "conditions",
    "containerStatuses",
    "resources",
    "finalizers",
    "capacity",
    "accessModes",
    "claimRef",
    "metrics",
    "behavior",
    "names",
    "conversion",
    "limited",
    "taints",
    "sessionAffinityConfig",
];

fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!({}),
        json!([]),
        json!("x"),
        json!(-1),
        json!(true),
        json!([null, "x", 3, {}]),
        json!({"x": [1]}),
    ]
}

fn odd_objects() -> Vec<Value> {
    let mut objects = vec![json!({}), json!(null), json!([]), json!("x")];
    for odd in odd_values() {
        let all: Value = FIELDS.iter().map(|field| ((*field).to_owned(), odd.clone())).collect();
        objects.push(all);
        objects.extend(FIELDS.iter().map(|field| json!({*field: odd, "metadata": {"name": "x"}})));
        for inner in INNER {
            let holder = json!({inner: odd});
            objects.push(json!({"spec": holder, "status": holder, "template": {"spec": holder}}));
            let nested =
                json!({"template": {"metadata": odd, "spec": holder}, "jobTemplate": {"spec": holder}});
            objects.push(json!({"spec": nested, "status": {"loadBalancer": holder}}));
            let listed =
                json!({"containers": [holder], "rules": [holder], "limits": [holder], "metrics": [holder]});
            objects
                .push(json!({"spec": listed, "rules": [holder], "webhooks": [holder], "subsets": [holder]}));
        }
    }
    objects
}

#[test]
fn no_strategy_panics() {
    let objects = odd_objects();
    let plain = json!({"metadata": {"name": "x"}, "spec": {}});
    for resource in Resources::builtin().iter() {
        let strategy = strategy(resource.group, resource.plural);
        for object in &objects {
            let mut defaulted = object.clone();
            strategy.default(&mut defaulted);
            let once = defaulted.clone();
            strategy.default(&mut defaulted);
            assert_eq!(once, defaulted, "{} are defaulted once: {object}", resource.plural);
            for object in [object, &defaulted] {
                strategy.validate(object);
                strategy.validate_create(object);
                strategy.validate_update(object, &plain);
                strategy.validate_update(&plain, object);
                strategy.validate_status_update(object, &plain);
                strategy.validate_subresource_update("resize", object, &plain);
                strategy.validate_subresource_update("ephemeralcontainers", object, &plain);
                strategy.table_row(object, 0);
                strategy.selectable_fields(object);
                strategy.changes_generation(object, &plain);
                strategy.grace_period(object, None);
                strategy.warnings(object);
            }
        }
    }
}
