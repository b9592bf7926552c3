//! What is told of each resource: its objects, the lists of them, and whether its APIService is there.

use machinery::meta;
use machinery::metrics::Kind;
use machinery::resources::Resources;
use machinery::status::qualified;

use super::page::Gauge;
use crate::registry::Registry;
use crate::registry::list_counts::ListReading;

/// Upstream shows so many digits of a revision, because floating-point numbers have no more.
const REVISION_DIGITS: u64 = 1_000_000_000_000_000;

/// What a resource's cache holds, and the lists that came from it and from the store.
struct Row {
    group: &'static str,
    resource: &'static str,
    objects: f64,
    bytes: f64,
    revision: u64,
    cached: Option<ListReading>,
    stored: Option<ListReading>,
}

impl Row {
    fn labels(&self) -> String {
        format!("group={:?},resource={:?}", self.group, self.resource)
    }

    fn indexed(&self) -> String {
        format!("group={:?},index=\"\",resource={:?}", self.group, self.resource)
    }

    fn qualified(&self) -> String {
        format!("resource={:?}", qualified(self.group, self.resource))
    }
}

/// A metric with a series for each resource that has a value.
struct Column {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: fn(&Row) -> String,
    value: fn(&Row) -> Option<f64>,
}

const fn column(
    name: &'static str,
    kind: Kind,
    labels: fn(&Row) -> String,
    value: fn(&Row) -> Option<f64>,
    help: &'static str,
) -> Column {
    Column { name, kind, help, labels, value }
}

const COLUMNS: [Column; 11] = [
    column(
        "apiserver_storage_objects",
        Kind::Gauge,
        Row::qualified,
        |row| Some(row.objects),
        "[STABLE] (Deprecated since 1.34.0) [DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
    ),
    column(
        "apiserver_resource_objects",
        Kind::Gauge,
        Row::labels,
        |row| Some(row.objects),
        "[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
    ),
    column(
        "apiserver_resource_size_estimate_bytes",
        Kind::Gauge,
        Row::labels,
        |row| Some(row.bytes),
        "[ALPHA] Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized objects. In case of a fetching error, the value will be -1.",
    ),
    column(
        "apiserver_watch_cache_resource_version",
        Kind::Gauge,
        Row::labels,
        |row| Some((row.revision % REVISION_DIGITS) as f64),
        "[ALPHA] Current resource version of watch cache broken by resource type. This is truncated to the 15 least significant digits.",
    ),
    column(
        "apiserver_cache_list_total",
        Kind::Counter,
        Row::indexed,
        |row| row.cached.map(|lists| lists.lists as f64),
        "[ALPHA] Number of LIST requests served from watch cache",
    ),
    column(
        "apiserver_cache_list_fetched_objects_total",
        Kind::Counter,
        Row::indexed,
        |row| row.cached.map(|lists| lists.fetched as f64),
        "[ALPHA] Number of objects read from watch cache in the course of serving a LIST request",
    ),
    column(
        "apiserver_cache_list_returned_objects_total",
        Kind::Counter,
        Row::labels,
        |row| row.cached.map(|lists| lists.returned as f64),
        "[ALPHA] Number of objects returned for a LIST request from watch cache",
    ),
    column(
        "apiserver_storage_list_total",
        Kind::Counter,
        Row::labels,
        |row| row.stored.map(|lists| lists.lists as f64),
        "[ALPHA] Number of LIST requests served from storage",
    ),
    column(
        "apiserver_storage_list_fetched_objects_total",
        Kind::Counter,
        Row::labels,
        |row| row.stored.map(|lists| lists.fetched as f64),
        "[ALPHA] Number of objects read from storage in the course of serving a LIST request",
    ),
    column(
        "apiserver_storage_list_evaluated_objects_total",
        Kind::Counter,
        Row::labels,
        |row| row.stored.map(|lists| lists.fetched as f64),
        "[ALPHA] Number of objects tested in the course of serving a LIST request from storage",
    ),
    column(
        "apiserver_storage_list_returned_objects_total",
        Kind::Counter,
        Row::labels,
        |row| row.stored.map(|lists| lists.returned as f64),
        "[ALPHA] Number of objects returned for a LIST request from storage",
    ),
];

/// All metrics of resources.
pub(crate) fn gauges(registry: &Registry) -> Vec<Gauge> {
    let rows = rows(registry);
    let mut gauges: Vec<Gauge> = COLUMNS
        .iter()
        .map(|column| Gauge {
            name: column.name,
            kind: column.kind,
            help: column.help,
            values: rows
                .iter()
                .filter_map(|row| Some(((column.labels)(row), (column.value)(row)?)))
                .collect(),
        })
        .collect();
    gauges.push(Gauge {
        name: "aggregator_unavailable_apiservice",
        kind: Kind::Gauge,
        help: "[ALPHA] Gauge of APIServices which are marked as unavailable broken down by APIService name.",
        values: unavailable(registry),
    });
    gauges.extend(cluster_ips(registry));
    gauges
}

/// How many cluster IPs are taken, and how many are left.
fn cluster_ips(registry: &Registry) -> [Gauge; 2] {
    let objects = registry.objects("networking.k8s.io", "ipaddresses");
    let names = objects.iter().filter_map(|object| object.entry.key.rsplit('/').next());
    let (room, taken) = registry.allocators().addresses(names.filter_map(|name| name.parse().ok()));
    let gauge = |name, help, value| Gauge {
        name,
        kind: Kind::Gauge,
        help,
        values: vec![(format!("cidr={:?}", registry.config().service_cidr), value)],
    };
    [
        gauge(
            "kube_apiserver_clusterip_allocator_allocated_ips",
            "[ALPHA] Gauge measuring the number of allocated IPs for Services",
            taken as f64,
        ),
        gauge(
            "kube_apiserver_clusterip_allocator_available_ips",
            "[ALPHA] Gauge measuring the number of available IPs for Services",
            f64::from(room) - taken as f64,
        ),
    ]
}

/// One row a place in the store: events of both groups are the same objects.
fn rows(registry: &Registry) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for resource in Resources::builtin().iter().filter(|r| r.is_stored() && r.allows("create")) {
        let (group, resource) = (resource.group, resource.plural);
        let known = rows.iter().any(|row| (row.group, row.resource) == (group, resource));
        if known || group == "events.k8s.io" {
            continue;
        }
        let Some(handle) = registry.resource(group, resource) else { continue };
        let storage = &handle.storage;
        rows.push(Row {
            group,
            resource,
            objects: storage.cache.len() as f64,
            bytes: storage.cache.bytes() as f64,
            revision: storage.cache.revision(),
            cached: storage.cached_lists.read(),
            stored: storage.stored_lists.read(),
        });
    }
    rows
}

fn unavailable(registry: &Registry) -> Vec<(String, f64)> {
    let services = registry.values("apiregistration.k8s.io", "apiservices", "");
    let value = |service: &serde_json::Value| {
        let conditions = service["status"]["conditions"].as_array();
        let available = conditions
            .is_some_and(|list| list.iter().any(|c| c["type"] == "Available" && c["status"] == "True"));
        (format!("name={:?}", meta::name(service)), f64::from(u8::from(!available)))
    };
    services.iter().map(value).collect()
}
