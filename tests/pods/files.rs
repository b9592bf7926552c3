//! Volumes: what is in them, and who may do what with it.

use serde_json::{Value, json};

use super::{Talk, allocatable, bounds, hear, told};

const READ_BY_OWNER: u32 = 0o400;
const READ_BY_GROUP: u32 = 0o440;

/// A volume, a file in it, what is in the file, and its mode.
struct File {
    volume: String,
    source: Value,
    file: &'static str,
    text: String,
    mode: &'static str,
}

impl File {
    fn new(volume: &str, source: Value, file: &'static str, text: &str, mode: &'static str) -> Self {
        Self { volume: volume.to_owned(), source, file, text: text.to_owned(), mode }
    }
}

/// A pod that shows files with their modes.
fn shown(name: &'static str, files: &[File], spec: Value, container: Value) -> Talk {
    let (mut script, mut says) = (String::new(), String::new());
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for File { volume, source, file, text, mode } in files {
        let path = format!("/{volume}/{file}");
        script += &format!("echo {path} $(cat {path}) $(stat -Lc %a {path})\n");
        says += &format!("{path} {text} {mode}\n");
        let mut source = source.clone();
        source["name"] = volume.as_str().into();
        volumes.push(source);
        mounts.push(json!({"name": volume, "mountPath": format!("/{volume}")}));
    }
    let (mut spec, mut container) = (spec, container);
    spec["volumes"] = volumes.into();
    container["volumeMounts"] = mounts.into();
    Talk::new(name, &script, &says).spec(spec).container(container)
}

const SOURCES: [&str; 4] = ["map", "secret", "projected-map", "projected-secret"];

/// A volume of the map or the secret, by itself or projected.
fn source(kind: &str, items: &Value, mode: Option<u32>) -> Value {
    match kind {
        "map" => json!({"configMap": {"name": "told", "items": items, "defaultMode": mode}}),
        "secret" => json!({"secret": {"secretName": "told", "items": items, "defaultMode": mode}}),
        _ => {
            let source = if kind == "projected-map" { "configMap" } else { "secret" };
            json!({"projected": {"sources": [{source: {"name": "told", "items": items}}], "defaultMode": mode}})
        }
    }
}

fn mapped(mode: Option<u32>) -> Value {
    json!([{"key": "data-2", "path": "path/to/data-2", "mode": mode}])
}

/// Files of each way to map and to restrict.
fn of_owner(kind: &str) -> Vec<File> {
    let file = |name: &str, items: &Value, mode, file, text, shown| {
        File::new(&format!("{kind}-{name}"), source(kind, items, mode), file, text, shown)
    };
    vec![
        file("default", &Value::Null, None, "data-1", "value-1", "644"),
        file("again", &Value::Null, None, "data-1", "value-1", "644"),
        file("mode", &Value::Null, Some(READ_BY_OWNER), "data-1", "value-1", "400"),
        file("mapped", &mapped(None), None, "path/to/data-2", "value-2", "644"),
        file("mapped-mode", &mapped(Some(READ_BY_OWNER)), None, "path/to/data-2", "value-2", "400"),
    ]
}

#[test]
fn maps_and_secrets_are_files() {
    let other = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "told", "namespace": "other"}, "stringData": {"data-1": "other"}}),
    ];
    let objects: Vec<Value> = told().into_iter().chain(other).collect();
    hear("files", &objects, |_| {
        let all: Vec<File> = SOURCES.into_iter().flat_map(of_owner).collect();
        let people: Vec<File> =
            SOURCES.into_iter().flat_map(of_owner).filter(|file| file.mode == "644").collect();
        let group: Vec<File> = SOURCES
            .into_iter()
            .map(|kind| {
                File::new(kind, source(kind, &Value::Null, Some(READ_BY_GROUP)), "data-1", "value-1", "440")
            })
            .collect();
        let user = json!({"securityContext": {"runAsUser": 1000}});
        let with_group = json!({"securityContext": {"runAsUser": 1000, "fsGroup": 1001}});
        let mut binary = shown("binary", &all[..1], json!({}), json!({}));
        "busybox base64 /map-default/binary".clone_into(&mut binary.script);
        "3sr+utD+/w==".clone_into(&mut binary.says);
        Ok(vec![
            shown("owner", &all, json!({}), json!({})),
            shown("user", &people, user, json!({})),
            shown("group", &group, with_group, json!({})),
            binary,
        ])
    });
}

