//! `metav1.DeleteOptions`: read from the body, or from the query when there is none, and checked in upstream's words
//! (apiserver `endpoints/handlers/delete.go`, apimachinery `apis/meta/v1/validation`).

use machinery::decode::{self, Media};
use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::Value;

use super::call::Call;
use super::options::{self, dry_run, invalid_options};
use crate::http::{BodyError, delete_options, read_object};

const KIND: &str = "DeleteOptions";
/// Kinds that the scheme of the options knows in every version.
const OTHERS: [&str; 2] = ["CreateOptions", "UpdateOptions"];
const UNREADABLE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

/// What a deletion is to heed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeleteOptions {
    /// Seconds that the object has to end.
    pub grace_period: Option<i64>,
    /// The object has to have this UID.
    pub uid: Option<String>,
    /// The object has to be of this version.
    pub resource_version: Option<String>,
    /// Whether dependents stay; the old form of `propagation`.
    pub orphan: Option<bool>,
    /// What becomes of dependents.
    pub propagation: Option<String>,
    /// Nothing is stored.
    pub dry_run: bool,
    /// The object is unreadable, and to go without regard to anything.
    pub unreadable: bool,
    /// `dryRun` as sent.
    pub dry_run_values: Vec<String>,
}

impl DeleteOptions {
    /// Reads the options of a request.
    pub(super) fn parse(call: &Call<'_>, body: &[u8]) -> Result<Self, Status> {
        let options = if body.is_empty() { Self::from_query(call)? } else { Self::from_body(call, body)? };
        options.check()?;
        Ok(options)
    }

    fn from_query(call: &Call<'_>) -> Result<Self, Status> {
        let query = &call.request.query;
        let text = |key| query.get_set(key).map(str::to_owned);
        let values: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
        Ok(Self {
            grace_period: options::integer(query, "gracePeriodSeconds")?,
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            orphan: query.has("orphanDependents").then(|| query.flag("orphanDependents")),
            propagation: query.get("propagationPolicy").map(str::to_owned),
            dry_run: !values.is_empty(),
            unreadable: query.flag(UNREADABLE),
            dry_run_values: values,
        })
    }

    fn from_body(call: &Call<'_>, body: &[u8]) -> Result<Self, Status> {
        let content_type = call.request.content_type.as_deref();
        let decoded = read_object(content_type, body, delete_options()).map_err(|error| match error {
            BodyError::Media(status) => status,
            BodyError::Unrecognized(why) | BodyError::Broken { why, .. } => Status::bad_request(why),
        })?;
        let mut options = decoded.value;
        check_kind(&options)?;
        if let Some(id) = delete_options() {
            let checked = match decoded.media {
                Media::Json => decode::check_source(&mut options, id, body),
                Media::Yaml => decode::check(&mut options, id),
            };
            checked.map_err(|error| Status::bad_request(error.to_string()))?;
        }
        Ok(Self::from_value(&options))
    }

    /// Options embedded in another object, as they are.
    pub(super) fn from_value(options: &Value) -> Self {
        let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let flag = |field: &str| options.get(field).and_then(Value::as_bool);
        let values = options.get("dryRun").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
        Self {
            grace_period: options.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            orphan: flag("orphanDependents"),
            propagation: text("/propagationPolicy"),
            dry_run: !values.is_empty(),
            unreadable: flag(UNREADABLE).unwrap_or_default(),
            dry_run_values: values,
        }
    }

    /// Whether the options go together.
    ///
    /// # Errors
    /// 422.
    pub(super) fn check(&self) -> Result<(), Status> {
        let mut errors = self.propagation_errors();
        dry_run(self.dry_run_values.iter().map(String::as_str), &mut errors);
        errors.extend(self.unreadable_errors());
        invalid_options(KIND, errors)
    }

