use serde_json::json;

use super::*;
use crate::schema::{Schema, TypeId};

fn kind(group: &str, version: &str, kind: &str) -> TypeId {
    Schema::builtin().kind(group, version, kind).expect("a kind")
}

fn yaml(text: &str) -> Value {
    object(text.as_bytes(), Media::Yaml).unwrap_or_else(|e| panic!("{text}: {e}")).value
}

#[test]
fn syntax_errors_are_gos() {
    for (text, want) in [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{not json", "invalid character 'n' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
        ("{\"a\":-x}", "invalid character 'x' in numeric literal"),
        ("{\"a\":1.}", "invalid character '}' after decimal point in numeric literal"),
        ("{\"a\":1e}", "invalid character '}' in exponent of numeric literal"),
        ("{\"a\":\"\\x\"}", "invalid character 'x' in string escape code"),
        ("{\"a\":\"\n\"}", "invalid character '\\n' in string literal"),
        ("{\"a\":'b'}", "invalid character '\\'' looking for beginning of value"),
        ("{,}", "invalid character ',' looking for beginning of object key string"),
    ] {
        let error = object(text.as_bytes(), Media::Json).expect_err(text);
        assert_eq!(error, DecodeError::Syntax(want.to_owned()), "{text}");
    }
}

#[test]
fn repeated_fields_are_noted_and_the_last_counts() {
    let text = br#"{"a": 1, "spec": {"x": 1, "list": [{"b": 1, "b": 2}], "x": 2}, "a": 3}"#;
    let decoded = object(text, Media::Json).unwrap();
    assert_eq!(decoded.value, json!({"a": 3, "spec": {"x": 2, "list": [{"b": 2}]}}));
    let want =
        [r#"duplicate field "spec.list[0].b""#, r#"duplicate field "spec.x""#, r#"duplicate field "a""#];
    assert_eq!(decoded.duplicates, want);
    let decoded = object(b"a: 1\nb:\n  c: 1\n  c: 2\n", Media::Yaml).unwrap();
    assert_eq!(
        (decoded.value, decoded.duplicates),
        (json!({"a": 1, "b": {"c": 2}}), vec![r#"line 4: key "c" already set in map"#.to_owned()])
    );
    let decoded = object(b"1: a\n1: b\n", Media::Yaml).unwrap();
    assert_eq!(decoded.strict_errors(), ["yaml: unmarshal errors:\n  line 2: key 1 already set in map"]);
    let text = br#"{"z": 1, "spec": {"y": 1, "x": 2, "x": 3}, "a": 1}"#;
    let unknown = ["a", "spec.y", "z"].map(|field| format!("unknown field \"{field}\""));
    let told = [
        "unknown field \"z\"",
        "unknown field \"spec.y\"",
        "duplicate field \"spec.x\"",
        "unknown field \"a\"",
    ];
    assert_eq!(in_order(text, &unknown), told);
    let text = br#"{"z": 1, "z": 2, "a": {"b": 1, "b": 2}, "ab": [{"c": 1, "c": 2}]}"#;
    let unknown = ["a", "z"].map(|field| format!("unknown field \"{field}\""));
    let told = ["unknown field \"z\"", "unknown field \"a\"", "duplicate field \"ab[0].c\""];
    assert_eq!(in_order(text, &unknown), told);
}

#[test]
fn documents_are_bounded() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(object(deep(DEPTH_MAX).as_bytes(), Media::Json).is_ok());
    for media in [Media::Json, Media::Yaml] {
        let error = object(deep(DEPTH_MAX + 1).as_bytes(), media).expect_err("too deep");
        assert!(matches!(error, DecodeError::Limit(_)), "{error:?}");
    }
    assert!(object(deep(100_000).as_bytes(), Media::Json).is_err());
    assert!(object(deep(100_000).as_bytes(), Media::Yaml).is_err());
    let limits = Limits { size: 3, depth: 5 };
    assert_eq!(object_within(b"[1,2]", Media::Json, limits), Err(DecodeError::TooLarge(3)));
}

#[test]
fn alias_bombs_are_refused() {
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert!(matches!(object(bomb.as_bytes(), Media::Yaml), Err(DecodeError::Limit(_))));
    assert!(object(b"a: &a [*a]\n", Media::Yaml).is_err());
    assert_eq!(yaml("a: &x {b: 1}\nc: *x\n"), json!({"a": {"b": 1}, "c": {"b": 1}}));
}

#[test]
fn yaml_is_read_as_kubernetes_reads_it() {
    for (text, want) in [
        ("yes", json!(true)),
        ("off", json!(false)),
        ("\"yes\"", json!("yes")),
        ("y: n", json!({"true": false})),
        ("'0644'", json!("0644")),
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("0x1F", json!(31)),
        ("0b11", json!(3)),
        ("1_000", json!(1000)),
        ("-5", json!(-5)),
        ("+5", json!(5)),
        ("1e3", json!(1000)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("0.10", json!(0.1)),
        ("1.2.3", json!("1.2.3")),
        ("2026-01-01", json!("2026-01-01")),
        ("~", json!(null)),
        ("", json!(null)),
        ("!!str 5", json!("5")),
        ("!!binary aGk=", json!("hi")),
        ("0899", json!(899)),
        ("1:30", json!("1:30")),
        ("e3", json!("e3")),
        ("-", json!([null])),
        ("100m", json!("100m")),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        ("{1: a, true: b, null: c}", json!(null)),
        (
            "base: &b {x: 1, z: 2}\nuse: {<<: *b, z: 3}\n",
            json!({"base": {"x": 1, "z": 2}, "use": {"x": 1, "z": 3}}),
        ),
        ("a: 1\n---\nb: 2\n", json!({"a": 1})),
        ("# nothing\n", json!(null)),
    ] {
        if text.contains("null: c") {
            assert!(object(text.as_bytes(), Media::Yaml).is_err());
            continue;
        }
        assert_eq!(yaml(text), want, "{text}");
    }
    assert_eq!(yaml("{1: a, true: b, 1.5: c}"), json!({"1": "a", "true": "b", "1.5": "c"}));
}

#[test]
fn yaml_errors_are_goyamls() {
    for (text, want) in [
        ("a: [", "yaml: line 1: did not find expected node content"),
        ("a: [b", "yaml: line 1: did not find expected ',' or ']'"),
        ("a: {b: c", "yaml: line 1: did not find expected ',' or '}'"),
        ("a: ]", "yaml: did not find expected node content"),
        ("a:\n  - [b}\n", "yaml: line 1: did not find expected ',' or ']'"),
        ("a: b: c", "yaml: mapping values are not allowed in this context"),
        ("a: b\n  c: d\n", "yaml: line 2: mapping values are not allowed in this context"),
        ("a:\n\tb: 1", "yaml: line 2: found character that cannot start any token"),
        ("a: @b", "yaml: found character that cannot start any token"),
        ("a: *nowhere", "yaml: unknown anchor 'nowhere' referenced"),
        ("a: &x [*x]", "yaml: anchor 'x' value contains itself"),
        ("a: .nan", "json: unsupported value: NaN"),
        ("a: -.inf", "json: unsupported value: -Inf"),
        ("a: 'b", "yaml: found unexpected end of stream"),
        ("a: \"\\q\"", "yaml: found unknown escape character"),
        ("a: b\nc\n", "yaml: line 3: could not find expected ':'"),
        ("- a\nb: c\n", "yaml: line 1: did not find expected '-' indicator"),
        ("a: b\n- c\n", "yaml: line 1: did not find expected key"),
        ("a: !!binary \"?\"", "yaml: !!binary value contains invalid base64 data"),
        ("a:\n  <<: 1", "yaml: map merge requires map or sequence of maps as the value"),
        ("a: \u{1}", "yaml: control characters are not allowed"),
    ] {
        let error = object(text.as_bytes(), Media::Yaml).expect_err(text).to_string();
        assert_eq!(error, want, "{text}");
    }
    for (bytes, want) in [
        (b"a: \x80".as_slice(), "yaml: invalid leading UTF-8 octet"),
        (b"a: \xc3(", "yaml: invalid trailing UTF-8 octet"),
        (b"a: \xc3", "yaml: incomplete UTF-8 octet sequence"),
    ] {
        assert_eq!(object(bytes, Media::Yaml).expect_err("no text").to_string(), want);
    }
    assert_eq!(object("\u{feff}a: 1".as_bytes(), Media::Yaml).unwrap().value, json!({"a": 1}));
}

#[test]
fn wrong_types_are_told_as_go_tells_them() {
    let pod = kind("", "v1", "Pod");
    let map = kind("", "v1", "ConfigMap");
    let container = |key: &str, value: Value| json!({"spec": {"containers": [{"name": "c", key: value}]}});
    for (ty, value, want) in [
        (
            map,
            json!({"data": "x"}),
            "json: cannot unmarshal string into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            map,
            json!({"data": {"k": 1}}),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (map, json!({"binaryData": {"k": "?"}}), "illegal base64 data at input byte 0"),
        (
            map,
            json!({"metadata": []}),
            "json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (
            map,
            json!({"immutable": "yes"}),
            "json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool",
        ),
        (map, json!([]), "json: cannot unmarshal array into Go value of type v1.ConfigMap"),
        (
            map,
            json!({"metadata": {"creationTimestamp": "x"}}),
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
        ),
        (
            map,
            json!({"metadata": {"creationTimestamp": "2026-01-01"}}),
            "parsing time \"2026-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"",
        ),
        (
            pod,
            container("ports", json!([{"containerPort": "80"}])),
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            pod,
            container("ports", json!([{"containerPort": 3_000_000_000_u64}])),
            "json: cannot unmarshal number 3000000000 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            pod,
            container("ports", json!([{"containerPort": 1.5}])),
            "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            pod,
            container("command", json!("sh")),
            "json: cannot unmarshal string into Go struct field Container.spec.containers.command of type []string",
        ),
        (
            pod,
            container("env", json!([{"name": "A", "value": true}])),
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            pod,
            container("resources", json!({"limits": {"cpu": "abc"}})),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            pod,
            container("livenessProbe", json!({"httpGet": {"port": true}})),
            "json: cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
        ),
        (
            pod,
            json!({"spec": {"containers": {}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
    ] {
        let mut value = value;
        assert_eq!(check(&mut value, ty), Err(DecodeError::Type(want.to_owned())));
    }
}

#[test]
fn unknown_fields_are_pruned_and_told() {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod", "foo": 1,
        "metadata": {"name": "x", "labels": {"any": "thing"}, "nmae": "y"},
        "spec": {"containers": [{"name": "c"}, {"name": "d", "imgae": "i", "ports": [{"port": 1}]}]},
    });
    let told = check(&mut value, kind("", "v1", "Pod")).unwrap();
    let want = [
        r#"unknown field "foo""#,
        r#"unknown field "metadata.nmae""#,
        r#"unknown field "spec.containers[1].imgae""#,
        r#"unknown field "spec.containers[1].ports[0].port""#,
    ];
    assert_eq!(told, want);
    assert_eq!(
        value,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"any": "thing"}},
            "spec": {"containers": [{"name": "c", "resources": {}}, {"name": "d", "ports": [{"containerPort": 0}], "resources": {}}]},
            "status": {}})
    );
}

#[test]
fn values_take_the_form_that_go_writes() {
    let mut value = json!({
        "metadata": {"creationTimestamp": null, "annotations": {"a": null}, "deletionTimestamp": "2026-01-01T02:00:00.5+02:00"},
        "spec": {"containers": [{"name": "c", "image": null, "command": [null, "x"],
            "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi", "pods": 2}}}], "volumes": null},
    });
    assert!(check(&mut value, kind("", "v1", "Pod")).unwrap().is_empty());
    assert_eq!(
        value,
        json!({"metadata": {"annotations": {"a": ""}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "c", "command": ["", "x"],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi", "pods": "2"}}}]}, "status": {}})
    );
    let mut job = json!({"spec": {"template": {"spec": {"containers": []}}}});
    check(&mut job, kind("batch", "v1", "Job")).unwrap();
    assert_eq!(
        job,
        json!({"metadata": {}, "spec": {"template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}})
    );
    let mut revision = json!({"data": {"spec": {"x": null}}, "revision": 1});
    assert!(check(&mut revision, kind("apps", "v1", "ControllerRevision")).unwrap().is_empty());
    assert_eq!(revision["data"], json!({"spec": {"x": null}}), "free-form JSON is left alone");
    let mut lease = json!({"spec": {"renewTime": "2026-01-01T02:00:00.123000+02:00"}});
    check(&mut lease, kind("coordination.k8s.io", "v1", "Lease")).unwrap();
    assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:00:00.123000Z");
}

#[test]
fn times_that_are_none() {
    let micro = "\"2006-01-02T15:04:05.000000Z07:00\"";
    for (time, why) in [
        ("2024-01-02T03:04:05Z", format!(" as {micro}: cannot parse \"Z\" as \".000000\"")),
        ("2024-01-02T03:04:05.123Z", format!(" as {micro}: cannot parse \".123Z\" as \".000000\"")),
        ("2024-01-02T03:04:05.123456789Z", format!(" as {micro}: cannot parse \"789Z\" as \"Z07:00\"")),
        ("2024-01-02T03:04:05.123456", format!(" as {micro}: cannot parse \"\" as \"Z07:00\"")),
        ("2024-01-02t03:04:05.123456Z", format!(" as {micro}: cannot parse \"t03:04:05.123456Z\" as \"T\"")),
        ("2024-13-02T03:04:05.123456Z", ": month out of range".to_owned()),
        ("2024-02-30T03:04:05.123456Z", ": day out of range".to_owned()),
    ] {
        let mut lease = json!({"spec": {"renewTime": time}});
        let want = format!("parsing time \"{time}\"{why}");
        let told = check(&mut lease, kind("coordination.k8s.io", "v1", "Lease"));
        assert_eq!(told, Err(DecodeError::Type(want)));
    }
}

#[test]
fn what_go_always_writes_is_there() {
    for (group, version, name, sent, want) in [
        (
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            json!({}),
            json!({"metadata": {}, "spec": {"podSelector": {}}}),
        ),
        (
            "discovery.k8s.io",
            "v1",
            "EndpointSlice",
            json!({"endpoints": [{"hints": {"forZones": [null]}}], "ports": []}),
            json!({"metadata": {}, "addressType": "", "ports": null,
                "endpoints": [{"addresses": null, "conditions": {}, "hints": {"forZones": [{"name": ""}]}}]}),
        ),
        (
            "",
            "v1",
            "PersistentVolume",
            json!({"spec": {"azureFile": {"secretName": "s"}, "iscsi": {"lun": null}}}),
            json!({"metadata": {}, "status": {}, "spec": {
                "azureFile": {"secretName": "s", "shareName": "", "secretNamespace": null},
                "iscsi": {"targetPortal": "", "iqn": "", "lun": 0}}}),
        ),
    ] {
        let mut value = sent;
        check(&mut value, kind(group, version, name)).unwrap();
        assert_eq!(value, want);
    }
}

#[test]
fn wrong_documents() {
    assert_eq!(wrong_top_level(&json!({})), None);
    assert_eq!(
        wrong_top_level(&json!([])).as_deref(),
        Some(
            r#"json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#
        )
    );
}

/// Objects with every field set pass unharmed, also on a second pass.
#[test]
fn whole_objects_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/api/roundtrip");
    let Ok(files) = std::fs::read_dir(folder) else { return };
    let mut seen = 0;
    for file in files.filter_map(Result::ok).filter(|f| f.path().extension().is_some_and(|e| e == "json")) {
        let decoded = object(&std::fs::read(file.path()).unwrap(), Media::Json).unwrap();
        let (group, version) = crate::meta::split_api_version(crate::meta::api_version(&decoded.value));
        let Some(ty) = Schema::builtin().kind(group, version, crate::meta::kind(&decoded.value)) else {
            continue;
        };
        let mut value = decoded.value.clone();
        let told = check(&mut value, ty).unwrap_or_else(|e| panic!("{:?}: {e}", file.path()));
        assert!(told.is_empty(), "{:?}: {told:?}", file.path());
        let mut again = value.clone();
        assert!(check(&mut again, ty).is_ok_and(|t| t.is_empty()));
        assert_eq!(value, again);
        assert_eq!(value, decoded.value, "{:?}", file.path());
        seen += 1;
    }
    assert!(seen > 80, "only {seen} objects");
}
