//! Replacing old pods by new ones.

use super::plan::{Draft, available, wanted};
use super::{scale, status};
use api::{Pod, controller_of};

/// Rolling update: grow the new set within the surge, then shrink old sets as far as availability allows.
pub(super) fn rolling(draft: &mut Draft<'_>) {
    draft.find_new_set(true);
    if !grow(draft) && !shrink(draft) && status::is_complete(draft, &status::counts(draft)) {
        draft.clean_up();
    }
    draft.write_status(status::rollout(draft));
}

/// Recreate: no old pod may be left before the first new one.
pub(super) fn recreate(draft: &mut Draft<'_>) {
    let active: Vec<usize> =
        draft.old().into_iter().filter(|index| wanted(&draft.sets[*index]) > 0).collect();
    let mut scaled = false;
    for index in active {
        scaled |= draft.scale(index, 0);
    }
    if !scaled && !old_pods_run(draft) {
        if draft.new.is_none() {
            draft.find_new_set(true);
        }
        grow(draft);
        if status::is_complete(draft, &status::counts(draft)) {
            draft.clean_up();
        }
    }
    draft.write_status(status::rollout(draft));
}

fn old_pods_run(draft: &Draft<'_>) -> bool {
    let new = draft.new_set().and_then(|set| set.metadata.uid.as_deref());
    let is_old =
        |pod: &Pod| controller_of(&pod.metadata).is_some_and(|owner| Some(owner.uid.as_str()) != new);
    draft.pods.iter().any(|pod| is_old(pod) && !api::is_pod_finished(pod))
}

/// Brings the new set nearer to the Deployment's size; returns whether it was scaled.
fn grow(draft: &mut Draft<'_>) -> bool {
    let Some(index) = draft.new else { return false };
    let current = wanted(&draft.sets[index]);
    let size = match current.cmp(&draft.replicas()) {
        std::cmp::Ordering::Equal => return false,
        std::cmp::Ordering::Greater => draft.replicas(),
        std::cmp::Ordering::Less => scale::new_set_size(draft, current),
    };
    draft.scale(index, size)
}

/// Shrinks old sets; returns whether any was scaled.
fn shrink(draft: &mut Draft<'_>) -> bool {
    let old: i32 = draft.old().iter().map(|index| wanted(&draft.sets[*index])).sum();
    if old == 0 {
        return false;
    }
    let min_available = draft.replicas() - scale::max_unavailable(draft);
    let new_unavailable = draft.new_set().map_or(0, |set| wanted(set) - available(set));
    let budget = draft.wanted_total() - min_available - new_unavailable;
    if budget <= 0 {
        return false;
    }
    let unhealthy = shrink_unhealthy(draft, budget);
    let healthy = shrink_healthy(draft, min_available);
    unhealthy + healthy > 0
}

/// Pods that are not available serve nobody: they go first, whatever the availability is.
fn shrink_unhealthy(draft: &mut Draft<'_>, budget: i32) -> i32 {
    let mut done = 0;
    for index in draft.old() {
        let (size, healthy) = (wanted(&draft.sets[index]), available(&draft.sets[index]));
        let count = (budget - done).min(size - healthy);
        if count > 0 {
            draft.scale(index, size - count);
            done += count;
        }
    }
    done
}

fn shrink_healthy(draft: &mut Draft<'_>, min_available: i32) -> i32 {
    let budget = draft.available_total() - min_available;
    let mut done = 0;
    for index in draft.old() {
        let size = wanted(&draft.sets[index]);
        let count = (budget - done).min(size);
        if count > 0 {
            draft.scale(index, size - count);
            done += count;
        }
    }
    done
}
