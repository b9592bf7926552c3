//! Priority: the name of a priority class becomes a number (upstream: `plugin/pkg/admission/priority`).

use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{AdmissionContext, Operation, Plugin};

const GROUP: &str = "scheduling.k8s.io";
const PLURAL: &str = "priorityclasses";

pub(super) struct Priority;

#[async_trait::async_trait]
impl Plugin for Priority {
    async fn mutate(
        &self,
        context: &AdmissionContext<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.is("", "pods") {
            return Ok(());
        }
        if context.operation == Operation::Update {
            // Both are made once; a client that leaves them out does not take them away.
            for field in ["priority", "preemptionPolicy"] {
                let pointer = format!("/spec/{field}");
                if let Some(made) = old.and_then(|old| old.pointer(&pointer))
                    && object.pointer(&pointer).is_none()
                {
                    object["spec"][field] = made.clone();
                }
            }
            return Ok(());
        }
        admit_pod(context, object).await
    }

    async fn validate(
        &self,
        context: &AdmissionContext<'_>,
        object: &Value,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        if !context.is(GROUP, PLURAL) || object.get("globalDefault").and_then(Value::as_bool) != Some(true) {
            return Ok(());
        }
        match default_class(context) {
            Some(class) if meta::name(&class) != meta::name(object) => Err(context.forbidden(format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                meta::name(&class)
            ))),
            _ => Ok(()),
        }
    }
}

async fn admit_pod(context: &AdmissionContext<'_>, pod: &mut Value) -> Result<(), Status> {
    let name = pod.pointer("/spec/priorityClassName").and_then(Value::as_str).unwrap_or_default().to_owned();
    let class = if name.is_empty() { default_class(context) } else { Some(class(context, &name).await?) };
    if let Some(class) = class.as_ref().filter(|_| name.is_empty()) {
        pod["spec"]["priorityClassName"] = meta::name(class).into();
    }
    let number = class.as_ref().and_then(|class| class.get("value")?.as_i64()).unwrap_or_default();
    let policy = class
        .as_ref()
        .and_then(|class| class.get("preemptionPolicy")?.as_str())
        .unwrap_or("PreemptLowerPriority");
    if let Some(given) =
        pod.pointer("/spec/priority").and_then(Value::as_i64).filter(|given| *given != number)
    {
        return Err(context.forbidden(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {number} \
             from the given PriorityClass name"
        )));
    }
    pod["spec"]["priority"] = number.into();
    match pod.pointer("/spec/preemptionPolicy").and_then(Value::as_str) {
        Some(given) if given != policy => Err(context.forbidden(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed \
             {policy} from the given PriorityClass name"
        ))),
        _ => {
            pod["spec"]["preemptionPolicy"] = policy.into();
            Ok(())
        }
    }
}

async fn class(context: &AdmissionContext<'_>, name: &str) -> Result<Value, Status> {
    if let Some(class) = context.registry.object_value(GROUP, PLURAL, "", name) {
        return Ok(class);
    }
    context.registry.fresh().await?;
    let class = context.registry.object_value(GROUP, PLURAL, "", name);
    class.ok_or_else(|| context.forbidden(format!("no PriorityClass with name {name} was found")))
}

fn default_class(context: &AdmissionContext<'_>) -> Option<Value> {
    let classes = context.registry.values(GROUP, PLURAL, "");
    let defaults =
        classes.into_iter().filter(|class| class.get("globalDefault").and_then(Value::as_bool) == Some(true));
    defaults.min_by_key(|class| class.get("value").and_then(Value::as_i64).unwrap_or_default())
}
