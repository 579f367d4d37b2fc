//! What may be written into a Job's status.
//!
//! Somebody else than the Job controller may look after a Job (KEP-4368), so upstream judges what they write, and only the parts
//! that they change: a spec that has changed meanwhile may leave a status behind that nobody could write.

mod indexes;

use jiff::Timestamp;
use serde_json::Value;

use self::indexes::{format_fault, overlap};
use crate::codec::equality;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::non_negative;

/// A status, with what of its conditions matters.
struct Seen<'a> {
    status: &'a Value,
}

impl<'a> Seen<'a> {
    fn is(&self, condition: &str, status: &str) -> bool {
        self.status
            .items("conditions")
            .iter()
            .any(|c| c.text("type") == condition && c.text("status") == status)
    }

    fn holds(&self, condition: &str) -> bool {
        self.is(condition, "True")
    }

    fn is_complete(&self) -> bool {
        self.holds("Complete")
    }

    fn has_failed(&self) -> bool {
        self.holds("Failed")
    }

    fn is_finished(&self) -> bool {
        self.is_complete() || self.has_failed()
    }

    fn count(&self, name: &str) -> i64 {
        self.status.number(name).unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&'a Value> {
        self.status.field(name)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.status.text(name).parse().ok()
    }
}

/// A change of a status, and the spec that it is about.
struct Change<'a> {
    spec: &'a Value,
    now: Seen<'a>,
    before: Seen<'a>,
}

impl Change<'_> {
    fn of(&self, name: &str) -> bool {
        self.now.field(name) != self.before.field(name)
    }

    fn of_number(&self, name: &str) -> bool {
        self.now.count(name) != self.before.count(name)
    }

    fn of_text(&self, name: &str) -> bool {
        self.now.status.text(name) != self.before.status.text(name)
    }

    fn of_condition(&self, condition: &str) -> bool {
        self.now.holds(condition) != self.before.holds(condition)
    }

    fn of_end(&self) -> bool {
        self.now.is_finished() != self.before.is_finished()
    }

    fn is_indexed(&self) -> bool {
        self.spec.text("completionMode") == "Indexed"
    }
}

pub(in crate::validation) fn job_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let change = Change {
        spec: &new["spec"],
        now: Seen {
            status: &new["status"],
        },
        before: Seen {
            status: &old["status"],
        },
    };
    let at = Path::new("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(change.now.status.number(name), &at.child(name), errors);
    }
    uncounted(&change, &at, errors);
    completion(&change, &at, errors);
    finished(&change, &at, errors);
    indexes(&change, &at, errors);
    end_of_pods(&change, &at, errors);
    success(&change, &at, errors);
    transitions(&change, &at, errors);
}

/// Pods that are still to be counted are named once, whether they succeeded or failed.
fn uncounted(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let pods = &change.now.status["uncountedTerminatedPods"];
    let at = at.child("uncountedTerminatedPods");
    let mut seen: Vec<&str> = Vec::new();
    for name in ["succeeded", "failed"] {
        let list = at.child(name);
        for (index, uid) in pods.items(name).iter().enumerate() {
            let (uid, at) = (uid.as_str().unwrap_or_default(), list.index(index));
            if uid.is_empty() {
                errors.invalid(&at, uid, "must not be empty");
            } else if seen.contains(&uid) {
                errors.duplicate(&at, uid);
            } else {
                seen.push(uid);
            }
        }
    }
}

/// How the end is told: by conditions that go together, and a time that belongs to success.
fn completion(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let (now, conditions, time) = (&change.now, at.child("conditions"), at.child("completionTime"));
    let (completes, fails) = (change.of_condition("Complete"), change.of_condition("Failed"));
    let complete = now.is_complete();
    if (completes || fails) && complete && now.has_failed() {
        errors.invalid_without_value(&conditions, "cannot set Complete=True and Failed=true conditions");
    }
    if (completes || change.of_condition("FailureTarget")) && complete && now.holds("FailureTarget") {
        let rule = "cannot set Complete=True and FailureTarget=true conditions";
        errors.invalid_without_value(&conditions, rule);
    }
    let timed = completes || change.of("completionTime");
    match now.field("completionTime") {
        Some(told) if timed && !complete => {
            let rule = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(&time, told, rule);
        }
        None if timed && complete => {
            errors.required(&time, "completionTime is required for Complete jobs");
        }
        _ => {}
    }
    if (change.of("startTime") || change.of("completionTime"))
        && let (Some(start), Some(end)) = (now.time("startTime"), now.time("completionTime"))
        && end < start
    {
        errors.invalid(
            &time,
            &now.status["completionTime"],
            "must be equal to or after `startTime`",
        );
    }
    if (fails || change.of("failedIndexes")) && now.has_failed() && !now.holds("FailureTarget") {
        let rule = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.invalid_without_value(&conditions, rule);
    }
    if (completes || change.of_condition("SuccessCriteriaMet"))
        && complete
        && !now.holds("SuccessCriteriaMet")
    {
        let rule = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.invalid_without_value(&conditions, rule);
    }
}

