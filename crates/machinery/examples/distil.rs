//! Writes the tables that are compiled into the program, from facts about the API:
//! `cargo run -p knarr-machinery --example distil -- <folder with api/ and golden/>`.
//!
//! The formats are described in `src/schema.rs` and `src/resources.rs`. Facts that the sources do not have stand in
//! `tables/columns.txt` (table columns of 1.37), `tables/column_texts.txt` (what they say of themselves), `tables/inlined.txt` (protobuf numbers of inlined messages, defaults) and
//! `tables/presence.txt` (which fields are pointers).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

const COLUMNS: &str = include_str!("../tables/columns.txt");
const COLUMN_TEXTS: &str = include_str!("../tables/column_texts.txt");
const INLINED: &str = include_str!("../tables/inlined.txt");
const PRESENCE: &str = include_str!("../tables/presence.txt");

/// API groups in the order of kube-aggregator's priorities.
const GROUPS: [&str; 24] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
    "lifecycle.k8s.io",
];

/// Short names of resources that are younger than the recorded discovery.
const SHORT_NAMES: [(&str, &str); 2] = [("ipaddresses", "ip"), ("volumeattributesclasses", "vac")];

/// Categories of resources that are younger than the recorded discovery.
const CATEGORIES: [(&str, &str); 4] = [
    ("mutatingadmissionpolicies", "api-extensions"),
    ("mutatingadmissionpolicybindings", "api-extensions"),
    ("validatingadmissionpolicies", "api-extensions"),
    ("validatingadmissionpolicybindings", "api-extensions"),
];

/// Kinds of subresources that live in another group than their resource.
const FOREIGN: [(&str, &str, &str); 4] = [
    ("Scale", "autoscaling", "v1"),
    ("Eviction", "policy", "v1"),
    ("TokenRequest", "authentication.k8s.io", "v1"),
    ("Binding", "", "v1"),
];

/// Kinds of subresources that take options in the query instead of an object.
const OPTIONS: [(&str, &str); 7] = [
    ("pods/attach", "PodAttachOptions"),
    ("pods/exec", "PodExecOptions"),
    ("pods/log", "Pod"),
    ("pods/portforward", "PodPortForwardOptions"),
    ("pods/proxy", "PodProxyOptions"),
    ("services/proxy", "ServiceProxyOptions"),
    ("nodes/proxy", "NodeProxyOptions"),
];

/// Types that hold any JSON.
const ANY: [&str; 6] = [
    "RawExtension",
    "JSON",
    "FieldsV1",
    "JSONSchemaPropsOrArray",
    "JSONSchemaPropsOrBool",
    "JSONSchemaPropsOrStringArray",
];

