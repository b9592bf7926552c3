//! `/healthz`, `/livez` and `/readyz` (upstream: apiserver `pkg/server/healthz`).

use std::collections::BTreeSet;

use http::{Response, StatusCode};

use super::Chain;
use super::pages::not_found;
use crate::ApiBody;
use crate::http::{Query, text};

/// Checks of an endpoint at most.
pub(super) const CHECKS_MAX: usize = 6;

/// The endpoints, each with the checks it runs.
pub(super) const ENDPOINTS: [(&str, &[&str]); 3] = [
    ("/healthz", &["ping", "log", "etcd"]),
    ("/livez", &["ping", "log", "etcd"]),
    ("/readyz", &["ping", "log", "etcd", "etcd-readiness", "informer-sync", "shutdown"]),
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

/// The endpoint of a path, as a place in [`ENDPOINTS`], and the check that is named; none when it is no health path.
pub(super) fn endpoint(path: &str) -> Option<(usize, Option<&'static str>)> {
    ENDPOINTS.iter().enumerate().find_map(|(at, (endpoint, checks))| {
        let rest = path.strip_prefix(endpoint)?;
        if rest.is_empty() {
            return Some((at, None));
        }
        let named = rest.strip_prefix('/')?;
        Some((at, Some(*checks.iter().find(|check| **check == named)?)))
    })
}

/// Answers a health path.
pub(super) async fn answer(chain: &Chain, path: &str, query: &Query) -> Response<ApiBody> {
    match endpoint(path) {
        None => not_found(),
        Some((at, None)) => all(chain, at, query).await,
        Some((_, Some(check))) => match run(chain, check).await {
            Ok(()) => text(StatusCode::OK, "ok"),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        },
    }
}

async fn all(chain: &Chain, at: usize, query: &Query) -> Response<ApiBody> {
    let (endpoint, checks) = ENDPOINTS[at];
    let excluded: BTreeSet<&str> = query.all("exclude").collect();
    let mut results = Vec::new();
    for (number, check) in checks.iter().copied().enumerate() {
        let outcome = if excluded.contains(check) {
            Outcome::Excluded
        } else {
            let result = run(chain, check).await;
            chain.metrics.checked(at, number, result.is_ok());
            result.into()
        };
        results.push((check, outcome));
    }
    let unknown: Vec<&str> = excluded.into_iter().filter(|name| !checks.contains(name)).collect();
    let (report, failed) = report(endpoint.trim_start_matches('/'), &results, &unknown);
    if failed {
        text(StatusCode::INTERNAL_SERVER_ERROR, report)
    } else if query.has("verbose") {
        text(StatusCode::OK, report)
    } else {
        text(StatusCode::OK, "ok")
    }
}

/// How a check went.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Excluded,
    Failed(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Outcome::Failed, |()| Outcome::Passed)
    }
}

/// The whole report, in upstream's words, and whether a check failed.
fn report(name: &str, results: &[(&str, Outcome)], unknown: &[&str]) -> (String, bool) {
    let mut report = String::new();
    let mut failed = false;
    for (check, outcome) in results {
        match outcome {
            Outcome::Passed => report.push_str(&format!("[+]{check} ok\n")),
            Outcome::Excluded => report.push_str(&format!("[+]{check} excluded: ok\n")),
            Outcome::Failed(why) => {
                failed = true;
                tracing::warn!(check, why, "a health check failed");
                // Reasons are for the log: the endpoint is open to everybody.
                report.push_str(&format!("[-]{check} failed: reason withheld\n"));
            }
        }
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        report.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    report.push_str(&format!("{name} check {}\n", if failed { "failed" } else { "passed" }));
    (report, failed)
}

async fn run(chain: &Chain, check: &str) -> Result<(), String> {
    match check {
        // The store answers: a read of a key that is never there goes all the way down.
        "etcd" | "etcd-readiness" => {
            chain.store.get("/registry/health").await.map(drop).map_err(|error| error.to_string())
        }
        "shutdown" if chain.token.is_cancelled() => Err("process is shutting down".to_owned()),
        "informer-sync" if chain.store.feed().is_closed() => Err("the caches are no longer fed".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_worded_as_upstream_words_them() {
        let results = [("ping", Outcome::Passed), ("log", Outcome::Excluded)];
        let expected = "[+]ping ok\n[+]log excluded: ok\nlivez check passed\n";
        assert_eq!(report("livez", &results, &[]), (expected.to_owned(), false));
        let results = [("ping", Outcome::Passed), ("etcd", Outcome::Failed("secret reason".to_owned()))];
        let expected = "[+]ping ok\n[-]etcd failed: reason withheld\n\
            warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nreadyz check failed\n";
        assert_eq!(report("readyz", &results, &["a", "b"]), (expected.to_owned(), true));
    }
}