/// What a Job that has come to its end may not have any more.
fn finished(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let (now, finished) = (&change.now, change.now.is_finished());
    if !finished {
        return;
    }
    if (change.of_end() || change.of_number("active")) && now.count("active") > 0 {
        errors.invalid(
            &at.child("active"),
            now.count("active"),
            "active>0 is invalid for finished job",
        );
    }
    let never_starts = change.spec.flag("suspend") && change.spec.number("completions") == Some(0);
    if (change.of_end() || change.of("startTime")) && !never_starts && now.field("startTime").is_none() {
        errors.required(&at.child("startTime"), "startTime is required for finished job");
    }
    let pods = &now.status["uncountedTerminatedPods"];
    let changed = !equality::equal_named(
        now.field("uncountedTerminatedPods"),
        change.before.field("uncountedTerminatedPods"),
        "io.k8s.api.batch.v1.UncountedTerminatedPods",
    );
    if (change.of_end() || changed) && pods.count("failed") + pods.count("succeeded") > 0 {
        errors.invalid(
            &at.child("uncountedTerminatedPods"),
            internal::shown(pods, internal::UNCOUNTED_PODS),
            "must be empty for finished job",
        );
    }
}

/// Which indexes are done, and which are given up.
fn indexes(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let (done_at, failed_at) = (at.child("completedIndexes"), at.child("failedIndexes"));
    let done = change.now.status.text("completedIndexes");
    let failed = change.now.field("failedIndexes").and_then(Value::as_str);
    let (done_changes, failed_changes) = (change.of_text("completedIndexes"), change.of("failedIndexes"));
    let (completions, limit) = (
        change.spec.number("completions"),
        change.spec.field("backoffLimitPerIndex"),
    );
    if let Some(fault) = completions
        .filter(|_| done_changes)
        .and_then(|count| format_fault(done, count))
    {
        errors.invalid(&done_at, done, format!("error parsing completedIndexes: {fault}"));
    }
    if let (true, Some(count), Some(_), Some(failed)) = (failed_changes, completions, limit, failed)
        && let Some(fault) = format_fault(failed, count)
    {
        errors.invalid(
            &failed_at,
            failed,
            format!("error parsing failedIndexes: {fault}"),
        );
    }
    if done_changes && !done.is_empty() && !change.is_indexed() {
        let rule = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&done_at, done, rule);
    }
    let Some(failed) = failed else { return };
    if failed_changes && limit.is_none() {
        let rule = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&failed_at, failed, rule);
    }
    if let Some(index) = completions
        .filter(|_| failed_changes || done_changes)
        .and_then(|count| overlap(done, failed, count))
    {
        let rule = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&failed_at, failed, rule);
    }
}

fn end_of_pods(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let now = &change.now;
    let (ready, terminating) = (now.count("ready"), now.count("terminating"));
    if (change.of_end() || change.of("terminating")) && terminating > 0 && now.is_finished() {
        let rule = "terminating>0 is invalid for finished job";
        errors.invalid(&at.child("terminating"), terminating, rule);
    }
    let counted = change.of("ready") || change.of_number("active");
    if counted && now.field("ready").is_some() && ready > now.count("active") {
        errors.invalid(
            &at.child("ready"),
            ready,
            "cannot set more ready pods than active",
        );
    }
}

/// A Job that has met what it was for does not fail any more.
fn success(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let (now, at) = (&change.now, at.child("conditions"));
    let met = now.holds("SuccessCriteriaMet");
    for (told, name) in [("Failed", "Failed"), ("FailureTarget", "FailureTarget")] {
        if met && now.holds(told) {
            let rule = format!("cannot set SuccessCriteriaMet=True and {name}=true conditions");
            errors.invalid_without_value(&at, rule);
        }
    }
    if change.spec.has("successPolicy") && !met && now.is_complete() {
        let rule = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.invalid_without_value(&at, rule);
    }
}

