//! Logs and interactive sessions of pods, answered by the kubelet of the pod's node (upstream: `pkg/registry/core/pod`).

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use machinery::field::{Errors, FieldError, Path};
use machinery::status::Status;
use serde_json::Value;

use super::{connect, forward, target};
use crate::ApiBody;
use crate::flow::{Admitted, Chain, header};
use crate::http::{Accept, MEDIA_TYPES, Offer, Query, RequestInfo, empty, percent_encode, router};

/// So much of a kubelet's refusal is shown, bytes.
const REFUSAL_BYTES_MAX: usize = 50_000;
const TEXT: &str = "text/plain";
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

fn pod(chain: &Chain, info: &RequestInfo) -> Result<Value, Status> {
    chain
        .registry
        .object_value("", "pods", &info.namespace, &info.name)
        .ok_or_else(|| Status::not_found("", "pods", &info.name))
}

fn node_name(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect()
}

/// The container that is meant: the one named, the only one, or the annotated one.
fn container(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (containers, init) = (names(pod, "containers"), names(pod, "initContainers"));
    let exists = |name: &str| {
        containers.contains(&name)
            || init.contains(&name)
            || names(pod, "ephemeralContainers").contains(&name)
    };
    if let Some(asked) = asked {
        if exists(asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    if let [only] = containers.as_slice() {
        return Ok((*only).to_owned());
    }
    let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().unwrap_or_default();
    if !annotated.is_empty() && exists(annotated) {
        return Ok(annotated.to_owned());
    }
    let mut message = format!("a container name must be specified for pod {name}");
    if !containers.is_empty() {
        message.push_str(&format!(", choose one of: [{}]", containers.join(" ")));
        if !init.is_empty() {
            message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
        }
    }
    Err(Status::bad_request(message))
}

/// Logs are text, but a client has to take objects as well, and none that would be shown in another form.
fn check_accept(headers: &HeaderMap) -> Result<(), Status> {
    let types: Vec<&str> = [TEXT].into_iter().chain(MEDIA_TYPES).collect();
    router::check_accept(headers, &types)?;
    Accept::negotiate(header(headers, ACCEPT), Offer::NO_TABLES).map(drop)
}

/// `pods/log`
pub(super) async fn log(chain: &Chain, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
    let Admitted { info, query, request, .. } = admitted;
    check_accept(request.headers())?;
    let parameters = log_parameters(&query, &info.name)?;
    let pod = pod(chain, &info)?;
    let container = container(&pod, query.get_set("container"))?;
    let Some(node) = node_name(&pod) else {
        // Not scheduled yet: there is nothing, which is no mistake.
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    let mut kubelet = target::kubelet(chain, node)?;
    if query.flag("insecureSkipTLSVerifyBackend") {
        kubelet.security = target::Security::Unverified;
    }
    let path = format!("/containerLogs/{}/{}/{container}", info.namespace, info.name);
    let request = forward::request(&kubelet, &path, &parameters.encode())?;
    let mut sender = connect::connect(chain, &kubelet).await?;
    let answered = sender.send_request(request).await.map_err(Status::internal)?;
    if !answered.status().is_success() {
        return Err(refusal(&info, answered).await);
    }
    let (parts, body) = answered.into_parts();
    let mut response = Response::new(body.map_err(Into::into).boxed_unsync());
    let plain = HeaderValue::from_static(TEXT);
    response.headers_mut().insert(CONTENT_TYPE, parts.headers.get(CONTENT_TYPE).cloned().unwrap_or(plain));
    Ok(response)
}

/// Checks the options of a log request and writes them for the kubelet.
fn log_parameters(query: &Query, name: &str) -> Result<Query, Status> {
    let mut parameters = Query::default();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            parameters.push(flag, "true");
        }
    }
    let mut errors = Errors::new();
    for (number, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(text) = query.get_set(number) else { continue };
        let value: i64 = text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?;
        if value < least {
            let detail =
                if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.push(FieldError::invalid(&Path::new(number), value, detail));
        }
        parameters.push(number, text);
    }
    if let Some(time) = query.get_set("sinceTime") {
        if query.get_set("sinceSeconds").is_some() {
            let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden(&Path::root(), detail));
        }
        if machinery::time::parse(time).is_none() {
            return Err(Status::bad_request(format!("parsing time {time:?}: cannot parse as RFC 3339")));
        }
        parameters.push("sinceTime", time);
    }
    if let Some(stream) = query.get_set("stream") {
        if !matches!(stream, "All" | "Stdout" | "Stderr") {
            errors.push(FieldError::not_supported(
                &Path::new("stream"),
                stream,
                &["All", "Stderr", "Stdout"],
            ));
        }
        parameters.push("stream", stream);
    }
    if errors.is_empty() { Ok(parameters) } else { Err(Status::invalid("", "PodLogOptions", name, errors)) }
}

