//! What is special about a kind. Everything kinds share is written once, in the engine.

use std::time::Duration;

use machinery::field::Errors;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use crate::registry::admission::AdmissionContext;

/// How one resource differs from the generic engine. Every method has the generic behaviour as its default, so a kind's
/// file holds only what is its own (compare upstream's `pkg/registry/<group>/<kind>/strategy.go`).
///
/// Objects are in the stored version (of several served versions the most preferred one), checked against the schema:
/// fields have the right types and unknown ones are gone. Methods never see a version that they were not written for.
///
/// The order on create: `default` → mutating admission → metadata filled in, `status` cleared → `prepare_for_create` →
/// `admit` → metadata rules and `validate` → validating admission → stored.
/// The order on update: `default` → server-owned metadata carried over → mutating admission → `status` carried over →
/// `prepare_for_update` → `admit` → generation → metadata rules, `validate` and `validate_update` → validating admission →
/// stored, unless nothing changed.
#[async_trait::async_trait]
pub trait Strategy: Send + Sync + 'static {
    /// Fills in defaults. Runs on every decoded object, also on patched and updated ones, and must be idempotent.
    fn default(&self, _object: &mut Value) {}

    /// Reasons why this is no name for the kind. The generic rule is that of DNS subdomains.
    fn name_errors(&self, name: &str) -> Vec<String> {
        machinery::names::dns1123_subdomain(name)
    }

    /// Reasons why no name of the kind begins with this (`generateName`). A dash at its end will not be the last letter.
    fn prefix_errors(&self, prefix: &str) -> Vec<String> {
        self.name_errors(&machinery::names::mask_trailing_dash(prefix))
    }

    /// Whether a new object's `status` is replaced by an empty one, when the resource has the subresource. Nodes keep theirs.
    fn clears_status(&self) -> bool {
        true
    }

    /// Normalises a new object before validation. Its uid and creation time are set, its `status` is cleared.
    fn prepare_for_create(&self, _object: &mut Value) {}

    /// Normalises an update: what a write to the main resource may not change is copied from `old`. The engine has done so
    /// with `status` already, when the resource has the subresource.
    fn prepare_for_update(&self, _object: &mut Value, _old: &Value) {}

    /// Normalises a write to `/status`; the engine has already copied everything but `status` (and permitted metadata) from `old`.
    fn prepare_for_status_update(&self, _object: &mut Value, _old: &Value) {}

    /// Takes from `wanted` what a write to another subresource may change. `object` is `old` with the wanted metadata.
    fn prepare_for_subresource_update(
        &self,
        _subresource: &str,
        _object: &mut Value,
        _wanted: &Value,
        _old: &Value,
    ) {
    }

    /// All reasons why a new object is refused, in upstream's order and words. Metadata is checked by the engine.
    fn validate(&self, _object: &Value) -> Errors {
        Errors::new()
    }

    /// Reasons that count for new objects only: what older ones may have is not refused when they are updated.
    fn validate_create(&self, _object: &Value) -> Errors {
        Errors::new()
    }

    /// All reasons why an update is refused (immutable fields). [`Strategy::validate`] is run as well.
    fn validate_update(&self, _object: &Value, _old: &Value) -> Errors {
        Errors::new()
    }

    /// What [`Strategy::validate`] and [`Strategy::validate_update`] say of an update, in upstream's order.
    fn validate_changed(&self, object: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(object);
        errors.extend(self.validate_update(object, old));
        errors
    }

    /// All reasons why a write to `/status` is refused. [`Strategy::validate`] is not run.
    fn validate_status_update(&self, _object: &Value, _old: &Value) -> Errors {
        Errors::new()
    }

    /// All reasons why a write to another subresource is refused. [`Strategy::validate`] is not run.
    fn validate_subresource_update(&self, _subresource: &str, _object: &Value, _old: &Value) -> Errors {
        Errors::new()
    }

    /// Allocates or looks up what the object needs from outside itself (cluster IPs, node ports): the kind's share of
    /// upstream's built-in admission. Runs after [`Strategy::prepare_for_create`] or [`Strategy::prepare_for_update`], before
    /// validation; not for subresources. `old` is `None` on create. Must have no lasting effect when `context.dry_run`, or when it fails.
    async fn admit(
        &self,
        _context: &AdmissionContext<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Reasons why a write to `/status` is refused that lie outside the object; told before all others.
    fn admit_status(&self, _context: &AdmissionContext<'_>, _object: &Value, _old: &Value) -> Errors {
        Errors::new()
    }

    /// Gives back what [`Strategy::admit`] allocated for `gone` and `kept` does not have: after an object has left the store or
    /// could not enter it (nothing is kept), has been changed (`gone` is the state before), or could not be changed (`kept` is).
    /// Never called for a dry run.
    async fn release(&self, _context: &AdmissionContext<'_>, _gone: &Value, _kept: Option<&Value>) {}

    /// Whether `metadata.generation` grows with this update; the generic answer is "when anything but metadata and status changed".
    fn changes_generation(&self, object: &Value, old: &Value) -> bool {
        let both = [object, old].map(Value::as_object);
        let [Some(object), Some(old)] = both else { return object != old };
        let counts = |key: &String| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind");
        object.keys().chain(old.keys()).filter(|key| counts(key)).any(|key| object.get(key) != old.get(key))
    }

    /// Whether the kind counts generations at all (upstream leaves it out for ConfigMap, Secret, Node, …).
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether new objects are of the first generation; else clients may say what they like.
    fn sets_generation(&self) -> bool {
        self.has_generation()
    }

    /// Whether a PUT without a resource version is taken (upstream's `AllowUnconditionalUpdate`).
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Whether a PUT creates what is not there (upstream's `AllowCreateOnUpdate`).
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Grace period in seconds for a deletion that asks for `asked`; `None`: the kind knows no grace, deletion is immediate. Pods
    /// answer what was asked or their `terminationGracePeriodSeconds`, and 0 when nothing of them runs.
    fn grace_period(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether something other than `metadata.finalizers` keeps an object that is being deleted: `spec.finalizers` of Namespaces.
    fn holds(&self, _object: &Value) -> bool {
        false
    }

    /// Changes an object whose deletion begins and that will not go at once: Namespaces become `Terminating`.
    fn mark_deleting(&self, _object: &mut Value) {}

    /// Whether a deletion answers with the object rather than with a Status (upstream's `ReturnDeletedObject`).
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// What becomes of dependents when a deletion does not say (upstream's `DefaultGarbageCollectionPolicy`).
    fn dependents(&self) -> Dependents {
        Dependents::Deleted
    }

    /// Warnings for the client about a deletion; `explicit`: it says what becomes of dependents.
    fn delete_warnings(&self, _explicit: bool) -> Vec<String> {
        Vec::new()
    }

    /// How long an object stays after it was written last (upstream's `TTLFunc`); `None`: until it is deleted.
    fn lasts(&self) -> Option<Duration> {
        None
    }

    /// Values for field selectors besides `metadata.name` and `metadata.namespace`, as (path, value).
    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Paths that [`Strategy::selectable_fields`] may return; any other is refused with 400.
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Cells of the Table row, one for each of the resource's columns. `now` is seconds since the epoch, for ages
    /// ([`crate::registry::table::age`]). The object is in the served version. `None`: Name, Age and nothing else.
    fn table_row(&self, _object: &Value, _now: i64) -> Option<Vec<Value>> {
        None
    }

    /// What the row says of itself (`conditions` of a `TableRow`).
    fn row_conditions(&self, _object: &Value) -> Option<Value> {
        None
    }

    /// Rows of a list stand in this order; those of one rank in the order of their names.
    fn row_rank(&self, _object: &Value) -> i64 {
        0
    }

    /// Warnings for the client (`Warning:` header) about this object.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// The same for an update, of the object itself or of a subresource. The generic answer is that the object is warned of
    /// as when it was new, and subresources are not.
    fn update_warnings(&self, subresource: &str, object: &Value, _old: &Value) -> Vec<String> {
        if subresource.is_empty() { self.warnings(object) } else { Vec::new() }
    }
}

/// What becomes of the dependents of a deleted object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dependents {
    /// They are deleted.
    #[default]
    Deleted,
    /// They stay (upstream: Jobs and ReplicationControllers).
    Orphaned,
    /// There are none, and deletions never wait for them, whatever they say (upstream: Events).
    Ignored,
}

/// A kind with nothing special but a few switches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Generic {
    /// [`Strategy::has_generation`].
    pub generation: bool,
    /// A PUT must name the version it replaces.
    pub conditional: bool,
    /// [`Strategy::allow_create_on_update`].
    pub create_on_update: bool,
    /// [`Strategy::returns_deleted_object`].
    pub returns_deleted: bool,
    /// Any name that fits into a path will do.
    pub path_names: bool,
    /// A write to `/status` changes no labels, annotations, finalizers or owners (upstream's `ResetObjectMetaForStatus`).
    pub status_alone: bool,
}

impl Generic {
    /// Takes back what a write to `/status` says about metadata, where it has no say.
    pub fn keep_metadata(&self, object: &mut Value, old: &Value) {
        if self.status_alone {
            keep_metadata(object, old);
        }
    }
}

/// Takes back what a write to a subresource says about metadata (upstream's `ResetObjectMetaForStatus`).
pub fn keep_metadata(object: &mut Value, old: &Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        meta::set(object, field, old["metadata"].get(field).cloned().unwrap_or_default());
    }
}

impl Strategy for Generic {
    fn name_errors(&self, name: &str) -> Vec<String> {
        if self.path_names {
            machinery::names::path_segment(name)
        } else {
            machinery::names::dns1123_subdomain(name)
        }
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        self.keep_metadata(object, old);
    }

    fn prefix_errors(&self, prefix: &str) -> Vec<String> {
        if self.path_names {
            machinery::names::path_segment_prefix(prefix)
        } else {
            self.name_errors(&machinery::names::mask_trailing_dash(prefix))
        }
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn allow_unconditional_update(&self) -> bool {
        !self.conditional
    }

    fn allow_create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn returns_deleted_object(&self) -> bool {
        self.returns_deleted
    }
}
