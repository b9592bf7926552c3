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
        assert!(ty.fields.windows(2).all(|w| w[0].name() < w[1].name()), "{}", ty.name);
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
    assert!(volumes.patch().merge && volumes.patch().retain_keys && !volumes.patch().replace);
    assert_eq!(volumes.patch_merge_key(), Some("name"));
    assert_eq!(volumes.list_type(), Some(ListType::Map(&["name"])));
    let containers = spec.field("containers").expect("a field");
    assert!(containers.required() && containers.proto().eq([2]));
    assert!(matches!(containers.ty, FieldType::Array(FieldType::Ref(_))));
    assert_eq!(spec.field("nodeSelector").and_then(Field::map_type), Some(MapType::Atomic));
    assert_eq!(spec.field("absent").map(Field::name), None);
    assert_eq!(spec.field("nodeName").map(Field::presence), Some(Presence::Value));
    assert_eq!(spec.field("priority").map(Field::presence), Some(Presence::Pointer));

    let ports = named("io.k8s.api.core.v1.ServiceSpec").field("ports").expect("a field");
    assert_eq!(ports.list_type(), Some(ListType::Map(&["port", "protocol"])));
    let port = named("io.k8s.api.core.v1.ServicePort");
    assert_eq!(port.field("protocol").and_then(Field::default), Some("TCP".into()));
    assert_eq!(port.field("targetPort").map(|f| *f.ty), Some(FieldType::IntOrString));
    assert_eq!(port.required().collect::<Vec<_>>(), ["port"]);

    let config_map = named("io.k8s.api.core.v1.Volume").field("configMap").expect("a field");
    assert!(config_map.proto().eq([2, 19]));
    let resources = named("io.k8s.api.core.v1.ResourceRequirements");
    assert_eq!(resources.field("limits").map(|f| *f.ty), Some(FieldType::Map(&FieldType::Quantity)));
    let meta = named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    assert_eq!(meta.field("creationTimestamp").map(|f| *f.ty), Some(FieldType::Time));
}

#[test]
fn unions_name_their_fields() {
    let profile = named("io.k8s.api.core.v1.SeccompProfile").union().expect("a union");
    assert_eq!(profile.discriminator, "type");
    assert!(profile.members().eq([("localhostProfile", "LocalhostProfile")]));
    let group = named("io.k8s.api.core.v1.PodSchedulingGroup").union().expect("a union");
    assert_eq!((group.discriminator, group.members().count()), ("", 1));
    assert_eq!(named("io.k8s.api.core.v1.Pod").union(), None);
}

/// There are thousands of fields, so each byte of one is kilobytes of every program that holds them.
#[test]
fn rows_are_small() {
    assert!(size_of::<Field>() <= 16);
    assert!(size_of::<Type>() <= 56);
    assert!(size_of::<FieldType>() <= 16);
}
