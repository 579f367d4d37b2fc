//! HorizontalPodAutoscalers in both versions, and scales.

use serde_json::{Value, json};

use super::field::{FieldErrors, Path};
use super::meta::{faults, non_negative};
use super::pod::{amount, container_resource_name, positive};
use crate::names;
use crate::object::Fields;
use crate::quantity::Quantity;

const WINDOW_MAX: i64 = 3600;
const PERIOD_MAX: i64 = 1800;
const SOURCES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const SOURCE_FIELDS: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

/// An autoscaler of version 2.
pub(super) fn autoscaler(object: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    bounds(spec, &at, errors);
    reference(&spec["scaleTargetRef"], true, &at.child("scaleTargetRef"), errors);
    let list = at.child("metrics");
    for (index, metric) in spec.items("metrics").iter().enumerate() {
        self::metric(metric, &list.index(index), errors);
    }
    let outside = |metric: &Value| matches!(metric.text("type"), "Object" | "External");
    if spec.number("minReplicas") == Some(0) && !spec.items("metrics").iter().any(outside) {
        let rule = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&list, rule);
    }
    if let Some(behavior) = spec.field("behavior") {
        for name in ["scaleUp", "scaleDown"] {
            let at = at.child("behavior");
            scaling_rules(behavior.field(name), &at.child(name), errors);
        }
    }
}

