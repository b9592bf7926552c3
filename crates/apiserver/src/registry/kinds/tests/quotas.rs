//! Limit ranges and resource quotas: what is refused.

use serde_json::{Value, json};

use super::tables::{refused, updates};

const QUOTAS: (&str, &str) = ("", "resourcequotas");

#[test]
fn limits_are_in_order() {
    let with = |limit: Value| json!({"metadata": {"name": "l"}, "spec": {"limits": [limit]}});
    refused(
        ("", "limitranges"),
        vec![
            (
                with(json!({"type": "X"})),
                &[
                    "spec.limits[0].type: Invalid value: \"X\": must be a standard limit type or fully qualified",
                ],
            ),
            (
                with(json!({"type": "Pod", "max": {"storage": "1"}})),
                &[
                    "spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
                ],
            ),
            (
                with(json!({"type": "Pod", "default": {"cpu": "1"}})),
                &["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
            ),
            (
                with(json!({"type": "PersistentVolumeClaim"})),
                &[
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
                ],
            ),
            (
                with(json!({"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}})),
                &["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
            ),
            (
                with(json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}})),
                &[
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
                ],
            ),
            (
                with(
                    json!({"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}),
                ),
                &[
                    "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
                ],
            ),
            (
                with(
                    json!({"type": "Container", "default": {"a.b/gpu": "2"}, "defaultRequest": {"a.b/gpu": "1"}}),
                ),
                &[
                    "spec.limits[0].defaultRequest[a.b/gpu]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in a.b/gpu",
                ],
            ),
        ],
    );
}

#[test]
fn quotas_are_of_what_there_is() {
    let with = |spec: Value| json!({"metadata": {"name": "q"}, "spec": spec});
    let selector = |expression: Value| with(json!({"scopeSelector": {"matchExpressions": [expression]}}));
    refused(
        QUOTAS,
        vec![
            (
                with(json!({"hard": {"bananas": "1"}})),
                &[
                    "spec.hard[bananas]: Invalid value: \"bananas\": must be a standard resource type or fully qualified",
                    "spec.hard[bananas]: Invalid value: \"bananas\": must be a standard resource for quota",
                ],
            ),
            (
                with(json!({"hard": {"pods": "1.5"}})),
                &["spec.hard[pods]: Invalid value: \"1500m\": must be an integer"],
            ),
            (
                with(json!({"hard": {"secrets": "1"}, "scopes": ["BestEffort"]})),
                &["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"],
            ),
            (with(json!({"scopes": ["X"]})), &["spec.scopes: Invalid value: [\"X\"]: unsupported scope"]),
            (
                with(json!({"scopes": ["Terminating", "NotTerminating"]})),
                &["spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes"],
            ),
            (
                selector(json!({"scopeName": "PriorityClass", "operator": "In"})),
                &[
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                ],
            ),
            (
                selector(json!({"scopeName": "PriorityClass", "operator": "X"})),
                &[
                    "spec.scopeSelector.matchExpressions.operator: Invalid value: \"X\": not a valid selector operator",
                ],
            ),
            (
                selector(json!({"scopeName": "BestEffort", "operator": "DoesNotExist"})),
                &[
                    "spec.scopeSelector.matchExpressions.operator: Invalid value: \"DoesNotExist\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
                ],
            ),
        ],
    );
    let scoped = with(json!({"scopes": ["BestEffort", "NotTerminating"]}));
    updates(
        QUOTAS,
        "",
        vec![
            (scoped.clone(), json!({"spec": {"scopes": ["NotTerminating", "BestEffort"]}}), &[]),
            (
                scoped,
                json!({"spec": {"scopes": ["BestEffort"]}}),
                &["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"],
            ),
        ],
    );
    updates(
        QUOTAS,
        "status",
        vec![(
            with(json!({})),
            json!({"status": {"used": {"pods": "-1"}}}),
            &["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
        )],
    );
}
