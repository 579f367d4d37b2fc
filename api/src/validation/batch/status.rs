//! What may be written into a Job's status.

use serde_json::Value;

use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::non_negative;

pub(in crate::validation) fn job_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (&new["status"], &old["status"]);
    let at = Path::new("status");
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        non_negative(status.number(name), &at.child(name), errors);
    }
    for (name, counter) in [("failed", "failed"), ("succeeded", "succeeded")] {
        let count = |status: &Value| status.number(name).unwrap_or_default();
        if count(status) < count(before) {
            errors.invalid(
                &at.child(name),
                count(status),
                format!("cannot decrease the {counter} counter"),
            );
        }
    }
    if status.number("ready").unwrap_or_default() > status.number("active").unwrap_or_default() {
        let ready = status.number("ready").unwrap_or_default();
        errors.invalid(
            &at.child("ready"),
            ready,
            "cannot set more ready pods than active",
        );
    }
    let is = |status: &Value, kind: &str| {
        status
            .items("conditions")
            .iter()
            .any(|c| c.text("type") == kind && c.text("status") == "True")
    };
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(before, kind) && !is(status, kind) {
            let rule = format!("cannot disable the terminal {kind}=True condition");
            errors.invalid_without_value(&at.child("conditions"), rule);
        }
    }
}
