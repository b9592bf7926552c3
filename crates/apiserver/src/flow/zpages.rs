//! `/statusz` and `/flagz`: what this server is and how it was set up (apiserver `pkg/server/statusz`, `pkg/server/flagz`).

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, WARNING};
use http::{Response, StatusCode};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use machinery::status::Status;
use serde_json::{Map, Value, json};

use super::metrics::process_start;
use super::pages::version;
use super::{Chain, header, limits};
use crate::http::{Format, MediaRange, Wishes, full, json, parse_accept};
use crate::{ApiBody, Config};

const GROUP: &str = "config.k8s.io";
const VERSION: &str = "v1beta1";
const OLD_VERSION: &str = "v1alpha1";
const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "text/plain"];
/// Paths that say nothing of the server itself.
const NO_DEBUGGING: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zpage {
    Status,
    Flags,
}

/// The forms of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Object(Format, &'static str),
}

impl Zpage {
    /// All, by path.
    pub const ALL: [(&'static str, Zpage); 2] = [("/flagz", Zpage::Flags), ("/statusz", Zpage::Status)];

    fn kind(self) -> &'static str {
        match self {
            Zpage::Status => "Statusz",
            Zpage::Flags => "Flagz",
        }
    }

    /// Answers in the form that the client wants; text when it does not say.
    pub async fn answer(
        self,
        chain: &Chain,
        headers: &HeaderMap,
        wishes: Wishes,
    ) -> Result<Response<ApiBody>, Status> {
        match self.negotiate(header(headers, ACCEPT).unwrap_or_default())? {
            Form::Text => Ok(text(self.text(chain))),
            Form::Object(format, version) => {
                Ok(self.object(chain, version, Wishes { format, ..wishes }).await)
            }
        }
    }

    fn negotiate(self, accept: &str) -> Result<Form, Status> {
        if accept.trim().is_empty() {
            return Ok(Form::Text);
        }
        let form = parse_accept(accept).iter().find_map(|range| self.form(range));
        form.ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))
    }

    fn form(self, range: &MediaRange) -> Option<Form> {
        let Some(kind) = range.param("as") else {
            let nameless = range.param("g").is_some() || range.param("v").is_some();
            return (!nameless && range.covers("text", "plain")).then_some(Form::Text);
        };
        if kind != self.kind() || range.param("g") != Some(GROUP) {
            return None;
        }
        let version = [VERSION, OLD_VERSION].into_iter().find(|version| range.param("v") == Some(version))?;
        let format = [Format::Json, Format::Yaml].into_iter().find(|format| format.suits(range))?;
        Some(Form::Object(format, version))
    }

    async fn object(self, chain: &Chain, version: &'static str, wishes: Wishes) -> Response<ApiBody> {
        let mut object = match self {
            Zpage::Status => status(chain),
            Zpage::Flags => json!({"flags": flags(&chain.config).into_iter().collect::<Map<_, _>>()}),
        };
        let kind = self.kind();
        object["kind"] = kind.into();
        object["apiVersion"] = format!("{GROUP}/{version}").into();
        object["metadata"] = json!({"name": "apiserver"});
        let mut response = json(StatusCode::OK, &object, wishes).await;
        let content_type = format!("{};g={GROUP};v={version};as={kind}", wishes.format.content_type());
        if let Ok(value) = HeaderValue::from_str(&content_type) {
            response.headers_mut().insert(CONTENT_TYPE, value);
        }
        if version == OLD_VERSION {
            let old = format!(
                "299 - \"This version of the {} endpoint is deprecated. Please use a newer version.\"",
                kind.to_lowercase()
            );
            response.headers_mut().extend(HeaderValue::from_str(&old).ok().map(|value| (WARNING, value)));
        }
        response
    }

    fn text(self, chain: &Chain) -> String {
        let lines = match self {
            Zpage::Status => status_lines(&status(chain)),
            Zpage::Flags => {
                let line = |(name, value): (String, Value)| {
                    format!("{name}: {}\n", value.as_str().unwrap_or_default())
                };
                flags(&chain.config).into_iter().map(line).collect()
            }
        };
        let name = self.kind().to_lowercase();
        format!(
            "\napiserver {name}\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
             compatibility guarantees and is for debugging purposes only.\n{lines}"
        )
    }
}

/// What upstream's page says of a server.
fn status(chain: &Chain) -> Value {
    let now = Timestamp::now();
    let started = process_start().unwrap_or(now.as_second());
    let started_at = Timestamp::from_second(started).unwrap_or(now);
    let version = version();
    let number = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let binary = number("gitVersion");
    json!({
        "startTime": machinery::time::rfc3339(started_at),
        "uptimeSeconds": (now.as_second() - started).max(0),
        "goVersion": version["goVersion"],
        "binaryVersion": binary.trim_start_matches('v').split('+').next(),
        "emulationVersion": format!("{}.{}", number("emulationMajor"), number("emulationMinor")),
        "paths": folders(&chain.paths()),
    })
}

