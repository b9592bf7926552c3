//! Server-side apply: an object is merged into the stored one field by field, and who applied which field is recorded in
//! `metadata.managedFields` (upstream: structured-merge-diff and apimachinery `util/managedfields`).
//!
//! Only applies are recorded. A field that others write by update or patch stays with whoever applied it, so that
//! conflicts arise between appliers.

mod fields;
mod managed;
mod merge;

use jiff::Timestamp;
use machinery::decode::{self, Media};
use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::status::{Cause, Status};
use serde_json::{Value, json};

use self::fields::{Set, Shape};
use self::managed::Manager;
use super::body::{self, Expected};
use super::call::Call;
use super::options::WriteOptions;
use super::seam::Answer;
use super::update::Change;

/// How often an apply is tried again when others changed the object meanwhile.
const RETRIES: usize = 5;

/// What an apply makes of an object.
struct Applied {
    object: Value,
    managed: Value,
}

/// One apply.
struct Apply<'a> {
    manager: &'a str,
    force: bool,
    api_version: &'a str,
    subresource: &'a str,
    /// The wanted fields.
    config: &'a Value,
    /// Their paths.
    set: Set,
    shape: Shape,
}

impl Call<'_> {
    /// Applies a configuration.
    pub(super) async fn apply(&self, body: &[u8]) -> Result<Answer, Status> {
        let mut options = WriteOptions::parse(&self.request.query, "PatchOptions")?;
        let Some(manager) = options.field_manager.clone() else {
            let error = FieldError::required(&Path::new("fieldManager"), "is required for apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![error]));
        };
        let decoded = decode::object(body, Media::Yaml)
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))?;
        let mut read =
            body::check(decoded.value, decoded.duplicates, self.applied_kind(), options.field_validation)?;
        if read.object.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        self.check_applied_name(&mut read.object)?;
        self.check_namespace(&mut read.object)?;
        let config = without_server_fields(
            &read.object,
            self.handle.has_subresource("status"),
            &self.request.info.subresource,
        );
        let shape = Shape::of(self.handle.type_id);
        let apply = Apply {
            manager: &manager,
            force: options.force == Some(true),
            api_version: &self.handle.api_version,
            subresource: &self.request.info.subresource,
            config: &config,
            set: Set::of(&config, shape),
            shape,
        };
        let subresource = !apply.subresource.is_empty();
        if !subresource && self.current(&self.key()).await?.is_none() {
            return self.create_applied(&read.object, &apply, options, read.warnings).await;
        }
        let precondition =
            (meta::uid(&read.object).to_owned(), meta::resource_version(&read.object).to_owned());
        let managed = std::sync::Mutex::new(None);
        let mut warnings = Vec::new();
        let written = {
            let mut produce = |old: &Value| {
                let mut live = self.handle.serve(old.clone());
                meta::remove(&mut live, "managedFields");
                let mut applied = apply.to(&live, &managed::of(old), Timestamp::now())?;
                if !precondition.0.is_empty() {
                    meta::set_uid(&mut applied.object, &precondition.0);
                }
                if !precondition.1.is_empty() {
                    meta::set_resource_version(&mut applied.object, &precondition.1);
                }
                *managed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                    Some(applied.managed.clone());
                meta::set(&mut applied.object, "managedFields", applied.managed);
                Ok(self.handle.unserve(applied.object))
            };
            options.keeps_managed_fields = true;
            let change = Change { options: &options, produce: &mut produce, retries: RETRIES };
            self.change_object(self.name(), change, &mut warnings).await?
        };
        read.warnings.append(&mut warnings);
        self.answer_written(200, written, read.warnings)
    }

    async fn create_applied(
        &self,
        object: &Value,
        apply: &Apply<'_>,
        mut options: WriteOptions,
        mut warnings: Vec<String>,
    ) -> Result<Answer, Status> {
        if !meta::uid(object).is_empty() {
            return Err(self.handle.not_found(self.name()));
        }
        let mut object = object.clone();
        meta::remove(&mut object, "resourceVersion");
        let manager = Manager::new(apply, Timestamp::now());
        meta::set(&mut object, "managedFields", json!([manager.to_json()]));
        options.keeps_managed_fields = true;
        let written = self.create_object(self.handle.unserve(object), &options, &mut warnings).await?;
        self.answer_written(201, written, warnings)
    }

    fn applied_kind(&self) -> Expected<'_> {
        let handle = &self.handle;
        Expected {
            group: &handle.group,
            version: &handle.version,
            kind: &handle.kind,
            type_id: handle.type_id,
        }
    }

    /// The name may be left out of an applied configuration.
    fn check_applied_name(&self, object: &mut Value) -> Result<(), Status> {
        if meta::name(object).is_empty() {
            meta::set_name(object, self.name());
        }
        self.check_name(object)
    }
}