#[allow(dead_code, clippy::print_stdout, reason = "a command-line program, also included by a test")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shared = std::env::args().nth(1).unwrap_or_else(|| "../shared".to_owned());
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("tables");
    for (name, text) in
        [("schema.txt", schema(Path::new(&shared))?), ("resources.txt", resources(Path::new(&shared))?)]
    {
        println!("{name}: {} bytes", text.len());
        std::fs::write(tables.join(name), text)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    let text = std::fs::read(path).map_err(|e| format!("failed to read {}: {e}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flatten()
}

/// The schema table.
pub fn schema(shared: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let types = read(&shared.join("api/types.json"))?;
    let types = types.as_object().ok_or("types.json is no object")?;
    let numbers: HashMap<&str, usize> = types.keys().enumerate().map(|(i, k)| (k.as_str(), i)).collect();
    let mut out = String::new();
    for (name, ty) in types {
        write!(out, "= {name}")?;
        match text(ty, "mapType") {
            "atomic" => out.push_str(" a"),
            "granular" => out.push_str(" g"),
            _ => {}
        }
        for union in items(ty, "unions") {
            write!(out, " U={}:{}", text(union, "discriminator"), members(union))?;
        }
        for gvk in gvks(ty) {
            write!(out, " {gvk}")?;
        }
        out.push('\n');
        let required: Vec<&str> = items(ty, "required").filter_map(Value::as_str).collect();
        for (field, facts) in entries(ty, "fields") {
            write!(out, "{field} {}", type_code(facts, &numbers)?)?;
            let required = required.contains(&field.as_str());
            if required {
                out.push_str(" !");
            }
            let how = presence(name, field, facts, required);
            out.push_str(how);
            if how.is_empty() && writes_null(name, field, required) {
                out.push_str(" n");
            }
            if noted(name, field) == Some("e") {
                out.push_str(" e");
            }
            attributes(&mut out, name, field, facts)?;
            out.push('\n');
        }
    }
    Ok(out)
}

/// `field=Value,…`
fn members(union: &Value) -> String {
    let members = entries(union, "fields-to-discriminateBy");
    members
        .map(|(field, value)| format!("{field}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// The attribute that says what stands for an unset field.
fn presence(ty: &str, field: &str, facts: &Value, required: bool) -> &'static str {
    let kind = text(facts, "type");
    if kind == "array" || facts.get("values").is_some() {
        return "";
    }
    match noted(ty, field) {
        Some("v") => " v",
        Some("w") => " w",
        Some(_) => "",
        None if required => " w",
        None if kind == "string" && text(facts, "format") != "byte" => " v",
        None => "",
    }
}

/// What `tables/presence.txt` says about a field.
fn noted(ty: &str, field: &str) -> Option<&'static str> {
    let line = |of: &str| {
        let lines = PRESENCE.lines().filter_map(|line| line.split_once(' ').filter(|(ty, _)| *ty == of));
        let mut parts = lines.flat_map(|(_, rest)| rest.split(' ')).filter_map(|part| part.split_once(':'));
        parts.find(|(name, _)| *name == field)
    };
    line(short(ty)).or_else(|| line("*")).map(|(_, how)| how)
}

/// Whether JSON has null for the unset field.
fn writes_null(ty: &str, field: &str, required: bool) -> bool {
    match noted(ty, field) {
        Some("n") => true,
        Some("o") => false,
        _ => required,
    }
}

/// The name of a type without what all of its kind begin with.
fn short(name: &str) -> &str {
    const ROOTS: [&str; 4] = [
        "io.k8s.api.",
        "io.k8s.apimachinery.pkg.apis.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "io.k8s.kube-aggregator.pkg.apis.",
    ];
    ROOTS.iter().find_map(|root| name.strip_prefix(root)).unwrap_or(name)
}

fn gvks(ty: &Value) -> Vec<String> {
    let one = |gvk: &Value| format!("{}/{}/{}", text(gvk, "group"), text(gvk, "version"), text(gvk, "kind"));
    match ty.get("gvk") {
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(gvk @ Value::Object(_)) => vec![one(gvk)],
        Some(Value::String(gvk)) => vec![gvk.clone()],
        _ => Vec::new(),
    }
}

fn type_code(facts: &Value, numbers: &HashMap<&str, usize>) -> Result<String, String> {
    if let Some(name) = facts.get("ref").and_then(Value::as_str) {
        let short = name.rsplit('.').next().unwrap_or(name);
        return Ok(match short {
            "Time" => "t".to_owned(),
            "MicroTime" => "u".to_owned(),
            "IntOrString" => "x".to_owned(),
            "Quantity" => "q".to_owned(),
            _ if ANY.contains(&short) => "*".to_owned(),
            _ => format!("#{}", numbers.get(name).ok_or_else(|| format!("no type {name}"))?),
        });
    }
    Ok(match (text(facts, "type"), text(facts, "format")) {
        ("boolean", _) => "b".to_owned(),
        ("integer", "int32") => "i".to_owned(),
        ("integer", _) => "l".to_owned(),
        ("number", _) => "d".to_owned(),
        ("string", "byte") => "y".to_owned(),
        ("string", _) => "s".to_owned(),
        ("array", _) => format!("[{}", type_code(&facts["items"], numbers)?),
        ("object", _) if facts.get("values").is_some() => {
            format!("{{{}", type_code(&facts["values"], numbers)?)
        }
        ("object" | "", _) => "*".to_owned(),
        (other, _) => return Err(format!("no such type: {other}")),
    })
}

fn attributes(
    out: &mut String,
    ty: &str,
    field: &str,
    facts: &Value,
) -> Result<(), Box<dyn std::error::Error>> {
    match text(facts, "listType") {
        "atomic" => out.push_str(" A"),
        "set" => out.push_str(" S"),
        "map" => {
            let keys: Vec<&str> = items(facts, "mapKeys").filter_map(Value::as_str).collect();
            write!(out, " M={}", keys.join(","))?;
        }
        _ => {}
    }
    match text(facts, "mapType") {
        "atomic" => out.push_str(" a"),
        "granular" => out.push_str(" g"),
        _ => {}
    }
    for strategy in text(facts, "patchStrategy").split(',').filter(|s| !s.is_empty()) {
        out.push_str(match strategy {
            "merge" => " m",
            "replace" => " r",
            "retainKeys" => " k",
            other => return Err(format!("no such patch strategy: {other}").into()),
        });
    }
    if let Some(key) = facts.get("patchMergeKey").and_then(Value::as_str) {
        write!(out, " K={key}")?;
    }
    let extra = inlined(ty, field);
    match (facts.get("proto").and_then(Value::as_u64), extra.get("p")) {
        (_, Some(number)) => write!(out, " p={number}")?,
        (Some(number), None) => write!(out, " p={number}")?,
        (None, None) => {}
    }
    if let Some(name) = proto_type(facts) {
        write!(out, " P={name}")?;
    }
    if let Some(default) = extra.get("D") {
        write!(out, " D={default}")?;
    }
    Ok(())
}

/// Names the protobuf type where the field's own type does not tell it.
fn proto_type(facts: &Value) -> Option<String> {
    let inner = |v: &Value| {
        v.get("ref").and_then(Value::as_str).map(|n| n.rsplit('.').next().unwrap_or(n).to_owned())
    };
    let opaque = [Some(facts), facts.get("items"), facts.get("values")].into_iter().flatten().find_map(inner);
    if let Some(name) = opaque.filter(|n| ANY.contains(&n.as_str())) {
        return Some(name);
    }
    // A map of lists: the lists are wrapped in a message of their own.
    let wrapped = facts.get("values").is_some_and(|v| v.get("items").is_some());
    wrapped.then(|| {
        text(facts, "protoType").trim_end_matches('>').rsplit(' ').next().unwrap_or_default().to_owned()
    })
}

/// Attributes from `tables/inlined.txt`; `*` as the type of a line stands for every type.
fn inlined(ty: &str, field: &str) -> BTreeMap<&'static str, &'static str> {
    let mut found = BTreeMap::new();
    for line in INLINED.lines().filter(|l| !l.starts_with("//")) {
        let mut parts = line.split(' ');
        let (Some(of), Some(name)) = (parts.next(), parts.next()) else { continue };
        if name == field && (ty == of || ty.ends_with(&format!(".{of}"))) {
            found.extend(parts.filter_map(|p| p.split_once('=')));
        }
    }
    found
}

/// The table of resources.
pub fn resources(shared: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let served = read(&shared.join("api/resources.json"))?;
    let discovery = read(&shared.join("golden/discovery.json"))?;
    let tables = read(&shared.join("golden/tables.json"))?;
    let mut served: Vec<&Value> = served.as_array().ok_or("resources.json is no list")?.iter().collect();
    served.sort_by_key(|r| {
        let group = GROUPS.iter().position(|g| *g == text(r, "group")).unwrap_or(GROUPS.len());
        (group, text(r, "group").to_owned(), version_rank(text(r, "version")), text(r, "resource").to_owned())
    });
    let mut out = String::new();
    for resource in served {
        let (group, version, plural) =
            (text(resource, "group"), text(resource, "version"), text(resource, "resource"));
        let recorded =
            items(&discovery, "resources").find(|r| text(r, "group") == group && text(r, "name") == plural);
        write_resource(&mut out, resource, recorded)?;
        for (name, facts) in entries(resource, "subresources") {
            write_subresource(&mut out, resource, name, facts)?;
        }
        write_columns(&mut out, &tables, group, version, plural)?;
    }
    Ok(out)
}

/// Smaller is preferred: GA before beta before alpha, then larger numbers first.
fn version_rank(version: &str) -> (u8, i32, i32) {
    let rest = version.trim_start_matches('v');
    let (major, stage) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let number = |text: &str| -text.parse::<i32>().unwrap_or(0);
    let (rank, minor) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (2, minor),
        _ => (0, ""),
    };
    (rank, number(major), number(minor))
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn letters<'a>(verbs: impl Iterator<Item = &'a str>) -> String {
    let mut verbs: Vec<&str> = verbs.collect();
    verbs.sort_unstable();
    verbs
        .into_iter()
        .filter_map(|verb| {
            Some(match verb {
                "create" => 'c',
                "delete" => 'd',
                "deletecollection" => 'D',
                "get" => 'g',
                "list" => 'l',
                "patch" => 'p',
                "update" => 'u',
                "watch" => 'w',
                _ => return None,
            })
        })
        .collect()
}

fn joined(recorded: Option<&Value>, key: &str) -> String {
    recorded
        .map(|r| items(r, key).filter_map(Value::as_str).collect::<Vec<_>>().join(","))
        .unwrap_or_default()
}

fn write_resource(out: &mut String, resource: &Value, recorded: Option<&Value>) -> std::fmt::Result {
    let (plural, kind) = (text(resource, "resource"), text(resource, "kind"));
    let known = |table: &[(&str, &'static str)]| {
        table.iter().find(|(p, _)| *p == plural).map(|(_, v)| (*v).to_owned())
    };
    let short = known(&SHORT_NAMES).unwrap_or_else(|| joined(recorded, "shortNames"));
    let categories = known(&CATEGORIES).unwrap_or_else(|| joined(recorded, "categories"));
    // Component statuses are computed: nothing to watch.
    let computed = plural == "componentstatuses";
    let verbs = items(resource, "verbs").filter_map(Value::as_str).filter(|v| !computed || *v != "watch");
    writeln!(
        out,
        "=\t{}\t{}\t{plural}\t{}\t{kind}\t{}\t{}\t{}\t{}",
        or_dash(text(resource, "group")),
        text(resource, "version"),
        kind.to_lowercase(),
        if resource["namespaced"] == true { "N" } else { "C" },
        letters(verbs),
        or_dash(&short),
        or_dash(&categories),
    )
}

fn write_subresource(
    out: &mut String,
    resource: &Value,
    name: &str,
    facts: &Value,
) -> Result<(), Box<dyn std::error::Error>> {
    let path = format!("{}/{name}", text(resource, "resource"));
    let kind = match facts["kind"].as_str() {
        Some(kind) => kind,
        None => OPTIONS
            .iter()
            .find(|(p, _)| *p == path)
            .map(|(_, k)| *k)
            .ok_or_else(|| format!("no kind for {path}"))?,
    };
    let own = (text(resource, "group"), text(resource, "version"));
    let (group, version) = if kind == text(resource, "kind") {
        own
    } else {
        FOREIGN.iter().find(|(k, _, _)| *k == kind).map_or(own, |(_, g, v)| (*g, *v))
    };
    let verbs = letters(items(facts, "verbs").filter_map(Value::as_str));
    writeln!(out, "/\t{name}\t{}\t{version}\t{kind}\t{verbs}", or_dash(group))?;
    Ok(())
}

fn write_columns(
    out: &mut String,
    tables: &Value,
    group: &str,
    version: &str,
    plural: &str,
) -> std::fmt::Result {
    if let Some(columns) = own_columns(group, version, plural) {
        for column in columns {
            let title = column.split('\t').next().unwrap_or_default();
            writeln!(out, "|\t{column}\t{}", column_text(group, plural, title))?;
        }
        return Ok(());
    }
    let recorded =
        items(tables, "tables").filter(|t| text(t, "group") == group && text(t, "resource") == plural);
    match recorded.max_by_key(|t| text(t, "version") == version) {
        Some(table) => {
            for column in items(table, "columns").filter_map(Value::as_object) {
                write_column(out, column, |title| column_text(group, plural, title))?;
            }
        }
        None => {
            let text = |title| column_text(group, plural, title);
            writeln!(out, "|\tName\tstring\tname\t0\t{}", text("Name"))?;
            writeln!(out, "|\tAge\tstring\t-\t0\t{}", text("Age"))?;
        }
    }
    Ok(())
}

fn write_column(
    out: &mut String,
    column: &Map<String, Value>,
    text: impl Fn(&str) -> &'static str,
) -> std::fmt::Result {
    let part = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
    let priority = column.get("priority").and_then(Value::as_u64).unwrap_or_default();
    let (name, ty, format) = (part("name"), part("type"), or_dash(part("format")));
    writeln!(out, "|\t{name}\t{ty}\t{format}\t{priority}\t{}", text(name))
}

/// What a column says of itself, from `tables/column_texts.txt`; a dash for nothing.
fn column_text(group: &str, plural: &str, title: &str) -> &'static str {
    let heading = format!("= {} {plural}", or_dash(group));
    let lines = COLUMN_TEXTS.lines().skip_while(|line| *line != heading).skip(1);
    let mut texts = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once('\t'));
    match (texts.find(|(have, _)| *have == title), title) {
        (Some((_, text)), _) => text,
        (None, "Name") => "@apimachinery.pkg.apis.meta.v1.ObjectMeta.name",
        (None, "Age" | "Created At") => "@apimachinery.pkg.apis.meta.v1.ObjectMeta.creationTimestamp",
        (None, _) => "-",
    }
}

/// Columns from `tables/columns.txt`: a line `<group> <version or *> <plural>`, then one line a column.
fn own_columns(group: &str, version: &str, plural: &str) -> Option<Vec<String>> {
    let heading = |v: &str| format!("= {} {v} {plural}", or_dash(group));
    let (exact, any) = (heading(version), heading("*"));
    let mut lines = COLUMNS.lines().skip_while(|l| *l != exact && *l != any);
    lines.next()?;
    let columns = lines.take_while(|l| !l.starts_with("= ") && !l.is_empty());
    Some(
        columns
            .map(|line| {
                // `Name` is the object's name; `Title|type|priority`, with string and 0 left out.
                let mut parts = line.split('|');
                let title = parts.next().unwrap_or_default();
                let ty = parts.next().filter(|t| !t.is_empty()).unwrap_or("string");
                let priority = parts.next().unwrap_or("0");
                let format = if title == "Name" && ty == "string" { "name" } else { "-" };
                format!("{title}\t{ty}\t{format}\t{priority}")
            })
            .collect(),
    )
}
