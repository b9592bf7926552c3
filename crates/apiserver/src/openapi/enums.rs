//! What fields may hold where that is one of a few words (upstream: `+enum` of the types).

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

static ENUMS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let mut fields = HashMap::new();
    let mut values = "";
    for line in include_str!("enums.txt").lines().filter(|line| !line.starts_with("//") && !line.is_empty()) {
        match line.strip_prefix("  ") {
            Some(field) => {
                fields.insert(format!("io.k8s.{field}"), values);
            }
            None => values = line,
        }
    }
    fields
});

/// The values of a field of a type, or of its elements.
pub(super) fn of(ty: &str, field: &str) -> Option<Value> {
    let values = ENUMS.get(&format!("{ty}.{field}"))?;
    Some(values.split(',').map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use machinery::schema::Schema;
    use serde_json::json;

    use super::*;

    #[test]
    fn all_are_of_fields_that_there_are() {
        for path in ENUMS.keys() {
            let (ty, field) = path.rsplit_once('.').unwrap();
            let id = Schema::builtin().by_name(ty);
            let fields = id.map_or(&[] as &[_], |id| Schema::builtin().ty(id).fields);
            assert!(fields.iter().any(|have| have.name() == field), "{path}");
        }
    }

    #[test]
    fn values_are_in_order() {
        let policies = json!(["Always", "IfNotPresent", "Never"]);
        assert_eq!(of("io.k8s.api.core.v1.Container", "imagePullPolicy"), Some(policies));
        assert_eq!(of("io.k8s.api.core.v1.Container", "image"), None);
        assert!(ENUMS.values().all(|values| values.split(',').is_sorted()));
    }
}
