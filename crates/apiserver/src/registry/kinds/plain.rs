//! Kinds whose differences are data: defaults, a row, a few checks. Each is a line in a table of its group.

use std::sync::OnceLock;
use std::time::Duration;

use machinery::field::{Errors, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::check;
use super::rules::Rules;
use super::shape::Shape;
use super::value::put;
use crate::registry::admission::AdmissionContext;
use crate::registry::strategy::{Dependents, Generic, Strategy};

/// A kind as data.
pub(super) struct Plain {
    pub generic: Generic,
    /// See [`Strategy::name_errors`]; `None`: as the switches say.
    pub names: Option<fn(&str) -> Vec<String>>,
    /// See [`Rules`].
    pub defaults: &'static str,
    /// See [`Shape`]; runs after all other checks, as upstream's declarative ones do.
    pub checks: &'static str,
    /// The same for what a write to `/status` sends.
    pub status_checks: &'static str,
    /// Defaults that depend on other fields; runs after the table.
    pub complete: fn(&mut Value),
    /// See [`Strategy::prepare_for_create`].
    pub prepare: fn(&mut Value),
    /// See [`Strategy::prepare_for_update`].
    pub prepare_update: fn(&mut Value, &Value),
    /// See [`Strategy::prepare_for_status_update`].
    pub prepare_status: fn(&mut Value, &Value),
    /// Status of a new object, JSON; empty: the engine's.
    pub status: &'static str,
    /// See [`Strategy::validate`].
    pub validate: fn(&Value) -> Errors,
    /// See [`Strategy::validate_create`].
    pub validate_create: fn(&Value) -> Errors,
    /// Whether what is wrong with a change is told before what is wrong with the object.
    pub changes_first: bool,
    /// See [`Strategy::validate_update`]; runs after the immutable fields.
    pub validate_update: fn(&Value, &Value) -> Errors,
    /// See [`Strategy::validate_status_update`].
    pub validate_status: fn(&Value, &Value) -> Errors,
    /// Generations are counted, but a client may say from where.
    pub any_generation: bool,
    /// See [`Strategy::changes_generation`]; `None`: the generic answer.
    pub regenerates: Option<fn(&Value, &Value) -> bool>,
    /// All that is wrong with a write, to the object or its `/status`, when that depends on how it came; before all other
    /// checks, which are left out for the object if there is something.
    pub admit: fn(&AdmissionContext<'_>, &Value, Option<&Value>) -> Errors,
    /// JSON pointers of fields that never change.
    pub immutable: &'static [&'static str],
    /// See [`Strategy::table_row`].
    pub row: Option<fn(&Value, i64) -> Vec<Value>>,
    /// See [`Strategy::row_rank`].
    pub row_rank: fn(&Value) -> i64,
    /// See [`Strategy::selectable_field_names`]: dotted paths into the object, missing values being "".
    pub selectable: &'static [&'static str],
    /// See [`Strategy::warnings`].
    pub warnings: fn(&Value) -> Vec<String>,
    /// See [`Strategy::update_warnings`]; only for the object itself.
    pub update_warnings: fn(&Value, &Value) -> Vec<String>,
    /// The same for `/status`.
    pub status_warnings: fn(&Value, &Value) -> Vec<String>,
    /// See [`Strategy::dependents`].
    pub dependents: Dependents,
    /// See [`Strategy::lasts`].
    pub lasts: Option<Duration>,
    /// Said when a deletion does not say what becomes of dependents; empty: nothing.
    pub delete_warning: &'static str,
    /// Filled at first use.
    pub compiled: OnceLock<Rules>,
    /// Likewise.
    pub shapes: OnceLock<[Shape; 2]>,
}

impl Plain {
    /// Nothing but the switches.
    pub(super) fn new(generic: Generic) -> Self {
        Self {
            generic,
            names: None,
            defaults: "",
            checks: "",
            status_checks: "",
            complete: |_| {},
            prepare: |_| {},
            prepare_update: |_, _| {},
            prepare_status: |_, _| {},
            status: "",
            validate: |_| Errors::new(),
            validate_create: |_| Errors::new(),
            changes_first: false,
            validate_update: |_, _| Errors::new(),
            validate_status: |_, _| Errors::new(),
            any_generation: false,
            regenerates: None,
            admit: |_, _, _| Errors::new(),
            immutable: &[],
            row: None,
            row_rank: |_| 0,
            selectable: &[],
            warnings: |_| Vec::new(),
            update_warnings: |_, _| Vec::new(),
            status_warnings: |_, _| Vec::new(),
            dependents: Dependents::Deleted,
            lasts: None,
            delete_warning: "",
            compiled: OnceLock::new(),
            shapes: OnceLock::new(),
        }
    }
}

