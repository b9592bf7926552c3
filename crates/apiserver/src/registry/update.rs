//! PUT, and what every change of an existing object goes through.

use machinery::field::{FieldError, Path};
use machinery::meta;
use machinery::status::{OPTIMISTIC_LOCK, Status};
use machinery::text::go_parse_uint;
use serde_json::Value;
use store::{Entry, Expect};

use super::admission::{self, AdmissionContext, Operation};
use super::answer;
use super::apply::differ_in_time_only;
use super::body::Body;
use super::call::{Call, Refused, draft, is_open};
use super::create::Written;
use super::metadata;
use super::options::WriteOptions;
use super::seam::Answer;
use super::status;

/// How often a change is tried again when others changed the object meanwhile.
const RETRIES: usize = 100;

/// Makes the wanted object (stored version) out of the present one.
pub(super) type Produce<'p> = dyn FnMut(&Value) -> Result<Value, Status> + Send + 'p;

/// How an existing object is changed.
pub(super) struct Change<'p> {
    pub options: &'p WriteOptions,
    pub produce: &'p mut Produce<'p>,
}

impl Call<'_> {
    /// Replaces an object, or one of its subresources.
    pub async fn update(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&self.request.query, "UpdateOptions")?;
        let Body { mut object, mut warnings } = self.decode(body, options.field_validation)?;
        let fits = self.check_namespace(&mut object).and_then(|()| self.check_name(&object));
        fits.map_err(|status| status.with_warnings(warnings.clone()))?;
        let object = self.handle.unserve(object);
        let creatable = self.strategy().allow_create_on_update() && self.request.info.subresource.is_empty();
        if creatable && self.current(&self.key()).await?.is_none() {
            match self.create_by_update(object.clone(), &options, &mut warnings).await {
                // Somebody else was faster: the object is there now.
                Err(status) if status.reason == "AlreadyExists" => {}
                created => return self.answer_written(201, created?, warnings),
            }
        }
        let mut produce = |old: &Value| {
            self.check_uid(&object, old, &options)?;
            Ok(object.clone())
        };
        let change = Change { options: &options, produce: &mut produce };
        let written = self.change_object(self.name(), change, &mut warnings).await?;
        self.answer_written(200, written, warnings)
    }

    async fn create_by_update(
        &self,
        mut object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        self.check_uid(&object, &Value::Null, options)?;
        self.wanted_version(&object)?;
        self.may_create()?;
        meta::remove(&mut object, "resourceVersion");
        self.create_object(object, options, warnings).await
    }

    /// The name in the body has to be that of the path.
    pub(super) fn check_name(&self, object: &Value) -> Result<(), Status> {
        let (name, wanted) = (meta::name(object), self.name());
        if name.is_empty() {
            let message = format!(
                "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
            );
            return Err(Status::bad_request(message));
        }
        if name != wanted {
            let message =
                format!("the name of the object ({name}) does not match the name on the URL ({wanted})");
            return Err(Status::bad_request(message));
        }
        Ok(())
    }

    /// The namespace of the object and that of the request have to be the same; either may be left out.
    pub(super) fn check_namespace(&self, object: &mut Value) -> Result<(), Status> {
        let (given, wanted) = (meta::namespace(object), self.namespace());
        if !given.is_empty() && !wanted.is_empty() && given != wanted {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        meta::set_namespace(object, wanted);
        Ok(())
    }

    /// Changes an existing object: reads, produces, checks and stores it, again when somebody else was faster and the
    /// change did not insist on a version. Warnings are told also when that fails.
    pub(super) async fn change_object(
        &self,
        name: &str,
        change: Change<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let changed = self.try_change(name, change, warnings).await;
        changed.map_err(|status| status.with_warnings(std::mem::take(warnings)))
    }

    async fn try_change(
        &self,
        name: &str,
        change: Change<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let key = self.handle.key(self.namespace(), name);
        let mut entry = self.existing(&key, name).await?;
        for _ in 0..RETRIES {
            let old = answer::parse(&entry.bytes)?;
            let object = (change.produce)(&old)?;
            self.check_version(&object, &entry)?;
            let mut object = self.prepare_changed(object, &old, change.options, warnings).await?;
            let stored = self.store_changed(&key, &entry, &mut object, change.options).await;
            self.settle_allocated(&object, &old, &stored, change.options).await;
            match stored {
                Ok(written) => return Ok(written),
                Err(Refused::Conflict(Some(current))) => entry = current,
                Err(Refused::Conflict(None)) => return Err(self.handle.not_found(name)),
                Err(Refused::Status(status)) => return Err(status),
            }
        }
        Err(self.handle.conflict(name, OPTIMISTIC_LOCK))
    }

    /// A replacement that names a uid is one of that object only; `old` is null when there is none.
    pub(super) fn check_uid(
        &self,
        object: &Value,
        old: &Value,
        options: &WriteOptions,
    ) -> Result<(), Status> {
        let (given, have) = (meta::uid(object), meta::uid(old));
        if given.is_empty() || given == have {
            return Ok(());
        }
        let key = self.key();
        // What is only tried does not get as far as the store with its prefix.
        let key = if options.dry_run { key.strip_prefix("/registry").unwrap_or(&key) } else { &key };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {given}, UID in object meta: {have}"
        );
        Err(self.handle.conflict(self.name(), &why))
    }

    /// The version that the object names; 0 is none.
    fn wanted_version(&self, object: &Value) -> Result<u64, Status> {
        match meta::resource_version(object) {
            "" => Ok(0),
            version => go_parse_uint(version).map_err(Status::unknown),
        }
    }

    /// The version that the object names has to be the present one; none means any, where the kind allows it.
    fn check_version(&self, object: &Value, entry: &Entry) -> Result<(), Status> {
        match self.wanted_version(object)? {
            0 if self.strategy().allow_unconditional_update() => Ok(()),
            0 => {
                let path = Path::new("metadata").child("resourceVersion");
                let error = FieldError::invalid(&path, 0, "must be specified for an update");
                let handle = &self.handle;
                // Upstream names the resource here, not the kind.
                Err(Status::invalid(&handle.group, &handle.plural, meta::name(object), vec![error]))
            }
            version if version == entry.revision => Ok(()),
            _ => Err(self.handle.conflict(meta::name(object), OPTIMISTIC_LOCK)),
        }
    }

    /// Everything between producing and storing.
    async fn prepare_changed(
        &self,
        mut object: Value,
        old: &Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let strategy = self.strategy();
        strategy.default(&mut object);
        warnings.extend(self.drop_repeated_owners(&mut object));
        self.record(&mut object, Some(old), options);
        carry_metadata(&mut object, old);
        let name = meta::name(old).to_owned();
        let context = self.context(Operation::Update, &name, options.dry_run);
        admission::mutate(&context, &mut object, Some(old)).await?;
        self.prepare_for(&mut object, old);
        if self.request.info.subresource.is_empty() {
            strategy.admit(&context, &mut object, Some(old)).await?;
        }
        self.settle_generation(&mut object, old);
        if let Err(status) = self.check_changed(&context, &object, old, warnings).await {
            if self.allocates(options) {
                strategy.release(&context, &object, Some(old)).await;
            }
            return Err(status);
        }
        forget_mere_times(&mut object, old);
        Ok(object)
    }

    /// All that may still refuse an object which has everything.
    async fn check_changed(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        old: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let mut errors = match self.request.info.subresource.as_str() {
            "status" => self.strategy().admit_status(context, object, old),
            _ => Vec::new(),
        };
        errors.extend(metadata::validate(&self.handle, object));
        errors.extend(metadata::validate_update(object, old));
        errors.extend(self.validate_changed(object, old));
        if !errors.is_empty() {
            return Err(self.handle.invalid(context.name, errors));
        }
        for warning in self.strategy().update_warnings(&self.request.info.subresource, object, old) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        admission::validate(context, object, Some(old)).await?;
        warnings.extend(admission::warnings(context, object, Some(old)));
        Ok(())
    }

    /// Whether a write may have taken something outside the object.
    fn allocates(&self, options: &WriteOptions) -> bool {
        self.request.info.subresource.is_empty() && !options.dry_run
    }

    /// Gives back what the old state had and the new one has not; the other way round when nothing was stored.
    async fn settle_allocated(
        &self,
        object: &Value,
        old: &Value,
        stored: &Result<Written, Refused>,
        options: &WriteOptions,
    ) {
        if !self.allocates(options) {
            return;
        }
        let context = self.context(Operation::Update, meta::name(old), false);
        match stored {
            Ok(_) => self.strategy().release(&context, old, Some(object)).await,
            Err(refused) if is_open(refused) => {}
            Err(_) => self.strategy().release(&context, object, Some(old)).await,
        }
    }

    fn validate_changed(&self, object: &Value, old: &Value) -> machinery::field::Errors {
        let strategy = self.strategy();
        match self.request.info.subresource.as_str() {
            "" | "scale" => strategy.validate_changed(object, old),
            "status" => strategy.validate_status_update(object, old),
            other => strategy.validate_subresource_update(other, object, old),
        }
    }

    /// What the written path may not change is taken from the present object.
    fn prepare_for(&self, object: &mut Value, old: &Value) {
        let strategy = self.strategy();
        match self.request.info.subresource.as_str() {
            "" | "scale" => {
                if self.handle.has_subresource("status") {
                    copy(object, old, "status");
                }
                strategy.prepare_for_update(object, old);
            }
            "status" => {
                *object = status::written(&self.handle.plural, object, old);
                strategy.prepare_for_status_update(object, old);
            }
            "finalize" => {
                let finalizers = object.pointer("/spec/finalizers").cloned().unwrap_or_default();
                *object = with_metadata_of(old, object);
                if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.insert("finalizers".into(), finalizers);
                    spec.retain(|_, value| !value.is_null() && *value != Value::Array(Vec::new()));
                }
            }
            other => {
                let wanted = std::mem::replace(object, with_metadata_of(old, object));
                strategy.prepare_for_subresource_update(other, object, &wanted, old);
            }
        }
    }

    fn settle_generation(&self, object: &mut Value, old: &Value) {
        let mut generation = meta::generation(old);
        let strategy = self.strategy();
        let counts = strategy.has_generation() && self.request.info.subresource != "status";
        if counts && strategy.changes_generation(object, old) {
            generation += 1;
        }
        meta::set_generation(object, generation);
    }

    /// Stores the object unless nothing changed; removes it when nothing holds it any more.
    async fn store_changed(
        &self,
        key: &str,
        entry: &Entry,
        object: &mut Value,
        options: &WriteOptions,
    ) -> Result<Written, Refused> {
        if self.is_finished(object) {
            if options.dry_run {
                return Ok(Written::DryRun(object.clone()));
            }
            return self.remove_finished(key, entry, object.clone()).await;
        }
        if draft(object)? == entry.draft() {
            return Ok(Written::Stored(entry.clone()));
        }
        if options.dry_run {
            let mut object = object.clone();
            meta::set_resource_version(&mut object, &entry.revision.to_string());
            return Ok(Written::DryRun(object));
        }
        self.put_within(key, Expect::Revision(entry.revision), object, options).await.map(Written::Stored)
    }

    /// Whether nothing holds an object being deleted any more.
    fn is_finished(&self, object: &Value) -> bool {
        let grace = meta::deletion_grace_period_seconds(object).unwrap_or_default();
        let held = !meta::finalizers(object).is_empty() || self.strategy().holds(object);
        meta::deletion_timestamp(object).is_some() && grace == 0 && !held
    }

    async fn remove_finished(&self, key: &str, entry: &Entry, object: Value) -> Result<Written, Refused> {
        self.remove(key, Expect::Revision(entry.revision)).await?;
        let context = self.context(Operation::Delete, meta::name(&object), false);
        self.strategy().release(&context, &object, None).await;
        // Upstream answers with the object as it was to be stored, at the version that it would have replaced.
        let mut object = object;
        meta::set_resource_version(&mut object, &entry.revision.to_string());
        Ok(Written::DryRun(object))
    }
}