/// An autoscaler of version 1 is judged as what it is in version 2.
pub(super) fn autoscaler_v1(object: &Value, errors: &mut FieldErrors) {
    let mut hub = object.clone();
    if let Some(percent) = object["spec"].number("targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        hub["spec"]["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    autoscaler(&hub, errors);
}

fn bounds(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (least, most) = (
        spec.number("minReplicas"),
        spec.number("maxReplicas").unwrap_or_default(),
    );
    if let Some(least) = least.filter(|&least| least < 1) {
        errors.invalid(
            &at.child("minReplicas"),
            least,
            "must be greater than or equal to 1",
        );
    }
    if most == 0 {
        errors.required(&at.child("maxReplicas"), "must be set and greater than 0");
    } else if most < 0 {
        errors.invalid(
            &at.child("maxReplicas"),
            most,
            "must be greater than or equal to 1",
        );
    }
    if least.is_some_and(|least| most < least) {
        errors.invalid(
            &at.child("maxReplicas"),
            most,
            "must be greater than or equal to `minReplicas`",
        );
    }
}

/// What is scaled or measured: an object of any kind. Only of some the group may be left out.
fn reference(reference: &Value, needs_group: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["kind", "name"] {
        match reference.text(name) {
            "" => errors.required(&at.child(name), ""),
            text => faults(&at.child(name), text, names::path_segment(text), errors),
        }
    }
    let version = reference.text("apiVersion");
    if version.matches('/').count() > 1 {
        let fault = format!("unexpected GroupVersion string: {version}");
        errors.invalid(&at.child("apiVersion"), version, fault);
    } else if needs_group && !version.contains('/') {
        errors.invalid(
            &at.child("apiVersion"),
            version,
            "apiVersion must specify API group",
        );
    }
}

fn metric(metric: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric source type");
    }
    if !SOURCES.contains(&kind) {
        errors.not_supported(&at.child("type"), kind, &SOURCES);
    }
    let present: Vec<&str> = SOURCE_FIELDS
        .into_iter()
        .filter(|name| metric.has(name))
        .collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &at.child(first), errors);
    }
    let mut expected = kind.to_owned();
    if let Some(letter) = expected.get_mut(..1) {
        letter.make_ascii_lowercase();
    }
    if SOURCES.contains(&kind) && !metric.has(&expected) {
        errors.required(
            &at.child(&expected),
            "must populate information for the given metric source",
        );
    }
    if present.len() != 1 {
        for name in present.iter().filter(|name| **name != expected) {
            errors.forbidden(&at.child(name), "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, source: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (goal, at_target) = (&source["target"], at.child("target"));
    match kind {
        "object" => reference(
            &source["describedObject"],
            false,
            &at.child("describedObject"),
            errors,
        ),
        "containerResource" => {
            match source.text("name") {
                "" => errors.required(&at.child("name"), "must specify a resource name"),
                name => container_resource_name(name, &at.child("name"), errors),
            }
            match source.text("container") {
                "" => errors.required(&at.child("container"), "must specify a container"),
                name => faults(&at.child("container"), name, names::dns1123_label(name), errors),
            }
        }
        "resource" if source.text("name").is_empty() => {
            errors.required(&at.child("name"), "must specify a resource name");
        }
        _ => {}
    }
    if matches!(kind, "object" | "external" | "pods") {
        match source["metric"].text("name") {
            "" => errors.required(&at.child("metric.name"), "must specify a metric name"),
            name => faults(&at.child("metric.name"), name, names::path_segment(name), errors),
        }
    }
    target(goal, &at_target, errors);
    let (value, average) = (goal.has("value"), goal.has("averageValue"));
    let utilization = goal.has("averageUtilization");
    match kind {
        "object" if !value && !average => {
            errors.required(
                &at_target.child("averageValue"),
                "must set either a target value or averageValue",
            );
        }
        "external" if !value && !average => {
            let rule = "must set either a target value for metric or a per-pod target";
            errors.required(&at_target.child("averageValue"), rule);
        }
        "external" if value && average => {
            let rule = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at_target.child("value"), rule);
        }
        "pods" if !average => {
            errors.required(
                &at_target.child("averageValue"),
                "must specify a positive target averageValue",
            );
        }
        "resource" | "containerResource" if !utilization && !average => {
            let rule = "must set either a target raw value or a target utilization";
            errors.required(&at_target.child("averageUtilization"), rule);
        }
        "resource" | "containerResource" if utilization && average => {
            let rule = "may not set both a target raw value and a target utilization";
            errors.forbidden(&at_target.child("averageValue"), rule);
        }
        _ => {}
    }
}

fn target(target: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let kind = target.text("type");
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(
            &at.child("type"),
            kind,
            "must be either Utilization, Value, or AverageValue",
        );
    }
    for name in ["value", "averageValue"] {
        if let Some(value) = target.field(name).filter(|value| amount(value) <= Quantity::ZERO) {
            errors.invalid(&at.child(name), value, "must be positive");
        }
    }
    if let Some(percent) = target.number("averageUtilization").filter(|&percent| percent < 1) {
        errors.invalid(&at.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn scaling_rules(rules: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(rules) = rules else { return };
    let at_window = at.child("stabilizationWindowSeconds");
    match rules.number("stabilizationWindowSeconds") {
        Some(window) if window < 0 => {
            errors.invalid(&at_window, window, "must be greater than or equal to zero")
        }
        Some(window) if window > WINDOW_MAX => {
            errors.invalid(
                &at_window,
                window,
                format!("must be less than or equal to {WINDOW_MAX}"),
            );
        }
        _ => {}
    }
    let policies = ["Disabled", "Max", "Min"];
    if rules.has("selectPolicy") && !policies.contains(&rules.text("selectPolicy")) {
        errors.not_supported(&at.child("selectPolicy"), rules.text("selectPolicy"), &policies);
    }
    let list = at.child("policies");
    if rules.count("policies") == 0 {
        errors.required(&list, "must specify at least one Policy");
    }
    for (index, policy) in rules.items("policies").iter().enumerate() {
        let at = list.index(index);
        if !matches!(policy.text("type"), "Pods" | "Percent") {
            errors.not_supported(&at.child("type"), policy.text("type"), &["Percent", "Pods"]);
        }
        positive(
            policy.number("value").unwrap_or_default(),
            &at.child("value"),
            errors,
        );
        let period = policy.number("periodSeconds").unwrap_or_default();
        positive(period, &at.child("periodSeconds"), errors);
        if period > PERIOD_MAX {
            let rule = format!("must be less than or equal to {PERIOD_MAX}");
            errors.invalid(&at.child("periodSeconds"), period, rule);
        }
    }
    if let Some(tolerance) = rules
        .field("tolerance")
        .filter(|value| amount(value) < Quantity::ZERO)
    {
        errors.invalid(
            &at.child("tolerance"),
            tolerance,
            "must be greater than or equal to 0",
        );
    }
}

pub(super) fn autoscaler_status(new: &Value, _: &Value, errors: &mut FieldErrors) {
    let at = Path::new("status");
    for name in ["currentReplicas", "desiredReplicas"] {
        non_negative(new["status"].number(name), &at.child(name), errors);
    }
}
