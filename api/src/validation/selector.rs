//! Label selectors as objects (`metav1.LabelSelector`) and node selectors.

use serde_json::Value;

use super::field::{FieldErrors, Path};
use super::meta::{faults, labels};
use crate::names;
use crate::object::Fields;

/// A `metav1.LabelSelector`; absent is fine.
pub(crate) fn label_selector(selector: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(selector) = selector else { return };
    labels(selector, "matchLabels", at, errors);
    let at = at.child("matchExpressions");
    for (index, requirement) in selector.items("matchExpressions").iter().enumerate() {
        label_requirement(requirement, &at.index(index), errors);
    }
}

fn label_requirement(requirement: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let values = requirement.items("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(
                &at.child("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            );
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let rule = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&at.child("values"), rule);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.text("key");
    faults(&at.child("key"), key, names::qualified_name(key), errors);
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        faults(
            &at.child("values").index(index),
            value,
            names::label_value(value),
            errors,
        );
    }
}

/// Whether a `metav1.LabelSelector` selects everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    selector.count("matchLabels") == 0 && selector.count("matchExpressions") == 0
}

/// A `core.NodeSelector`: terms, of which one must hold.
pub(crate) fn node_selector(selector: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("nodeSelectorTerms");
    if selector.count("nodeSelectorTerms") == 0 {
        errors.required(&at, "must have at least one node selector term");
    }
    for (index, term) in selector.items("nodeSelectorTerms").iter().enumerate() {
        node_selector_term(term, false, &at.index(index), errors);
    }
}

/// One term: requirements on labels and on fields of a node.
///
/// The values of a merely preferred term are not checked: upstream has always accepted any.
pub(crate) fn node_selector_term(term: &Value, preferred: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("matchExpressions");
    for (index, requirement) in term.items("matchExpressions").iter().enumerate() {
        node_requirement(requirement, preferred, &list.index(index), errors);
    }
    let list = at.child("matchFields");
    for (index, requirement) in term.items("matchFields").iter().enumerate() {
        node_field_requirement(requirement, &list.index(index), errors);
    }
}

fn node_requirement(requirement: &Value, any_value: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let values = requirement.items("values");
    let at_values = at.child("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at_values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(
                &at_values,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(
                &at_values,
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.text("key");
    faults(&at.child("key"), key, names::qualified_name(key), errors);
    for (index, value) in values.iter().enumerate().filter(|_| !any_value) {
        let value = value.as_str().unwrap_or_default();
        faults(&at_values.index(index), value, names::label_value(value), errors);
    }
}

fn node_field_requirement(requirement: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let values = requirement.items("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let rule = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&at.child("values"), rule);
        }
        "In" | "NotIn" => {}
        other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    match requirement.text("key") {
        "metadata.name" => {
            for (index, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                faults(
                    &at.child("values").index(index),
                    value,
                    names::dns1123_subdomain(value),
                    errors,
                );
            }
        }
        key => errors.invalid(&at.child("key"), key, "not a valid field selector key"),
    }
}
