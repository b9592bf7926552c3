use super::*;
use crate::field::{FieldError, Path};

fn json_of(status: &Status) -> Value {
    status.to_json()
}

#[test]
fn words_and_details() {
    for (status, want) in [
        (
            Status::not_found("", "configmaps", "absent"),
            json!({"apiVersion": "v1", "code": 404, "details": {"kind": "configmaps", "name": "absent"}, "kind": "Status",
                "message": "configmaps \"absent\" not found", "metadata": {}, "reason": "NotFound", "status": "Failure"}),
        ),
        (
            Status::forbidden("apps", "deployments", "", "no"),
            json!({"apiVersion": "v1", "code": 403, "details": {"group": "apps", "kind": "deployments"}, "kind": "Status",
                "message": "deployments.apps is forbidden: no", "metadata": {}, "reason": "Forbidden", "status": "Failure"}),
        ),
        (
            Status::unauthorized(),
            json!({"apiVersion": "v1", "code": 401, "kind": "Status", "message": "Unauthorized", "metadata": {},
                "reason": "Unauthorized", "status": "Failure"}),
        ),
        (
            Status::internal("boom"),
            json!({"apiVersion": "v1", "code": 500, "details": {"causes": [{"message": "boom"}]}, "kind": "Status",
                "message": "Internal error occurred: boom", "metadata": {}, "reason": "InternalError", "status": "Failure"}),
        ),
        (
            Status::too_many_requests("later", 2),
            json!({"apiVersion": "v1", "code": 429, "details": {"retryAfterSeconds": 2}, "kind": "Status",
                "message": "later", "metadata": {}, "reason": "TooManyRequests", "status": "Failure"}),
        ),
        (
            Status::success(Details::of("apps", "deployments", "x")),
            json!({"apiVersion": "v1", "details": {"group": "apps", "kind": "deployments", "name": "x"}, "kind": "Status",
                "metadata": {}, "status": "Success"}),
        ),
    ] {
        assert_eq!(json_of(&status), want);
    }
    assert_eq!(Status::forbidden("", "", "", "no").message, "forbidden: no");
    assert_eq!(
        Status::method_not_supported("apps", "deployments", "create").message,
        "create is not supported on resources of kind \"deployments.apps\""
    );
}

/// Builds the answer again from its parts, for every recorded answer of a form made here.
fn rebuild(answer: &Value) -> Option<Status> {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, kind, name) = (text("/details/group"), text("/details/kind"), text("/details/name"));
    let message = text("/message");
    let rest = |prefix: &str| message.split_once(prefix).map(|(_, rest)| rest.to_owned());
    Some(match (text("/reason"), answer["code"].as_u64()?) {
        ("NotFound", 404) if kind.is_empty() => Status::no_such_resource(),
        ("NotFound", 404) => Status::not_found(group, kind, name),
        ("AlreadyExists", 409) => Status::already_exists(group, kind, name),
        ("Conflict", 409) => Status::conflict(group, kind, name, rest(&format!("{}: ", go_quote(name)))?),
        ("Forbidden", 403) => Status::forbidden(group, kind, name, rest(" is forbidden: ")?),
        ("BadRequest", 400) => Status::bad_request(message),
        ("MethodNotAllowed", 405) => Status::method_not_allowed(),
        ("Invalid", 422) if kind.is_empty() => Status::unprocessable(),
        ("Timeout", 504) => Status::too_large_resource_version(99_999_999, 8909),
        ("", 500) => Status::unknown(message),
        _ => return None,
    })
}

#[test]
fn recorded_answers_are_made_again() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/refusals.json");
    let Ok(text) = std::fs::read(path) else { return };
    let recorded: Value = serde_json::from_slice(&text).expect("valid JSON");
    let mut checked = 0;
    for case in recorded["cases"].as_array().expect("a list") {
        let answer = &case["answer"];
        let invalid = answer["reason"] == "Invalid" && answer["details"]["causes"].is_array();
        if invalid {
            checked += usize::from(check_invalid(answer));
        } else if let Some(status) = rebuild(answer) {
            assert_eq!(&status.to_json(), answer, "{}", case["path"]);
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} cases were checked");
}

/// The message of an `Invalid` answer follows from its causes.
fn check_invalid(answer: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = answer["details"]["causes"].as_array().cloned().unwrap_or_default();
    let sentences: Vec<String> =
        causes.iter().map(|c| format!("{}: {}", text(&c["field"]), text(&c["message"]))).collect();
    let details = &answer["details"];
    let subject = qualified(&text(&details["group"]), &text(&details["kind"]));
    let want =
        format!("{subject} {} is invalid: {}", go_quote(&text(&details["name"])), aggregate(&sentences));
    assert_eq!(text(&answer["message"]), want);
    true
}

#[test]
fn invalid_lists_causes() {
    let spec = Path::new("spec");
    let errors = vec![
        FieldError::required(&spec.child("selector"), ""),
        FieldError::invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0"),
    ];
    let status = Status::invalid("apps", "Deployment", "web", errors);
    assert_eq!(
        status.message,
        "Deployment.apps \"web\" is invalid: [spec.selector: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]"
    );
    let causes = &status.to_json()["details"]["causes"];
    assert_eq!(
        causes[0],
        json!({"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"})
    );
    assert_eq!(causes[1]["message"], "Invalid value: -1: must be greater than or equal to 0");
}