impl Apply<'_> {
    /// Merges the configuration into the present object.
    fn to(&self, live: &Value, managers: &[Manager], now: Timestamp) -> Result<Applied, Status> {
        let mut managers = managers.to_vec();
        let mine = managers.iter().position(|m| m.is_apply_of(self.manager, self.subresource));
        let before = mine.map(|i| managers.remove(i));
        self.settle_conflicts(live, &mut managers)?;
        let mut object = merge::merge(live, self.config, self.shape);
        if let Some(before) = &before {
            let others = managers.iter().fold(Set::default(), |mut all, manager| {
                all.add(&manager.set);
                all
            });
            merge::prune(&mut object, &before.set, &self.set, &others, self.shape);
        }
        let mut manager = Manager::new(self, now);
        // Nothing new: the entry stays as it is, so that nothing is written.
        if let Some(before) = before.filter(|before| before.set == manager.set && object == *live) {
            manager.time = before.time;
        }
        managers.push(manager);
        managers.retain(|manager| !manager.set.is_empty());
        let managed = managers.iter().map(Manager::to_json).collect();
        Ok(Applied { object, managed })
    }

    /// Fields that others applied with another value are a conflict, or taken from them.
    fn settle_conflicts(&self, live: &Value, managers: &mut [Manager]) -> Result<(), Status> {
        let changed = merge::changed(live, self.config, &self.set, self.shape);
        let mut conflicts = Vec::new();
        for manager in managers {
            let common = manager.set.common(&changed);
            if common.is_empty() {
                continue;
            }
            if self.force {
                manager.set.remove(&common);
            } else {
                conflicts.push((manager.describe(), common.paths()));
            }
        }
        if conflicts.is_empty() { Ok(()) } else { Err(conflict(&conflicts)) }
    }
}

/// The 409 that names everybody whose fields the apply would change.
fn conflict(conflicts: &[(String, Vec<String>)]) -> Status {
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let describe = |(manager, paths): &(String, Vec<String>)| match paths.as_slice() {
        [path] => format!("conflict with {manager}: {path}"),
        paths => {
            let lines: Vec<String> = paths.iter().map(|path| format!("- {path}")).collect();
            format!("conflicts with {manager}:\n{}", lines.join("\n"))
        }
    };
    let texts: Vec<String> = conflicts.iter().map(describe).collect();
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    let cause = |manager: &String, path: &String| Cause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {manager}"),
        field: path.clone(),
    };
    let causes =
        conflicts.iter().flat_map(|(manager, paths)| paths.iter().map(move |path| cause(manager, path)));
    Status::apply_conflict(
        causes.collect(),
        format!("Apply failed with {count} {noun}: {}", texts.join("\n")),
    )
}

/// What may be applied: not what the server says, nor what the path does not write.
fn without_server_fields(object: &Value, has_status: bool, subresource: &str) -> Value {
    let mut config = object.clone();
    for key in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        meta::remove(&mut config, key);
    }
    if let Some(map) = config.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
        match subresource {
            "status" => map.retain(|key, _| matches!(key.as_str(), "status" | "metadata")),
            _ if has_status => {
                map.remove("status");
            }
            _ => {}
        }
        map.retain(|key, value| {
            key != "metadata" || value.as_object().is_some_and(|metadata| !metadata.is_empty())
        });
    }
    config
}

#[cfg(test)]
mod tests;
