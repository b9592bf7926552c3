//! RuntimeClass: the class that a pod names has to exist, and says what it costs and where it runs (upstream:
//! `plugin/pkg/admission/runtimeclass`).

use machinery::status::Status;
use machinery::text::go_quote;
use serde_json::Value;

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
        if !context.is("", "pods") || context.operation != Operation::Create {
            return Ok(());
        }
        let Some(class) = find(context, pod).await? else { return check_no_overhead(context, pod) };
        set_overhead(context, pod, &class)?;
        set_scheduling(context, pod, &class)
    }
}

async fn find(context: &AdmissionContext<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let name = pod.pointer("/spec/runtimeClassName").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let look = || context.registry.object_value("node.k8s.io", "runtimeclasses", "", name);
    if let Some(class) = look() {
        return Ok(Some(class));
    }
    context.registry.fresh().await?;
    let missing = || context.forbidden(format!("pod rejected: RuntimeClass {} not found", go_quote(name)));
    look().map(Some).ok_or_else(missing)
}

fn check_no_overhead(context: &AdmissionContext<'_>, pod: &Value) -> Result<(), Status> {
    match pod.pointer("/spec/overhead").and_then(Value::as_object) {
        Some(overhead) if !overhead.is_empty() => Err(context
            .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")),
        _ => Ok(()),
    }
}

fn set_overhead(context: &AdmissionContext<'_>, pod: &mut Value, class: &Value) -> Result<(), Status> {
    let Some(overhead) = class.pointer("/overhead/podFixed") else { return check_no_overhead(context, pod) };
    match pod.pointer("/spec/overhead") {
        Some(given) if !given.is_null() && given != overhead => {
            Err(context
                .forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
        }
        _ => {
            pod["spec"]["overhead"] = overhead.clone();
            Ok(())
        }
    }
}

fn set_scheduling(context: &AdmissionContext<'_>, pod: &mut Value, class: &Value) -> Result<(), Status> {
    for (key, value) in
        class.pointer("/scheduling/nodeSelector").and_then(Value::as_object).into_iter().flatten()
    {
        let pointer = format!("/spec/nodeSelector/{}", key.replace('~', "~0").replace('/', "~1"));
        if pod.pointer(&pointer).is_some_and(|have| have != value) {
            return Err(context.forbidden("conflict: runtimeClass nodeSelector conflicts with the pod's"));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    let wanted =
        class.pointer("/scheduling/tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(());
    }
    match pod.pointer_mut("/spec/tolerations").and_then(Value::as_array_mut) {
        Some(have) => {
            let missing: Vec<Value> =
                wanted.into_iter().filter(|toleration| !have.contains(toleration)).collect();
            have.extend(missing);
        }
        None => pod["spec"]["tolerations"] = wanted.into(),
    }
    Ok(())
}
