//! Who owns which field: every write is recorded in `metadata.managedFields`, and server-side apply merges a configuration
//! field by field and takes nothing from others unasked (upstream: structured-merge-diff and apimachinery
//! `util/managedfields`).
//!
//! [`set`] and [`path`] are sets of fields, [`shape`] is the schema's view of merging, [`compare`] and [`merge`] work on objects,
//! [`managed`] on entries, and [`owner`] decides who owns what after a write. Everything there is pure; this file connects
//! it with requests.

mod compare;
mod conflict;
mod last_applied;
mod managed;
mod merge;
mod owner;
mod path;
mod reset;
pub(super) mod scale;
mod set;
mod shape;
mod typed;

use std::sync::Arc;

use jiff::Timestamp;
use machinery::decode::{self, DecodeError, Decoded, Media};
use machinery::meta;
use machinery::patch::kind_of;
use machinery::schema::TypeId;
use machinery::status::Status;
use machinery::text::is_print;
use serde_json::{Map, Value};

use self::owner::{Conflicts, OneVersion, Versions, Writer};
use self::set::Set;
use self::shape::Shape;
use super::body::Expected;
use super::call::Call;
use super::create::Written;
use super::handle::ResourceHandle;
use super::options::{FieldValidation, MANAGER_MAX, WriteOptions};
use super::patch::converter_words;
use super::seam::Answer;
use super::update::Change;

pub(super) use managed::differ_in_time_only;

/// A configuration that is to be applied.
pub(super) struct Wanted {
    config: Value,
    options: WriteOptions,
    warnings: Vec<String>,
    /// Repeated keys that are not to be taken; the conflicts of the apply are told first.
    refused: Option<Status>,
}

/// The versions of the resource that a request is about.
struct ResourceVersions<'a> {
    call: &'a Call<'a>,
}

impl ResourceVersions<'_> {
    fn handle(&self, api_version: &str) -> Option<Arc<ResourceHandle>> {
        let own = &self.call.handle;
        if own.api_version == api_version {
            return Some(own.clone());
        }
        let (group, version) = meta::split_api_version(api_version);
        let found = self.call.registry.lookup(group, version, &own.plural)?;
        Arc::ptr_eq(&found.storage, &own.storage).then_some(found)
    }
}

impl Versions for ResourceVersions<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let wanted = self.handle(api_version)?;
        let have = meta::api_version(object);
        if have == api_version || object.as_object().is_none_or(Map::is_empty) {
            return Some(object.clone());
        }
        Some(wanted.serve(self.handle(have)?.unserve(object.clone())))
    }

    fn shape(&self, api_version: &str) -> Shape {
        self.handle(api_version).map_or(Shape::Unknown, |handle| Shape::of(handle.type_id))
    }

    fn unwritten(&self, _: &str) -> Set {
        let handle = &self.call.handle;
        reset::unwritten(
            &handle.plural,
            handle.has_subresource("status"),
            &self.call.request.info.subresource,
        )
    }
}

/// Who writes: the named field manager, or what the user agent calls itself.
pub(crate) fn manager(options: &WriteOptions, user_agent: Option<&str>) -> String {
    options.field_manager.clone().unwrap_or_else(|| from_user_agent(user_agent.unwrap_or_default()))
}

