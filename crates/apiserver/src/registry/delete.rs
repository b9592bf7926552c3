//! DELETE of one object and of a collection (apiserver `pkg/registry/generic/registry/store.go`, `rest/delete.go`).

use std::borrow::Cow;

use auth::Attributes;
use jiff::{SignedDuration, Timestamp};
use machinery::meta;
use machinery::status::{Details, OPTIMISTIC_LOCK, Status};
use machinery::text::go_quote;
use serde_json::Value;
use store::{Entry, Expect};

use super::admission::{self, Operation};
use super::answer;
use super::call::{Call, Refused};
use super::delete_options::DeleteOptions;
use super::options::ListOptions;
use super::seam::Answer;
use super::strategy::Dependents;

/// Dependents are deleted first.
const FOREGROUND: &str = "foregroundDeletion";
/// Dependents stay.
const ORPHAN: &str = "orphan";
/// What a user needs the right to, besides deleting, to delete what cannot be read.
const UNSAFE: &str = "unsafe-delete-ignore-read-errors";
/// How often a deletion is tried again when others change the object meanwhile.
const RETRIES: usize = 100;

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
    /// It goes at once, but observers first see that it ends.
    MarkAndRemove(Value),
    Keep(Value),
    Unchanged,
}

impl Call<'_> {
    /// Deletes one object.
    pub async fn delete(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = DeleteOptions::parse(self, body)?;
        if options.unreadable {
            return Err(self.refuse_unsafe().await?);
        }
        let outcome = self.delete_object(self.namespace(), self.name(), &options).await?;
        let warnings = self.strategy().delete_warnings(options.says_what_becomes());
        Ok(self.answer_deleted(outcome, &options)?.with_warnings(warnings))
    }

    /// Only what cannot be read may go without regard to anything, and what is stored here can be read.
    async fn refuse_unsafe(&self) -> Result<Status, Status> {
        let info = &self.request.info;
        let may = self.registry.authorizer.allow(&Attributes {
            user: Cow::Borrowed(&self.request.user),
            verb: UNSAFE,
            is_resource: true,
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            name: &info.name,
            namespace: &info.namespace,
            ..Attributes::default()
        });
        if may.is_err() {
            let why = format!("not permitted to do {}, reason: ", go_quote(UNSAFE));
            return Err(self.handle.forbidden(self.name(), why));
        }
        let key = self.key();
        self.existing(&key, self.name()).await?;
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: \
             unsafe deletion is not allowed because the object is decodable from storage"
        );
        Ok(self.handle.conflict(self.name(), &why))
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
        self.delete_with(namespace, name, options, true).await
    }

    /// The same for what another request, which was admitted, deletes.
    pub(super) async fn delete_admitted(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Outcome, Status> {
        self.delete_with(namespace, name, options, false).await
    }

    async fn delete_with(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        admit: bool,
    ) -> Result<Outcome, Status> {
        let key = self.handle.key(namespace, name);
        let mut entry = self.existing(&key, name).await?;
        for _ in 0..RETRIES {
            let object = answer::parse(&entry.bytes)?;
            self.check_preconditions(&object, options)?;
            let mut context = self.context(Operation::Delete, name, options.dry_run);
            context.namespace = namespace;
            if admit {
                admission::delete(&context, Some(&object)).await?;
            }
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

    pub(super) fn check_preconditions(&self, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
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
            Step::Unchanged => Ok(Outcome::Pending(object)),
            Step::Remove if options.dry_run => Ok(Outcome::Deleted(object)),
            Step::MarkAndRemove(marked) if options.dry_run => Ok(Outcome::Deleted(marked)),
            Step::Keep(marked) if options.dry_run => Ok(Outcome::Pending(marked)),
            Step::Remove => self.remove_as(key, expect).await,
            Step::MarkAndRemove(marked) => {
                let stored = self.put(key, expect, &marked).await?;
                self.remove_marked(key, stored).await
            }
            Step::Keep(marked) => {
                let stored = self.put(key, expect, &marked).await?;
                Ok(Outcome::Pending(answer::parse(&stored.bytes)?))
            }
        }
    }

    /// Removes what was marked before. A kubelet that sees the mark may change the object meanwhile, or be faster, which is as good
    /// (kubernetes/kubernetes#19403).
    async fn remove_marked(&self, key: &str, mut marked: Entry) -> Result<Outcome, Refused> {
        let uid = |entry: &Entry| Ok::<_, Status>(meta::uid(&answer::parse(&entry.bytes)?).to_owned());
        for _ in 0..RETRIES {
            match self.remove_as(key, Expect::Revision(marked.revision)).await {
                Err(Refused::Conflict(Some(current))) if uid(&current)? == uid(&marked)? => marked = current,
                Err(Refused::Conflict(_)) => return Ok(Outcome::Deleted(answer::parse(&marked.bytes)?)),
                done => return done,
            }
        }
        Err(Refused::Conflict(Some(marked)))
    }

    async fn remove_as(&self, key: &str, expect: Expect) -> Result<Outcome, Refused> {
        let removed = self.remove(key, expect).await?;
        Ok(Outcome::Deleted(answer::parse(&removed.bytes)?))
    }

    /// What a deletion does to an object in this state.
    fn plan_deletion(&self, object: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
        let asked = options.grace_period.map(at_least);
        let before = meta::deletion_grace_period_seconds(object).map(at_least).unwrap_or_default();
        let running = meta::deletion_timestamp(object).map(machinery::time::parse);
        match (running, self.strategy().grace_period(object, asked)) {
            // A deletion that goes on may only be shortened.
            (Some(deadline), Some(_)) if before > 0 => match asked.filter(|asked| *asked < before) {
                Some(asked) => {
                    let started = shift(deadline.unwrap_or(now), -before);
                    self.plan_end(object, options, shortened(started, asked, now))
                }
                None => Step::Unchanged,
            },
            (None, Some(grace)) => {
                let grace = at_least(grace);
                self.plan_end(object, options, (shift(now, grace), grace))
            }
            _ => self.plan_at_once(object, options, now),
        }
    }

    /// A kind with grace ends at a time, after so many seconds.
    fn plan_end(&self, object: &Value, options: &DeleteOptions, (at, grace): (Timestamp, i64)) -> Step {
        let mut marked = object.clone();
        if meta::deletion_timestamp(object).is_none() {
            bump_generation(&mut marked);
        }
        meta::set_deletion(&mut marked, &machinery::time::rfc3339(at), Some(grace));
        self.mark_finalizers(&mut marked, options);
        let held = !meta::finalizers(&marked).is_empty() || self.strategy().holds(&marked);
        if grace == 0 && !held { Step::MarkAndRemove(marked) } else { Step::Keep(marked) }
    }

    /// An object goes when nothing holds it.
    fn plan_at_once(&self, object: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
        let strategy = self.strategy();
        let mut marked = object.clone();
        self.mark_finalizers(&mut marked, options);
        if meta::finalizers(&marked).is_empty() && !strategy.holds(&marked) {
            return Step::Remove;
        }
        match meta::deletion_timestamp(object) {
            None => {
                meta::set_deletion(&mut marked, &machinery::time::rfc3339(now), Some(0));
                bump_generation(&mut marked);
                strategy.mark_deleting(&mut marked);
            }
            Some(at) if meta::deletion_grace_period_seconds(object).is_some() => {
                let past = machinery::time::parse(at).is_some_and(|at| at <= now);
                let at = if past { at.to_owned() } else { machinery::time::rfc3339(now) };
                meta::set_deletion(&mut marked, &at, Some(0));
            }
            Some(_) => {}
        }
        if marked == *object { Step::Unchanged } else { Step::Keep(marked) }
    }

    /// Sets the finalizers that the options ask for. Those that are the same in another order stay.
    fn mark_finalizers(&self, marked: &mut Value, options: &DeleteOptions) {
        let wanted = self.wanted_finalizers(marked, options);
        let have = meta::finalizers(marked);
        let within = |finalizer: &&str| wanted.iter().any(|wanted| wanted == finalizer);
        let same = have.iter().all(within) && wanted.iter().all(|wanted| have.contains(&wanted.as_str()));
        if !same {
            meta::set_finalizers(marked, &wanted);
        }
    }

    /// The finalizers that the options' propagation policy asks for.
    fn wanted_finalizers(&self, object: &Value, options: &DeleteOptions) -> Vec<String> {
        let have = meta::finalizers(object);
        let dependents = self.strategy().dependents();
        // Of both the first counts.
        let first = have.iter().find(|finalizer| matches!(**finalizer, ORPHAN | FOREGROUND)).copied();
        let orphan = options.orphans().unwrap_or(match first {
            Some(first) => first == ORPHAN,
            None => dependents == Dependents::Orphaned,
        });
        let foreground = match (&options.propagation, options.orphan) {
            (_, Some(_)) => false,
            (Some(policy), None) => policy == "Foreground",
            (None, None) => first == Some(FOREGROUND),
        };
        let mut finalizers: Vec<String> =
            have.iter().filter(|f| !matches!(**f, ORPHAN | FOREGROUND)).map(|f| (*f).to_owned()).collect();
        if dependents != Dependents::Ignored {
            finalizers.extend(orphan.then(|| ORPHAN.to_owned()));
            finalizers.extend(foreground.then(|| FOREGROUND.to_owned()));
        }
        finalizers
    }

    /// Deletes the selected objects of a collection, or of a page of it, and answers with them. The first failure ends it;
    /// what was deleted before stays deleted.
    pub async fn delete_collection(&self, body: &[u8]) -> Result<Answer, Status> {
        let list_options = ListOptions::parse(&self.request.query, false)?.limited();
        let selection = self.selection()?;
        let options = DeleteOptions::parse(self, body)?;
        options.check_collection()?;
        admission::delete(&self.context(Operation::Delete, "", options.dry_run), None).await?;
        let page = self.page(&list_options, &selection).await?;
        for entry in &page.entries {
            let below = entry.key.get(self.handle.storage.prefix.len()..).unwrap_or_default();
            let (namespace, name) = below.split_once('/').unwrap_or(("", below));
            match self.delete_object(namespace, name, &options).await {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        let warnings = self.strategy().delete_warnings(options.says_what_becomes());
        Ok(self.answer_page(&page)?.with_warnings(warnings))
    }
}

/// Negative seconds stand for one.
fn at_least(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

/// When a deletion ends that has fewer seconds now, and how many it has. It does not end in the past, and stays one with
/// grace when it was one: whoever ends the object has to see the change.
fn shortened(started: Timestamp, asked: i64, now: Timestamp) -> (Timestamp, i64) {
    let at = shift(started, asked);
    if at < now { (now, asked.min(1)) } else { (at, asked) }
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::Write;

    use super::super::own::own_request;
    use super::super::tests::harness::{Harness, pod};
    use super::*;

    const PODS: &str = "/api/v1/namespaces/default/pods";

    #[tokio::test]
    async fn others_may_remove_or_change_what_is_marked() {
        let h = Harness::start().await;
        for (removed, recreated) in [(false, false), (true, false), (true, true)] {
            let made = h.must(201, "POST", PODS, pod("p")).await;
            let request = own_request(&made).unwrap();
            let call = h.registry.own_call(&request).unwrap();
            let key = call.key();
            let marked = call.current(&key).await.unwrap().unwrap();
            h.patch("merge-patch+json", &format!("{PODS}/p"), json!({"metadata": {"labels": {"a": "b"}}}))
                .await;
            if removed {
                let gone = Write::Delete { key: key.clone(), expect: Expect::Any };
                call.store().write(gone).await.unwrap();
            }
            if recreated {
                h.must(201, "POST", PODS, pod("p")).await;
            }
            let outcome = call.remove_marked(&key, marked).await;
            let Ok(Outcome::Deleted(last)) = outcome else { panic!("it was not deleted") };
            assert_eq!(meta::uid(&last), meta::uid(&made));
            assert_eq!(call.current(&key).await.unwrap().is_some(), recreated, "only that pod was to go");
        }
    }
}
