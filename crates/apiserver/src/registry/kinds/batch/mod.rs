//! `batch`: Jobs and CronJobs.

mod cron_job;
mod job;
mod job_policies;
mod job_rules;
mod job_status;
mod job_update;
mod schedule;

use super::plain::Plain;
use crate::registry::strategy::Generic;

/// The strategy of a resource of the group.
pub(super) fn plain(plural: &str, generic: Generic) -> Option<Plain> {
    match plural {
        "jobs" => Some(job::plain(generic)),
        "cronjobs" => Some(cron_job::plain(generic)),
        _ => None,
    }
}
