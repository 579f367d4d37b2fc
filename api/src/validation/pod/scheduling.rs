//! Where a pod may run: affinity, tolerations, spreading.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::faults;
use crate::validation::selector::{label_selector, node_selector, node_selector_term};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn affinity(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(affinity) = spec.field("affinity") else {
        return;
    };
    if let Some(nodes) = affinity.field("nodeAffinity") {
        let at = at.child("nodeAffinity");
        if let Some(selector) = nodes.field(REQUIRED) {
            node_selector(selector, &at.child(REQUIRED), errors);
        }
        let at = at.child(PREFERRED);
        for (index, term) in nodes.items(PREFERRED).iter().enumerate() {
            let at = at.index(index);
            weight(term, &at, errors);
            node_selector_term(&term["preference"], true, &at.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.field(kind) else {
            continue;
        };
        let at = at.child(kind);
        let list = at.child(REQUIRED);
        for (index, term) in pods.items(REQUIRED).iter().enumerate() {
            pod_term(term, &list.index(index), errors);
        }
        let list = at.child(PREFERRED);
        for (index, term) in pods.items(PREFERRED).iter().enumerate() {
            let at = list.index(index);
            weight(term, &at, errors);
            pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let weight = term.number("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

fn pod_term(term: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    label_selector(term.field("labelSelector"), &at.child("labelSelector"), errors);
    label_selector(
        term.field("namespaceSelector"),
        &at.child("namespaceSelector"),
        errors,
    );
    for name in term.items("namespaces").iter().filter_map(Value::as_str) {
        faults(&at.child("namespace"), name, names::dns1123_label(name), errors);
    }
    label_keys(term, at, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.required(&at.child("topologyKey"), "can not be empty");
    }
    faults(&at.child("topologyKey"), key, names::qualified_name(key), errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633).
fn label_keys(term: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let selector = term.field("labelSelector");
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.items(name);
        let list = at.child(name);
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&list, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            let key = key.as_str().unwrap_or_default();
            faults(&list.index(index), key, names::qualified_name(key), errors);
        }
    }
    let matched = term.items("matchLabelKeys");
    if let Some(selector) = selector {
        let mut seen: BTreeSet<&str> = selector.entries("matchLabels").map(|(key, _)| key).collect();
        for key in selector
            .items("matchExpressions")
            .iter()
            .map(|expression| expression.text("key"))
        {
            let place = matched.iter().rposition(|one| one.as_str() == Some(key));
            if let Some(index) = place.filter(|_| seen.contains(key)) {
                errors.invalid(
                    &at.index(index),
                    key,
                    "exists in both matchLabelKeys and labelSelector",
                );
            }
            seen.insert(key);
        }
    }
    let list = at.child("matchLabelKeys");
    for (index, key) in matched
        .iter()
        .enumerate()
        .filter(|(_, key)| term.items("mismatchLabelKeys").contains(key))
    {
        errors.invalid(
            &list.index(index),
            key,
            "exists in both matchLabelKeys and mismatchLabelKeys",
        );
    }
}

pub(super) fn spread(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let constraints = spec.items("topologySpreadConstraints");
    for (index, constraint) in constraints.iter().enumerate() {
        let at = at.index(index);
        let (key, action) = (
            constraint.text("topologyKey"),
            constraint.text("whenUnsatisfiable"),
        );
        positive(
            constraint.number("maxSkew").unwrap_or_default(),
            &at.child("maxSkew"),
            errors,
        );
        if key.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.not_supported(&at.child("whenUnsatisfiable"), action, &actions);
        }
        let repeated =
            |other: &Value| other.text("topologyKey") == key && other.text("whenUnsatisfiable") == action;
        if constraints[index + 1..].iter().any(repeated) {
            let shown = format!("{{{key}, {action}}}");
            errors.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), &shown);
        }
        min_domains(constraint, action, &at.child("minDomains"), errors);
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.has(name) && !matches!(constraint.text(name), "Honor" | "Ignore") {
                errors.not_supported(&at.child(name), constraint.text(name), &["Honor", "Ignore"]);
            }
        }
        label_keys(constraint, &at, errors);
        label_selector(
            constraint.field("labelSelector"),
            &at.child("labelSelector"),
            errors,
        );
    }
}

fn min_domains(constraint: &Value, action: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(domains) = constraint.number("minDomains") else {
        return;
    };
    positive(domains, at, errors);
    if action != "DoNotSchedule" {
        let rule = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(at, domains, rule);
    }
}

/// A number above zero.
pub(in crate::validation) fn positive(number: i64, at: &Path<'_>, errors: &mut FieldErrors) {
    if number <= 0 {
        errors.invalid(at, number, "must be greater than zero");
    }
}

/// What a taint does to pods that do not tolerate it.
pub(in crate::validation) fn taint_effect(effect: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if effect.is_empty() {
        errors.required(at, "");
    } else if !EFFECTS.contains(&effect) {
        errors.not_supported(at, effect, &EFFECTS);
    }
}

pub(in crate::validation) fn tolerations(spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, toleration) in spec.items("tolerations").iter().enumerate() {
        let at = list.index(index);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let effect = toleration.text("effect");
        if !key.is_empty() {
            faults(&at.child("key"), key, names::qualified_name(key), errors);
        } else if operator != "Exists" {
            let rule =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), operator, rule);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let rule = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), effect, rule);
        }
        toleration_value(toleration, operator, &at.child("operator"), errors);
        if !effect.is_empty() {
            taint_effect(effect, &at.child("effect"), errors);
        }
    }
}

fn toleration_value(toleration: &Value, operator: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let value = toleration.text("value");
    match operator {
        "Equal" | "" => {
            let found = names::label_value(value);
            if !found.is_empty() {
                errors.invalid(at, value, found.join(";"));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.invalid(at, value, "value must be empty when `operator` is 'Exists'")
        }
        "Exists" => {}
        "Lt" | "Gt" => errors.not_supported(at, operator, &["Equal", "Exists", "Lt", "Gt"]),
        other => errors.not_supported(at, other, &["Equal", "Exists"]),
    }
}
