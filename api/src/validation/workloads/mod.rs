//! Rules of the group `apps`, and of ReplicationControllers, which are of the same family.

mod daemon_set;
mod stateful_set;

use serde_json::{Value, json};

pub(super) use self::daemon_set::{daemon_set, daemon_set_status, daemon_set_update};
pub(super) use self::stateful_set::{stateful_set, stateful_set_status, stateful_set_update};
use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::{faults, immutable, immutable_selector, non_negative};
use super::pod::for_controller;
use super::selector::{is_empty, label_selector};
use crate::codec::raw;
use crate::names;
use crate::object::Fields;
use crate::selector::LabelSelector;

/// What every controller's spec has: a selector, which must not be empty, and a template that it selects.
fn selector(spec: &Value, kind: &str, at: &Path<'_>, errors: &mut FieldErrors) -> Option<LabelSelector> {
    let at = at.child("selector");
    let Some(selector) = spec.field("selector") else {
        errors.required(&at, "");
        return Some(LabelSelector::Nothing);
    };
    label_selector(Some(selector), &at, errors);
    if is_empty(selector) {
        let rule = format!("empty selector is invalid for {kind}");
        errors.invalid(&at, internal::shown_selector(selector), rule);
    }
    match LabelSelector::from_object(Some(selector)) {
        Ok(selector) => Some(selector),
        Err(_) => {
            let rule = if kind == "statefulset" {
                ""
            } else {
                "invalid label selector"
            };
            errors.invalid(&at, internal::shown_selector(selector), rule);
            None
        }
    }
}

fn non_negatives(object: &Value, names: &[&str], at: &Path<'_>, errors: &mut FieldErrors) {
    for name in names {
        non_negative(object.number(name), &at.child(name), errors);
    }
}

pub(super) fn deployment(object: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    non_negatives(spec, &["replicas"], &at, errors);
    if let Some(selector) = selector(spec, "deployment", &at, errors) {
        for_controller(
            &spec["template"],
            &selector,
            "ReplicaSet",
            &at.child("template"),
            errors,
        );
    }
    deployment_strategy(&spec["strategy"], &at.child("strategy"), errors);
    non_negatives(
        spec,
        &[
            "minReadySeconds",
            "revisionHistoryLimit",
            "progressDeadlineSeconds",
        ],
        &at,
        errors,
    );
    let ready = spec.number("minReadySeconds").unwrap_or_default();
    if let Some(deadline) = spec
        .number("progressDeadlineSeconds")
        .filter(|&deadline| deadline <= ready)
    {
        errors.invalid(
            &at.child("progressDeadlineSeconds"),
            deadline,
            "must be greater than minReadySeconds",
        );
    }
}

