//! `/healthz`, `/livez` and `/readyz` (upstream: apiserver `pkg/server/healthz`).

use std::collections::BTreeSet;

use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{Response, StatusCode};

use super::Chain;
use super::pages::not_found;
use crate::ApiBody;
use crate::http::{Query, text};
use crate::registry::steps::{Step, Steps};

/// The endpoints.
pub(super) const ENDPOINTS: [&str; 3] = ["/healthz", "/livez", READY];
const READY: &str = "/readyz";

/// Checks before and after those that tell of the start, and whether only `/readyz` has them.
const FIRST: [(&str, bool); 5] =
    [("ping", false), ("log", false), ("etcd", false), ("etcd-readiness", true), ("informer-sync", true)];
const LAST: (&str, bool) = ("shutdown", true);

/// How many checks there are.
pub(super) const CHECKS: usize = FIRST.len() + Step::ALL.len() + 1;

/// All checks in the order in which they are run, each with its number.
pub(super) fn checks(endpoint: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let steps = Step::ALL.map(|step| (step.check(), false));
    let all = FIRST.into_iter().chain(steps).chain([LAST]).enumerate();
    let ready = endpoint == READY;
    all.filter_map(move |(number, (check, only_ready))| (ready || !only_ready).then_some((number, check)))
}

/// All health paths, for the index at `/`.
pub(super) fn paths() -> Vec<String> {
    let of = |endpoint: &str| checks(endpoint).map(move |(_, check)| check).collect::<Vec<_>>();
    let below =
        |endpoint: &str| of(endpoint).into_iter().map(|check| format!("{endpoint}/{check}")).collect();
    let with_checks = |endpoint: &str| [vec![endpoint.to_owned()], below(endpoint)].concat();
    ENDPOINTS.into_iter().flat_map(with_checks).collect()
}

/// The endpoint of a path, as a place in [`ENDPOINTS`], and the check that is named; none when it is no health path.
pub(super) fn endpoint(path: &str) -> Option<(usize, Option<&'static str>)> {
    ENDPOINTS.iter().enumerate().find_map(|(at, endpoint)| {
        let rest = path.strip_prefix(endpoint)?;
        if rest.is_empty() {
            return Some((at, None));
        }
        let named = rest.strip_prefix('/')?;
        Some((at, Some(checks(endpoint).find(|(_, check)| *check == named)?.1)))
    })
}

/// Answers a health path.
pub(super) async fn answer(chain: &Chain, path: &str, query: &Query) -> Response<ApiBody> {
    match endpoint(path) {
        None => not_found(),
        Some((at, None)) => all(chain, at, query).await,
        Some((_, Some(check))) => match run(chain, check).await {
            // Unlike the endpoints and failures, upstream writes it as it stands.
            Ok(()) => {
                let mut response = text(StatusCode::OK, "ok");
                response.headers_mut().remove(X_CONTENT_TYPE_OPTIONS);
                response
            }
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        },
    }
}

async fn all(chain: &Chain, at: usize, query: &Query) -> Response<ApiBody> {
    let endpoint = ENDPOINTS[at];
    let excluded: BTreeSet<&str> = query.all("exclude").collect();
    let mut results = Vec::new();
    for (number, check) in checks(endpoint) {
        let outcome = if excluded.contains(check) {
            Outcome::Excluded
        } else {
            let result = run(chain, check).await;
            chain.metrics.checked(at, number, result.is_ok());
            result.into()
        };
        results.push((check, outcome));
    }
    let known = |name: &&str| results.iter().any(|(check, _)| check == name);
    let unknown: Vec<&str> = excluded.into_iter().filter(|name| !known(name)).collect();
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
        "etcd" | "etcd-readiness" => chain.registry.check_store().await,
        "shutdown" if chain.token.is_cancelled() => Err("process is shutting down".to_owned()),
        "informer-sync" if chain.store.feed().is_closed() => Err("the caches are no longer fed".to_owned()),
        _ => step(chain.registry.steps(), check),
    }
}

/// Whether the step of the start that a check is about is done; checks that are about none pass.
fn step(steps: &Steps, check: &str) -> Result<(), String> {
    let waiting = Step::ALL.into_iter().any(|step| step.check() == check && !steps.is_done(step));
    if waiting { Err("not finished".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_have_upstreams_names_and_order() {
        let all: Vec<&str> = checks("/readyz").map(|(_, check)| check).collect();
        let live: Vec<&str> = checks("/livez").map(|(_, check)| check).collect();
        assert_eq!(all[..5], ["ping", "log", "etcd", "etcd-readiness", "informer-sync"]);
        assert_eq!((live[..3].to_vec(), all.len()), (vec!["ping", "log", "etcd"], CHECKS));
        assert_eq!(all[5..CHECKS - 1], live[3..]);
        assert_eq!(all.last(), Some(&"shutdown"));
        let roles = "poststarthook/rbac/bootstrap-roles";
        assert_eq!(endpoint(&format!("/livez/{roles}")), Some((1, Some(roles))));
        assert_eq!(endpoint("/livez/shutdown"), None);
    }

    #[test]
    fn what_is_not_done_yet_fails() {
        let steps = Steps::default();
        let check = Step::BootstrapRoles.check();
        assert_eq!(step(&steps, check), Err("not finished".to_owned()));
        steps.done(Step::BootstrapRoles);
        assert_eq!((step(&steps, check), step(&steps, "ping")), (Ok(()), Ok(())));
    }

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
