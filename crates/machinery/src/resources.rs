//! Every resource that Kubernetes 1.37 serves, from a table compiled into the program.
//!
//! # The table (`tables/resources.txt`)
//! Lines; parts are separated by tabs, lists by commas, an empty group or kind is `-`.
//!
//! ```text
//! = <group> <version> <plural> <singular> <Kind> <N|C> <verbs> <short names> <categories>     N: namespaced, C: cluster
//! / <subresource> <group> <version> <Kind> <verbs>
//! | <column> <type> <format> <priority> <description>
//! ```
//! Verbs are letters: `c` create, `d` delete, `D` deletecollection, `g` get, `l` list, `p` patch, `u` update, `w` watch.
//! Groups stand in the order in which discovery lists them, versions of a group in order of preference.
//!
//! The table is written by `cargo run -p knarr-machinery --example distil`.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::schema::{Schema, TypeId};

static TABLE: &str = include_str!("../tables/resources.txt");

/// A column of the server-side table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Title.
    pub name: &'static str,
    /// OpenAPI type.
    pub ty: &'static str,
    /// OpenAPI format; `name` marks the column of the object's name.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0 is always shown, larger ones with `-o wide`.
    pub priority: u8,
}

/// Something below a resource: `status`, `scale`, `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Name, without the resource's.
    pub name: &'static str,
    /// Group of what it takes and gives.
    pub group: &'static str,
    /// Version of what it takes and gives.
    pub version: &'static str,
    /// Kind of what it takes and gives; of its options where that is no object (`PodExecOptions`).
    pub kind: &'static str,
    /// Verbs, sorted.
    pub verbs: Vec<&'static str>,
}

/// One served resource in one version.
#[derive(Debug)]
pub struct Resource {
    /// API group, empty for the core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Name in URLs.
    pub plural: &'static str,
    /// Lower-case name of one.
    pub singular: &'static str,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs, sorted.
    pub verbs: Vec<&'static str>,
    /// Names for hurried people.
    pub short_names: Vec<&'static str>,
    /// Groups of resources for `kubectl get`.
    pub categories: Vec<&'static str>,
    /// What is below.
    pub subresources: Vec<Subresource>,
    /// Schema of the kind.
    pub type_id: Option<TypeId>,
    /// Columns of the table, in order.
    pub columns: Vec<Column>,
}

/// All resources.
#[derive(Debug)]
pub struct Resources {
    all: Vec<Resource>,
    plurals: HashMap<&'static str, Vec<usize>>,
    kinds: HashMap<&'static str, Vec<usize>>,
    groups: Vec<(&'static str, Vec<&'static str>)>,
}

impl Resource {
    /// Whether the verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        crate::meta::join_api_version(self.group, self.version)
    }

    /// Whether objects of it are kept; reviews and bindings are answered, not stored.
    pub fn is_stored(&self) -> bool {
        self.allows("get") || self.allows("list")
    }
}

impl Resources {
    /// The table of the program, read at its first use.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Resources> = OnceLock::new();
        BUILTIN.get_or_init(|| Self::parse(TABLE))
    }

    /// The resource of this name.
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.find(self.plurals.get(plural)?, group, version)
    }

    /// The resource of this kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.find(self.kinds.get(kind)?, group, version)
    }

    fn find(&self, candidates: &[usize], group: &str, version: &str) -> Option<&Resource> {
        candidates.iter().map(|i| &self.all[*i]).find(|r| r.group == group && r.version == version)
    }

    /// All resources; those of a group together, versions in order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.all.iter()
    }

    /// Groups in discovery's order, each with its versions in order of preference. The core group is the empty name.
    pub fn groups(&self) -> &[(&'static str, Vec<&'static str>)] {
        &self.groups
    }

    /// The version in which a group's resource is stored: the most preferred one that has it.
    pub fn preferred(&self, group: &str, plural: &str) -> Option<&Resource> {
        self.plurals.get(plural)?.iter().map(|i| &self.all[*i]).find(|r| r.group == group)
    }

    /// Everything that the table says, as text.
    pub fn text() -> &'static str {
        TABLE
    }

    fn parse(table: &'static str) -> Self {
        let mut all: Vec<Resource> = Vec::with_capacity(128);
        for line in table.lines() {
            let parts: Vec<&'static str> = line.split('\t').map(|p| if p == "-" { "" } else { p }).collect();
            match (parts.as_slice(), all.last_mut()) {
                (["=", rest @ ..], _) => all.extend(parse_resource(rest)),
                (["/", rest @ ..], Some(resource)) => resource.subresources.extend(parse_subresource(rest)),
                (["|", rest @ ..], Some(resource)) => resource.columns.extend(parse_column(rest)),
                _ => {}
            }
        }
        Self::index(all)
    }

    fn index(all: Vec<Resource>) -> Self {
        let mut resources = Self { all, plurals: HashMap::new(), kinds: HashMap::new(), groups: Vec::new() };
        for (i, resource) in resources.all.iter().enumerate() {
            resources.plurals.entry(resource.plural).or_default().push(i);
            resources.kinds.entry(resource.kind).or_default().push(i);
            match resources.groups.iter_mut().find(|(group, _)| *group == resource.group) {
                Some((_, versions)) if versions.contains(&resource.version) => {}
                Some((_, versions)) => versions.push(resource.version),
                None => resources.groups.push((resource.group, vec![resource.version])),
            }
        }
        resources
    }
}

fn list(text: &'static str) -> Vec<&'static str> {
    text.split(',').filter(|p| !p.is_empty()).collect()
}

fn verbs(letters: &str) -> Vec<&'static str> {
    let verb = |letter| {
        Some(match letter {
            'c' => "create",
            'd' => "delete",
            'D' => "deletecollection",
            'g' => "get",
            'l' => "list",
            'p' => "patch",
            'u' => "update",
            'w' => "watch",
            _ => return None,
        })
    };
    letters.chars().filter_map(verb).collect()
}

fn parse_resource(parts: &[&'static str]) -> Option<Resource> {
    let [group, version, plural, singular, kind, scope, letters, short, categories] = parts else {
        return None;
    };
    Some(Resource {
        group,
        version,
        plural,
        singular,
        kind,
        namespaced: *scope == "N",
        verbs: verbs(letters),
        short_names: list(short),
        categories: list(categories),
        subresources: Vec::new(),
        type_id: Schema::builtin().kind(group, version, kind),
        columns: Vec::new(),
    })
}

fn parse_subresource(parts: &[&'static str]) -> Option<Subresource> {
    let [name, group, version, kind, letters] = parts else { return None };
    Some(Subresource { name, group, version, kind, verbs: verbs(letters) })
}

fn parse_column(parts: &[&'static str]) -> Option<Column> {
    let [name, ty, format, priority, description] = parts else { return None };
    Some(Column { name, ty, format, description, priority: priority.parse().ok()? })
}

#[cfg(test)]
mod tests;
