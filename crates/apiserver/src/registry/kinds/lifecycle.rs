//! `lifecycle.k8s.io`: evictions that are asked for and answered by several parties.

use super::plain::Plain;
use crate::registry::strategy::Generic;

const REQUEST: &str = "
spec                 struct
spec.target          struct immutable union=pod
spec.target.pod.name required subdomain
spec.target.pod.uid  required uuid
spec.requester       required prefixed-key immutable
spec.intent          required one-of=Eviction|Withdrawn
";

const REQUEST_STATUS: &str = "
status.conditions          items=100 conditions
status.observedGeneration  min=1 no-unset
";

const EVICTION: &str = "
spec                 struct
spec.target          struct immutable union=pod
spec.target.pod.name required subdomain
spec.target.pod.uid  required uuid
";

const EVICTION_STATUS: &str = "
status.conditions                   items=100 conditions
status.observedGeneration           min=1 no-unset
status.requesters                   items=100 unique=name
status.requesters[].name            required prefixed-key
status.requesters[].intent          required one-of=Eviction|Withdrawn
status.targetResponders             items=11 unique=name
status.targetResponders[].name      required prefixed-key
status.targetResponders[].priority  min=0 max=100000 no-modify no-unset
status.targetResponders[].state     required one-of=Active|Canceled|Completed|Inactive|Interrupted
status.responders                   items=11 unique=name
status.responders[].name            required prefixed-key
status.responders[].startTime       no-modify no-unset
status.responders[].completionTime  no-modify no-unset
status.responders[].message         bytes=4000
";

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    let base = Plain::new(generic);
    Some(match plural {
        "evictionrequests" => Plain { checks: REQUEST, status_checks: REQUEST_STATUS, ..base },
        "evictions" => Plain { checks: EVICTION, status_checks: EVICTION_STATUS, ..base },
        _ => return None,
    })
}
