//! StatefulSets.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{at_most_all, collisions, counts, int_or_percent, non_negatives, number_of, selector};
use crate::names;
use crate::object::{Fields, same};
use crate::validation::core::storage;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::meta::{faults, non_negative};
use crate::validation::pod::{runs_on, selected, template_spec};

pub(in crate::validation) fn stateful_set(object: &Value, errors: &mut FieldErrors) {
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

pub(in crate::validation) fn stateful_set_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
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

pub(in crate::validation) fn stateful_set_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
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
