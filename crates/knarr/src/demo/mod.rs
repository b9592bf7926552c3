//! The web server inside the image `knarr.local/demo`: shows which pod answers, its environment and mounted files, fails
//! its probes on demand, makes load on demand.

mod page;
mod state;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::signal::unix::{SignalKind, signal};

use state::{Probe, State};

/// Longest load one request may ask for.
const LOAD_MAX: Duration = Duration::from_secs(30);
/// How long open requests may take after SIGTERM.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Options {
    /// Address to serve HTTP on
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
}

/// Serves until SIGTERM or SIGINT, then lets open requests end.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("failed to listen on {}", options.listen))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let state = Arc::new(State::from_environment());
    let graceful = GracefulShutdown::new();
    log(&format!("{} serving on {}", state.pod, options.listen));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        };
        let Ok(stream) = stream else { continue };
        let state = state.clone();
        let service = service_fn(move |request| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(answer(&state, &request)) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        #[expect(clippy::let_underscore_future, reason = "ends with its connection; `graceful` waits for it")]
        let _ = tokio::spawn(connection);
    }
    log("asked to stop");
    let _ = tokio::time::timeout(DRAIN_LIMIT, graceful.shutdown()).await;
    Ok(())
}

type Answer = Response<Full<Bytes>>;

fn answer(state: &State, request: &Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let answer = route(state, request.method(), &path, &query);
    if !matches!(path.as_str(), "/healthy" | "/ready") {
        log(&format!("{} {} {}", request.method(), request.uri(), answer.status().as_u16()));
    }
    answer
}

fn route(state: &State, method: &Method, path: &str, query: &str) -> Answer {
    let change = method == Method::POST;
    match path {
        "/" => html(page::overview(state)),
        "/pod" => text(StatusCode::OK, &state.pod),
        "/version" => text(StatusCode::OK, &state.version),
        "/env" => text(StatusCode::OK, &page::environment()),
        "/files" => files(parameter(query, "path").unwrap_or("/")),
        "/healthy" if change => set_probe(&state.healthy, query),
        "/ready" if change => set_probe(&state.ready, query),
        "/healthy" => probe(&state.healthy),
        "/ready" => probe(&state.ready),
        "/load" => load(query),
        "/exit" if change => exit(query),
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

fn probe(probe: &Probe) -> Answer {
    if probe.check() {
        text(StatusCode::OK, "ok")
    } else {
        text(StatusCode::INTERNAL_SERVER_ERROR, "failing on demand")
    }
}

/// `fail=always`, `fail=never` or `fail=N` for the next N answers.
fn set_probe(probe: &Probe, query: &str) -> Answer {
    match parameter(query, "fail").and_then(|value| probe.set(value)) {
        Some(()) => text(StatusCode::OK, "ok"),
        None => text(StatusCode::BAD_REQUEST, "say fail=always, fail=never or fail=N"),
    }
}

/// Keeps a processor busy for `ms` milliseconds.
fn load(query: &str) -> Answer {
    let asked = parameter(query, "ms").and_then(|ms| ms.parse().ok()).map_or(LOAD_MAX, Duration::from_millis);
    let until = Instant::now() + asked.min(LOAD_MAX);
    let mut rounds: u64 = 0;
    while Instant::now() < until {
        rounds = std::hint::black_box(rounds + 1);
    }
    text(StatusCode::OK, &format!("{rounds} rounds"))
}

/// Ends the process, as a crash would.
fn exit(query: &str) -> Answer {
    let code = parameter(query, "code").and_then(|code| code.parse().ok()).unwrap_or(1);
    log(&format!("exiting with code {code} on demand"));
    std::process::exit(code)
}

fn files(path: &str) -> Answer {
    match page::file_or_directory(std::path::Path::new(path)) {
        Ok(contents) => text(StatusCode::OK, &contents),
        Err(error) => text(StatusCode::NOT_FOUND, &format!("{path}: {error}")),
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn html(body: String) -> Answer {
    respond(StatusCode::OK, "text/html; charset=utf-8", body)
}

fn text(status: StatusCode, body: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", format!("{body}\n"))
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

/// A line for `kubectl logs`.
fn log(line: &str) {
    use std::io::Write;
    // Nobody reads the log of a container whose monitor is gone; serving goes on.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_fail_on_demand_and_recover() {
        let state = State::from_environment();
        let get = |path| route(&state, &Method::GET, path, "").status().as_u16();
        let post = |path, query| route(&state, &Method::POST, path, query).status().as_u16();
        assert_eq!((get("/ready"), get("/healthy")), (200, 200));
        assert_eq!(post("/ready", "fail=2"), 200);
        assert_eq!((get("/ready"), get("/ready"), get("/ready")), (500, 500, 200));
        assert_eq!(post("/healthy", "fail=always"), 200);
        assert_eq!((get("/healthy"), get("/healthy")), (500, 500));
        assert_eq!(post("/healthy", "fail=never"), 200);
        assert_eq!(get("/healthy"), 200);
        assert_eq!(post("/ready", "fail=often"), 400);
        assert_eq!(get("/absent"), 404);
    }
}
