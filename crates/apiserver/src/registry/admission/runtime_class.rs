//! RuntimeClass: the class that a pod names has to exist, and says what it costs and where it runs (upstream:
//! `plugin/pkg/admission/runtimeclass`).

use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::{Map, Value};

use super::tolerations::merge;
use super::{AdmissionContext, Operation, Plugin};

pub(super) struct RuntimeClass;

#[async_trait::async_trait]
impl Plugin for RuntimeClass {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        pod: &mut Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !concerns(context) {
            return Ok(());
        }
        let Some(class) = find(context, pod).await? else { return Ok(()) };
        set_overhead(context, pod, &class)?;
        set_scheduling(context, pod, &class)
    }

    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        pod: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !concerns(context) {
            return Ok(());
        }
        let class = find(context, pod).await?;
        let given = pod.pointer("/spec/overhead");
        match class.as_ref().and_then(fixed) {
            Some(fixed) if given != Some(fixed) => Err(other_overhead(context)),
            None if given.is_some() => Err(context.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
            _ => Ok(()),
        }
    }
}

fn concerns(context: &AdmissionContext<'_>) -> bool {
    context.is("", "pods") && context.operation == Operation::Create
}

async fn find(context: &AdmissionContext<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let Some(name) = pod.pointer("/spec/runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    if name.is_empty() {
        // What upstream's client says when it is to get something without a name.
        return Err(Status::unknown("resource name may not be empty"));
    }
    let look = || context.registry.object_value("node.k8s.io", "runtimeclasses", "", name);
    if let Some(class) = look() {
        return Ok(Some(class));
    }
    context.registry.fresh().await?;
    let missing = || context.forbidden(format!("pod rejected: RuntimeClass {} not found", go_quote(name)));
    look().map(Some).ok_or_else(missing)
}

/// What a pod of the class costs.
fn fixed(class: &Value) -> Option<&Value> {
    class.pointer("/overhead/podFixed")
}

fn other_overhead(context: &AdmissionContext<'_>) -> Status {
    context.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

fn set_overhead(context: &AdmissionContext<'_>, pod: &mut Value, class: &Value) -> Result<(), Status> {
    let Some(fixed) = fixed(class) else { return Ok(()) };
    let given = pod.pointer("/spec/overhead").and_then(Value::as_object);
    if given.is_some_and(|given| !given.is_empty() && Some(given) != fixed.as_object()) {
        return Err(other_overhead(context));
    }
    pod["spec"]["overhead"] = fixed.clone();
    Ok(())
}

fn set_scheduling(context: &AdmissionContext<'_>, pod: &mut Value, class: &Value) -> Result<(), Status> {
    let labels = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        choose_nodes(context, pod, labels)?;
    }
    let wanted = class.pointer("/scheduling/tolerations").and_then(Value::as_array);
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
        let given = pod.pointer("/spec/tolerations").and_then(Value::as_array);
        pod["spec"]["tolerations"] = merge(given.map_or(&[], Vec::as_slice), wanted).into();
    }
    Ok(())
}

/// The nodes of the class, in addition to what the pod says of them.
fn choose_nodes(
    context: &AdmissionContext<'_>,
    pod: &mut Value,
    labels: &Map<String, Value>,
) -> Result<(), Status> {
    for (key, value) in labels {
        let given = pod.pointer("/spec/nodeSelector").and_then(|selector| selector.get(key));
        if let Some(given) = given.filter(|given| *given != value) {
            let [value, given] = [value, given].map(|text| text.as_str().unwrap_or_default());
            return Err(context.forbidden(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}"
            )));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    Ok(())
}
