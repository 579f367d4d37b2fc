//! DaemonSets.

use serde_json::Value;

use super::{at_most_all, collisions, int_or_percent, non_negatives, number_of, same_selector};
use crate::object::Fields;
use crate::selector::LabelSelector;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;
use crate::validation::pod::{runs_on, selected, template_spec};
use crate::validation::selector::{is_empty, label_selector};

pub(in crate::validation) fn daemon_set(object: &Value, errors: &mut FieldErrors) {
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

pub(in crate::validation) fn daemon_set_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    same_selector(new, old, errors);
    daemon_set(new, errors);
}

pub(in crate::validation) fn daemon_set_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
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