    /// A collection is never deleted without regard.
    ///
    /// # Errors
    /// 422.
    pub(super) fn check_collection(&self) -> Result<(), Status> {
        let detail = "is not allowed with DELETECOLLECTION, try again after removing the option";
        let error = self.unreadable.then(|| FieldError::invalid(&Path::new(UNREADABLE), true, detail));
        invalid_options(KIND, error.into_iter().collect())
    }

    fn propagation_errors(&self) -> Errors {
        const POLICIES: [&str; 4] = ["Foreground", "Background", "Orphan", "nil"];
        let path = Path::new("propagationPolicy");
        let mut errors = Errors::new();
        let Some(policy) = self.propagation.as_deref() else { return errors };
        if self.orphan.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(&path, policy, detail));
        }
        if !POLICIES[..3].contains(&policy) {
            errors.push(FieldError::not_supported(&path, policy, &POLICIES));
        }
        errors
    }

    fn unreadable_errors(&self) -> Errors {
        let path = Path::new(UNREADABLE);
        let others = [
            ("propagationPolicy", self.propagation.is_some()),
            ("orphanDependents", self.orphan.is_some()),
            ("gracePeriodSeconds", self.grace_period.is_some()),
            ("preconditions", self.uid.is_some() || self.resource_version.is_some()),
        ];
        let set = others.into_iter().filter(|(_, set)| self.unreadable && *set);
        set.map(|(field, _)| {
            FieldError::invalid(&path, true, format!("cannot be set together with .{field}"))
        })
        .collect()
    }

    /// `None` when the options do not say.
    pub(super) fn orphans(&self) -> Option<bool> {
        self.orphan.or_else(|| self.propagation.as_ref().map(|policy| policy == "Orphan"))
    }

    /// Whether what becomes of dependents is said.
    pub(super) fn says_what_becomes(&self) -> bool {
        self.orphan.is_some() || self.propagation.is_some()
    }
}

/// Options may come as those of any group and version.
fn check_kind(options: &Value) -> Result<(), Status> {
    let kind = meta::kind(options);
    if matches!(kind, "" | KIND) {
        return Ok(());
    }
    if OTHERS.contains(&kind) {
        return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
    }
    let version = match meta::api_version(options) {
        "" => "meta.k8s.io/v1",
        version => version,
    };
    Err(Status::bad_request(format!(
        "no kind {} is registered for version {} in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\"",
        go_quote(kind),
        go_quote(version)
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_kinds_are_no_options() {
        let why = |api_version: &str| {
            check_kind(&json!({"kind": "Foo", "apiVersion": api_version})).map_err(|status| status.message)
        };
        for (said, meant) in [("", "meta.k8s.io/v1"), ("v1", "v1"), ("apps/v1", "apps/v1")] {
            let refused = format!("no kind \"Foo\" is registered for version \"{meant}\" in scheme");
            assert!(why(said).is_err_and(|why| why.starts_with(&refused)), "{said}");
        }
    }

    #[test]
    fn options_have_to_go_together() {
        let why =
            |options: Value| DeleteOptions::from_value(&options).check().map_err(|status| status.message);
        let refused = |why: &str| Err(format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}"));
        assert_eq!(
            why(json!({"propagationPolicy": "Orphan", "gracePeriodSeconds": -5, "dryRun": ["All"]})),
            Ok(())
        );
        assert_eq!(
            why(json!({"propagationPolicy": "x", "orphanDependents": false})),
            refused(
                "[propagationPolicy: Invalid value: \"x\": orphanDependents and deletionPropagation cannot be both set, \
                 propagationPolicy: Unsupported value: \"x\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"]"
            )
        );
        assert_eq!(
            why(json!({"dryRun": ["None"]})),
            refused("dryRun: Unsupported value: [\"None\"]: supported values: \"All\"")
        );
        let all = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true, "propagationPolicy": "Orphan",
            "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}});
        let field = "ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: true: cannot be set together with";
        assert_eq!(
            why(all),
            refused(&format!(
                "[{field} .propagationPolicy, {field} .gracePeriodSeconds, {field} .preconditions]"
            ))
        );
    }
}
