//! `docs/api-parity.md`: each resource, verb and feature with the test that shows it. Written from the program's own table of
//! resources and the suites below, which are held to it by what the server counts.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use machinery::resources::{Resource, Resources};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api-parity.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A verb as this page shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verb {
    /// Column of the page.
    shown: &'static str,
    /// The server's word for it in its metrics.
    pub counted: &'static str,
    /// What a resource must allow.
    allowed: &'static str,
}

impl Verb {
    const fn new(shown: &'static str, counted: &'static str, allowed: &'static str) -> Self {
        Self { shown, counted, allowed }
    }

    /// Whether the resource has it. Component statuses are made up when they are read.
    pub fn is_served_by(&self, resource: &Resource) -> bool {
        resource.allows(self.allowed) && resource.allows("create")
    }
}

const CREATE: Verb = Verb::new("create", "POST", "create");
const GET: Verb = Verb::new("get", "GET", "get");
const LIST: Verb = Verb::new("list", "LIST", "list");
const WATCH: Verb = Verb::new("watch", "WATCH", "watch");
const UPDATE: Verb = Verb::new("update", "PUT", "update");
const PATCH: Verb = Verb::new("patch", "PATCH", "patch");
/// Counted as what it is, a patch of another type.
const APPLY: Verb = Verb::new("apply", "PATCH", "patch");
const DELETE: Verb = Verb::new("delete", "DELETE", "delete");
const COLLECTION: Verb = Verb::new("deletecollection", "DELETECOLLECTION", "deletecollection");
const VERBS: [Verb; 9] = [CREATE, GET, LIST, WATCH, UPDATE, PATCH, APPLY, DELETE, COLLECTION];

/// A client and what it does to every stored resource.
pub struct Suite {
    mark: &'static str,
    test: &'static str,
    client: &'static str,
    pub verbs: &'static [Verb],
    /// Whether it writes every status.
    status: bool,
}

pub const PYTHON: &Suite =
    &Suite { mark: "P", test: "python_client", client: "the Python client", verbs: &VERBS, status: true };
pub const NODE: &Suite = &Suite {
    mark: "N",
    test: "node_client",
    client: "the Node client",
    verbs: &[CREATE, GET, LIST, WATCH, UPDATE, PATCH, APPLY, DELETE],
    status: false,
};
pub const KUBE_RS: &Suite =
    &Suite { mark: "R", test: "kube_rs_client", client: "kube-rs", verbs: &VERBS, status: true };
pub const KUBECTL: &Suite = &Suite {
    mark: "K",
    test: "kubectl_1_33` and `kubectl_1_35",
    client: "kubectl",
    verbs: &[CREATE, GET, LIST, UPDATE, PATCH, APPLY, DELETE],
    status: false,
};
const SUITES: [&Suite; 4] = [KUBECTL, KUBE_RS, PYTHON, NODE];

/// What is not stored, and subresources of special meaning: resource, subresource, tests.
const OTHERS: &[(&str, &str, &[&str])] = &[
    ("bindings", "", &["a_pod_is_bound_once"]),
    ("componentstatuses", "", &["components_say_how_they_are"]),
    ("localsubjectaccessreviews", "", &["access_reviews"]),
    ("selfsubjectaccessreviews", "", &["access_reviews", "kubectl_1_35"]),
    ("selfsubjectreviews", "", &["kubectl_1_35"]),
    ("selfsubjectrulesreviews", "", &["access_reviews", "kubectl_1_35"]),
    ("subjectaccessreviews", "", &["access_reviews"]),
    ("tokenreviews", "", &["service_account_tokens"]),
    ("certificatesigningrequests", "approval", &["signing_requests_are_approved_apart", "kubectl_1_35"]),
    ("namespaces", "finalize", &["namespaces_end_in_two_steps"]),
    ("nodes", "proxy", &["nodes_reach_their_own_things_only"]),
    ("pods", "attach", &["logs_and_sessions_reach_the_kubelet"]),
    ("pods", "binding", &["a_pod_is_bound_once"]),
    ("pods", "ephemeralcontainers", &["ephemeral_containers_come_and_stay"]),
    ("pods", "eviction", &["evictions_respect_budgets", "kubectl_1_35"]),
    ("pods", "exec", &["logs_and_sessions_reach_the_kubelet", "the_main_job_from_up_to_down"]),
    ("pods", "log", &["logs_and_sessions_reach_the_kubelet", "the_main_job_from_up_to_down"]),
    ("pods", "portforward", &["logs_and_sessions_reach_the_kubelet", "the_main_job_from_up_to_down"]),
    ("pods", "proxy", &["what_needs_a_kubelet_says_what_is_missing", "the_main_job_from_up_to_down"]),
    ("pods", "resize", &["pods_are_resized_within_their_class"]),
    ("serviceaccounts", "token", &["service_account_tokens", "kubectl_1_35"]),
    ("services", "proxy", &["what_needs_a_kubelet_says_what_is_missing", "the_main_job_from_up_to_down"]),
];

