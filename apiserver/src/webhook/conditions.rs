//! Whether the match conditions of a webhook let it be asked. Pure.

use serde_json::Value;

use super::hook::Hook;

/// Whether every condition holds: false where one is false, an error where none is false and one cannot be evaluated.
/// `request` is what the review would say as its `request`.
///
/// There is nothing yet that evaluates an expression, so a webhook that has conditions fails, as its failure policy wants
/// it, and is neither asked nor passed over in silence.
///
/// # Errors
/// Why they cannot be evaluated.
pub(super) fn hold(
    hook: &Hook,
    _request: &Value,
    _object: Option<&Value>,
    _old: Option<&Value>,
) -> Result<bool, String> {
    match hook.conditions.first() {
        None => Ok(true),
        Some(condition) => Err(format!(
            "match condition {:?} of webhook {:?} cannot be evaluated: {:?}: this server does not evaluate expressions",
            condition.name, hook.name, condition.expression
        )),
    }
}
