//! DELETE of one object and of a collection (apiserver `pkg/registry/generic/registry/store.go`, `rest/delete.go`).

use jiff::{SignedDuration, Timestamp};
use machinery::field::{Errors, FieldError, Path};
use machinery::meta;
use machinery::status::{Details, OPTIMISTIC_LOCK, Status};
use serde_json::Value;
use store::{Entry, Expect};

use super::admission::{self, Operation};
use super::answer;
use super::call::{Call, Refused};
use super::options::{self, ListOptions};
use super::seam::Answer;
use crate::http::{BodyError, delete_options, read_object};

/// Dependents are deleted first.
const FOREGROUND: &str = "foregroundDeletion";
/// Dependents stay.
const ORPHAN: &str = "orphan";
/// How often a deletion is tried again when others change the object meanwhile.
const RETRIES: usize = 100;

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeleteOptions {
    pub grace_period: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan: Option<bool>,
    pub propagation: Option<String>,
    pub dry_run: bool,
}

/// What came of a deletion.
pub(super) enum Outcome {
    /// The object is gone.
    Deleted(Value),
    /// The object stays for a while; this is its state.
    Pending(Value),
}

/// What a step of a deletion does to the object.
enum Step {
    Remove,
    Keep(Value),
    Unchanged,
}

impl DeleteOptions {
    /// Reads the options from the body, or from the query when there is none.
    fn parse(call: &Call<'_>, body: &[u8]) -> Result<Self, Status> {
        let mut options =
            if body.is_empty() { Self::from_query(call)? } else { Self::from_body(call, body)? };
        let mut errors = options.validate();
        options.dry_run |= options::dry_run(call.request.query.all("dryRun"), &mut errors);
        options::invalid_options("DeleteOptions", errors)?;
        Ok(options)
    }

    fn from_query(call: &Call<'_>) -> Result<Self, Status> {
        let query = &call.request.query;
        let text = |key| query.get_set(key).map(str::to_owned);
        Ok(Self {
            grace_period: options::integer(query, "gracePeriodSeconds")?,
            uid: text("uid"),
            // On a collection it is the version of the list.
            resource_version: text("resourceVersion").filter(|_| !call.name().is_empty()),
            orphan: query.has("orphanDependents").then(|| query.flag("orphanDependents")),
            propagation: query.get("propagationPolicy").map(str::to_owned),
            ..Self::default()
        })
    }

    fn from_body(call: &Call<'_>, body: &[u8]) -> Result<Self, Status> {
        let bad = |why: String| Status::bad_request(why);
        let content_type = call.request.content_type.as_deref();
        let decoded = read_object(content_type, body, delete_options()).map_err(|error| match error {
            BodyError::Media(status) => status,
            BodyError::Unrecognized(why) | BodyError::Broken { why, .. } => bad(why),
        })?;
        let options = decoded.value;
        let kind = meta::kind(&options);
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(bad(format!("decoded object cannot be converted to DeleteOptions: {kind}")));
        }
        let mut errors = Errors::new();
        options::dry_run(dry_run_values(&options), &mut errors);
        options::invalid_options("DeleteOptions", errors)?;
        Ok(Self::from_value(&options))
    }

    /// Options embedded in another object, as they are.
    pub(super) fn from_value(options: &Value) -> Self {
        let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Self {
            grace_period: options.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            orphan: options.get("orphanDependents").and_then(Value::as_bool),
            propagation: text("/propagationPolicy"),
            dry_run: dry_run_values(options).next().is_some(),
        }
    }

    fn validate(&self) -> Errors {
        let path = Path::new("propagationPolicy");
        let mut errors = Errors::new();
        if let Some(policy) = &self.propagation {
            if self.orphan.is_some() {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid(&path, policy.as_str(), detail));
            }
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                errors.push(FieldError::not_supported(
                    &path,
                    policy.as_str(),
                    &["Foreground", "Background", "Orphan", "nil"],
                ));
            }
        }
        errors
    }

    /// `None` when the options do not say.
    fn orphans(&self) -> Option<bool> {
        self.orphan.or_else(|| self.propagation.as_ref().map(|policy| policy == "Orphan"))
    }
}

