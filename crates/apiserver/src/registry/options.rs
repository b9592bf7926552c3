//! Options of reads and writes, read from the query and checked as upstream checks them.

use machinery::field::{Errors, FieldError, Path};
use machinery::status::Status;
use machinery::text::{go_parse_int, go_parse_uint, go_quote, is_print};

use crate::http::Query;

/// What becomes of unknown and duplicate fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// They are refused.
    Strict,
}

/// Options of create, update, patch and apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// Unknown and duplicate fields.
    pub field_validation: FieldValidation,
    /// Who writes, as server-side apply records it.
    pub field_manager: Option<String>,
    /// Apply takes fields from others.
    pub force: Option<bool>,
    /// The object comes with its `managedFields` made by the server itself.
    pub keeps_managed_fields: bool,
}

/// Longest name of a field manager, in bytes.
pub const MANAGER_MAX: usize = 128;

impl WriteOptions {
    /// Reads the options; `kind` is `CreateOptions` or `UpdateOptions`.
    ///
    /// # Errors
    /// 422 in upstream's words for values that are not supported.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, Status> {
        Self::read(query, kind, Errors::new())
    }

    /// Reads the options of a patch. An apply has to name its manager; anything else cannot be forced.
    ///
    /// # Errors
    /// 422 in upstream's words.
    pub fn parse_patch(query: &Query, apply: bool) -> Result<Self, Status> {
        let mut errors = Errors::new();
        if apply && query.get_set("fieldManager").is_none() {
            errors.push(FieldError::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
        if !apply && query.has("force") {
            errors
                .push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        Self::read(query, "PatchOptions", errors)
    }

    fn read(query: &Query, kind: &str, mut errors: Errors) -> Result<Self, Status> {
        let field_manager = query.get_set("fieldManager").map(str::to_owned);
        let path = Path::new("fieldManager");
        errors.extend(field_manager.iter().flat_map(|manager| manager_errors(manager, &path)));
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.get_set("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let path = Path::new("fieldValidation");
                errors.push(FieldError::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::default()
            }
        };
        let force = query.has("force").then(|| query.flag("force"));
        invalid_options(kind, errors)?;
        Ok(Self { dry_run, field_validation, field_manager, force, keeps_managed_fields: false })
    }
}

/// Why this is no name of a field manager.
pub fn manager_errors(manager: &str, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if manager.len() > MANAGER_MAX {
        errors.push(FieldError::too_long(path, MANAGER_MAX));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| !is_print(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(FieldError::invalid(path, manager, detail));
    }
    errors
}

/// Reads `dryRun`, of which only `All` is known.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Errors) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(FieldError::not_supported(&Path::new("dryRun"), values.clone(), &["All"]));
    }
    !values.is_empty()
}

/// The 422 of options of the meta group, when there are errors.
///
/// # Errors
/// When `errors` is not empty.
pub fn invalid_options(kind: &str, errors: Errors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", errors)) }
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    /// Exactly this state.
    Exact,
    /// This state or a newer one.
    NotOlderThan,
}

/// Options of list and watch.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// `resourceVersion` as sent, when set.
    pub resource_version: Option<String>,
    /// How to take it.
    pub version_match: Option<VersionMatch>,
    /// Size of a page; 0 is unlimited.
    pub limit: usize,
    /// Where the last page ended.
    pub continue_token: Option<String>,
    /// After how many seconds a watch ends; at once when that is in the past.
    pub timeout_seconds: Option<i64>,
    /// Whether a watch may send bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with the state.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads the options of a list or a watch.
    ///
    /// # Errors
    /// 400, 422 or 500, as upstream for the same mistake.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let options = Self {
            limit: usize::try_from(integer(query, "limit")?.unwrap_or(0).max(0)).unwrap_or(0),
            timeout_seconds: integer(query, "timeoutSeconds")?,
            continue_token: query.get_set("continue").map(str::to_owned),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")),
            resource_version: query.get_set("resourceVersion").map(str::to_owned),
            version_match: None,
        };
        let version_match = query.get_set("resourceVersionMatch");
        let errors =
            if watch { check_watch(version_match, &options) } else { check_list(version_match, &options) };
        invalid_options("ListOptions", errors)?;
        let version_match = match version_match {
            Some("Exact") => Some(VersionMatch::Exact),
            Some(_) => Some(VersionMatch::NotOlderThan),
            None => None,
        };
        let mut options = Self { version_match, ..options };
        if watch && options.send_initial_events.is_none() && options.starts_anywhere() {
            options.send_initial_events = Some(true);
        }
        Ok(options)
    }

    /// The same as a page, be it one of everything: the version asked for is then exactly that one.
    #[must_use]
    pub fn limited(self) -> Self {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        Self { limit, ..self }
    }

    /// Most objects of a page. Where any version will do, upstream's cache answers with all of them.
    pub fn page_size(&self) -> usize {
        let whole = self.limit == 0 || self.resource_version.as_deref() == Some("0");
        if whole { usize::MAX } else { self.limit }
    }

    /// Whether no particular version was asked for.
    fn starts_anywhere(&self) -> bool {
        self.resource_version.as_deref().is_none_or(|version| version == "0")
    }

    /// The version from which a watch starts.
    ///
    /// # Errors
    /// 500, as upstream answers one that cannot be read.
    pub fn watch_version(&self) -> Result<Option<u64>, Status> {
        self.resource_version.as_deref().map(resource_version).transpose()
    }

    /// The version that a list asks for.
    ///
    /// # Errors
    /// 400 for one that cannot be read.
    pub fn list_version(&self) -> Result<Option<u64>, Status> {
        let bad = |status: Status| Status::bad_request(format!("invalid resource version: {status}"));
        self.watch_version().map_err(bad)
    }
}

fn check_list(version_match: Option<&str>, options: &ListOptions) -> Errors {
    let path = Path::new("resourceVersionMatch");
    let version = options.resource_version.as_deref();
    let mut errors = Errors::new();
    if let Some(wanted) = version_match {
        if version.is_none() {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if options.continue_token.is_some() {
            errors.push(FieldError::forbidden(
                &path,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(&path, wanted, &["Exact", "NotOlderThan", ""]));
        }
        if wanted == "Exact" && version == Some("0") {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    if options.send_initial_events.is_some() {
        let path = Path::new("sendInitialEvents");
        errors.push(FieldError::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    errors
}

fn check_watch(version_match: Option<&str>, options: &ListOptions) -> Errors {
    let path = Path::new("resourceVersionMatch");
    let send_initial_events = options.send_initial_events;
    let mut errors = Errors::new();
    if send_initial_events.is_some() && version_match != Some("NotOlderThan") {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(&path, detail));
    }
    if let Some(wanted) = version_match {
        if send_initial_events.is_none() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(&path, detail));
        }
        if wanted != "NotOlderThan" {
            errors.push(FieldError::not_supported(&path, wanted, &["NotOlderThan"]));
        }
        if options.continue_token.is_some() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
    errors
}

/// A whole number of the query; one that is there but empty is wrong, too.
///
/// # Errors
/// 400 in Go's words.
pub fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    query.get(key).map(go_parse_int).transpose().map_err(Status::bad_request)
}

/// A `resourceVersion` parameter.
///
/// # Errors
/// 500, as upstream answers a number that cannot be read.
pub fn resource_version(text: &str) -> Result<u64, Status> {
    go_parse_uint(text)
        .map_err(|why| Status::unknown(format!("resourceVersion: Invalid value: {}: {why}", go_quote(text))))
}
