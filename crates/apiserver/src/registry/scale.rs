//! `/scale`: the replicas of a workload as `autoscaling/v1` Scale, for reading and writing.

use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use serde_json::{Value, json};

use super::answer;
use super::apply::scale;
use super::body::Expected;
use super::call::Call;
use super::column_texts;
use super::create::Written;
use super::handle::Column;
use super::options::WriteOptions;
use super::seam::Answer;
use super::table::Table;
use super::update::Change;
use crate::http::Transform;

const GROUP: &str = "autoscaling";
const VERSION: &str = "v1";
const KIND: &str = "Scale";

impl Call<'_> {
    /// Reads the scale of an object.
    pub async fn get_scale(&self) -> Result<Answer, Status> {
        self.registry.fresh().await?;
        let item =
            self.handle.storage.cache.get(&self.key()).ok_or_else(|| self.handle.not_found(self.name()))?;
        self.answer_scale(&answer::parse(&item.entry.bytes)?, Vec::new())
    }

    /// Replaces the scale of an object.
    pub async fn update_scale(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&self.request.query, "UpdateOptions")?;
        let decoded = self.decode_as(body, expected(), options.field_validation)?;
        let mut scale = decoded.object;
        let fits = self.check_name(&scale).and_then(|()| self.check_namespace(&mut scale));
        fits.map_err(|status| status.with_warnings(decoded.warnings.clone()))?;
        self.write_scale(&options, decoded.warnings, |old, live| {
            self.check_uid(&scale, old, &options)?;
            let fields = self.record_scale(old, live, &scale, &options);
            Ok(Wanted { scale: scale.clone(), fields, warnings: Vec::new() })
        })
        .await
    }

    /// Patches the scale of an object.
    pub async fn patch_scale(&self, body: &[u8]) -> Result<Answer, Status> {
        if self.is_apply() {
            return self.apply_to_scale(body).await;
        }
        let options = WriteOptions::parse_patch(&self.request.query, false)?;
        let patch = self.read_patch(body, options.field_validation)?;
        self.write_scale(&options, Vec::new(), |old, live| {
            let patched = patch.apply(live, &expected(), options.field_validation)?;
            self.check_name(&patched.object)?;
            let fields = self.record_scale(old, live, &patched.object, &options);
            Ok(Wanted { scale: patched.object, fields, warnings: patched.warnings })
        })
        .await
    }

    async fn apply_to_scale(&self, body: &[u8]) -> Result<Answer, Status> {
        let mut config = self.read_apply(body, expected())?;
        let warnings = config.take_warnings();
        self.write_scale(config.options(), warnings, |old, live| {
            let (scale, fields) = self.apply_scale(&config, old, live)?;
            self.check_name(&scale)?;
            Ok(Wanted { scale, fields, warnings: Vec::new() })
        })
        .await
    }

    /// `wanted` makes the wanted scale out of the present object and its scale.
    async fn write_scale(
        &self,
        options: &WriteOptions,
        mut warnings: Vec<String>,
        wanted: impl Fn(&Value, &Value) -> Result<Wanted, Status> + Send + Sync,
    ) -> Result<Answer, Status> {
        let options = WriteOptions { keeps_managed_fields: true, ..options.clone() };
        let mut told = Vec::new();
        let mut produce = |old: &Value| {
            let Wanted { scale, fields, warnings } = wanted(old, &scale_of(old))?;
            told = warnings;
            check_replicas(&scale)?;
            self.check_scale_uid(&scale, old)?;
            let mut object = scaled(old, &scale);
            meta::set(&mut object, "managedFields", fields);
            Ok(object)
        };
        let change = Change { options: &options, produce: &mut produce };
        let changed = self.change_object(self.name(), change, &mut warnings).await;
        told.append(&mut warnings);
        match changed {
            Ok(Written::Stored(entry)) => self.answer_scale(&answer::parse(&entry.bytes)?, told),
            Ok(Written::DryRun(object)) => self.answer_scale(&object, told),
            Err(status) => Err(status.with_warnings(told)),
        }
    }

    fn check_scale_uid(&self, scale: &Value, old: &Value) -> Result<(), Status> {
        let (given, have) = (meta::uid(scale), meta::uid(old));
        if given.is_empty() || given == have {
            return Ok(());
        }
        let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {have}");
        let resource = format!("{}/scale", self.handle.plural);
        Err(Status::conflict(&self.handle.group, &resource, self.name(), why))
    }

    fn answer_scale(&self, object: &Value, warnings: Vec<String>) -> Result<Answer, Status> {
        let scale = scale_of(object);
        let shown = match self.view.transform {
            Transform::Table(version) if self.handle.type_id.is_some() => {
                table(&scale, version, self.view.include)
            }
            _ => self.view.value(&self.handle, scale)?,
        };
        Ok(Answer::ok(answer::to_bytes(&shown)).with_warnings(warnings))
    }
}

