//! What a new pod's status says, of which quality its service is, and what its label keys select.

use serde_json::{Map, Value, json};

use crate::object::{Fields, objects_in};
use crate::quantity::Quantity;

/// The status of a pod that nobody has seen yet.
pub(super) fn new_status(pod: &mut Map<String, Value>) {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut status = json!({"phase": "Pending", "qosClass": qos_class(spec)});
    if spec.count("schedulingGates") > 0 {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
            "lastTransitionTime": null, "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
    }
    pod.insert("status".into(), status);
}

/// Puts what `matchLabelKeys` and `mismatchLabelKeys` name of the pod's own labels into the selectors beside them (KEP-3633 and
/// KEP-3243). A selector that is not there selects nothing, and is left so.
pub(super) fn select_by_label_keys(pod: &mut Map<String, Value>) {
    let labels = pod.get("metadata").map(|metadata| metadata["labels"].clone());
    let labels = labels.unwrap_or_default();
    let Some(spec) = part(pod, "spec") else { return };
    for constraint in objects_in(spec, "topologySpreadConstraints") {
        select(constraint, "matchLabelKeys", "In", &labels);
    }
    let Some(affinity) = part(spec, "affinity") else {
        return;
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = part(affinity, kind) else {
            continue;
        };
        for weighted in objects_in(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = part(weighted, "podAffinityTerm") {
                select_by_term(term, &labels);
            }
        }
        for term in objects_in(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            select_by_term(term, &labels);
        }
    }
}

/// A field that is an object, where it is there.
fn part<'a>(of: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    of.get_mut(name).and_then(Value::as_object_mut)
}

fn select_by_term(term: &mut Map<String, Value>, labels: &Value) {
    select(term, "matchLabelKeys", "In", labels);
    select(term, "mismatchLabelKeys", "NotIn", labels);
}

fn select(by: &mut Map<String, Value>, keys: &str, operator: &str, labels: &Value) {
    let found: Vec<Value> = by
        .items(keys)
        .iter()
        .filter_map(|key| Some((key, labels.get(key.as_str()?)?)))
        .map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]}))
        .collect();
    let Some(selector) = part(by, "labelSelector").filter(|_| !found.is_empty()) else {
        return;
    };
    match selector.get_mut("matchExpressions") {
        Some(Value::Array(expressions)) => expressions.extend(found),
        _ => drop(selector.insert("matchExpressions".into(), found.into())),
    }
}

/// The quality of service that a pod's requests and limits of cpu and memory amount to.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        spec.items("containers")
            .iter()
            .chain(spec.items("initContainers"))
    };
    let amount = |container: &Value, kind: &str, name: &str| -> Option<Quantity> {
        container["resources"][kind]
            .text(name)
            .parse()
            .ok()
            .filter(|quantity: &Quantity| !quantity.is_zero())
    };
    let pod_level = ["requests", "limits"]
        .iter()
        .any(|kind| spec["resources"].has(kind));
    let judged: Vec<&Value> = if pod_level {
        vec![spec]
    } else {
        containers().collect()
    };
    let mut guaranteed = true;
    let mut any = false;
    for container in judged {
        for name in ["cpu", "memory"] {
            let (request, limit) = (
                amount(container, "requests", name),
                amount(container, "limits", name),
            );
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_keys_become_part_of_selectors() {
        let term = |selector: Value| json!({"labelSelector": selector, "matchLabelKeys": ["a", "none"], "mismatchLabelKeys": ["b"]});
        let pod = |selector: Value, spread: Value| {
            json!({
                "metadata": {"labels": {"a": "1", "b": "2"}},
                "spec": {
                    "affinity": {
                        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(selector.clone()), {"matchLabelKeys": ["a"]}]},
                        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term(selector)}]},
                    },
                    "topologySpreadConstraints": [{"labelSelector": spread, "matchLabelKeys": ["a"]}],
                },
            })
        };
        let expression = |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
        let first = expression("x", "Exists", "");
        let mut given = pod(json!({"matchExpressions": [first]}), json!({}));
        select_by_label_keys(given.as_object_mut().expect("a pod is an object"));
        let (same, other) = (expression("a", "In", "1"), expression("b", "NotIn", "2"));
        let want = pod(
            json!({"matchExpressions": [first, same, other]}),
            json!({"matchExpressions": [same]}),
        );
        assert_eq!(given, want);
    }
}