fn dry_run_values(options: &Value) -> impl Iterator<Item = &str> {
    options.get("dryRun").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

impl Call<'_> {
    /// Deletes one object.
    pub async fn delete(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = DeleteOptions::parse(self, body)?;
        let outcome = self.delete_object(self.namespace(), self.name(), &options).await?;
        self.answer_deleted(outcome, &options)
    }

    fn answer_deleted(&self, outcome: Outcome, options: &DeleteOptions) -> Result<Answer, Status> {
        match outcome {
            Outcome::Pending(object) => {
                let code = if options.orphan == Some(false) { 202 } else { 200 };
                self.answer_value(code, object, Vec::new())
            }
            Outcome::Deleted(object) if self.strategy().returns_deleted_object() => {
                self.answer_value(200, object, Vec::new())
            }
            Outcome::Deleted(object) => {
                let details = Details {
                    name: meta::name(&object).to_owned(),
                    group: self.handle.group.clone(),
                    kind: self.handle.plural.clone(),
                    uid: Some(meta::uid(&object).to_owned()),
                    ..Details::default()
                };
                Ok(Answer::ok(answer::to_bytes(&Status::success(Some(details)).to_json())))
            }
        }
    }

    /// Deletes one object: begins its graceful end, leaves it to its finalizers, or removes it.
    pub(super) async fn delete_object(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Outcome, Status> {
        let key = self.handle.key(namespace, name);
        let mut entry = self.existing(&key, name).await?;
        for _ in 0..RETRIES {
            let object = answer::parse(&entry.bytes)?;
            self.check_preconditions(&object, options)?;
            let mut context = self.context(Operation::Delete, name, options.dry_run);
            context.namespace = namespace;
            admission::delete(&context, Some(&object)).await?;
            match self.delete_step(&key, &entry, object, options).await {
                Ok(outcome) => {
                    if let (Outcome::Deleted(object), false) = (&outcome, options.dry_run) {
                        self.strategy().release(&context, object, None).await;
                    }
                    return Ok(outcome);
                }
                Err(Refused::Conflict(Some(current))) => entry = current,
                Err(Refused::Conflict(None)) => return Err(self.handle.not_found(name)),
                Err(Refused::Status(status)) => return Err(status),
            }
        }
        Err(self.handle.conflict(name, OPTIMISTIC_LOCK))
    }

    fn check_preconditions(&self, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
        let name = meta::name(object);
        // Upstream names the kind here, not the resource.
        let conflict = |why: String| Err(Status::conflict(&self.handle.group, &self.handle.kind, name, why));
        if let Some(uid) = &options.uid
            && uid != meta::uid(object)
        {
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                meta::uid(object)
            ));
        }
        if let Some(version) = &options.resource_version
            && version != meta::resource_version(object)
        {
            return conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                meta::resource_version(object)
            ));
        }
        Ok(())
    }

    async fn delete_step(
        &self,
        key: &str,
        entry: &Entry,
        object: Value,
        options: &DeleteOptions,
    ) -> Result<Outcome, Refused> {
        let expect = Expect::Revision(entry.revision);
        match self.plan_deletion(&object, options, Timestamp::now()) {
            Step::Remove if options.dry_run => Ok(Outcome::Deleted(object)),
            Step::Remove => {
                let removed = self.remove(key, expect).await?;
                Ok(Outcome::Deleted(answer::parse(&removed.bytes)?))
            }
            Step::Unchanged => Ok(Outcome::Pending(object)),
            Step::Keep(marked) if options.dry_run => Ok(Outcome::Pending(marked)),
            Step::Keep(marked) => {
                let stored = self.put(key, expect, &marked).await?;
                Ok(Outcome::Pending(answer::parse(&stored.bytes)?))
            }
        }
    }

    /// What a deletion does to an object in this state.
    fn plan_deletion(&self, object: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
        let strategy = self.strategy();
        let mut marked = object.clone();
        let finalizers = self.wanted_finalizers(object, options);
        meta::set_finalizers(&mut marked, &finalizers);
        let held = !finalizers.is_empty() || strategy.holds(&marked);
        match strategy.grace_period(object, options.grace_period) {
            Some(grace) => {
                let grace = if grace < 0 { 1 } else { grace };
                self.plan_graceful(object, marked, grace, options.grace_period.is_some(), held, now)
            }
            None if !held => Step::Remove,
            None => {
                if meta::deletion_timestamp(object).is_none() {
                    meta::set_deletion(&mut marked, &machinery::time::rfc3339(now), Some(0));
                    bump_generation(&mut marked);
                    strategy.mark_deleting(&mut marked);
                }
                if marked == *object { Step::Unchanged } else { Step::Keep(marked) }
            }
        }
    }

    /// A kind with grace: the deletion begins, is shortened, goes on, or happens.
    fn plan_graceful(
        &self,
        object: &Value,
        mut marked: Value,
        grace: i64,
        asked: bool,
        held: bool,
        now: Timestamp,
    ) -> Step {
        let running = meta::deletion_timestamp(object).and_then(machinery::time::parse);
        let before = meta::deletion_grace_period_seconds(object).unwrap_or_default();
        if let Some(deadline) = running {
            let shorter = before > 0 && (asked || grace == 0) && grace < before;
            if before == 0 {
                return if held { Step::Unchanged } else { Step::Remove };
            }
            if !shorter {
                return Step::Unchanged;
            }
            let deadline = shift(deadline, grace - before);
            meta::set_deletion(&mut marked, &machinery::time::rfc3339(deadline), Some(grace));
        } else {
            meta::set_deletion(&mut marked, &machinery::time::rfc3339(shift(now, grace)), Some(grace));
            bump_generation(&mut marked);
        }
        if grace == 0 && !held { Step::Remove } else { Step::Keep(marked) }
    }

    /// The finalizers that the options' propagation policy asks for.
    fn wanted_finalizers(&self, object: &Value, options: &DeleteOptions) -> Vec<String> {
        let have = meta::finalizers(object);
        let orphan = options.orphans().unwrap_or_else(|| {
            have.contains(&ORPHAN) || (!have.contains(&FOREGROUND) && self.strategy().orphans_by_default())
        });
        let foreground = match (&options.propagation, options.orphan) {
            (_, Some(_)) => false,
            (Some(policy), None) => policy == "Foreground",
            (None, None) => have.contains(&FOREGROUND),
        };
        let mut finalizers: Vec<String> =
            have.iter().filter(|f| !matches!(**f, ORPHAN | FOREGROUND)).map(|f| (*f).to_owned()).collect();
        finalizers.extend(orphan.then(|| ORPHAN.to_owned()));
        finalizers.extend((foreground && !orphan).then(|| FOREGROUND.to_owned()));
        finalizers
    }

    /// Deletes the selected objects of a collection and answers with them.
    pub async fn delete_collection(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = DeleteOptions::parse(self, body)?;
        admission::delete(&self.context(Operation::Delete, "", options.dry_run), None).await?;
        let list_options = ListOptions::parse(&self.request.query, false)?;
        let mut page = self.page(&list_options, &self.selection()?).await?;
        let mut deleted = Vec::with_capacity(page.entries.len());
        for entry in std::mem::take(&mut page.entries) {
            let below = entry.key.get(self.handle.storage.prefix.len()..).unwrap_or_default();
            let (namespace, name) = below.split_once('/').unwrap_or(("", below));
            match self.delete_object(namespace, name, &options).await {
                Ok(_) => deleted.push(entry),
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        page.entries = deleted;
        self.answer_page(&page)
    }
}

fn shift(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time)
}

/// The beginning of a deletion is a change that observers of the generation have to see.
fn bump_generation(object: &mut Value) {
    let generation = meta::generation(object);
    if generation > 0 {
        meta::set_generation(object, generation + 1);
    }
}