/// What does not go back.
fn transitions(change: &Change<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let (now, before) = (&change.now, &change.before);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if before.holds(kind) && !now.holds(kind) {
            let rule = format!("cannot disable the terminal {kind}=True condition");
            errors.invalid_without_value(&at.child("conditions"), rule);
        }
    }
    // What is done in parallel to the last piece may be scaled down.
    let scales =
        change.is_indexed() && change.spec.number("completions") == change.spec.number("parallelism");
    for (name, checked) in [("failed", true), ("succeeded", !scales)] {
        if checked && now.count(name) < before.count(name) {
            let rule = format!("cannot decrease the {name} counter");
            errors.invalid(&at.child(name), now.count(name), rule);
        }
    }
    if let (Some(told), Some(was)) = (now.field("completionTime"), before.field("completionTime"))
        && told != was
    {
        errors.invalid(&at.child("completionTime"), told, "field is immutable");
    }
    let resumes = before.holds("Suspended") && now.is("Suspended", "False");
    if change.of("startTime")
        && before.field("startTime").is_some()
        && !resumes
        && !change.spec.flag("suspend")
    {
        errors.invalid(
            &at.child("startTime"),
            now.field("startTime").unwrap_or(&Value::Null),
            "field is immutable for unsuspended job once set",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(spec: Value, status: Value, before: Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        let (new, old) = (
            json!({"spec": spec, "status": status}),
            json!({"spec": spec, "status": before}),
        );
        job_status(&new, &old, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    /// A spec, the status that is written, the one before, and what is wrong with it.
    type Case = (Value, Value, Value, &'static [&'static str]);

    fn check<const N: usize>(table: [Case; N]) {
        for (spec, status, before, want) in table {
            assert_eq!(faults(spec, status.clone(), before), want, "{status}");
        }
    }

    fn told(conditions: &[&str]) -> Value {
        conditions
            .iter()
            .map(|kind| json!({"type": kind, "status": "True"}))
            .collect()
    }

    #[test]
    fn a_status_is_judged_by_what_changes() {
        let indexed = json!({"completionMode": "Indexed", "completions": 5, "parallelism": 2, "backoffLimitPerIndex": 1});
        let time = "2026-01-01T00:00:00Z";
        let table: [Case; 5] = [
            (
                json!({}),
                json!({"completionTime": time}),
                json!({}),
                &[
                    "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is \
                     no Complete=True condition",
                ],
            ),
            (
                json!({}),
                json!({"completionTime": time}),
                json!({"completionTime": time}),
                &[],
            ),
            (
                json!({}),
                json!({"failedIndexes": ""}),
                json!({}),
                &[
                    "status.failedIndexes: Invalid value: \"\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
                ],
            ),
            (
                indexed.clone(),
                json!({"completedIndexes": "0-2,7", "failedIndexes": "2"}),
                json!({}),
                &[
                    "status.completedIndexes: Invalid value: \"0-2,7\": error parsing completedIndexes: too large index: \"7\"",
                    "status.failedIndexes: Invalid value: \"2\": failedIndexes and completedIndexes overlap at index: 2",
                ],
            ),
            (
                indexed,
                json!({"completedIndexes": "3,1-2", "failedIndexes": "4"}),
                json!({}),
                &[
                    "status.completedIndexes: Invalid value: \"3,1-2\": error parsing completedIndexes: non-increasing order, \
                     previous: 3, current: 1",
                ],
            ),
        ];
        check(table);
    }

    #[test]
    fn an_end_is_told_as_a_whole_and_stays() {
        let time = "2026-01-01T00:00:00Z";
        let table: [Case; 4] = [
            (
                json!({}),
                json!({"uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
                json!({}),
                &[
                    "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                    "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
                ],
            ),
            (
                json!({}),
                json!({"conditions": told(&["Complete", "SuccessCriteriaMet"]), "active": 1}),
                json!({}),
                &[
                    "status.completionTime: Required value: completionTime is required for Complete jobs",
                    "status.active: Invalid value: 1: active>0 is invalid for finished job",
                    "status.startTime: Required value: startTime is required for finished job",
                ],
            ),
            (
                json!({}),
                json!({"conditions": told(&["Complete", "SuccessCriteriaMet"]), "startTime": time, "completionTime": time}),
                json!({"startTime": time}),
                &[],
            ),
            (
                json!({}),
                json!({"failed": 1, "startTime": "2026-01-02T00:00:00Z"}),
                json!({"failed": 2, "startTime": time}),
                &[
                    "status.failed: Invalid value: 1: cannot decrease the failed counter",
                    "status.startTime: Invalid value: \"2026-01-02T00:00:00Z\": field is immutable for unsuspended job once set",
                ],
            ),
        ];
        check(table);
    }
}