impl Call<'_> {
    fn manager(&self, options: &WriteOptions) -> String {
        manager(options, self.request.user_agent.as_deref())
    }

    /// Records in a new or changed object (stored version, with defaults) who owns which field. `old` is the object as it
    /// was. Entries that the client sent along are taken when they make sense.
    pub(super) fn record(&self, object: &mut Value, old: Option<&Value>, options: &WriteOptions) {
        if options.keeps_managed_fields {
            return;
        }
        let given = meta::remove(object, "managedFields");
        let stored = old.and_then(fields_of);
        let entries = match &given {
            _ if !self.request.info.subresource.is_empty() => managed::stored(stored),
            None => managed::stored(stored),
            given if managed::is_reset(given.as_ref()) => Vec::new(),
            given if given.as_ref() == stored => managed::stored(stored),
            given => match managed::sent(given.as_ref()) {
                Ok(entries) if !entries.is_empty() => entries,
                _ => managed::stored(stored),
            },
        };
        let empty = Value::Object(Map::new());
        let old = old.unwrap_or(&empty);
        let manager = self.manager(options);
        let versions = ResourceVersions { call: self };
        let writer = self.writer(&manager, &versions);
        let entries = if self.handle.converts() {
            let served = |object: &Value| {
                let fresh = object.as_object().is_none_or(Map::is_empty);
                if fresh { object.clone() } else { self.handle.serve(object.clone()) }
            };
            writer.update(&served(old), &served(object), entries)
        } else {
            writer.update(old, object, entries)
        };
        meta::set(object, "managedFields", managed::to_json(entries));
    }

    fn writer<'w>(&'w self, manager: &'w str, versions: &'w dyn Versions) -> Writer<'w> {
        Writer {
            manager,
            api_version: &self.handle.api_version,
            subresource: &self.request.info.subresource,
            now: Timestamp::now(),
            versions,
        }
    }

    /// Reads the body of an apply.
    pub(super) fn read_apply(&self, body: &[u8], expected: Expected<'_>) -> Result<Wanted, Status> {
        let options = WriteOptions::parse_patch(&self.request.query, true)?;
        let decoded = read_yaml(body)?;
        let config = decoded.value;
        let (api_version, kind) = (meta::api_version(&config), meta::kind(&config));
        let wanted = meta::join_api_version(expected.group, expected.version);
        if (api_version, kind) != (wanted.as_str(), expected.kind) {
            return Err(Status::bad_request(format!("invalid object type: {}", gvk(api_version, kind))));
        }
        if fields_of(&config).is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if let Some(why) = expected.type_id.and_then(|id| typed::complaint(&config, id)) {
            return Err(Status::unknown(format!(
                "failed to create typed patch object ({}): {why}",
                subject(&config)
            )));
        }
        let mut wanted = Wanted { config, options, warnings: Vec::new(), refused: None };
        match wanted.options.field_validation {
            FieldValidation::Strict if !decoded.duplicates.is_empty() => {
                let why = decoded.duplicates.join("\n  ");
                let message = format!(
                    "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  {why}"
                );
                wanted.refused = Some(Status::bad_request(message));
            }
            FieldValidation::Warn => wanted.warnings = decoded.duplicates,
            _ => {}
        }
        Ok(wanted)
    }

    /// Applies a configuration.
    pub(super) async fn apply(&self, body: &[u8]) -> Result<Answer, Status> {
        let mut wanted = self.read_apply(body, self.expected())?;
        wanted.options.keeps_managed_fields = true;
        let mut warnings = wanted.take_warnings();
        if self.request.info.subresource.is_empty() && self.current(&self.key()).await?.is_none() {
            let object = self.applied(&wanted, None)?;
            if !meta::uid(&object).is_empty() {
                let uid = meta::uid(&object);
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(self.handle.conflict(self.name(), &why));
            }
            self.may_create()?;
            match self.create_applied(object, &wanted.options, &mut warnings).await {
                Ok(written) => return self.answer_written(201, written, warnings),
                // Somebody else was faster: the object is there now.
                Err(status) if status.reason == "AlreadyExists" => warnings = status.warnings().to_vec(),
                Err(status) => return Err(status),
            }
        }
        let mut produce = |old: &Value| self.applied(&wanted, Some(old));
        let change = Change { options: &wanted.options, produce: &mut produce };
        let written = self.change_object(self.name(), change, &mut warnings).await?;
        self.answer_written(200, written, warnings)
    }

    async fn create_applied(
        &self,
        mut object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        meta::remove(&mut object, "resourceVersion");
        self.create_object(object, options, warnings).await
    }

    /// The object (stored version) with the configuration applied.
    fn applied(&self, wanted: &Wanted, old: Option<&Value>) -> Result<Value, Status> {
        let Wanted { config, options, .. } = wanted;
        let manager = self.manager(options);
        let versions = ResourceVersions { call: self };
        let writer = self.writer(&manager, &versions);
        let mut live = old.map_or_else(|| Value::Object(Map::new()), |old| self.handle.serve(old.clone()));
        let fields = meta::remove(&mut live, "managedFields");
        let applied = wanted.unless_refused(apply(&writer, &live, config, fields.as_ref(), options)?)?;
        let mut object = applied.object;
        if let Some(id) = self.handle.type_id {
            decode::check(&mut object, id).map_err(|error| unfit(config, &error))?;
        }
        last_applied::update(&manager, &mut object, config);
        meta::set(&mut object, "managedFields", managed::to_json(applied.entries));
        self.check_namespace(&mut object)?;
        self.check_name(&object)?;
        Ok(self.handle.unserve(object))
    }

    /// Records who owns the replicas after a scale was replaced or patched; the entries are for the object that is scaled.
    pub(super) fn record_scale(
        &self,
        old: &Value,
        live: &Value,
        scale: &Value,
        options: &WriteOptions,
    ) -> Value {
        let manager = self.manager(options);
        let entries = managed::stored(fields_of(old));
        let versions = scale::versions();
        let writer = scale_writer(&manager, &versions);
        let after = writer.update(live, scale, scale::to_scale(&entries, |version| self.is_served(version)));
        self.to_parent(entries, after)
    }

    /// Applies a configuration to a scale: the scale it becomes, and the entries for the object that is scaled.
    pub(super) fn apply_scale(
        &self,
        wanted: &Wanted,
        old: &Value,
        live: &Value,
    ) -> Result<(Value, Value), Status> {
        let manager = self.manager(&wanted.options);
        let entries = managed::stored(fields_of(old));
        let of_scale = scale::to_scale(&entries, |version| self.is_served(version));
        let fields = managed::to_json(of_scale);
        let versions = scale::versions();
        let writer = scale_writer(&manager, &versions);
        let applied = apply(&writer, live, &wanted.config, Some(&fields), &wanted.options)?;
        let applied = wanted.unless_refused(applied)?;
        let mut object = applied.object;
        if let Some(id) = scale::type_id() {
            decode::check(&mut object, id).map_err(|error| unfit(&wanted.config, &error))?;
        }
        Ok((object, self.to_parent(entries, applied.entries)))
    }

    fn to_parent(&self, entries: Vec<managed::Entry>, scale: Vec<managed::Entry>) -> Value {
        let api_version = &self.handle.api_version;
        managed::to_json(scale::to_parent(entries, scale, api_version, |version| self.is_served(version)))
    }

    fn is_served(&self, api_version: &str) -> bool {
        ResourceVersions { call: self }.handle(api_version).is_some()
    }
}

