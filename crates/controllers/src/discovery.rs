//! What the API serves right now, custom resources included.

use client::Rest;
use futures::future::join_all;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A served resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    /// Group and version, e.g. `apps/v1`.
    pub api_version: String,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }

    /// The path of the collection in a namespace; an empty one stands for all.
    pub(crate) fn collection(&self, namespace: &str) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        let (version, plural) = (&self.api_version, &self.plural);
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/{version}/namespaces/{namespace}/{plural}")
        } else {
            format!("{root}/{version}/{plural}")
        }
    }

    /// The path of one object.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }

    /// Resource and group as people write them, e.g. `deployments.apps`.
    pub(crate) fn qualified(&self) -> String {
        match self.api_version.split_once('/') {
            Some((group, _)) => format!("{}.{group}", self.plural),
            None => format!("{}.", self.plural),
        }
    }
}

/// Everything that is served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovered {
    /// Each resource in the version its group prefers.
    pub preferred: Vec<Arc<Resource>>,
    /// Every kind of every version, by `apiVersion` and kind.
    pub kinds: HashMap<(String, String), Arc<Resource>>,
    /// Group versions that could not be asked, with the reason.
    pub failures: Vec<String>,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default)]
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Asks the API what it serves. Groups that cannot be asked (an extension server that is down) are reported in the answer.
///
/// # Errors
/// When the list of groups cannot be had.
pub(crate) async fn discover(rest: &Rest) -> Result<Discovered, crate::context::Failure> {
    let groups: GroupList = serde_json::from_str(&rest.get("/apis").await?)?;
    // Preferred versions first: the first version that serves a resource is the one to use.
    let mut versions = vec![vec!["v1".to_owned()]];
    for group in groups.groups {
        let preferred = group.preferred_version.map(|preferred| preferred.group_version);
        let others = group.versions.into_iter().map(|version| version.group_version);
        let others = others.filter(|version| Some(version) != preferred.as_ref());
        versions.push(preferred.iter().cloned().chain(others).collect());
    }
    let flat: Vec<String> = versions.into_iter().flatten().collect();
    let answers = join_all(flat.iter().map(|version| ask(rest, version))).await;
    let mut discovered = Discovered::default();
    let mut seen = HashSet::new();
    for (version, answer) in flat.into_iter().zip(answers) {
        match answer {
            Ok(list) => add(&mut discovered, &mut seen, &version, list),
            Err(error) => discovered.failures.push(format!("{version}: {error}")),
        }
    }
    Ok(discovered)
}

async fn ask(rest: &Rest, version: &str) -> Result<ResourceList, crate::context::Failure> {
    let root = if version.contains('/') { "/apis" } else { "/api" };
    Ok(serde_json::from_str(&rest.get(&format!("{root}/{version}")).await?)?)
}

fn add(discovered: &mut Discovered, seen: &mut HashSet<(String, String)>, version: &str, list: ResourceList) {
    let group = version.split_once('/').map_or("", |(group, _)| group).to_owned();
    for listed in list.resources.into_iter().filter(|listed| !listed.name.contains('/')) {
        let resource = Arc::new(Resource {
            api_version: version.to_owned(),
            plural: listed.name,
            kind: listed.kind,
            namespaced: listed.namespaced,
            verbs: listed.verbs,
        });
        discovered.kinds.insert((version.to_owned(), resource.kind.clone()), resource.clone());
        if seen.insert((group.clone(), resource.plural.clone())) {
            discovered.preferred.push(resource);
        }
    }
}
