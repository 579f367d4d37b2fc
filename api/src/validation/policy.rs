//! PodDisruptionBudgets, PriorityClasses, RuntimeClasses and Leases: kinds of few rules.

use serde_json::Value;

use super::conditions::conditions;
use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::{faults, immutable, immutable_text, labels, non_negative};
use super::pod::{limits, one_of, tolerations};
use super::selector::label_selector;
use super::workloads::{at_most_all, int_or_percent};
use crate::names;
use crate::object::Fields;

const USER_PRIORITY_MAX: i64 = 1_000_000_000;

pub(super) fn disruption_budget(budget: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&budget["spec"], Path::new("spec"));
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let shown = internal::shown(spec, internal::DISRUPTION_BUDGET);
        errors.invalid(&at, shown, "minAvailable and maxUnavailable cannot be both set");
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
    conditions(new["status"].items("conditions"), &at.child("conditions"), errors);
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

pub(super) fn runtime_class(class: &Value, errors: &mut FieldErrors) {
    let (handler, at) = (class.text("handler"), Path::new("handler"));
    match handler {
        "" => errors.required(&at, ""),
        handler => faults(&at, handler, names::dns1123_label(handler), errors),
    }
    // Judged as if they were a container's limits, and named so.
    limits(
        &class["overhead"],
        "podFixed",
        &Path::new("overhead.limits"),
        errors,
    );
    let (scheduling, at) = (&class["scheduling"], Path::new("scheduling"));
    labels(scheduling, "nodeSelector", &at, errors);
    let list = at.child("tolerations");
    tolerations(scheduling, &list, errors);
    let key = |toleration: &Value| {
        ["key", "operator", "value", "effect"].map(|name| toleration.text(name).to_owned())
    };
    let all = scheduling.items("tolerations");
    for (index, toleration) in all.iter().enumerate() {
        if all[..index].iter().any(|other| key(other) == key(toleration)) {
            let shown = internal::shown(toleration, internal::TOLERATION);
            errors.duplicate(&list.index(index), shown);
        }
    }
}

pub(super) fn runtime_class_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    runtime_class(new, errors);
    immutable_text(
        new.field("handler"),
        old.field("handler"),
        &Path::new("handler"),
        errors,
    );
}
