//! What a client is told when a webhook refuses or cannot be asked. Pure; the words are upstream's.

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::{Value, json};

use super::hook::Hook;

/// Why a webhook did not say yes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum No {
    /// It could not be asked, or its answer was none: the failure policy decides.
    Failed(String),
    /// It refused.
    Refused(ApiError),
}

/// The answer to a client whose request needed a webhook that failed.
pub(super) fn failed(hook: &Hook, why: &str) -> ApiError {
    ApiError::internal(format!("failed calling webhook {}: {why}", quote(&hook.name)))
}

/// A refusal, as the webhook worded it.
pub(super) fn refused(hook: &Hook, result: Option<&Value>) -> ApiError {
    let mut status = result
        .filter(|result| result.is_object())
        .cloned()
        .unwrap_or_else(|| json!({}));
    // Nobody is told of a success along with a refusal.
    if status.number("code").is_none_or(|code| code < 400) {
        status["code"] = json!(400);
    }
    let by = format!("admission webhook {} denied the request", quote(&hook.name));
    let message = match (status.text("message"), status.text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    status["message"] = json!(message);
    ApiError::of_status(&status)
}

/// A webhook that does something cannot be asked where nothing is to come of it.
pub(super) fn no_dry_run(hook: &Hook) -> ApiError {
    ApiError::bad_request(format!(
        "admission webhook {} does not support dry run",
        quote(&hook.name)
    ))
}

/// A patch where there is no object.
pub(super) fn nothing_to_change(hook: &Hook) -> ApiError {
    ApiError::internal(format!(
        "admission webhook {} attempted to modify the object, which is not supported for this operation",
        quote(&hook.name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::hook::Sort;

    #[test]
    fn refusals_are_worded_as_upstream_words_them() {
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [{"name": "a.example.com"}]});
        let hook = &Hook::all_of(Sort::Validating, &configuration)[0];
        let table = [
            (
                json!(null),
                400,
                "",
                "admission webhook \"a.example.com\" denied the request without explanation",
            ),
            (
                json!({"message": "no way", "code": 200}),
                400,
                "",
                "admission webhook \"a.example.com\" denied the request: no way",
            ),
            (
                json!({"reason": "Forbidden", "code": 403}),
                403,
                "Forbidden",
                "admission webhook \"a.example.com\" denied the request: Forbidden",
            ),
            (
                json!({"reason": "TooOdd", "message": "odd", "code": 499}),
                499,
                "TooOdd",
                "admission webhook \"a.example.com\" denied the request: odd",
            ),
        ];
        for (result, code, reason, message) in table {
            let status = refused(hook, Some(&result)).to_status();
            assert_eq!(
                (
                    status["code"].as_i64(),
                    status.text("reason"),
                    status.text("message")
                ),
                (Some(code), reason, message)
            );
        }
        assert_eq!(
            failed(hook, "failed to call webhook: x").message(),
            "Internal error occurred: failed calling webhook \"a.example.com\": failed to call webhook: x"
        );
    }
}