/// A kubelet's refusal in the terms of the API (upstream: `NewGenericHttpResponseChecker`).
async fn refusal(info: &RequestInfo, answered: Response<hyper::body::Incoming>) -> Status {
    let code = answered.status().as_u16();
    let text = match Limited::new(answered.into_body(), REFUSAL_BYTES_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => format!("failed to read the kubelet's answer: {error}"),
    };
    let text = text.trim_end_matches('\n');
    match code {
        400 => Status::bad_request(text),
        404 => {
            let mut status = Status::no_such_resource();
            status.message = format!("{} ( pods {})", status.message, info.name);
            status.with_cause("UnexpectedServerResponse", text, "")
        }
        500 => Status::internal(text),
        _ => Status::new(code, "", format!("the server responded with the status code {code} but did not return more information ( pods {})", info.name))
            .with_cause("UnexpectedServerResponse", text, ""),
    }
}

/// `pods/exec`, `pods/attach` and `pods/portforward`
pub(super) async fn session(chain: &Chain, admitted: Admitted) -> Result<Response<ApiBody>, Status> {
    let Admitted { info, query, request, .. } = admitted;
    let pod = pod(chain, &info)?;
    let (path, parameters) = session_target(&info, &query, &pod)?;
    let Some(node) = node_name(&pod) else {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", info.name)));
    };
    if !forward::wants_upgrade(request.headers()) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let kubelet = target::kubelet(chain, node)?;
    forward::upgrade(chain, request, &kubelet, &path, &parameters.encode()).await
}

/// Path and query of a session at the kubelet.
fn session_target(info: &RequestInfo, query: &Query, pod: &Value) -> Result<(String, Query), Status> {
    let (namespace, name) = (&info.namespace, &info.name);
    let mut parameters = Query::default();
    if info.subresource == "portforward" {
        for ports in query.all("ports") {
            for port in ports.split(',') {
                let valid = port.parse::<u16>().is_ok_and(|port| port > 0);
                if !valid {
                    return Err(Status::bad_request(format!(
                        "invalid port {port:?}: must be between 1 and 65535, inclusive"
                    )));
                }
                parameters.push("port", port);
            }
        }
        return Ok((format!("/portForward/{namespace}/{name}"), parameters));
    }
    let container = container(pod, query.get_set("container"))?;
    for (asked, passed) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(asked) {
            parameters.push(passed, "1");
        }
    }
    for command in query.all("command") {
        parameters.push("command", command);
    }
    if info.subresource == "exec" && query.all("command").next().is_none() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    Ok((format!("/{}/{namespace}/{name}/{}", info.subresource, percent_encode(&container)), parameters))
}

/// A request without a body.
pub(super) fn get(path_and_query: &str, host: &str) -> Result<Request<ApiBody>, Status> {
    Request::get(path_and_query).header(http::header::HOST, host).body(empty()).map_err(Status::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn two() -> Value {
        json!({
            "metadata": {"name": "x"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
        })
    }

    #[test]
    fn containers_are_chosen() {
        let one = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&one, None).unwrap(), "a");
        assert_eq!(container(&two(), Some("i")).unwrap(), "i");
        assert_eq!(container(&two(), Some("z")).unwrap_err().message, "container z is not valid for pod x");
        assert_eq!(
            container(&two(), None).unwrap_err().message,
            "a container name must be specified for pod x, choose one of: [a b] or one of the init containers: [i]"
        );
        let mut annotated = two();
        annotated["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "b"});
        assert_eq!(container(&annotated, None).unwrap(), "b");
    }

    fn info(subresource: &str) -> RequestInfo {
        RequestInfo {
            namespace: "d".into(),
            name: "x".into(),
            subresource: subresource.into(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn sessions_are_addressed_as_the_kubelet_expects() {
        let query = Query::parse(
            "command=sh&command=-c&command=a+b&container=a&stdin=true&stdout=1&stderr=false&tty=true",
        );
        let (path, parameters) = session_target(&info("exec"), &query, &two()).unwrap();
        assert_eq!(path, "/exec/d/x/a");
        assert_eq!(parameters.encode(), "input=1&output=1&tty=1&command=sh&command=-c&command=a%20b");
        let (path, parameters) =
            session_target(&info("portforward"), &Query::parse("ports=80,81"), &two()).unwrap();
        assert_eq!((path.as_str(), parameters.encode().as_str()), ("/portForward/d/x", "port=80&port=81"));
        assert!(session_target(&info("portforward"), &Query::parse("ports=0"), &two()).is_err());
    }

    #[test]
    fn log_options_are_checked() {
        let passed = |text: &str| log_parameters(&Query::parse(text), "x");
        assert_eq!(
            passed("follow=true&tailLines=5&previous=false&container=a").unwrap().encode(),
            "follow=true&tailLines=5"
        );
        assert_eq!(passed("tailLines=x").unwrap_err().code, 400);
        assert_eq!(
            passed("tailLines=-1").unwrap_err().message,
            "PodLogOptions \"x\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(passed("sinceTime=2026-01-01T00:00:00Z&sinceSeconds=3").unwrap_err().code, 422);
    }
}