/// Metadata that only the server may say, or that clients may leave out.
fn carry_metadata(object: &mut Value, old: &Value) {
    let before = |key: &str| old.get("metadata").and_then(|m| m.get(key)).cloned().unwrap_or_default();
    for key in ["creationTimestamp", "generation", "name", "namespace"] {
        meta::set(object, key, before(key));
    }
    let given = |object: &Value, key: &str| object.get("metadata").is_some_and(|m| m.get(key).is_some());
    for key in ["uid", "deletionGracePeriodSeconds"] {
        if !given(object, key) {
            meta::set(object, key, before(key));
        }
    }
    let deletion = before("deletionTimestamp");
    if !deletion.is_null() {
        meta::set(object, "deletionTimestamp", deletion);
    }
}

/// Takes back new times of `managedFields` when nothing else is new: that is no change (apiserver
/// `IgnoreManagedFieldsTimestampsTransformer`).
fn forget_mere_times(object: &mut Value, old: &Value) {
    let fields = |object: &'_ Value| object.pointer("/metadata/managedFields").cloned().unwrap_or_default();
    let before = fields(old);
    if differ_in_time_only(&fields(object), &before) {
        let after = meta::remove(object, "managedFields").unwrap_or_default();
        let mut rest = old.clone();
        meta::remove(&mut rest, "managedFields");
        meta::set_resource_version(&mut rest, meta::resource_version(object));
        let same = *object == rest;
        meta::set(object, "managedFields", if same { before } else { after });
    }
}

fn copy(object: &mut Value, old: &Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        match old.get(key) {
            Some(value) => map.insert(key.to_owned(), value.clone()),
            None => map.remove(key),
        };
    }
}

/// The present object with the wanted metadata.
fn with_metadata_of(old: &Value, object: &Value) -> Value {
    let mut result = old.clone();
    copy(&mut result, object, "metadata");
    result
}