const FEATURES: &[(&str, &[&str])] = &[
    ("Consistent and exact lists: resourceVersionMatch", &["each_version_match_shows_its_state"]),
    (
        "Pagination, continue tokens, remainingItemCount",
        &["pages_show_the_state_of_the_first_one_until_it_is_compacted", "python_client", "kubectl_1_35"],
    ),
    ("Label and field selectors", &["each_kind_knows_its_fields_and_no_others", "python_client"]),
    (
        "Tables, also in watches",
        &[
            "every_row_fits_its_columns",
            "cells_add_up_what_containers_tell",
            "a_watch_of_tables_names_its_columns_once",
            "kubectl_1_35",
        ],
    ),
    ("PartialObjectMetadata, also in watches", &["tables_and_partial_metadata", "kube_rs_client"]),
    ("Protobuf", &["objects_are_created_read_and_deleted", "upstream_test_data_agrees"]),
    ("gzip", &["large_answers_are_compressed_when_wanted"]),
    ("YAML bodies", &["yaml_is_read_too"]),
    ("Watch from a version", &["a_watch_from_a_version_shows_what_came_after", "python_client"]),
    (
        "Watch bookmarks and streaming lists (sendInitialEvents)",
        &["initial_events_end_with_a_bookmark", "kube_rs_client"],
    ),
    ("Objects that enter and leave a selection", &["objects_enter_and_leave_a_selection", "kubectl_1_35"]),
    ("Informers", &["kube_rs_client", "python_client", "node_client"]),
    ("Optimistic concurrency", &["replacing_keeps_what_is_the_servers", "python_client", "node_client"]),
    (
        "JSON patch, merge patch, strategic merge patch",
        &["patches_of_all_kinds", "python_client", "kubectl_1_35"],
    ),
    (
        "Server-side apply: conflicts, force, removal",
        &["configurations_are_applied", "python_client", "node_client", "kubectl_1_35"],
    ),
    ("Client-side apply and its hand-over to the server", &["kubectl_1_33", "kubectl_1_35"]),
    ("Field validation", &["unknown_fields_warn_or_are_refused", "kubectl_1_35"]),
    ("Dry run", &["a_dry_run_stores_nothing", "python_client", "kubectl_1_35"]),
    ("Generated names", &["names_are_generated", "python_client"]),
    (
        "Deletion: finalizers, foreground, background, orphan, grace",
        &["finalizers_hold_an_object", "dependents_are_orphaned_or_waited_for", "pods_end_gracefully"],
    ),
    ("Defaults", &["new_objects_get_them", "what_is_filled_in"]),
    ("Validation of new and changed objects", &["new_objects_are_refused", "updates_are_refused_or_done"]),
    (
        "Pod security standards of namespaces",
        &["namespaces_say_how_secure_their_pods_are", "ways_out_of_a_container"],
    ),
    ("Conversion between versions", &["versions_share_their_objects"]),
    (
        "Discovery, legacy and aggregated",
        &["aggregated_discovery_tells_the_same_as_plain", "kubectl_1_35", "kube_rs_client"],
    ),
    (
        "OpenAPI v2 and v3",
        &["every_reference_of_every_document_resolves", "the_index_links_every_part", "kubectl_1_35"],
    ),
    (
        "Health checks, /statusz, /flagz",
        &["checks_are_told_one_by_one", "what_is_not_done_yet_fails", "servers_tell_what_they_are"],
    ),
    ("Metrics", &["the_page_is_what_prometheus_reads"]),
    (
        "What every cluster starts with",
        &["every_group_version_has_its_service", "flow_control_starts_with_what_it_needs"],
    ),
    ("Leader election", &["python_client"]),
    ("Releases and hooks", &["helm"]),
];

