//! `pods/eviction`: a deletion that respects PodDisruptionBudgets (upstream: `pkg/registry/core/pod/storage/eviction.go`).

use machinery::meta;
use machinery::schema::Schema;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use serde_json::{Value, json};

use super::answer;
use super::body::Expected;
use super::call::Call;
use super::delete_options::DeleteOptions;
use super::options::WriteOptions;
use super::seam::Answer;

/// Pods that a budget remembers as being disrupted at most.
const DISRUPTED_MAX: usize = 2000;
const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

impl Call<'_> {
    /// Evicts a pod, when its disruption budget allows.
    pub async fn post_eviction(&self, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&self.request.query, "CreateOptions")?;
        let expected = Expected {
            group: "policy",
            version: "v1",
            kind: "Eviction",
            type_id: Schema::builtin().kind("policy", "v1", "Eviction"),
        };
        let eviction = self.decode_as(body, expected, options.field_validation)?.object;
        if !meta::name(&eviction).is_empty() && meta::name(&eviction) != self.name() {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let mut delete = DeleteOptions::from_value(eviction.get("deleteOptions").unwrap_or(&Value::Null));
        delete.dry_run |= options.dry_run;
        let pod = answer::parse(&self.existing(&self.key(), self.name()).await?.bytes)?;
        if !ignores_budget(&pod) {
            self.spend_budget(&pod, delete.dry_run).await?;
        }
        self.delete_object(self.namespace(), self.name(), &delete).await?;
        Ok(Answer::with_code(201, answer::to_bytes(&Status::success(None).to_json())))
    }

    /// Takes one disruption from the pod's budget.
    async fn spend_budget(&self, pod: &Value, dry_run: bool) -> Result<(), Status> {
        let Some(handle) = self.registry.resource("policy", "poddisruptionbudgets") else { return Ok(()) };
        self.registry.fresh().await?;
        let budgets = self.registry.values("policy", "poddisruptionbudgets", self.namespace());
        let mut matching = budgets.iter().filter(|budget| selects(budget, pod));
        let Some(budget) = matching.next() else { return Ok(()) };
        if matching.next().is_some() {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, "InternalError", message));
        }
        if !is_ready(pod) && allows_unhealthy(budget) {
            return Ok(());
        }
        let name = meta::name(budget).to_owned();
        let pod_name = self.name().to_owned();
        let mut spend = |budget: &mut Value| spend(budget, &pod_name);
        self.registry.rewrite(&handle, self.namespace(), &name, dry_run, &mut spend).await?;
        Ok(())
    }
}

/// Pods that are over, or have not begun, disturb nobody.
fn ignores_budget(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || meta::deletion_timestamp(pod).is_some()
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let selector = budget.pointer("/spec/selector").unwrap_or(&Value::Null);
    LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches_map(meta::labels(pod)))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A pod that is not ready may go when the budget says so, or when it is healthy without the pod.
fn allows_unhealthy(budget: &Value) -> bool {
    if budget.pointer("/spec/unhealthyPodEvictionPolicy").and_then(Value::as_str) == Some("AlwaysAllow") {
        return true;
    }
    let desired = number(budget, "desiredHealthy");
    desired > 0 && number(budget, "currentHealthy") >= desired
}

fn number(budget: &Value, key: &str) -> i64 {
    budget.pointer(&format!("/status/{key}")).and_then(Value::as_i64).unwrap_or_default()
}

fn spend(budget: &mut Value, pod: &str) -> Result<(), Status> {
    let name = meta::name(budget).to_owned();
    let refuse =
        |cause: String| Err(Status::too_many_requests(VIOLATED, 0).with_cause("DisruptionBudget", cause, ""));
    if number(budget, "observedGeneration") < meta::generation(budget) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Status::too_many_requests(VIOLATED, 10).with_cause("DisruptionBudget", cause, ""));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(
            "policy",
            "poddisruptionbudgets",
            &name,
            "pdb disruptions allowed is negative",
        ));
    }
    let disrupted =
        budget.pointer("/status/disruptedPods").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    if disrupted > DISRUPTED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden("policy", "poddisruptionbudgets", &name, why));
    }
    if allowed == 0 {
        let (desired, current) = (number(budget, "desiredHealthy"), number(budget, "currentHealthy"));
        return refuse(format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        ));
    }
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    let now = machinery::time::rfc3339(jiff::Timestamp::now());
    match status.get_mut("disruptedPods").and_then(Value::as_object_mut) {
        Some(pods) => {
            pods.insert(pod.to_owned(), now.into());
        }
        None => status["disruptedPods"] = json!({ pod: now }),
    }
    Ok(())
}
