//! Services: what is refused of new and changed ones, and what they let go of.

use serde_json::{Value, json};

use super::tables::{made, merge, refused, updates, warned};
use crate::registry::kinds::strategy;

const SERVICES: (&str, &str) = ("", "services");

fn service(spec: &Value) -> Value {
    let mut service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    merge(&mut service["spec"], spec);
    service
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn new_services_are_refused() {
    let mut hinted = service(&json!({}));
    hinted["metadata"]["annotations"] = json!({
        "service.kubernetes.io/topology-mode": "a", "service.kubernetes.io/topology-aware-hints": "b"});
    refused(
        SERVICES,
        vec![
            (service(&json!({})), &[]),
            (service(&json!({"ports": []})), &["spec.ports: Required value"]),
            (
                hinted,
                &[
                    "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"a\": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified",
                ],
            ),
            (
                service(&json!({"type": "NodePort", "clusterIP": "None"})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
                ],
            ),
            (
                service(&json!({"type": "ExternalName", "externalName": "a.", "clusterIP": "10.0.0.1"})),
                &["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
            ),
            (
                service(&json!({"clusterIPs": ["10.0.0.1"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified",
                ],
            ),
            (
                service(&json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]})),
                &["spec.clusterIPs: Invalid value: [\"10.0.0.2\"]: first value must match `clusterIP`"],
            ),
            (
                service(&json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family",
                ],
            ),
            (
                service(&json!({"clusterIP": "10.0.0.1", "ipFamilies": ["IPv6"]})),
                &[
                    "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`",
                ],
            ),
            (
                service(&json!({"ipFamilies": ["IPv4", "IPv4"]})),
                &["spec.ipFamilies[1]: Duplicate value: \"IPv4\""],
            ),
            (
                service(&json!({"clusterIP": "None", "clusterIPs": ["None", "::1"]})),
                &[
                    "spec.clusterIPs: Invalid value: [\"None\",\"::1\"]: 'None' must be the first and only value",
                ],
            ),
            (
                service(&json!({"externalIPs": ["0.0.0.0"]})),
                &["spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)"],
            ),
            (
                service(&json!({"loadBalancerSourceRanges": ["10.0.0.1/8"]})),
                &[
                    "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                    "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
                ],
            ),
            (
                service(&json!({"loadBalancerClass": "a.b/c"})),
                &["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
            ),
            (
                service(&json!({"externalTrafficPolicy": "Local"})),
                &[
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (
                service(&json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"})),
                &["spec.healthCheckNodePort: Required value"],
            ),
            (
                service(&json!({"healthCheckNodePort": 30000})),
                &[
                    "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
                ],
            ),
            (
                service(&json!({"trafficDistribution": "X"})),
                &[
                    "spec.trafficDistribution: Unsupported value: \"X\": supported values: \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
                ],
            ),
            (
                service(&json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]})),
                &[
                    "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
                ],
            ),
            (
                service(&json!({"ports": [{"port": 80, "nodePort": 30000}]})),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (
                service(
                    &json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
                ),
                &[
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
                ],
            ),
        ],
    );
}

#[test]
fn changed_services_are_refused() {
    let given = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"]});
    let balancer = |spec: Value| {
        let mut all = json!({"type": "LoadBalancer"});
        merge(&mut all, &spec);
        service(&all)
    };
    let local = json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30000});
    updates(
        SERVICES,
        "",
        vec![
            (
                service(&given),
                json!({"spec": {"clusterIP": "10.0.0.2"}}),
                &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
            ),
            (service(&given), json!({"spec": {"clusterIP": null, "clusterIPs": null}}), &[]),
            (
                service(&given),
                json!({"spec": {"ipFamilies": ["IPv6"]}}),
                &[
                    "spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set",
                    "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value",
                ],
            ),
            (service(&given), json!({"spec": {"type": "ExternalName", "externalName": "a"}}), &[]),
            (
                balancer(json!({"loadBalancerClass": "a/b"})),
                json!({"spec": {"loadBalancerClass": "a/c"}}),
                &["spec.loadBalancerClass: Invalid value: \"a/c\": may not change once set"],
            ),
            (balancer(json!({"loadBalancerClass": "a/b"})), json!({"spec": {"type": "ClusterIP"}}), &[]),
            (
                balancer(local.clone()),
                json!({"spec": {"healthCheckNodePort": 30001}}),
                &["spec.healthCheckNodePort: Forbidden: field is immutable"],
            ),
            (balancer(local.clone()), json!({"spec": {"healthCheckNodePort": null}}), &[]),
            (balancer(local), json!({"spec": {"type": "NodePort"}}), &[]),
        ],
    );
    let status = |ingress: Value| json!({"status": {"loadBalancer": {"ingress": [ingress]}}});
    updates(
        SERVICES,
        "status",
        vec![
            (balancer(json!({})), status(json!({"ip": "10.0.0.1"})), &[]),
            (
                balancer(json!({})),
                status(json!({"ip": "x"})),
                &["status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address"],
            ),
            (
                balancer(json!({})),
                status(json!({"hostname": "10.0.0.1"})),
                &[
                    "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
                ],
            ),
            (
                balancer(json!({})),
                status(json!({"hostname": "a", "ipMode": "VIP"})),
                &[
                    "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
                ],
            ),
            (
                service(&json!({})),
                status(json!({"ip": "10.0.0.1"})),
                &[
                    "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
                ],
            ),
        ],
    );
}

#[test]
fn changed_services_keep_and_let_go() {
    let strategy = strategy(SERVICES.0, SERVICES.1);
    let old = made(
        SERVICES,
        service(&json!({"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [
        {"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 81, "nodePort": 30081}]})),
    );
    for (patch, pointer, expected) in [
        (json!({"ports": [{"name": "b", "port": 82}]}), "/spec/ports/0/nodePort", json!(30081)),
        (json!({"clusterIP": null, "clusterIPs": null}), "/spec/clusterIPs", json!(["10.0.0.1"])),
        (json!({"type": "ClusterIP"}), "/spec/ports/0/nodePort", json!(null)),
        (json!({"type": "ClusterIP"}), "/spec/externalTrafficPolicy", json!(null)),
        (json!({"type": "ExternalName", "externalName": "a"}), "/spec/clusterIP", json!(null)),
    ] {
        let mut new = old.clone();
        merge(&mut new["spec"], &patch);
        strategy.default(&mut new);
        strategy.prepare_for_update(&mut new, &old);
        assert_eq!(new.pointer(pointer).cloned().unwrap_or_default(), expected, "{patch}");
    }
}

#[test]
fn odd_services_are_warned_of() {
    warned(
        SERVICES,
        vec![
            (service(&json!({})), &[]),
            (
                service(&json!({"clusterIP": "None", "sessionAffinity": "ClientIP"})),
                &["spec.SessionAffinity is ignored for headless services"],
            ),
            (
                service(&json!({"externalIPs": ["FD00::1"], "loadBalancerSourceRanges": ["10.0.0.1/8"],
                    "loadBalancerIP": "010.0.0.1", "trafficDistribution": "PreferClose"})),
                &[
                    "spec.externalIPs[0]: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                    "spec.loadBalancerIP: non-standard IP address \"010.0.0.1\" is invalid: use \"10.0.0.1\"",
                    "spec.loadBalancerSourceRanges[0]: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
                    "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
                ],
            ),
            (
                service(&json!({"externalName": "a"})),
                &["spec.externalName is ignored when spec.type is not \"ExternalName\""],
            ),
        ],
    );
}
