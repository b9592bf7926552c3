//! POST: a new object.

use std::borrow::Cow;

use auth::Attributes;
use machinery::meta;
use machinery::status::Status;
use machinery::text::go_parse_uint;
use serde_json::Value;
use store::{Entry, Expect};

use super::admission::{self, Operation};
use super::body::Body;
use super::call::{Call, Refused, is_open};
use super::metadata;
use super::options::WriteOptions;
use super::seam::Answer;

/// How often a generated name is tried again when it is taken.
const NAME_TRIES: u32 = 8;
/// What only the server says about an object.
const SERVERS: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

/// What came of a write.
pub(super) enum Written {
    /// It was stored.
    Stored(Entry),
    /// It would have been stored.
    DryRun(Value),
}

impl Call<'_> {
    /// Creates an object from a request body.
    pub async fn create(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&self.request.query, "CreateOptions")?;
        let Body { object, mut warnings } = self.decode(body, options.field_validation)?;
        let written = self.create_object(self.handle.unserve(object), &options, &mut warnings).await?;
        self.answer_written(201, written, warnings)
    }

    /// Whether the user may create what a write to an existing object did not find.
    pub(super) fn may_create(&self) -> Result<(), Status> {
        let info = &self.request.info;
        self.registry.authorizer.allow(&Attributes {
            user: Cow::Borrowed(&self.request.user),
            verb: "create",
            is_resource: true,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            name: &info.name,
            namespace: &info.namespace,
            ..Attributes::default()
        })
    }

    pub(super) fn answer_written(
        &self,
        code: u16,
        written: Written,
        warnings: Vec<String>,
    ) -> Result<Answer, Status> {
        match written {
            Written::Stored(entry) => self.answer_entry(code, &entry, warnings),
            Written::DryRun(object) => self.answer_value(code, object, warnings),
        }
    }

    /// Creates an object given in the stored version. Warnings are told also when that fails.
    pub(super) async fn create_object(
        &self,
        object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let made = self.try_names(object, options, warnings).await;
        made.map_err(|status| status.with_warnings(std::mem::take(warnings)))
    }

    async fn try_names(
        &self,
        mut object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Written, Status> {
        let generated = meta::name(&object).is_empty() && !meta::generate_name(&object).is_empty();
        let mut tries = if generated { NAME_TRIES } else { 1 };
        loop {
            // Only another try needs what the client sent once more.
            let sent = if tries == 1 { std::mem::take(&mut object) } else { object.clone() };
            let object = self.prepare_new(sent, options, warnings).await?;
            let name = meta::name(&object).to_owned();
            let made_up = !meta::generate_name(&object).is_empty();
            let taken = match self.store_new(object, &name, options).await? {
                Ok(written) => return Ok(written),
                Err(taken) => taken,
            };
            tries -= 1;
            if tries == 0 {
                return Err(self.taken(&name, made_up, &taken));
            }
        }
    }

    /// The refusal of a name; `made_up` when the client asked for one that begins in some way.
    fn taken(&self, name: &str, made_up: bool, existing: &Entry) -> Status {
        const RETRY_SECONDS: u32 = 1;
        let handle = &self.handle;
        let mut status = if made_up {
            Status::generate_name_conflict(&handle.group, &handle.plural, name, RETRY_SECONDS)
        } else {
            handle.already_exists(name)
        };
        let deleting =
            super::answer::parse(&existing.bytes).is_ok_and(|o| meta::deletion_timestamp(&o).is_some());
        if deleting {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }

    /// Everything between decoding and storing.
    async fn prepare_new(
        &self,
        mut object: Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        for key in SERVERS {
            meta::remove(&mut object, key);
        }
        self.check_namespace(&mut object)?;
        let strategy = self.strategy();
        strategy.default(&mut object);
        warnings.extend(self.drop_repeated_owners(&mut object));
        self.record(&mut object, None, options);
        let named = meta::name(&object).to_owned();
        let context = self.context(Operation::Create, &named, options.dry_run);
        admission::mutate(&context, &mut object, None).await?;
        self.fill_metadata(&mut object);
        strategy.prepare_for_create(&mut object);
        strategy.admit(&context, &mut object, None).await?;
        if let Err(status) = self.check_new(&object, options, warnings).await {
            if !options.dry_run {
                strategy.release(&context, &object, None).await;
            }
            return Err(status);
        }
        Ok(object)
    }

    /// All that may still refuse an object which has everything.
    async fn check_new(
        &self,
        object: &Value,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let strategy = self.strategy();
        let mut errors = metadata::validate(&self.handle, object);
        errors.extend(strategy.validate(object));
        errors.extend(strategy.validate_create(object));
        if !errors.is_empty() {
            return Err(self.handle.invalid(meta::name(object), errors));
        }
        for warning in strategy.warnings(object) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        let context = self.context(Operation::Create, meta::name(object), options.dry_run);
        admission::validate(&context, object, None).await?;
        warnings.extend(admission::warnings(&context, object, None));
        Ok(())
    }

    async fn store_new(
        &self,
        mut object: Value,
        name: &str,
        options: &WriteOptions,
    ) -> Result<Result<Written, Entry>, Status> {
        let key = self.handle.key(self.namespace(), name);
        // What is only tried has the version it came with.
        if options.dry_run {
            return Ok(match self.current(&key).await? {
                Some(existing) => Err(existing),
                None => Ok(Written::DryRun(object)),
            });
        }
        match self.put_new(&key, &mut object, options).await {
            Ok(entry) => Ok(Ok(Written::Stored(entry))),
            Err(refused) => {
                if !is_open(&refused) {
                    let context = self.context(Operation::Create, name, false);
                    self.strategy().release(&context, &object, None).await;
                }
                match refused {
                    Refused::Conflict(Some(existing)) => Ok(Err(existing)),
                    Refused::Conflict(None) => Err(self.handle.already_exists(name)),
                    Refused::Status(status) => Err(status),
                }
            }
        }
    }

    /// Stores a new object. A version is refused only when everything else is well, as upstream's store does it; one that is no
    /// number is none.
    async fn put_new(&self, key: &str, object: &mut Value, options: &WriteOptions) -> Result<Entry, Refused> {
        let version = meta::remove(object, "resourceVersion");
        let version = version.as_ref().and_then(Value::as_str).unwrap_or_default();
        if go_parse_uint(version).is_ok_and(|version| version > 0) {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Status::unknown(why).into());
        }
        self.put_within(key, Expect::Absent, object, options).await
    }

    /// What the server says about every new object.
    fn fill_metadata(&self, object: &mut Value) {
        let strategy = self.strategy();
        meta::set_uid(object, &crate::flow::new_uuid());
        meta::set_creation_timestamp(object, &machinery::time::rfc3339(jiff::Timestamp::now()));
        if strategy.sets_generation() {
            meta::set_generation(object, 1);
        }
        if self.handle.has_subresource("status")
            && strategy.clears_status()
            && let Some(map) = object.as_object_mut()
        {
            map.insert("status".into(), Value::Object(serde_json::Map::new()));
        }
        let base = meta::generate_name(object);
        if meta::name(object).is_empty() && !base.is_empty() {
            let name = machinery::names::generate_name(base, &mut rand::rng());
            meta::set_name(object, &name);
        }
    }
}
