//! PodDisruptionBudgets, PriorityClasses, Leases, StorageClasses and VolumeAttachments: kinds of few rules.

use serde_json::Value;

use super::core::storage::driver_name;
use super::field::{FieldErrors, Path};
use super::meta::{faults, immutable, non_negative};
use super::pod::one_of;
use super::selector::label_selector;
use super::workloads::{at_most_all, int_or_percent};
use crate::names;
use crate::object::{Fields, same};

const USER_PRIORITY_MAX: i64 = 1_000_000_000;
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;

pub(super) fn disruption_budget(budget: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&budget["spec"], Path::new("spec"));
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        errors.invalid(&at, spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for name in ["minAvailable", "maxUnavailable"]
        .into_iter()
        .filter(|name| spec.has(name))
    {
        int_or_percent(spec.field(name), &at.child(name), errors);
        at_most_all(spec.field(name), &at.child(name), errors);
    }
    label_selector(spec.field("selector"), &at.child("selector"), errors);
    let policy = spec.text("unhealthyPodEvictionPolicy");
    if spec.has("unhealthyPodEvictionPolicy") && !matches!(policy, "AlwaysAllow" | "IfHealthyBudget") {
        let at = at.child("unhealthyPodEvictionPolicy");
        errors.not_supported(&at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

pub(super) fn disruption_budget_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let at = Path::new("status");
    for name in [
        "disruptionsAllowed",
        "currentHealthy",
        "desiredHealthy",
        "expectedPods",
    ] {
        non_negative(new["status"].number(name), &at.child(name), errors);
    }
}

pub(super) fn priority_class(class: &Value, errors: &mut FieldErrors) {
    let name = class["metadata"].text("name");
    let value = class.number("value").unwrap_or_default();
    if name.starts_with("system-") {
        let known = match name {
            "system-node-critical" => Some(2_000_001_000),
            "system-cluster-critical" => Some(2_000_000_000),
            _ => None,
        };
        let reason = match known {
            None => format!("{name} is not a known system priority class"),
            Some(known) if known != value => format!("value of {name} PriorityClass must be {known}"),
            Some(_) if class.flag("globalDefault") => {
                format!("globalDefault of {name} PriorityClass must be false")
            }
            Some(_) => String::new(),
        };
        if !reason.is_empty() {
            let rule = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {reason}"
            );
            errors.forbidden(&Path::new("metadata.name"), rule);
        }
    } else if value > USER_PRIORITY_MAX {
        let rule = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
        errors.forbidden(&Path::new("value"), rule);
    }
    if class.has("preemptionPolicy") {
        let allowed = ["PreemptLowerPriority", "Never"];
        one_of(
            class.text("preemptionPolicy"),
            &allowed,
            &Path::new("preemptionPolicy"),
            errors,
        );
    }
}

pub(super) fn priority_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    if new.number("value").unwrap_or_default() != old.number("value").unwrap_or_default() {
        errors.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    let policy = Path::new("preemptionPolicy");
    immutable(
        new.field("preemptionPolicy"),
        old.field("preemptionPolicy"),
        &policy,
        errors,
    );
}

pub(super) fn lease(lease: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&lease["spec"], Path::new("spec"));
    if let Some(seconds) = spec
        .number("leaseDurationSeconds")
        .filter(|&seconds| seconds <= 0)
    {
        errors.invalid(
            &at.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
    non_negative(
        spec.number("leaseTransitions"),
        &at.child("leaseTransitions"),
        errors,
    );
    let strategy = spec.text("strategy");
    if spec.has("strategy") {
        let found = names::qualified_name(strategy);
        if !strategy.contains('/') && strategy != "OldestEmulationVersion" {
            errors.not_supported(&at.child("strategy"), strategy, &["OldestEmulationVersion"]);
        } else {
            faults(&at.child("strategy"), strategy, found, errors);
        }
    }
    if !spec.text("preferredHolder").is_empty() && strategy.is_empty() {
        errors.forbidden(
            &at.child("preferredHolder"),
            "may only be specified if `strategy` is defined",
        );
    }
}

pub(super) fn storage_class(class: &Value, errors: &mut FieldErrors) {
    let at = Path::new("provisioner");
    match class.text("provisioner") {
        "" => errors.required(&at, ""),
        name => faults(&at, name, names::qualified_name(&name.to_lowercase()), errors),
    }
    parameters(class, &Path::new("parameters"), errors);
    let policy = class.text("reclaimPolicy");
    if !policy.is_empty() && !matches!(policy, "Delete" | "Retain") {
        errors.not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let at = Path::new("volumeBindingMode");
    match class.field("volumeBindingMode").and_then(Value::as_str) {
        None => errors.required(&at, ""),
        Some("Immediate" | "WaitForFirstConsumer") => {}
        Some(other) => errors.not_supported(&at, other, &["Immediate", "WaitForFirstConsumer"]),
    }
    topologies(class, &Path::new("allowedTopologies"), errors);
}

fn parameters(class: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let count = class.count("parameters");
    if count > PARAMETERS_MAX {
        errors.too_long(at, PARAMETERS_MAX);
        return;
    }
    let mut size = 0;
    for (key, value) in class.entries("parameters") {
        if key.is_empty() {
            errors.invalid(at, key, "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > PARAMETERS_SIZE_MAX {
        errors.too_long(at, PARAMETERS_SIZE_MAX);
    }
}

fn topologies(class: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, term) in class.items("allowedTopologies").iter().enumerate() {
        let term_at = list.index(index);
        let at = term_at.child("matchLabelExpressions");
        let mut keys: Vec<&str> = Vec::new();
        for (index, expression) in term.items("matchLabelExpressions").iter().enumerate() {
            let at = at.index(index);
            let (key, values) = (expression.text("key"), expression.items("values"));
            let at_values = at.child("values");
            if values.is_empty() {
                errors.required(&at_values, "");
            }
            for (index, value) in values
                .iter()
                .enumerate()
                .filter(|(index, value)| values[..*index].contains(value))
            {
                errors.duplicate(&at_values.index(index), value);
            }
            faults(&at.child("key"), key, names::qualified_name(key), errors);
            if keys.contains(&key) {
                errors.duplicate(&at.child("key"), key);
            }
            keys.push(key);
        }
    }
    let terms = class.items("allowedTopologies");
    let repeated = |index: usize, term: &Value| {
        term.count("matchLabelExpressions") == 0
            || terms[..index].iter().any(|other| same(Some(other), Some(term)))
    };
    for (index, _) in terms
        .iter()
        .enumerate()
        .filter(|(index, term)| repeated(*index, term))
    {
        errors.duplicate(&list.index(index).child("matchLabelExpressions"), "");
    }
}

pub(super) fn storage_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    storage_class(new, errors);
    for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        immutable(new.field(name), old.field(name), &Path::new(name), errors);
    }
}

pub(super) fn volume_attachment(attachment: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&attachment["spec"], Path::new("spec"));
    match spec.text("attacher") {
        "" => errors.required(&at.child("attacher"), ""),
        name => driver_name(name, &at.child("attacher"), errors),
    }
    let at_source = at.child("source");
    let source = &spec["source"];
    match (source.has("persistentVolumeName"), source.has("inlineVolumeSpec")) {
        (false, false) => {
            let rule = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.required(&at_source, rule);
        }
        (true, true) => {
            let rule = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.forbidden(&at_source, rule);
        }
        (true, false) => {
            let name = source.text("persistentVolumeName");
            match name {
                "" => errors.required(
                    &at_source.child("persistentVolumeName"),
                    "must specify non empty persistentVolumeName",
                ),
                name => {
                    let at = at_source.child("persistentVolumeName");
                    faults(&at, name, names::dns1123_subdomain(name), errors);
                }
            }
        }
        (false, true) => {}
    }
    let node = spec.text("nodeName");
    faults(
        &at.child("nodeName"),
        node,
        names::dns1123_subdomain(node),
        errors,
    );
}

pub(super) fn volume_attachment_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    volume_attachment(new, errors);
    if !same(new.get("spec"), old.get("spec")) {
        errors.invalid(&Path::new("spec"), &new["spec"], "field is immutable");
    }
}
