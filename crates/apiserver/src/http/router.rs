//! What upstream's router refuses before any handler runs (`github.com/emicklei/go-restful`): it knows the media types of
//! each route, but neither wildcards of subtypes nor parameters.

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName};
use http::request::Parts;
use machinery::status::{Details, Status};

use super::MEDIA_TYPES;

/// What collections are written in besides.
const STREAM_TYPES: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// How objects of built-in kinds are patched.
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Checks the media types of a request to a built-in resource.
///
/// # Errors
/// 406 and 415.
pub(crate) fn check(request: &Parts, collection: bool) -> Result<(), Status> {
    let patched =
        request.method != Method::PATCH || names_one(text(&request.headers, CONTENT_TYPE), &PATCH_TYPES);
    if !patched {
        return Err(refusal(415, "UnsupportedMediaType", "415: Unsupported Media Type".to_owned()));
    }
    let mut produced: Vec<&str> = MEDIA_TYPES.to_vec();
    if collection {
        produced.extend(STREAM_TYPES);
    }
    check_accept(&request.headers, &produced)
}

/// Checks that a client takes one of the types that a path is answered in.
///
/// # Errors
/// 406.
pub(crate) fn check_accept(headers: &HeaderMap, produced: &[&str]) -> Result<(), Status> {
    let accept = text(headers, ACCEPT);
    if accept.is_empty() || names_one(accept, produced) {
        return Ok(());
    }
    let available = produced.join(", ");
    Err(refusal(
        406,
        "NotAcceptable",
        format!("406: Not Acceptable\n\nAvailable representations: {available}"),
    ))
}

/// Whether a header names one of the types, or all there are.
fn names_one(header: &str, types: &[&str]) -> bool {
    header.split(',').any(|clause| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        media == "*/*" || types.contains(&media)
    })
}

fn refusal(code: u16, reason: &'static str, message: String) -> Status {
    Status { details: Some(Details::default()), ..Status::new(code, reason, message) }
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const OBJECTS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

    fn refused(method: &str, header: (&str, &str), collection: bool) -> Option<(u16, String)> {
        let request = Request::builder().method(method).header(header.0, header.1);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts, collection).err().map(|status| (status.code, status.message))
    }

    #[test]
    fn answers_are_of_known_types() {
        let none =
            |types: &str| Some((406, format!("406: Not Acceptable\n\nAvailable representations: {types}")));
        let all = format!("{OBJECTS}, {}", STREAM_TYPES.join(", "));
        for (accept, one, many) in [
            ("", None, None),
            ("*/*;q=0.1", None, None),
            ("text/html, application/yaml;as=Other", None, None),
            ("application/json;stream=watch", None, None),
            ("application/*", none(OBJECTS), none(&all)),
            ("application/cbor", none(OBJECTS), none(&all)),
            ("Application/JSON", none(OBJECTS), none(&all)),
        ] {
            assert_eq!(refused("GET", ("accept", accept), false), one, "{accept}");
            assert_eq!(refused("GET", ("accept", accept), true), many, "{accept}");
        }
    }

    #[test]
    fn patches_are_of_known_types() {
        let merge = ("content-type", "application/merge-patch+json; charset=utf-8");
        assert_eq!(refused("PATCH", merge, false), None);
        let plain = Some((415, "415: Unsupported Media Type".to_owned()));
        for other in ["text/plain", "application/json", "application/apply-patch+cbor", ""] {
            assert_eq!(refused("PATCH", ("content-type", other), false), plain, "{other}");
        }
        assert_eq!(refused("POST", ("accept", "text/html"), false).map(|(code, _)| code), Some(406));
    }
}