/// What becomes of a scale.
struct Wanted {
    scale: Value,
    /// Who owns what then.
    fields: Value,
    warnings: Vec<String>,
}

/// The Table of a scale.
fn table(scale: &Value, version: &'static str, include: answer::Include) -> Value {
    let columns = [
        ("Name", "string", column_texts::NAME),
        ("Desired", "integer", column_texts::SCALE_WANTED),
        ("Available", "integer", column_texts::SCALE_THERE),
        ("Age", "string", column_texts::CREATED),
    ]
    .map(|(name, ty, description)| Column {
        name: name.into(),
        ty: ty.into(),
        format: "".into(),
        description: description.into(),
        priority: 0,
    });
    let mut table = Table::of(&columns, version, include);
    table.resource_version = meta::resource_version(scale).to_owned();
    let count = |pointer: &str| scale.pointer(pointer).cloned().unwrap_or_else(|| 0.into());
    let cells = vec![
        meta::name(scale).into(),
        count("/spec/replicas"),
        count("/status/replicas"),
        table.age(scale).into(),
    ];
    table.push_row(cells, scale);
    table.into_value()
}

fn expected() -> Expected<'static> {
    Expected { group: GROUP, version: VERSION, kind: KIND, type_id: scale::type_id() }
}

fn check_replicas(scale: &Value) -> Result<(), Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
    if replicas >= 0 {
        return Ok(());
    }
    let path = Path::new("spec").child("replicas");
    let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
    Err(Status::invalid(GROUP, KIND, meta::name(scale), vec![error]))
}

/// The Scale of a workload.
fn scale_of(object: &Value) -> Value {
    let metadata = object.get("metadata");
    let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata: serde_json::Map<String, Value> =
        kept.iter().filter_map(|key| Some(((*key).to_owned(), metadata?.get(*key)?.clone()))).collect();
    let number = |pointer: &str| object.pointer(pointer).cloned().unwrap_or_else(|| 0.into());
    let mut scale = json!({
        "kind": KIND,
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": metadata,
        "spec": {},
        "status": { "replicas": number("/status/replicas") },
    });
    let replicas = number("/spec/replicas");
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas;
    }
    if let Some(selector) = selector_text(object) {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// The selector in query form: that of a ReplicationController is a plain map.
fn selector_text(object: &Value) -> Option<String> {
    let selector = object.pointer("/spec/selector")?;
    let structured = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let selector = match selector.as_object() {
        Some(labels) if !structured => LabelSelector::from_map(labels),
        _ => LabelSelector::from_object(selector).ok()?,
    };
    Some(selector.to_string())
}

/// The workload with the replicas that the Scale asks for, and the version that it names.
fn scaled(old: &Value, scale: &Value) -> Value {
    let mut object = old.clone();
    let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".into(), replicas);
    }
    meta::set_resource_version(&mut object, meta::resource_version(scale));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_replicas_and_selector() {
        let object = json!({
            "metadata": {"name": "d", "namespace": "n", "labels": {"x": "y"}, "resourceVersion": "4"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 2},
        });
        let scale = scale_of(&object);
        assert_eq!(
            scale,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {"name": "d", "namespace": "n", "resourceVersion": "4"},
                "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "a=b"}})
        );
        let mut wanted = scale;
        wanted["spec"]["replicas"] = 5.into();
        assert_eq!(scaled(&object, &wanted)["spec"]["replicas"], 5);
    }
}