impl Wanted {
    /// The options of the request.
    pub fn options(&self) -> &WriteOptions {
        &self.options
    }

    fn unless_refused(&self, applied: owner::Applied) -> Result<owner::Applied, Status> {
        self.refused.clone().map_or(Ok(applied), Err)
    }

    /// Warnings about the configuration.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}

fn scale_writer<'w>(manager: &'w str, versions: &'w OneVersion<'_>) -> Writer<'w> {
    Writer { manager, api_version: scale::API_VERSION, subresource: "scale", now: Timestamp::now(), versions }
}

/// The `managedFields` of an object that is answered and not stored: all its fields are the poster's.
pub(crate) fn owned_by_poster(
    object: &Value,
    type_id: Option<TypeId>,
    manager: &str,
    subresource: &str,
) -> Value {
    let api_version = meta::api_version(object);
    let versions = OneVersion { api_version, type_id };
    let writer = Writer { manager, api_version, subresource, now: Timestamp::now(), versions: &versions };
    managed::to_json(writer.update(&Value::Object(Map::new()), object, Vec::new()))
}

/// Applies a configuration; kubectl may take what it applied from the client's side before.
fn apply(
    writer: &Writer<'_>,
    live: &Value,
    config: &Value,
    fields: Option<&Value>,
    options: &WriteOptions,
) -> Result<owner::Applied, Status> {
    let entries = managed::stored(fields);
    let force = options.force == Some(true);
    let conflicts: Conflicts = match writer.apply(live, config, entries.clone(), force) {
        Ok(applied) => return Ok(applied),
        Err(conflicts) => conflicts,
    };
    let shape = writer.versions.shape(writer.api_version);
    let conflicts = last_applied::remaining(writer.manager, live, shape, conflicts);
    if !conflicts.is_empty() {
        return Err(conflict::refusal(conflicts));
    }
    writer.apply(live, config, entries, true).map_err(conflict::refusal)
}

fn fields_of(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// A group, version and kind as Go prints them.
fn gvk(api_version: &str, kind: &str) -> String {
    let (group, version) = meta::split_api_version(api_version);
    format!("{group}/{version}, Kind={kind}")
}

/// Which object an error is about, in upstream's form.
fn subject(config: &Value) -> String {
    let (namespace, name) = (meta::namespace(config), meta::name(config));
    format!("{namespace}/{name}; {}", gvk(meta::api_version(config), meta::kind(config)))
}

/// Reads the body of an apply as YAML, of which JSON is a part.
fn read_yaml(body: &[u8]) -> Result<Decoded, Status> {
    let json = body.trim_ascii_start().starts_with(b"{");
    let refuse = |why: DecodeError| {
        // What looks like JSON is not looked at until it is decoded.
        let doing =
            if json { "error decoding patch: error converting YAML to JSON" } else { "error encoding patch" };
        Status::bad_request(format!("{doing}: {why}"))
    };
    let decoded = decode::object(body, Media::Yaml).map_err(refuse)?;
    if !decoded.value.is_object() && !decoded.value.is_null() {
        let what = kind_of(&decoded.value);
        return Err(Status::bad_request(format!(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
        )));
    }
    Ok(decoded)
}

fn unfit(config: &Value, error: &decode::DecodeError) -> Status {
    Status::unknown(format!(
        "failed to convert new object ({}) to proper version: unable to convert unstructured object to {}: {}",
        subject(config),
        gvk(meta::api_version(config), meta::kind(config)),
        converter_words(error.to_string())
    ))
}

/// What comes before the first slash, as far as it can be printed (apiserver `prefixFromUserAgent`).
fn from_user_agent(agent: &str) -> String {
    let mut manager = String::new();
    for c in agent.split('/').next().unwrap_or_default().chars().filter(|c| is_print(*c)) {
        if manager.len() + c.len_utf8() > MANAGER_MAX {
            break;
        }
        manager.push(c);
    }
    manager
}

#[cfg(test)]
mod tests;
