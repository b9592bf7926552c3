//! Refusals of a Job's status: whoever manages Jobs keeps to what their clients expect.
//!
//! Most rules hold for what a write changes alone, so that a status which breaks them does not block all other writes.

use std::collections::HashSet;

use machinery::field::{Errors, FieldError, Path};
use serde_json::{Value, json};

use super::super::check;
use super::super::value::{flag, has, int, is_condition_true, list, strings, text};
use super::job_policies::{count_indexes, index_interval};

const COUNTS: [&str; 5] = ["active", "succeeded", "failed", "ready", "terminating"];

/// A Job before and after the write.
struct Write<'a> {
    job: &'a Value,
    old: &'a Value,
    path: Path,
    errors: Errors,
}

/// What is wrong with a new status.
pub(super) fn validate(job: &Value, old: &Value) -> Errors {
    let mut write = Write { job, old, path: Path::new("status"), errors: Errors::new() };
    for field in COUNTS {
        write.errors.extend(check::non_negative(&job["status"], field, &write.path));
    }
    write.uncounted();
    write.outcome();
    write.completion_time();
    write.targets();
    write.finished();
    write.indexes();
    write.pods();
    write.criteria();
    write.transitions();
    write.errors
}

fn is_finished(job: &Value) -> bool {
    ["Complete", "Failed"].into_iter().any(|kind| is_condition_true(job, kind))
}

