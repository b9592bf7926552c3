//! `/healthz`, `/livez` and `/readyz` (upstream: apiserver `pkg/server/healthz`).

use http::{Response, StatusCode};

use super::Chain;
use crate::ApiBody;
use crate::http::{Query, text};

/// The endpoints, each with the checks it runs.
const ENDPOINTS: [(&str, &[&str]); 3] = [
    ("/healthz", &["ping", "log", "etcd"]),
    ("/livez", &["ping", "log", "etcd"]),
    ("/readyz", &["ping", "log", "etcd", "informer-sync", "shutdown"]),
];

/// All health paths, for the index at `/`.
pub(super) fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for (endpoint, checks) in ENDPOINTS {
        paths.push(endpoint.to_owned());
        paths.extend(checks.iter().map(|check| format!("{endpoint}/{check}")));
    }
    paths
}

/// Answers a health path; `None` when it is none.
pub(super) async fn answer(chain: &Chain, path: &str, query: &Query) -> Option<Response<ApiBody>> {
    let (endpoint, checks) = ENDPOINTS.into_iter().find(|(endpoint, _)| {
        path.strip_prefix(endpoint).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })?;
    let named = path[endpoint.len()..].trim_matches('/');
    if named.is_empty() {
        return Some(all(chain, endpoint.trim_start_matches('/'), checks, query).await);
    }
    let check = checks.iter().find(|check| **check == named)?;
    Some(match run(chain, check).await {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
    })
}

async fn all(chain: &Chain, name: &str, checks: &[&str], query: &Query) -> Response<ApiBody> {
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    let mut report = String::new();
    let mut failed = false;
    for check in checks {
        if let Some(at) = excluded.iter().position(|name| name == check) {
            excluded.remove(at);
            report.push_str(&format!("[+]{check} excluded: ok\n"));
            continue;
        }
        match run(chain, check).await {
            Ok(()) => report.push_str(&format!("[+]{check} ok\n")),
            Err(why) => {
                failed = true;
                tracing::warn!(check, why, "a health check failed");
                // Reasons are for the log: the endpoint is open to everybody.
                report.push_str(&format!("[-]{check} failed: reason withheld\n"));
            }
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        report.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            names.join(", ")
        ));
    }
    if failed {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{name} check failed\n"));
    }
    if query.has("verbose") {
        return text(StatusCode::OK, format!("{report}{name} check passed\n"));
    }
    text(StatusCode::OK, "ok")
}

async fn run(chain: &Chain, check: &str) -> Result<(), String> {
    match check {
        // The store answers: a read of a key that is never there goes all the way down.
        "etcd" => chain.store.get("/registry/health").await.map(drop).map_err(|error| error.to_string()),
        "shutdown" if chain.token.is_cancelled() => Err("process is shutting down".to_owned()),
        "informer-sync" if chain.store.feed().is_closed() => Err("the caches are no longer fed".to_owned()),
        _ => Ok(()),
    }
}
