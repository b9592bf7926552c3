//! Each node port of a Service is taken, and each that is taken is a Service's.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use machinery::status::Status;
use serde_json::Value;

use super::super::super::{Registry, record};
use super::super::ports::held;
use super::{Finding, Fix};

const REPORTER: &str = "portallocator-repair-controller";
/// A port without a Service may be one that is just being taken: it has to be found so often before it is free.
const ROUNDS: u8 = 3;

/// Ports without a Service, and in how many more rounds they have to be found.
pub(super) type Leaks = HashMap<u16, u8>;

/// Makes what is taken what Services have.
pub(super) async fn check(registry: &Registry, leaks: &mut Leaks) -> Result<Vec<Finding>, Status> {
    // Services that come and go meanwhile are those of the next round: until then their ports are neither given nor freed.
    let services = registry.values("", "services", "");
    let numbers = &registry.allocators().numbers;
    let compare = |taken: &mut BTreeSet<u16>| {
        let mut leaks = leaks.clone();
        let (rebuilt, findings) = rebuild(&services, taken, &numbers.range, &mut leaks);
        *taken = rebuilt;
        Ok((leaks, findings))
    };
    let (left, findings) = numbers.update(registry.store.as_ref(), compare).await?;
    *leaks = left;
    Ok(findings)
}

fn rebuild(
    services: &[Value],
    taken: &BTreeSet<u16>,
    range: &RangeInclusive<u16>,
    leaks: &mut Leaks,
) -> (BTreeSet<u16>, Vec<Finding>) {
    let mut rebuilt = BTreeSet::new();
    let mut findings = Vec::new();
    for service in services {
        for port in held(service) {
            let (reason, note) = if !range.contains(&port) {
                let bounds = format!("{}-{}", range.start(), range.end());
                let note =
                    format!("Port {port} is not within the port range {bounds}; please recreate service");
                ("PortOutOfRange", note)
            } else if !rebuilt.insert(port) {
                let note = format!("Port {port} was assigned to multiple services; please recreate service");
                ("PortAlreadyAllocated", note)
            } else if !taken.contains(&port) {
                ("PortNotAllocated", format!("Port {port} is not allocated; repairing"))
            } else {
                continue;
            };
            let about = service.clone();
            let event = record::Warning { reporter: REPORTER, about, reason, action: None, note };
            findings.push(Finding { event: Some(event), fix: Fix::Nothing });
        }
    }
    let leaked: BTreeSet<u16> = taken.difference(&rebuilt).copied().collect();
    leaks.retain(|port, _| leaked.contains(port));
    for port in leaked {
        let rounds = leaks.entry(port).or_insert(ROUNDS);
        if *rounds > 0 {
            *rounds -= 1;
            rebuilt.insert(port);
        }
    }
    (rebuilt, findings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(ports: &[u16]) -> Value {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"nodePort": port})).collect();
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}})
    }

    #[test]
    fn ports_are_written_down_and_told_about() {
        let services = [service(&[30_000, 30_001]), service(&[30_001, 80])];
        let taken = BTreeSet::from([30_000]);
        let (rebuilt, findings) = rebuild(&services, &taken, &(30_000..=30_010), &mut Leaks::new());
        assert_eq!(rebuilt, BTreeSet::from([30_000, 30_001]));
        let notes: Vec<String> = findings.into_iter().filter_map(|one| Some(one.event?.note)).collect();
        assert_eq!(
            notes,
            [
                "Port 30001 is not allocated; repairing",
                "Port 80 is not within the port range 30000-30010; please recreate service",
                "Port 30001 was assigned to multiple services; please recreate service",
            ]
        );
    }

    #[test]
    fn a_port_without_a_service_is_free_in_the_fourth_round() {
        let (range, mut leaks) = (30_000..=30_010, Leaks::new());
        let mut taken = BTreeSet::from([30_005]);
        for _ in 0..2 {
            taken = rebuild(&[], &taken, &range, &mut leaks).0;
            assert!(taken.contains(&30_005));
        }
        // It is used meanwhile, and the count begins anew.
        taken = rebuild(&[service(&[30_005])], &taken, &range, &mut leaks).0;
        for _ in 0..ROUNDS {
            taken = rebuild(&[], &taken, &range, &mut leaks).0;
            assert!(taken.contains(&30_005));
        }
        assert!(rebuild(&[], &taken, &range, &mut leaks).0.is_empty());
    }
}