impl Write<'_> {
    fn status(&self) -> &Value {
        &self.job["status"]
    }

    /// Whether the write says something else in the field.
    fn sets(&self, field: &str) -> bool {
        self.status().get(field) != self.old["status"].get(field)
    }

    fn is(&self, kind: &str) -> bool {
        is_condition_true(self.job, kind)
    }

    fn was(&self, kind: &str) -> bool {
        is_condition_true(self.old, kind)
    }

    /// Whether the write makes a condition true, or no longer true.
    fn turns(&self, kind: &str) -> bool {
        self.is(kind) != self.was(kind)
    }

    fn finishes(&self) -> bool {
        is_finished(self.job) != is_finished(self.old)
    }

    fn refuse_conditions(&mut self, wrong: bool, detail: &str) {
        if wrong {
            let at = self.path.child("conditions");
            self.errors.push(FieldError::invalid(&at, Value::Null, detail).without_value());
        }
    }

    fn refuse(&mut self, wrong: bool, field: &str, detail: &str) {
        if wrong {
            let nothing =
                if ["active", "succeeded", "failed"].contains(&field) { json!(0) } else { Value::Null };
            let value = self.status().get(field).cloned().unwrap_or(nothing);
            self.errors.push(FieldError::invalid(&self.path.child(field), value, detail));
        }
    }

    fn require(&mut self, missing: bool, field: &str, detail: &str) {
        if missing {
            self.errors.push(FieldError::required(&self.path.child(field), detail));
        }
    }

    /// Pods that ended and are not counted yet are named once.
    fn uncounted(&mut self) {
        let pods = &self.job["status"]["uncountedTerminatedPods"];
        let mut seen = HashSet::new();
        for field in ["succeeded", "failed"] {
            let path = self.path.child("uncountedTerminatedPods").child(field);
            for (i, uid) in strings(pods, field).into_iter().enumerate() {
                let at = path.index(i);
                if uid.is_empty() {
                    self.errors.push(FieldError::invalid(&at, uid, "must not be empty"));
                } else if !seen.insert(uid) {
                    self.errors.push(FieldError::duplicate(&at, uid));
                }
            }
        }
    }

    /// A Job does not both complete and fail.
    fn outcome(&mut self) {
        let completes = self.turns("Complete");
        for other in ["Failed", "FailureTarget"] {
            let wrong = (completes || self.turns(other)) && self.is("Complete") && self.is(other);
            self.refuse_conditions(wrong, &format!("cannot set Complete=True and {other}=true conditions"));
        }
    }

    /// A Job that is complete, and no other, says when it was.
    fn completion_time(&mut self) {
        const FIELD: &str = "completionTime";
        let (complete, timed) = (self.is("Complete"), has(self.status(), FIELD));
        let changes = self.turns("Complete") || self.sets(FIELD);
        let detail = "cannot set completionTime when there is no Complete=True condition";
        self.refuse(changes && timed && !complete, FIELD, detail);
        let detail = "completionTime is required for Complete jobs";
        self.require(changes && !timed && complete, FIELD, detail);
        let time = |field: &str| machinery::time::parse(text(&self.job["status"], field));
        let backwards = time("startTime").zip(time(FIELD)).is_some_and(|(start, end)| end < start);
        let changes = self.sets("startTime") || self.sets(FIELD);
        self.refuse(changes && backwards, FIELD, "must be equal to or after `startTime`");
    }

    /// What a Job ends in is announced by another condition.
    fn targets(&mut self) {
        let wrong = (self.turns("Failed") || self.sets("failedIndexes"))
            && self.is("Failed")
            && !self.is("FailureTarget");
        let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
        self.refuse_conditions(wrong, detail);
        let wrong = (self.turns("Complete") || self.turns("SuccessCriteriaMet"))
            && self.is("Complete")
            && !self.is("SuccessCriteriaMet");
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        self.refuse_conditions(wrong, detail);
    }

    /// A finished Job has begun, and nothing of it is left.
    fn finished(&mut self) {
        let (finished, finishes) = (is_finished(self.job), self.finishes());
        let active = int(self.status(), "active").is_some_and(|n| n > 0);
        let wrong = (finishes || self.sets("active")) && active && finished;
        self.refuse(wrong, "active", "active>0 is invalid for finished job");
        let spec = &self.job["spec"];
        let never_runs = flag(spec, "suspend") && int(spec, "completions") == Some(0);
        let missing = (finishes || self.sets("startTime")) && !never_runs && !has(self.status(), "startTime");
        self.require(missing && finished, "startTime", "startTime is required for finished job");
        let pods = &self.status()["uncountedTerminatedPods"];
        let left = !list(pods, "failed").is_empty() || !list(pods, "succeeded").is_empty();
        let changes = finishes || self.sets("uncountedTerminatedPods");
        if changes && finished && left {
            let at = self.path.child("uncountedTerminatedPods");
            let error = FieldError::invalid(&at, pods.clone(), "must be empty for finished job");
            self.errors.push(error.as_struct("UncountedTerminatedPods"));
        }
    }

    /// Indexes are well-formed, and each either completed or failed.
    fn indexes(&mut self) {
        let (job, spec) = (self.job, &self.job["spec"]);
        let (completed, failed) = ("completedIndexes", "failedIndexes");
        let (completes, fails) = (self.sets(completed), self.sets(failed));
        let (done, lost) = (text(&job["status"], completed), text(&job["status"], failed));
        let (retries, has_failed) = (has(spec, "backoffLimitPerIndex"), has(self.status(), failed));
        let completions = int(spec, "completions");
        let malformed = |field: &str, indexes: &str, looked_at: bool| {
            let why = count_indexes(indexes, completions.filter(|_| looked_at)?).err()?;
            Some(format!("error parsing {field}: {why}"))
        };
        if let Some(why) = malformed(completed, done, completes) {
            self.refuse(true, completed, &why);
        }
        if let Some(why) = malformed(failed, lost, fails && retries && has_failed) {
            self.refuse(true, failed, &why);
        }
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        let indexed = text(spec, "completionMode") == "Indexed";
        self.refuse(completes && !done.is_empty() && !indexed, completed, detail);
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        self.refuse(fails && !retries && has_failed, failed, detail);
        let both = completions.filter(|_| completes || fails).and_then(|n| overlap(done, lost, n));
        if let Some(index) = both {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            self.refuse(true, failed, &detail);
        }
    }

    fn pods(&mut self) {
        let count = |field: &str| int(&self.job["status"], field).unwrap_or_default();
        let (active, ready, ending) = (count("active"), count("ready"), count("terminating"));
        let wrong = (self.finishes() || self.sets("terminating")) && ending > 0 && is_finished(self.job);
        self.refuse(wrong, "terminating", "terminating>0 is invalid for finished job");
        let changes = self.sets("ready") || self.sets("active");
        self.refuse(changes && ready > active, "ready", "cannot set more ready pods than active");
    }

    /// A Job that has met its criteria does not fail, and one with criteria does not complete without.
    fn criteria(&mut self) {
        for other in ["Failed", "FailureTarget"] {
            let detail = format!("cannot set SuccessCriteriaMet=True and {other}=true conditions");
            self.refuse_conditions(self.is("SuccessCriteriaMet") && self.is(other), &detail);
        }
        let wrong =
            has(&self.job["spec"], "successPolicy") && !self.is("SuccessCriteriaMet") && self.is("Complete");
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        self.refuse_conditions(wrong, detail);
    }

    /// What once was said is not taken back.
    fn transitions(&mut self) {
        for kind in ["Failed", "Complete", "FailureTarget"] {
            let detail = format!("cannot disable the terminal {kind}=True condition");
            self.refuse_conditions(self.was(kind) && !self.is(kind), &detail);
        }
        let (spec, before) = (&self.job["spec"], &self.old["status"]);
        let less = |field: &str| {
            int(self.status(), field).unwrap_or_default() < int(before, field).unwrap_or_default()
        };
        let scalable =
            text(spec, "completionMode") == "Indexed" && spec.get("completions") == spec.get("parallelism");
        let (failed, succeeded) = (less("failed"), less("succeeded") && !scalable);
        self.refuse(failed, "failed", "cannot decrease the failed counter");
        self.refuse(succeeded, "succeeded", "cannot decrease the succeeded counter");
        let timed = has(self.status(), "completionTime") && has(before, "completionTime");
        self.refuse(timed && self.sets("completionTime"), "completionTime", "field is immutable");
        let resumes = self.was("Suspended") && is_false(self.job, "Suspended");
        let fixed = has(before, "startTime") && !flag(spec, "suspend") && !resumes;
        let detail = "field is immutable for unsuspended job once set";
        self.refuse(fixed && self.sets("startTime"), "startTime", detail);
        let (met, was_met) = (self.is("SuccessCriteriaMet"), self.was("SuccessCriteriaMet"));
        self.refuse_conditions(was_met && !met, "cannot disable the SuccessCriteriaMet=True condition");
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        self.refuse_conditions(self.was("Complete") && !was_met && met, detail);
    }
}

fn is_false(job: &Value, kind: &str) -> bool {
    let is = |condition: &Value| text(condition, "type") == kind && text(condition, "status") == "False";
    list(&job["status"], "conditions").iter().any(is)
}

/// The first index that both lists name. What cannot be read is refused as such.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let intervals = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|interval| index_interval(interval, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut completed, mut failed) = (completed.into_iter().peekable(), failed.into_iter().peekable());
    while let (Some((done, done_end)), Some((lost, lost_end))) = (completed.peek(), failed.peek()) {
        if done <= lost_end && lost <= done_end {
            return Some(*done.max(lost));
        }
        if done <= lost {
            completed.next();
        } else {
            failed.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_in_both_lists() {
        for (completed, failed, first) in [
            ("", "1", None),
            ("0,2", "1,3", None),
            ("0-4", "3", Some(3)),
            ("0,5-7", "1-2,6", Some(6)),
            ("x,4", "4", Some(4)),
        ] {
            assert_eq!(overlap(completed, failed, 10), first, "{completed} {failed}");
        }
    }
}