/// Compares the committed page with what it has to be; with `KNARR_WRITE_PAGES` set, writes it.
pub fn check() {
    let names = test_names();
    for (what, tests) in OTHERS.iter().map(|(r, _, t)| (*r, *t)).chain(FEATURES.iter().copied()) {
        for test in tests {
            assert!(names.contains(*test), "{what}: there is no test {test:?}");
        }
    }
    let page = page();
    if std::env::var_os("KNARR_WRITE_PAGES").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        committed == page,
        "docs/api-parity.md is out of date; write it with KNARR_WRITE_PAGES=1 cargo test --package knarr --test parity page"
    );
}

fn page() -> String {
    let mut out = String::from(
        "# API parity\n\nEach resource, verb and feature of the API with the test that shows it. \
         Written by `tests/parity/page.rs`, which also says how.\n\n\
         ## Stored resources\n\n\
         Upstream's clients do each of these to every resource (`tests/parity.rs`), and the server's own count of requests is compared\n\
         with this table. The test of a letter:\n\n",
    );
    for suite in SUITES {
        writeln!(out, "- **{}**: {}, `{}`", suite.mark, suite.client, suite.test).unwrap();
    }
    let columns: Vec<&str> = VERBS.iter().map(|verb| verb.shown).collect();
    write!(
        out,
        "\n| resource | {} | status | scale |\n|---|{}\n",
        columns.join(" | "),
        "---|".repeat(VERBS.len() + 2)
    )
    .unwrap();
    for resource in Resources::builtin().iter().filter(|r| r.allows("create") && r.is_stored()) {
        let cells: Vec<String> = VERBS.iter().map(|verb| marks(resource, verb)).collect();
        let sub = |name, marks: &str| resource.subresource(name).map_or(String::new(), |_| marks.to_owned());
        let status: Vec<&str> = SUITES.iter().filter(|s| s.status).map(|s| s.mark).collect();
        writeln!(
            out,
            "| {} {} | {} | {} | {} |",
            resource.api_version(),
            resource.plural,
            cells.join(" | "),
            sub("status", &status.join(" ")),
            sub("scale", "K R P")
        )
        .unwrap();
    }
    others(&mut out);
    out.push_str("\n## Features\n\n| feature | shown by |\n|---|---|\n");
    for (feature, tests) in FEATURES {
        writeln!(out, "| {feature} | {} |", quoted(tests)).unwrap();
    }
    out
}

fn marks(resource: &Resource, verb: &Verb) -> String {
    if !verb.is_served_by(resource) {
        return String::new();
    }
    let marks: Vec<&str> = SUITES.iter().filter(|s| s.verbs.contains(verb)).map(|s| s.mark).collect();
    marks.join(" ")
}

/// Resources that are answered, not stored, and subresources of special meaning.
fn others(out: &mut String) {
    out.push_str("\n## Other resources and subresources\n\n| resource | verbs | shown by |\n|---|---|---|\n");
    for resource in Resources::builtin().iter() {
        if !resource.allows("create") || !resource.is_stored() {
            other(out, resource, "", &resource.verbs);
        }
        for sub in resource.subresources.iter().filter(|sub| !matches!(sub.name, "status" | "scale")) {
            other(out, resource, sub.name, &sub.verbs);
        }
    }
}

fn other(out: &mut String, resource: &Resource, sub: &str, verbs: &[&str]) {
    let tests = OTHERS.iter().find(|(plural, name, _)| *plural == resource.plural && *name == sub);
    let slash = if sub.is_empty() { "" } else { "/" };
    let shown = tests.map_or_else(|| "-".to_owned(), |(_, _, tests)| quoted(tests));
    writeln!(
        out,
        "| {} {}{slash}{sub} | {} | {shown} |",
        resource.api_version(),
        resource.plural,
        verbs.join(" ")
    )
    .unwrap();
}

fn quoted(tests: &[&str]) -> String {
    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ")
}

/// Names of all functions in the sources that are marked as tests.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in
        sources(Path::new(ROOT).join("crates")).into_iter().chain(sources(Path::new(ROOT).join("tests")))
    {
        let text = std::fs::read_to_string(file).unwrap();
        names.extend(tests_in(&text).map(str::to_owned));
    }
    names
}

/// Names of the functions in a source that are marked as tests.
pub fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let marked = source.split("test]\n").skip(1).chain(source.split("test(").skip(1));
    marked.filter_map(|after| Some(after.split_once("fn ")?.1.split_once('(')?.0))
}

fn sources(dir: PathBuf) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(path),
            false => Vec::from_iter(path.extension().is_some_and(|e| e == "rs").then_some(path)),
        })
        .collect()
}