fn deployment_strategy(strategy: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let rolling = at.child("rollingUpdate");
    match (strategy.text("type"), strategy.field("rollingUpdate")) {
        ("Recreate", Some(_)) => {
            errors.forbidden(
                &rolling,
                "may not be specified when strategy `type` is 'Recreate'",
            );
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => errors.required(&rolling, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(update)) => rolling_update(update, &rolling, errors),
        _ => {
            let strategy = internal::shown(strategy, internal::DEPLOYMENT_STRATEGY);
            errors.not_supported(at, strategy, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn rolling_update(update: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (unavailable, surge) = (update.field("maxUnavailable"), update.field("maxSurge"));
    let at_unavailable = at.child("maxUnavailable");
    int_or_percent(unavailable, &at_unavailable, errors);
    int_or_percent(surge, &at.child("maxSurge"), errors);
    if number_of(unavailable) == 0 && number_of(surge) == 0 {
        errors.invalid(
            &at_unavailable,
            unavailable.unwrap_or(&json!(0)),
            "may not be 0 when `maxSurge` is 0",
        );
    }
    at_most_all(unavailable, &at_unavailable, errors);
}

/// A whole number of zero or more, or a percentage.
pub(super) fn int_or_percent(value: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    match value {
        Some(Value::String(text)) => faults(at, text, names::percent(text), errors),
        number => non_negative(number.and_then(Value::as_i64), at, errors),
    }
}

/// The number, or that of the percentage; 0 for what is neither.
pub(super) fn number_of(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::String(text)) => text
            .strip_suffix('%')
            .and_then(|n| n.parse().ok())
            .unwrap_or_default(),
        number => number.and_then(Value::as_i64).unwrap_or_default(),
    }
}

/// A percentage of 100 at most.
pub(super) fn at_most_all(value: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(Value::String(text)) = value
        && names::percent(text).is_empty()
        && number_of(value) > 100
    {
        errors.invalid(at, text, "must not be greater than 100%");
    }
}

pub(super) fn same_selector(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (new, old) = (new["spec"].field("selector"), old["spec"].field("selector"));
    immutable_selector(new, old, &Path::new("spec.selector"), errors);
}

pub(super) fn deployment_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    deployment(new, errors);
    same_selector(new, old, errors);
}

/// Counts are not negative, and a part is not greater than the whole.
fn counts(object: &Value, counts: &[&str], parts: &[&str], ready: &str, errors: &mut FieldErrors) {
    let (status, at) = (&object["status"], Path::new("status"));
    non_negatives(status, counts, &at, errors);
    let number = |name: &str| status.number(name).unwrap_or_default();
    for name in parts.iter().filter(|name| number(name) > number("replicas")) {
        errors.invalid(
            &at.child(name),
            number(name),
            "cannot be greater than status.replicas",
        );
    }
    if number("availableReplicas") > number("readyReplicas") {
        errors.invalid(
            &at.child("availableReplicas"),
            number("availableReplicas"),
            format!("cannot be greater than {ready}"),
        );
    }
}

fn collisions(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let count = |object: &Value| object["status"].number("collisionCount").unwrap_or_default();
    if count(new) < count(old) {
        errors.invalid(
            &Path::new("status.collisionCount"),
            count(new),
            "cannot be decremented",
        );
    }
}

pub(super) fn deployment_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let all = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    counts(
        new,
        &all,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "readyReplicas",
        errors,
    );
    collisions(new, old, errors);
}

pub(super) fn replica_set(object: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    non_negatives(spec, &["replicas", "minReadySeconds"], &at, errors);
    if let Some(selector) = selector(spec, "deployment", &at, errors) {
        for_controller(
            &spec["template"],
            &selector,
            "ReplicaSet",
            &at.child("template"),
            errors,
        );
    }
}

pub(super) fn replica_set_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    replica_set(new, errors);
    same_selector(new, old, errors);
}

pub(super) fn replica_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let all = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    counts(
        new,
        &all,
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "readyReplicas",
        errors,
    );
}

pub(super) fn replication_controller(object: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    non_negatives(spec, &["minReadySeconds"], &at, errors);
    let selector = match spec.field("selector").and_then(Value::as_object) {
        Some(labels) if !labels.is_empty() => LabelSelector::from_map(labels),
        _ => {
            errors.required(&at.child("selector"), "");
            LabelSelector::EVERYTHING
        }
    };
    match spec.number("replicas") {
        None => errors.required(&at.child("replicas"), ""),
        replicas => non_negative(replicas, &at.child("replicas"), errors),
    }
    match spec.field("template") {
        None => errors.required(&at.child("template"), ""),
        Some(template) => {
            for_controller(
                template,
                &selector,
                "ReplicationController",
                &at.child("template"),
                errors,
            );
        }
    }
}

pub(super) fn controller_revision(object: &Value, errors: &mut FieldErrors) {
    non_negative(object.number("revision"), &Path::new("revision"), errors);
    let data = Path::new("data");
    match object.field("data").map(raw::peel).as_deref() {
        None => errors.required(&data, "data is mandatory"),
        Some(Value::Object(_)) => {}
        Some(_) => errors.required(&data, "data must be a valid JSON object"),
    }
}

pub(super) fn controller_revision_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    non_negative(new.number("revision"), &Path::new("revision"), errors);
    let (now, then) = (new.field("data"), old.field("data"));
    if !now.zip(then).is_some_and(|(now, then)| raw::same(now, then)) {
        immutable(now, then, &Path::new("data"), errors);
    }
}