/// Files that tell of the container, and what they say of one with bounds.
const RESOURCES: [(&str, &str); 4] = [
    ("limits.cpu", "2"),
    ("limits.memory", "67108864"),
    ("requests.cpu", "1"),
    ("requests.memory", "33554432"),
];

fn of_container(what: &str) -> Value {
    json!({"path": what, "resourceFieldRef": {"containerName": "c", "resource": what}})
}

fn of_pod(mode: Option<u32>) -> Value {
    json!({"path": "podname", "mode": mode, "fieldRef": {"fieldPath": "metadata.name"}})
}

/// A volume of these items, by itself or projected.
fn downward(projected: bool, items: &[Value], mode: Option<u32>) -> Value {
    match projected {
        true => json!({"projected": {"sources": [{"downwardAPI": {"items": items}}], "defaultMode": mode}}),
        false => json!({"downwardAPI": {"items": items, "defaultMode": mode}}),
    }
}

/// Files of a container without bounds, which has what the node gives to pods.
fn unbounded(kind: &str, projected: bool, cpu: u64, memory: u64) -> Vec<File> {
    let file = |file: &'static str, amount: u64| {
        let volume = format!("{kind}-{}", file.replace('.', "-"));
        File::new(&volume, downward(projected, &[of_container(file)], None), file, &amount.to_string(), "644")
    };
    vec![file("limits.cpu", cpu), file("limits.memory", memory)]
}

/// Files of a container with bounds, and of its pod.
fn bounded(kind: &str, projected: bool) -> Vec<File> {
    let mut files = Vec::new();
    for (what, text) in RESOURCES {
        let volume = format!("{kind}-{}", what.replace('.', "-"));
        files.push(File::new(&volume, downward(projected, &[of_container(what)], None), what, text, "644"));
    }
    for (what, item, mode, shown) in [
        ("name", of_pod(None), None, "644"),
        ("mode", of_pod(None), Some(READ_BY_OWNER), "400"),
        ("item", of_pod(Some(READ_BY_OWNER)), None, "400"),
    ] {
        let source = downward(projected, &[item], mode);
        files.push(File::new(&format!("{kind}-{what}"), source, "podname", "bounded", shown));
    }
    files
}

#[test]
fn the_pod_itself_is_files() {
    hear("itself", &told(), |cluster| {
        let (cpu, memory) = allocatable(cluster)?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for (kind, projected) in [("plain", false), ("projected", true)] {
            with.extend(bounded(kind, projected));
            without.extend(unbounded(kind, projected, cpu, memory));
        }
        Ok(vec![
            shown("bounded", &with, json!({}), json!({"resources": bounds()})),
            shown("unbounded", &without, json!({}), json!({})),
            combined(),
        ])
    });
}

/// All that can be projected into one volume.
fn combined() -> Talk {
    let name = json!({"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}});
    let sources = json!([
        {"secret": {"name": "told", "items": [{"key": "data-1", "path": "secret"}]}},
        {"configMap": {"name": "told", "items": [{"key": "data-2", "path": "map"}]}},
        {"downwardAPI": {"items": [name]}},
    ]);
    let script = "cat /all/podname; echo; cat /all/secret; echo; cat /all/map";
    Talk::new("combined", script, "combined\nvalue-1\nvalue-2")
        .spec(json!({"volumes": [{"name": "all", "projected": {"sources": sources}}]}))
        .container(json!({"volumeMounts": [{"name": "all", "mountPath": "/all"}]}))
}

#[test]
fn empty_directories_are_open_to_all() {
    hear("empty", &[], |_| {
        let script = "for medium in disk memory; do
              echo $(stat -c %a /$medium)
              for mode in 644 666 777; do
                echo text > /$medium/$mode; busybox chmod $mode /$medium/$mode
                echo $(cat /$medium/$mode) $(stat -c %a /$medium/$mode)
              done
            done
            stat -f -c %T /memory";
        let once = "777\ntext 644\ntext 666\ntext 777\n";
        let says = format!("{once}{once}tmpfs");
        let volumes =
            json!([{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]);
        let mounts =
            json!([{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]);
        let talk = |name, user: u32| {
            Talk::new(name, script, &says)
                .spec(json!({"volumes": volumes, "securityContext": {"runAsUser": user}}))
                .container(json!({ "volumeMounts": mounts }))
        };
        Ok(vec![talk("root", 0), talk("user", 1001)])
    });
}
