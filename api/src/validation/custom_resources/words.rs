//! What a rule of a custom resource must say, whatever it says in CEL.

use serde_json::Value;

use crate::cel::rules::field_path;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};

const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// What a rule must say.
pub(super) fn rule(schema: &Value, rule: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (text, message) = (rule.text("rule").trim(), rule.text("message"));
    let at_message = at.child("message");
    if text.is_empty() {
        errors.required(&at.child("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at_message, message, "must be non-empty if specified");
    } else if has_breaks(message.trim()) {
        errors.invalid(&at_message, message, "must not contain line breaks");
    } else if has_breaks(text) && message.is_empty() {
        let why = "message must be specified if rule contains line breaks";
        errors.required(&at_message, why);
    }
    let expression = rule.text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        let why = "messageExpression must be non-empty if specified";
        errors.required(&at.child("messageExpression"), why);
    }
    if let Some(reason) = rule.field("reason")
        && !REASONS.iter().any(|known| reason == known)
    {
        errors.not_supported(&at.child("reason"), reason, &REASONS);
    }
    let path = rule.text("fieldPath");
    let at = at.child("fieldPath");
    if path.is_empty() {
        return;
    }
    if path.trim().is_empty() {
        errors.invalid(&at, path, "must be non-empty if specified");
    }
    if has_breaks(path) {
        errors.invalid(&at, path, "must not contain line breaks");
    }
    if !field_path::leads_somewhere(schema, path) {
        errors.invalid(&at, path, "must be a valid path");
    }
}

fn has_breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}