/// The first parts of paths that tell something of the server itself.
fn folders(paths: &[String]) -> Vec<String> {
    let first = paths.iter().filter_map(|path| path.split('/').nth(1)).filter(|part| !part.is_empty());
    let mut folders: Vec<String> = first.map(|part| format!("/{part}")).collect();
    folders.retain(|folder| !NO_DEBUGGING.contains(&folder.as_str()));
    folders.sort();
    folders.dedup();
    folders
}

fn status_lines(status: &Value) -> String {
    let shown = |key: &str| status[key].as_str().unwrap_or_default();
    let started = shown("startTime").parse::<Timestamp>().unwrap_or_default().to_zoned(TimeZone::UTC);
    let up = status["uptimeSeconds"].as_i64().unwrap_or_default();
    let paths: Vec<&str> =
        status["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nGo version: {}\nBinary version: {}\n\
         Emulation version: {}\nPaths: {}\n",
        started.strftime("%a %b %e %H:%M:%S %Z %Y"),
        up / 3600,
        up / 60 % 60,
        up % 60,
        shown("goVersion"),
        shown("binaryVersion"),
        shown("emulationVersion"),
        paths.join(" "),
    )
}

/// How the server is set up, in the words of upstream's command line, by name.
fn flags(config: &Config) -> Vec<(String, Value)> {
    let ports = &config.node_ports;
    [
        ("advertise-address", config.advertise.ip().to_string()),
        ("allow-privileged", "true".to_owned()),
        ("anonymous-auth", config.anonymous.to_string()),
        ("api-audiences", format!("[{}]", config.audiences.join(","))),
        ("authorization-mode", "[Node,RBAC]".to_owned()),
        ("enable-admission-plugins", "[NodeRestriction]".to_owned()),
        ("event-ttl", "1h0m0s".to_owned()),
        ("max-mutating-requests-inflight", limits::MUTATING_MAX.to_string()),
        ("max-requests-inflight", limits::READING_MAX.to_string()),
        ("request-timeout", format!("{}m0s", limits::REQUEST_TIMEOUT.as_secs() / 60)),
        ("secure-port", config.advertise.port().to_string()),
        ("service-account-issuer", format!("[{}]", config.issuer)),
        ("service-cluster-ip-range", config.service_cidr.clone()),
        ("service-node-port-range", format!("{}-{}", ports.start(), ports.end())),
    ]
    .map(|(name, value)| (name.to_owned(), value.into()))
    .into()
}

fn text(page: String) -> Response<ApiBody> {
    let mut response = Response::new(full(page));
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_choose_the_form() {
        let of = |version: &str| format!("application/json;as=Statusz;v={version};g=config.k8s.io");
        let new = of(VERSION);
        for (accept, want) in [
            ("", Some(Form::Text)),
            ("*/*", Some(Form::Text)),
            ("text/plain", Some(Form::Text)),
            (&new, Some(Form::Object(Format::Json, VERSION))),
            (&of(OLD_VERSION), Some(Form::Object(Format::Json, OLD_VERSION))),
            (&new.replace("json", "yaml"), Some(Form::Object(Format::Yaml, VERSION))),
            (&format!("application/json,{new}"), Some(Form::Object(Format::Json, VERSION))),
            ("application/json", None),
            (&of("v1"), None),
            (&new.replace("Statusz", "Flagz"), None),
            (&new.replace("json", "cbor"), None),
        ] {
            assert_eq!(Zpage::Status.negotiate(accept).ok(), want, "{accept}");
        }
        let refused = Zpage::Status.negotiate("application/json").unwrap_err();
        let message =
            "only the following media types are accepted: application/json, application/yaml, text/plain";
        assert_eq!((refused.code, refused.message.as_str()), (406, message));
    }

    #[test]
    fn a_server_is_described() {
        let paths = ["/", "/api", "/apis/apps", "/readyz/ping", "/healthz", "/readyz", "/version"];
        assert_eq!(folders(&paths.map(str::to_owned)), ["/healthz", "/readyz", "/version"]);
        let status = json!({"startTime": "2026-11-03T01:46:11Z", "uptimeSeconds": 3748, "goVersion": "none",
            "binaryVersion": "1.37.0", "emulationVersion": "1.37", "paths": ["/livez", "/version"]});
        let lines = "\nStarted: Tue Nov  3 01:46:11 UTC 2026\nUp: 1 hr 02 min 28 sec\nGo version: none\n\
            Binary version: 1.37.0\nEmulation version: 1.37\nPaths: /livez /version\n";
        assert_eq!(status_lines(&status), lines);
    }
}
