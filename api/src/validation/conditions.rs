//! Conditions in the form that kinds of any group share (`metav1.Condition`).

use serde_json::Value;

use super::field::{FieldErrors, Path};
use super::meta::faults;
use crate::names;
use crate::object::Fields;

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// A list of conditions, none of which is told twice.
pub(super) fn conditions(conditions: &[Value], at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, condition) in conditions.iter().enumerate() {
        let at = at.index(index);
        let kind = condition.text("type");
        if conditions[..index].iter().any(|other| other.text("type") == kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        faults(&at.child("type"), kind, names::qualified_name(kind), errors);
        let status = condition.text("status");
        if !STATUSES.contains(&status) {
            errors.not_supported(&at.child("status"), status, &STATUSES);
        }
        if let Some(seen) = condition.number("observedGeneration").filter(|seen| *seen < 0) {
            let rule = "must be greater than or equal to zero";
            errors.invalid(&at.child("observedGeneration"), seen, rule);
        }
        if !condition.has("lastTransitionTime") {
            errors.required(&at.child("lastTransitionTime"), "");
        }
        reason(condition.text("reason"), &at.child("reason"), errors);
        if condition.text("message").len() > MESSAGE_MAX {
            errors.too_long(&at.child("message"), MESSAGE_MAX);
        }
    }
}

fn reason(reason: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if reason.is_empty() {
        return errors.required(at, "");
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':');
    let is_good = reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.chars().all(inner)
        && reason.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !is_good {
        let rule = "a condition reason must start with alphabetic character, optionally followed by a string of \
                    alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  \
                    or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
                    '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        errors.invalid(at, reason, rule);
    }
    if reason.len() > REASON_MAX {
        errors.too_long(at, REASON_MAX);
    }
}
