//! `pods/eviction`: a deletion that respects PodDisruptionBudgets (upstream: `pkg/registry/core/pod/storage/eviction.go`).

use machinery::meta;
use machinery::schema::Schema;
use machinery::status::{OPTIMISTIC_LOCK, Status};
use serde_json::Value;
use store::Entry;

use super::admission::{self, Operation};
use super::answer;
use super::binding::set_condition;
use super::body::{Body, Expected};
use super::budget;
use super::call::Call;
use super::delete_options::DeleteOptions;
use super::options::WriteOptions;
use super::seam::Answer;

/// How often the deletion of a pod that no budget guards is tried again when others change the pod meanwhile.
const RETRIES: usize = 20;

impl Call<'_> {
    /// Evicts a pod, when its disruption budget allows.
    pub async fn post_eviction(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&self.request.query, "CreateOptions")?;
        let versions = ["v1", "v1beta1"].map(expected);
        let Body { object, warnings } = self.decode_either(body, &versions, options.field_validation)?;
        match self.ask_to_evict(object, &options).await {
            Ok(()) => Ok(Answer::done().with_warnings(warnings)),
            Err(status) => Err(status.with_warnings(warnings)),
        }
    }

    async fn ask_to_evict(&self, mut eviction: Value, options: &WriteOptions) -> Result<(), Status> {
        self.check_namespace(&mut eviction)?;
        let context = self.context(Operation::Create, self.name(), options.dry_run);
        admission::mutate(&context, &mut eviction, None).await?;
        if meta::name(&eviction) != self.name() {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut delete = DeleteOptions::from_value(eviction.get("deleteOptions").unwrap_or(&Value::Null));
        delete.dry_run |= options.dry_run;
        admission::validate(&context, &eviction, None).await?;
        self.evict(&delete).await
    }

    async fn evict(&self, options: &DeleteOptions) -> Result<(), Status> {
        let mut refused = self.handle.conflict(self.name(), OPTIMISTIC_LOCK);
        for _ in 0..RETRIES {
            let pod = answer::parse(&self.existing(&self.key(), self.name()).await?.bytes)?;
            if !ignores_budget(&pod) {
                return self.evict_guarded(&pod, options).await;
            }
            match self.evict_freely(&pod, options).await {
                Err(status) if is_conflict(&status) && options.resource_version.is_none() => refused = status,
                done => return done,
            }
        }
        Err(refused)
    }

    /// Deletes a pod that no budget guards. One that has not begun must not become ready meanwhile.
    async fn evict_freely(&self, pod: &Value, options: &DeleteOptions) -> Result<(), Status> {
        let mut options = options.clone();
        if may_begin(pod) && options.resource_version.is_none() {
            options.resource_version = Some(meta::resource_version(pod).to_owned());
        }
        self.mark_and_delete(options).await
    }

    /// Deletes a pod that a budget may guard. One that may go because it is not ready must not become ready meanwhile.
    async fn evict_guarded(&self, pod: &Value, options: &DeleteOptions) -> Result<(), Status> {
        let mut options = options.clone();
        let named_version = options.resource_version.is_some();
        let unready = self.spend_budget(pod, options.dry_run).await?;
        if unready.is_some() {
            options.resource_version = Some(meta::resource_version(pod).to_owned());
        }
        match (self.mark_and_delete(options).await, unready) {
            (Err(status), Some(budget)) if is_conflict(&status) && !named_version => {
                Err(budget::still_processed(&budget))
            }
            (done, _) => done,
        }
    }

    /// Takes one disruption from the pod's budget. When the pod may go because it is not ready, the budget stays as it is
    /// and its name is answered.
    async fn spend_budget(&self, pod: &Value, dry_run: bool) -> Result<Option<String>, Status> {
        let Some(handle) = self.registry.resource("policy", "poddisruptionbudgets") else { return Ok(None) };
        self.registry.fresh().await?;
        let budgets = self.registry.values("policy", "poddisruptionbudgets", self.namespace());
        let mut matching = budgets.iter().filter(|budget| budget::selects(budget, pod));
        let Some(budget) = matching.next() else { return Ok(None) };
        if matching.next().is_some() {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::unknown(message));
        }
        let name = meta::name(budget);
        if !is_ready(pod) && budget::allows_unready(budget) {
            return Ok(Some(name.to_owned()));
        }
        let mut spend = |budget: &mut Value| budget::spend(budget, self.name());
        self.registry.rewrite(&handle, self.namespace(), name, dry_run, &mut spend).await?;
        Ok(None)
    }

    /// Says in the pod's status why it ends, and deletes it.
    async fn mark_and_delete(&self, mut options: DeleteOptions) -> Result<(), Status> {
        options.check()?;
        if !options.dry_run {
            let marked = self.mark_evicted(&options).await?;
            if options.resource_version.is_some() {
                options.resource_version = Some(marked.revision.to_string());
            }
        }
        // The eviction was admitted; its deletion is not asked about again.
        self.delete_admitted(self.namespace(), self.name(), &options).await.map(drop)
    }

    async fn mark_evicted(&self, options: &DeleteOptions) -> Result<Entry, Status> {
        let mut mark = |pod: &mut Value| {
            self.check_preconditions(pod, options)?;
            let (reason, message) = ("EvictionByEvictionAPI", "Eviction API: evicting");
            set_condition(pod, "DisruptionTarget", reason, message);
            Ok(())
        };
        self.registry.rewrite(&self.handle, self.namespace(), self.name(), false, &mut mark).await
    }
}

/// Clients that know `policy/v1beta1` only are still understood.
fn expected(version: &'static str) -> Expected<'static> {
    let type_id = Schema::builtin().kind("policy", "v1", "Eviction");
    Expected { group: "policy", version, kind: "Eviction", type_id }
}

fn is_conflict(status: &Status) -> bool {
    status.reason == "Conflict"
}

/// Pods that are over, or have not begun, disturb nobody.
fn ignores_budget(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed" | "Pending") || meta::deletion_timestamp(pod).is_some()
}

fn may_begin(pod: &Value) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && meta::deletion_timestamp(pod).is_none()
}

fn phase(pod: &Value) -> &str {
    pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}
