//! How large each ReplicaSet should be.

use super::plan::{Draft, available, is_recreate, wanted};
use super::{annotations, status};
use crate::workload::percent::resolve;
use api::IntOrString;

/// Surge and unavailability of a rolling update in pods; never both zero, or nothing could move.
fn fenceposts(draft: &Draft<'_>) -> (i32, i32) {
    let rolling = draft.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let default = IntOrString::String("25%".to_owned());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&default);
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&default);
    let surge = resolve(surge, draft.replicas(), true).unwrap_or(0);
    let unavailable = resolve(unavailable, draft.replicas(), false).unwrap_or(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Pods a rolling update may have above the Deployment's size.
pub(super) fn max_surge(draft: &Draft<'_>) -> i32 {
    if is_recreate(draft.deployment) { 0 } else { fenceposts(draft).0 }
}

/// Pods a rolling update may lack.
pub(super) fn max_unavailable(draft: &Draft<'_>) -> i32 {
    if is_recreate(draft.deployment) || draft.replicas() == 0 {
        return 0;
    }
    fenceposts(draft).1.min(draft.replicas())
}

/// Size of the new set when `current` pods of it are wanted now: as many as the surge allows.
pub(super) fn new_set_size(draft: &Draft<'_>, current: i32) -> i32 {
    if is_recreate(draft.deployment) {
        return draft.replicas();
    }
    let room = draft.replicas() + max_surge(draft) - draft.wanted_total();
    if room <= 0 {
        return current;
    }
    current + room.min(draft.replicas() - current)
}

/// Follows a change of the Deployment's size, or a paused Deployment: scales what is there, rolls nothing.
pub(super) fn sync(draft: &mut Draft<'_>) {
    resize(draft);
    if draft.spec.paused == Some(true) {
        draft.clean_up();
    }
    draft.write_status(status::counts(draft));
}

fn resize(draft: &mut Draft<'_>) {
    if let Some(index) = active_or_latest(draft) {
        if wanted(&draft.sets[index]) != draft.replicas() {
            draft.scale(index, draft.replicas());
        } else {
            // The size is right but was noted for another one, or the next plan would find a change again.
            draft.scale(index, wanted(&draft.sets[index]));
        }
        return;
    }
    if is_saturated(draft) {
        for index in draft.old() {
            if wanted(&draft.sets[index]) > 0 {
                draft.scale(index, 0);
            }
        }
    } else if !is_recreate(draft.deployment) {
        proportionally(draft);
    }
}

/// The one set that has pods, or the newest when none has; `None` when several have.
fn active_or_latest(draft: &Draft<'_>) -> Option<usize> {
    match draft.active().as_slice() {
        [] => draft.new.or_else(|| draft.old().last().copied()),
        [only] => Some(*only),
        _ => None,
    }
}

/// Whether the new set carries the whole Deployment.
fn is_saturated(draft: &Draft<'_>) -> bool {
    let size = draft.replicas();
    draft.new_set().is_some_and(|set| {
        wanted(set) == size && annotations::desired(set) == Some(size) && available(set) == size
    })
}

/// In the middle of a rollout every set grows or shrinks by its share; what rounding leaves goes to the largest.
fn proportionally(draft: &mut Draft<'_>) {
    let mut order = draft.active();
    let total: i32 = order.iter().map(|index| wanted(&draft.sets[*index])).sum();
    let allowed = if draft.replicas() > 0 { draft.replicas() + max_surge(draft) } else { 0 };
    let to_add = allowed - total;
    // `active` is oldest first, and the sort is stable: ties stay oldest first when shrinking.
    if to_add > 0 {
        order.reverse();
    }
    order.sort_by_key(|index| std::cmp::Reverse(wanted(&draft.sets[*index])));
    let mut added = 0;
    let mut sizes: Vec<(usize, i32)> = Vec::new();
    for index in order {
        let share = share(draft, index, to_add, added);
        added += share;
        sizes.push((index, wanted(&draft.sets[index]) + share));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size = (*size + to_add - added).max(0);
    }
    for (index, size) in sizes {
        draft.scale(index, size);
    }
}

fn share(draft: &Draft<'_>, index: usize, to_add: i32, added: i32) -> i32 {
    let size = wanted(&draft.sets[index]);
    if size == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(draft, index);
    let allowed = to_add - added;
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(draft: &Draft<'_>, index: usize) -> i32 {
    let set = &draft.sets[index];
    let size = wanted(set);
    if draft.replicas() == 0 {
        return -size;
    }
    let max = f64::from(draft.replicas() + max_surge(draft));
    let before = annotations::max(set).or(draft.status.replicas).filter(|before| *before > 0);
    let Some(before) = before else { return 0 };
    let new_size = (f64::from(size) * max / f64::from(before)).round();
    #[expect(clippy::cast_possible_truncation, reason = "a float to int cast saturates; sizes are i32")]
    let new_size = new_size as i32;
    new_size - size
}
