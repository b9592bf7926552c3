use std::time::Instant;

use super::*;

fn named(name: &str) -> &'static Type {
    let schema = Schema::builtin();
    schema.ty(schema.by_name(name).unwrap_or_else(|| panic!("no type {name}")))
}

#[test]
fn every_type_is_there() {
    let schema = Schema::builtin();
    assert!(schema.iter().count() > 800);
    for (id, ty) in schema.iter() {
        assert_eq!(schema.by_name(ty.name), Some(id));
        assert!(ty.fields.windows(2).all(|w| w[0].name < w[1].name), "{}", ty.name);
    }
}

#[test]
fn kinds_are_found() {
    let schema = Schema::builtin();
    let pod = schema.kind("", "v1", "Pod").expect("a type");
    assert_eq!(schema.ty(pod).name, "io.k8s.api.core.v1.Pod");
    assert_eq!(schema.ty(pod).short_name(), "Pod");
    assert!(schema.kind("apps", "v1", "Deployment").is_some());
    assert!(schema.kind("apps", "v2", "Deployment").is_none());
}

#[test]
fn fields_carry_what_merges_need() {
    let spec = named("io.k8s.api.core.v1.PodSpec");
    let volumes = spec.field("volumes").expect("a field");
    assert!(volumes.patch.merge && volumes.patch.retain_keys && !volumes.patch.replace);
    assert_eq!(volumes.patch_merge_key, Some("name"));
    assert_eq!(volumes.list_type, Some(ListType::Map(vec!["name"])));
    let containers = spec.field("containers").expect("a field");
    assert!(containers.required && containers.proto == Some(2) && containers.proto_in.is_empty());
    assert!(matches!(&containers.ty, FieldType::Array(item) if matches!(**item, FieldType::Ref(_))));
    assert_eq!(spec.field("nodeSelector").and_then(|f| f.map_type), Some(MapType::Atomic));
    assert_eq!(spec.field("absent").map(|f| f.name), None);

    let ports = named("io.k8s.api.core.v1.ServiceSpec").field("ports").expect("a field");
    assert_eq!(ports.list_type, Some(ListType::Map(vec!["port", "protocol"])));
    let port = named("io.k8s.api.core.v1.ServicePort");
    assert_eq!(port.field("protocol").and_then(|f| f.default.clone()), Some("TCP".into()));
    assert_eq!(port.field("targetPort").map(|f| &f.ty), Some(&FieldType::IntOrString));
    assert_eq!(port.required().collect::<Vec<_>>(), ["port"]);

    let config_map = named("io.k8s.api.core.v1.Volume").field("configMap").expect("a field");
    assert_eq!((config_map.proto_in.as_slice(), config_map.proto), ([2].as_slice(), Some(19)));
    let resources = named("io.k8s.api.core.v1.ResourceRequirements");
    assert_eq!(
        resources.field("limits").map(|f| f.ty.clone()),
        Some(FieldType::Map(Box::new(FieldType::Quantity)))
    );
    let meta = named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    assert_eq!(meta.field("creationTimestamp").map(|f| &f.ty), Some(&FieldType::Time));
}

#[test]
fn the_table_is_read_quickly() {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            let schema = Schema::parse(TABLE);
            let taken = start.elapsed();
            assert!(!schema.types.is_empty());
            taken
        })
        .min()
        .unwrap_or_default();
    // 3 ms in a release build; this is a debug build on a busy machine.
    assert!(best.as_millis() < 100, "{best:?}");
}
