//! Rules of the group `apps`, and of ReplicationControllers, which are of the same family.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::core::storage;
use super::field::{FieldErrors, Path};
use super::internal;
use super::meta::{faults, immutable, immutable_selector, non_negative};
use super::pod::{for_controller, runs_on, selected, template_spec};
use super::selector::{is_empty, label_selector};
use crate::names;
use crate::object::{Fields, same};
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

pub(super) fn daemon_set(object: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    label_selector(spec.field("selector"), &at.child("selector"), errors);
    let parsed = LabelSelector::from_object(spec.field("selector"));
    let template = at.child("template");
    if let Ok(selector) = &parsed
        && (!selector.is_everything() || spec.field("selector").is_some())
    {
        selected(&spec["template"], selector, &template, errors);
    }
    if spec.field("selector").is_some_and(is_empty) {
        errors.invalid(
            &at.child("selector"),
            internal::shown_selector(&spec["selector"]),
            "empty selector is invalid for daemonset",
        );
    }
    template_spec(&spec["template"], &template, errors);
    runs_on(&spec["template"], "DaemonSet", &template, errors);
    non_negatives(spec, &["minReadySeconds"], &at, errors);
    daemon_strategy(&spec["updateStrategy"], &at.child("updateStrategy"), errors);
    non_negatives(spec, &["revisionHistoryLimit"], &at, errors);
}

fn daemon_strategy(strategy: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            let Some(update) = strategy.field("rollingUpdate") else {
                errors.required(&at, "");
                return;
            };
            daemon_rolling_update(update, &at, errors);
        }
        _ => {
            let strategy = internal::shown(strategy, internal::DEPLOYMENT_STRATEGY);
            errors.not_supported(at, strategy, &["RollingUpdate", "OnDelete"]);
        }
    }
}

fn daemon_rolling_update(update: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (unavailable, surge) = (update.field("maxUnavailable"), update.field("maxSurge"));
    for (name, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        int_or_percent(value, &at.child(name), errors);
        at_most_all(value, &at.child(name), errors);
    }
    match (number_of(unavailable) != 0, number_of(surge) != 0) {
        (true, true) => {
            errors.invalid(
                &at.child("maxSurge"),
                surge.unwrap_or(&Value::Null),
                "may not be set when maxUnavailable is non-zero",
            );
        }
        (false, false) => {
            let rule = "cannot be 0 when maxSurge is 0";
            errors.required(&at.child("maxUnavailable"), rule);
        }
        _ => {}
    }
}

pub(super) fn daemon_set_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    same_selector(new, old, errors);
    daemon_set(new, errors);
}

pub(super) fn daemon_set_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let all = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    non_negatives(&new["status"], &all, &Path::new("status"), errors);
    collisions(new, old, errors);
}

pub(super) fn stateful_set(object: &Value, errors: &mut FieldErrors) {
    stateful_set_spec(object, true, errors);
    let spec = &object["spec"];
    let service = spec.text("serviceName");
    if !service.is_empty() {
        faults(
            &Path::new("spec.serviceName"),
            service,
            names::dns1123_label(service),
            errors,
        );
    }
}

fn stateful_set_spec(object: &Value, new: bool, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    match spec.text("podManagementPolicy") {
        "OrderedReady" | "Parallel" => {}
        "" => errors.required(&at.child("podManagementPolicy"), ""),
        other => errors.invalid(
            &at.child("podManagementPolicy"),
            other,
            "must be 'OrderedReady' or 'Parallel'",
        ),
    }
    stateful_strategy(&spec["updateStrategy"], &at.child("updateStrategy"), errors);
    let retention = at.child("persistentVolumeClaimRetentionPolicy");
    if let Some(policy) = spec.field("persistentVolumeClaimRetentionPolicy") {
        for name in ["whenDeleted", "whenScaled"] {
            if !matches!(policy.text(name), "Retain" | "Delete") {
                errors.not_supported(&retention.child(name), policy.text(name), &["Retain", "Delete"]);
            }
        }
    }
    if new {
        let list = at.child("volumeClaimTemplates");
        for (index, claim) in spec.items("volumeClaimTemplates").iter().enumerate() {
            storage::claim_spec(&claim["spec"], &list.index(index).child("spec"), errors);
        }
    }
    non_negatives(spec, &["replicas", "minReadySeconds"], &at, errors);
    non_negative(
        spec["ordinals"].number("start"),
        &at.child("ordinals.start"),
        errors,
    );
    if let Some(selector) = selector(spec, "statefulset", &at, errors) {
        let template = with_claims(spec);
        let at = at.child("template");
        selected(&template, &selector, &at, errors);
        template_spec(&template, &at, errors);
    }
    runs_on(&spec["template"], "StatefulSet", &at.child("template"), errors);
}

/// The template as its pods will be: with a volume per claim template, without names that the controller sets.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = spec
        .items("volumeClaimTemplates")
        .iter()
        .map(|claim| claim["metadata"].text("name"));
    let names: BTreeSet<&str> = claims.collect();
    let mut volumes: Vec<Value> = names
        .into_iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
        .collect();
    if let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) {
        pod.remove("subdomain");
        pod.remove("hostname");
        let claimed = |name: &str| {
            spec.items("volumeClaimTemplates")
                .iter()
                .any(|c| c["metadata"].text("name") == name)
        };
        volumes.extend(
            pod.items("volumes")
                .iter()
                .filter(|volume| !claimed(volume.text("name")))
                .cloned(),
        );
        pod.insert("volumes".into(), Value::Array(volumes));
    }
    template
}

fn stateful_strategy(strategy: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at_rolling = at.child("rollingUpdate");
    match (strategy.text("type"), strategy.field("rollingUpdate")) {
        ("", _) => errors.required(at, ""),
        ("OnDelete", Some(update)) => {
            errors.invalid(
                &at_rolling,
                update,
                "only allowed for updateStrategy 'RollingUpdate'",
            );
        }
        ("RollingUpdate", Some(update)) => {
            non_negatives(update, &["partition"], &at_rolling, errors);
            if let Some(unavailable) = update.field("maxUnavailable") {
                let at = at_rolling.child("maxUnavailable");
                int_or_percent(Some(unavailable), &at, errors);
                if number_of(Some(unavailable)) == 0 {
                    errors.invalid(&at, unavailable, "cannot be 0");
                }
                at_most_all(Some(unavailable), &at, errors);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let strategy = internal::shown(strategy, internal::STATEFUL_STRATEGY);
            errors.invalid(at, strategy, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

pub(super) fn stateful_set_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    stateful_set_spec(new, false, errors);
    let mut kept = new["spec"].clone();
    for name in [
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
    ] {
        kept[name] = old["spec"][name].clone();
    }
    if !same(Some(&kept), old.get("spec")) {
        let rule = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.forbidden(&Path::new("spec"), rule);
    }
}

pub(super) fn stateful_set_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let parts = [
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
    ];
    let all = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    counts(new, &all, &parts, "status.readyReplicas", errors);
    collisions(new, old, errors);
}

pub(super) fn controller_revision(object: &Value, errors: &mut FieldErrors) {
    non_negative(object.number("revision"), &Path::new("revision"), errors);
    let data = Path::new("data");
    match object.field("data") {
        None => errors.required(&data, "data is mandatory"),
        Some(Value::Object(_)) => {}
        Some(_) => errors.required(&data, "data must be a valid JSON object"),
    }
}

pub(super) fn controller_revision_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    non_negative(new.number("revision"), &Path::new("revision"), errors);
    immutable(new.field("data"), old.field("data"), &Path::new("data"), errors);
}