impl Plain {
    fn shapes(&self) -> &[Shape; 2] {
        self.shapes.get_or_init(|| [self.checks, self.status_checks].map(Shape::new))
    }
}

#[async_trait::async_trait]
impl Strategy for Plain {
    fn default(&self, object: &mut Value) {
        self.compiled.get_or_init(|| Rules::new(self.defaults)).apply(object);
        (self.complete)(object);
    }

    fn name_errors(&self, name: &str) -> Vec<String> {
        self.names.map_or_else(|| self.generic.name_errors(name), |names| names(name))
    }

    fn prefix_errors(&self, prefix: &str) -> Vec<String> {
        let masked = |names: fn(&str) -> Vec<String>| names(&machinery::names::mask_trailing_dash(prefix));
        self.names.map_or_else(|| self.generic.prefix_errors(prefix), masked)
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if let Ok(status) = serde_json::from_str::<Value>(self.status) {
            put(object, "status", status);
        }
        (self.prepare)(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        (self.prepare_update)(object, old);
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        self.generic.keep_metadata(object, old);
        (self.prepare_status)(object, old);
    }

    fn validate(&self, object: &Value) -> Errors {
        (self.validate)(object)
    }

    fn validate_create(&self, object: &Value) -> Errors {
        let mut errors = (self.validate_create)(object);
        errors.extend(self.shapes()[0].check(object));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Errors {
        let path = |pointer: &str| Path::new(pointer.trim_start_matches('/').replace('/', "."));
        let mut errors: Errors = self
            .immutable
            .iter()
            .filter_map(|pointer| check::immutable(object, old, pointer, &path(pointer)))
            .collect();
        errors.extend((self.validate_update)(object, old));
        errors
    }

    fn validate_changed(&self, object: &Value, old: &Value) -> Errors {
        let (mut first, mut then) = (self.validate(object), self.validate_update(object, old));
        if self.changes_first {
            std::mem::swap(&mut first, &mut then);
        }
        first.extend(then);
        let shape = &self.shapes()[0];
        first.extend(shape.check(object));
        first.extend(shape.changes(object, old));
        first
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Errors {
        let shape = &self.shapes()[1];
        let mut errors = (self.validate_status)(object, old);
        errors.extend(shape.check(object));
        errors.extend(shape.changes(object, old));
        errors
    }

    async fn admit(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let errors = (self.admit)(context, object, old);
        if errors.is_empty() { Ok(()) } else { Err(context.handle.invalid(meta::name(object), errors)) }
    }

    fn admit_status(&self, context: &AdmissionContext<'_>, object: &Value, old: &Value) -> Errors {
        (self.admit)(context, object, Some(old))
    }

    fn has_generation(&self) -> bool {
        self.generic.generation
    }

    fn sets_generation(&self) -> bool {
        self.has_generation() && !self.any_generation
    }

    fn changes_generation(&self, object: &Value, old: &Value) -> bool {
        match self.regenerates {
            Some(regenerates) => regenerates(object, old),
            None => self.generic.changes_generation(object, old),
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        self.generic.allow_unconditional_update()
    }

    fn allow_create_on_update(&self) -> bool {
        self.generic.create_on_update
    }

    fn returns_deleted_object(&self) -> bool {
        self.generic.returns_deleted
    }

    fn lasts(&self) -> Option<Duration> {
        self.lasts
    }

    fn dependents(&self) -> Dependents {
        self.dependents
    }

    fn delete_warnings(&self, explicit: bool) -> Vec<String> {
        let said = (!explicit && !self.delete_warning.is_empty()).then(|| self.delete_warning.to_owned());
        said.into_iter().collect()
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        self.selectable.iter().map(|path| (*path, field_text(object, path))).collect()
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        self.selectable
    }

    fn table_row(&self, object: &Value, now: i64) -> Option<Vec<Value>> {
        self.row.map(|row| row(object, now))
    }

    fn row_rank(&self, object: &Value) -> i64 {
        (self.row_rank)(object)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        (self.warnings)(object)
    }

    fn update_warnings(&self, subresource: &str, object: &Value, old: &Value) -> Vec<String> {
        match subresource {
            "" => (self.update_warnings)(object, old),
            "status" => (self.status_warnings)(object, old),
            _ => Vec::new(),
        }
    }
}

fn field_text(object: &Value, path: &str) -> String {
    // Only events are selected by where they come from.
    let path = match path {
        "source" if object["source"]["component"].as_str().unwrap_or_default().is_empty() => {
            "reportingComponent"
        }
        "source" => "source.component",
        path => path,
    };
    match path.split('.').try_fold(object, |at, field| at.get(field)) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}
