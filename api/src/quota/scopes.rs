//! Which objects a quota is about.

use serde_json::{Value, json};

use super::Counted;
use crate::object::Fields;
use crate::strategy::qos_class;

/// Whether an object is in all scopes of a quota.
pub fn applies(quota: &Value, counted: Counted<'_>, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain = spec.items("scopes").iter().filter_map(Value::as_str);
    plain
        .map(|scope| json!({"scopeName": scope, "operator": "Exists"}))
        .chain(spec["scopeSelector"].items("matchExpressions").iter().cloned())
        .all(|selector| is_in(&selector, counted, object))
}

/// Only pods and claims have scopes: whatever else there is, is in none.
fn is_in(selector: &Value, counted: Counted<'_>, object: &Value) -> bool {
    let spec = &object["spec"];
    match (counted.key(), selector.text("scopeName")) {
        (("", "pods"), "Terminating") => is_terminating(object),
        (("", "pods"), "NotTerminating") => !is_terminating(object),
        (("", "pods"), "BestEffort") => qos_class(spec) == "BestEffort",
        (("", "pods"), "NotBestEffort") => qos_class(spec) != "BestEffort",
        (("", "pods"), "PriorityClass") => is_selected(selector, &named([spec.text("priorityClassName")])),
        (("", "pods"), "CrossNamespacePodAffinity") => reaches_out(&spec["affinity"]),
        (("", "persistentvolumeclaims"), "VolumeAttributesClass") => {
            let status = &object["status"];
            let names = [
                spec.text("volumeAttributesClassName"),
                status.text("currentVolumeAttributesClassName"),
                status["modifyVolumeStatus"].text("targetVolumeAttributesClassName"),
            ];
            is_selected(selector, &named(names))
        }
        _ => false,
    }
}

/// Whether a pod is to end by itself after some time.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]
        .number("activeDeadlineSeconds")
        .is_some_and(|seconds| seconds >= 0)
}

fn named<const N: usize>(names: [&str; N]) -> Vec<&str> {
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// Any of the names may be the one that is meant.
fn is_selected(selector: &Value, names: &[&str]) -> bool {
    let lists = |name: &str| selector.items("values").iter().any(|value| value == name);
    match selector.text("operator") {
        "Exists" => !names.is_empty(),
        "DoesNotExist" => names.is_empty(),
        "In" => names.iter().any(|name| lists(name)),
        "NotIn" => names.is_empty() || names.iter().any(|name| !lists(name)),
        _ => false,
    }
}

fn reaches_out(affinity: &Value) -> bool {
    let far = |term: &Value| term.count("namespaces") > 0 || term.has("namespaceSelector");
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let kind = &affinity[*kind];
        let required = kind.items("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = kind.items("preferredDuringSchedulingIgnoredDuringExecution");
        required.iter().any(far) || preferred.iter().any(|one| far(&one["podAffinityTerm"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_about_pods_and_claims() {
        let selects = |operator: &str, values: &[&str]| {
            json!({"spec": {"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}})
        };
        let scope = |name: &str| json!({"spec": {"scopes": [name]}});
        let (pods, services) = (Counted::new("", "pods"), Counted::new("", "services"));
        let pod = json!({"spec": {"priorityClassName": "high", "containers": [{}], "activeDeadlineSeconds": 5,
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["a"]}]}}}});
        let cases = [
            (scope("Terminating"), true),
            (scope("NotTerminating"), false),
            (scope("BestEffort"), true),
            (scope("NotBestEffort"), false),
            (scope("CrossNamespacePodAffinity"), true),
            (selects("In", &["high"]), true),
            (selects("NotIn", &["high"]), false),
            (selects("Exists", &[]), true),
            (selects("DoesNotExist", &[]), false),
        ];
        for (quota, want) in cases {
            assert_eq!(applies(&quota, pods, &pod), want, "{quota}");
            assert!(!applies(&quota, services, &pod), "{quota}");
        }
        assert!(applies(&json!({"spec": {}}), services, &json!({})));
        let of_class = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}]}}});
        let claim = json!({"spec": {}, "status": {"currentVolumeAttributesClassName": "fast"}});
        assert!(applies(
            &of_class,
            Counted::new("", "persistentvolumeclaims"),
            &claim
        ));
    }
}
