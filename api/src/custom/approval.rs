//! Groups that belong to the community (`*.k8s.io`, `*.kubernetes.io`): who defines resources in them says by an annotation
//! where that was approved, or why it was not.

use serde_json::Value;

use super::conditions::Condition;
use crate::object::Fields;
use crate::quote::quote;
use crate::schema::formats;
use crate::validation::{FieldErrors, Path};

/// The annotation.
const ANNOTATION: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn annotation(definition: &Value) -> &str {
    definition["metadata"]["annotations"].text(ANNOTATION)
}

fn state(annotation: &str) -> State {
    let host = annotation.split_once("://").map_or("", |(_, rest)| rest);
    match annotation {
        "" => State::Missing,
        text if text.starts_with("unapproved") => State::Bypassed,
        text if formats::matches("uri", text) && !host.starts_with('/') && !host.is_empty() => {
            State::Approved
        }
        _ => State::Invalid,
    }
}

fn reason(state: State, annotation: &str) -> String {
    let must = format!(
        "protected groups must have approval annotation {}",
        quote(ANNOTATION)
    );
    match state {
        State::Missing => format!("{must}, {SEE}"),
        State::Bypassed => format!("not approved: {}", quote(annotation)),
        State::Approved => format!("approved in {annotation}"),
        State::Invalid => {
            format!("{must} with either a URL or a reason starting with \"unapproved\", {SEE}")
        }
    }
}

/// What is said about the approval of a definition; nothing of groups that anybody may define resources in.
pub fn condition(definition: &Value) -> Option<Condition> {
    if !is_protected(definition["spec"].text("group")) {
        return None;
    }
    let annotation = annotation(definition);
    let state = state(annotation);
    Some(Condition {
        ty: "KubernetesAPIApprovalPolicyConformant",
        status: state == State::Approved,
        reason: match state {
            State::Missing => "MissingAnnotation",
            State::Bypassed => "UnapprovedAnnotation",
            State::Approved => "ApprovedAnnotation",
            State::Invalid => "InvalidAnnotation",
        },
        message: reason(state, annotation),
    })
}

/// What is wrong with the annotation of a definition; what was wrong before may stay.
pub(crate) fn faults(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let text = annotation(new);
    let now = state(text);
    let unchanged = old.is_some_and(|old| state(annotation(old)) == now);
    if !is_protected(new["spec"].text("group")) || unchanged {
        return;
    }
    let annotations = Path::new("metadata.annotations");
    let at = annotations.key(ANNOTATION);
    match now {
        State::Missing => errors.required(&at, reason(now, text)),
        State::Invalid => errors.invalid(&at, text, reason(now, text)),
        State::Bypassed | State::Approved => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn protected_groups_name_their_approval() {
        let definition = |group: &str, annotation: &str| json!({"spec": {"group": group}, "metadata": {"annotations": {ANNOTATION: annotation}}});
        let table = [
            ("example.com", "", None, 0),
            ("xk8s.io", "", None, 0),
            ("gateway.networking.k8s.io", "", Some("MissingAnnotation"), 1),
            ("a.k8s.io", "https://github.com/x", Some("ApprovedAnnotation"), 0),
            (
                "a.kubernetes.io",
                "unapproved, for a test",
                Some("UnapprovedAnnotation"),
                0,
            ),
            ("k8s.io", "because", Some("InvalidAnnotation"), 1),
        ];
        for (group, annotation, reason, count) in table {
            let definition = definition(group, annotation);
            let mut errors = FieldErrors::new();
            faults(&definition, None, &mut errors);
            assert_eq!(
                condition(&definition).map(|condition| condition.reason),
                reason,
                "{group}"
            );
            assert_eq!(errors.len(), count, "{group}");
            let mut again = FieldErrors::new();
            faults(&definition, Some(&definition), &mut again);
            assert!(again.is_empty());
        }
    }
}
