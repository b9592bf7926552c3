//! The Lease by which a server is seen (upstream `pkg/controlplane/apiserver/server.go`, `apiserverleasegc`).

use jiff::{SignedDuration, Timestamp};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::Registry;
use super::super::steps::Step;

const GROUP: &str = "coordination.k8s.io";
const NAMESPACE: &str = "kube-system";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const KIND: &str = "kube-apiserver";
/// How long a Lease says that it holds.
const SECONDS: i64 = 3600;
/// How often those of servers that are gone are removed.
const SWEEP: SignedDuration = SignedDuration::from_hours(1);

/// This server, as it shows itself.
pub(crate) struct Identity {
    name: String,
    host: String,
    holder: String,
    swept: Option<Timestamp>,
}

impl Identity {
    pub fn new(config: &crate::Config) -> Self {
        let (host, address) = (config.hostname.clone(), config.advertise.to_string());
        let name = name(&[&host, KIND, &address]);
        let holder = format!("{name}_{}", crate::flow::new_uuid());
        Self { name, host, holder, swept: None }
    }

    /// Renews the Lease, and from time to time removes those that have run out.
    pub async fn renew(&mut self, registry: &Registry, now: Timestamp) -> Result<(), Status> {
        let lease = self.lease(now);
        let renewed = |old: &Value| {
            let mut new = old.clone();
            new["metadata"]["labels"] = lease["metadata"]["labels"].clone();
            new["spec"] = lease["spec"].clone();
            (new != *old).then_some(new)
        };
        registry.settle(lease.clone(), "", &renewed).await?;
        registry.steps().done(Step::IdentityLease);
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            sweep(registry, now).await?;
            registry.steps().done(Step::IdentitySweep);
        }
        Ok(())
    }

    fn lease(&self, now: Timestamp) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.name, "namespace": NAMESPACE,
                "labels": {LABEL: KIND, "kubernetes.io/hostname": self.host},
            },
            "spec": {
                "holderIdentity": self.holder, "leaseDurationSeconds": SECONDS,
                "renewTime": machinery::time::micro(now),
            },
        })
    }
}

async fn sweep(registry: &Registry, now: Timestamp) -> Result<(), Status> {
    for lease in registry.values(GROUP, "leases", NAMESPACE) {
        if meta::label(&lease, LABEL) == Some(KIND) && has_run_out(&lease, now) {
            registry.delete(&lease).await?;
        }
    }
    Ok(())
}

/// Whether a Lease no longer holds; one that does not say how long never did.
fn has_run_out(lease: &Value, now: Timestamp) -> bool {
    let renewed = lease["spec"]["renewTime"].as_str().and_then(machinery::time::parse);
    let seconds = lease["spec"]["leaseDurationSeconds"].as_i64();
    match (renewed, seconds) {
        (Some(renewed), Some(seconds)) => now.duration_since(renewed) > SignedDuration::from_secs(seconds),
        _ => true,
    }
}

/// A name made of what tells servers apart. Upstream's has no address, as no two of them share a machine.
fn name(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// RFC 4648 in lower case and without padding.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)).collect();
    let digit = |five: &[u8]| {
        let value = five
            .iter()
            .chain([0; 4].iter())
            .take(5)
            .fold(0_usize, |value, bit| value * 2 + usize::from(*bit));
        char::from(DIGITS[value])
    };
    bits.chunks(5).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_upstreams() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
        assert_eq!(base32(b"fo"), "mzxq");
        assert_eq!(name(&["host", KIND]).len(), "apiserver-".len() + 26);
        assert_ne!(name(&["host", KIND, "10.0.0.1:6443"]), name(&["host", KIND, "10.0.0.1:6444"]));
    }

    #[test]
    fn a_lease_runs_out() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let lease = |ago: i64, seconds: Value| {
            let renewed = machinery::time::micro(now - SignedDuration::from_secs(ago));
            json!({"spec": {"renewTime": renewed, "leaseDurationSeconds": seconds}})
        };
        assert!(!has_run_out(&lease(3599, json!(3600)), now));
        assert!(has_run_out(&lease(3601, json!(3600)), now));
        assert!(has_run_out(&lease(0, Value::Null), now));
        assert!(has_run_out(&json!({}), now));
    }
}
