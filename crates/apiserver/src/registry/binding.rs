//! `pods/binding` and `bindings`: a pod gets its node (upstream: `pkg/registry/core/pod/storage` BindingREST).

use machinery::field::{Errors, FieldError, Path, aggregate};
use machinery::meta;
use machinery::schema::Schema;
use machinery::status::Status;
use serde_json::{Value, json};
use store::{Entry, Expect};

use super::Registry;
use super::admission::{self, AdmissionContext, Operation};
use super::answer;
use super::body::{Body, Expected};
use super::call::{self, Call, Refused, draft};
use super::handle::ResourceHandle;
use super::options::WriteOptions;
use super::seam::Answer;

/// How often an edit is tried again when others change the object meanwhile.
const RETRIES: usize = 100;

impl Call<'_> {
    /// Assigns a pod to a node.
    pub async fn post_binding(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&self.request.query, "CreateOptions")?;
        let expected = Expected {
            group: "",
            version: "v1",
            kind: "Binding",
            type_id: Schema::builtin().kind("", "v1", "Binding"),
        };
        let Body { object, warnings } = self.decode_as(body, expected, options.field_validation)?;
        match self.bind(object, &options).await {
            Ok(()) => Ok(Answer::done().with_warnings(warnings)),
            Err(status) => Err(status.with_warnings(warnings)),
        }
    }

    async fn bind(&self, mut binding: Value, options: &WriteOptions) -> Result<(), Status> {
        if self.name().is_empty() {
            // Upstream clears what only the server says, but for the subresource.
            meta::remove(&mut binding, "uid");
        }
        self.check_namespace(&mut binding)?;
        let name = if self.name().is_empty() { meta::name(&binding) } else { self.name() }.to_owned();
        if name.is_empty() {
            return Err(Status::bad_request("Name parameter required."));
        }
        let context = AdmissionContext {
            subresource: "binding",
            ..self.context(Operation::Create, &name, options.dry_run)
        };
        admission::mutate(&context, &mut binding, None).await?;
        if meta::name(&binding) != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let errors = validate(&binding);
        if !errors.is_empty() {
            return Err(Status::unknown(aggregate(&errors)));
        }
        admission::validate(&context, &binding, None).await?;
        let mut assign = |pod: &mut Value| assign(pod, &binding);
        self.registry.rewrite(&self.handle, self.namespace(), &name, options.dry_run, &mut assign).await?;
        Ok(())
    }
}

fn validate(binding: &Value) -> Errors {
    let path = Path::new("target");
    let target =
        |key: &str| binding.pointer(&format!("/target/{key}")).and_then(Value::as_str).unwrap_or_default();
    let mut errors = Errors::new();
    if !matches!(target("kind"), "" | "Node") {
        errors.push(FieldError::not_supported(&path.child("kind"), target("kind"), &["Node", "<empty>"]));
    }
    if target("name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    errors
}

fn assign(pod: &mut Value, binding: &Value) -> Result<(), Status> {
    let name = meta::name(pod).to_owned();
    let refuse = |why: String| Err(Status::conflict("", "pods/binding", &name, why));
    for (what, wanted, have) in [
        ("UID", meta::uid(binding), meta::uid(pod)),
        ("ResourceVersion", meta::resource_version(binding), meta::resource_version(pod)),
    ] {
        if !wanted.is_empty() && wanted != have {
            return refuse(format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}"
            ));
        }
    }
    if meta::deletion_timestamp(pod).is_some() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if !assigned.is_empty() {
        return refuse(format!(
            "pod {name} is already assigned to node {}",
            machinery::text::go_quote(assigned)
        ));
    }
    if pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = binding.pointer("/target/name").cloned().unwrap_or_default();
    for (key, value) in meta::annotations(binding).into_iter().flatten() {
        meta::set_annotation(pod, key, value.as_str().unwrap_or_default());
    }
    for (key, value) in meta::labels(binding).into_iter().flatten() {
        meta::set_label(pod, key, value.as_str().unwrap_or_default());
    }
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        // It has a node and is promised none any more.
        status.remove("nominatedNodeName");
    }
    set_condition(pod, "PodScheduled", "", "");
    Ok(())
}

/// Makes a pod's condition true, from now on when it was not (upstream `podutil.UpdatePodCondition`).
pub(super) fn set_condition(pod: &mut Value, kind: &str, reason: &str, message: &str) {
    let now = machinery::time::rfc3339(jiff::Timestamp::now());
    let mut condition =
        json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    for (field, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            condition[field] = text.into();
        }
    }
    let status = &mut pod["status"];
    let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) else {
        status["conditions"] = json!([condition]);
        return;
    };
    match conditions.iter_mut().find(|have| have["type"] == kind) {
        Some(have) => {
            if have["status"] == "True" {
                condition["lastTransitionTime"] = have["lastTransitionTime"].take();
            }
            *have = condition;
        }
        None => conditions.push(condition),
    }
}

impl Registry {
    /// Edits a stored object without the checks of an update: for what the server itself changes.
    ///
    /// # Errors
    /// 404, whatever `edit` says, and the store's refusals.
    pub(super) async fn rewrite(
        &self,
        handle: &ResourceHandle,
        namespace: &str,
        name: &str,
        dry_run: bool,
        edit: &mut (dyn FnMut(&mut Value) -> Result<(), Status> + Send),
    ) -> Result<Entry, Status> {
        let key = handle.key(namespace, name);
        let found = self.store.get(&key).await.map_err(|error| call::read_error(&error))?;
        let mut entry = found.ok_or_else(|| handle.not_found(name))?;
        for _ in 0..RETRIES {
            let mut object = answer::parse(&entry.bytes)?;
            edit(&mut object)?;
            if dry_run || draft(&object)? == entry.draft() {
                return Ok(entry);
            }
            match call::put(self.store.as_ref(), &key, Expect::Revision(entry.revision), &object).await {
                Ok(written) => return Ok(written),
                Err(Refused::Conflict(Some(current))) => entry = current,
                Err(Refused::Conflict(None)) => return Err(handle.not_found(name)),
                Err(Refused::Status(status)) => return Err(status),
            }
        }
        Err(handle.conflict(name, machinery::status::OPTIMISTIC_LOCK))
    }
}
