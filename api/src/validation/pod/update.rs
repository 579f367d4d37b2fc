//! What may change about a pod once it is there: its images, its deadline, more tolerations, fewer gates.

use serde_json::{Map, Value};

use super::scheduling::tolerations;
use super::spec;
use crate::codec::equality;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;

const DEADLINE_MAX: i64 = i32::MAX as i64;
const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of a Pod through the main resource.
pub(in crate::validation) fn pod_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    spec::pod(new, errors);
    let (spec, before) = (&new["spec"], &old["spec"]);
    let at = Path::new("spec");
    for list in ["containers", "initContainers"] {
        if spec.count(list) != before.count(list) {
            errors.forbidden(&at.child(list), "pod updates may not add or remove containers");
            return;
        }
        let at = at.child(list);
        for (index, container) in spec.items(list).iter().enumerate() {
            if container.text("image").is_empty() {
                errors.required(&at.index(index).child("image"), "");
            }
        }
    }
    if !deadline(spec, before, &at.child("activeDeadlineSeconds"), errors) {
        return;
    }
    added_tolerations(spec, before, &at.child("tolerations"), errors);
    removed_gates(spec, before, &at.child("schedulingGates"), errors);
    if before.count("schedulingGates") > 0 {
        narrowed(spec, before, &at, errors);
    }
    let kept = without_what_may_change(spec, before);
    if !equality::equal_named(Some(&kept), Some(before), "io.k8s.api.core.v1.PodSpec") {
        let [was, is] = [before, &kept].map(internal::pod_spec);
        let difference = internal::difference(&was, &is, internal::POD_SPEC);
        errors.forbidden(&at, format!("{ONLY}\n{difference}"));
    }
}

/// A deadline may come nearer, not go. Whether it is worth going on.
fn deadline(spec: &Value, before: &Value, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let (new, old) = (
        spec.number("activeDeadlineSeconds"),
        before.number("activeDeadlineSeconds"),
    );
    match (new, old) {
        (Some(new), _) if !(0..=DEADLINE_MAX).contains(&new) => {
            errors.invalid(
                at,
                new,
                format!("must be between 0 and {DEADLINE_MAX}, inclusive"),
            );
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(at, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(
                at,
                &Value::Null,
                "must not update from a positive integer to nil value",
            );
            true
        }
        _ => true,
    }
}

fn added_tolerations(spec: &Value, before: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let without_seconds = |toleration: &Value| {
        let mut fields = toleration.as_object().cloned().unwrap_or_default();
        fields.remove("tolerationSeconds");
        fields
    };
    let now: Vec<Map<String, Value>> = spec.items("tolerations").iter().map(without_seconds).collect();
    if before
        .items("tolerations")
        .iter()
        .any(|old| !now.contains(&without_seconds(old)))
    {
        errors.forbidden(
            at,
            "existing toleration can not be modified except its tolerationSeconds",
        );
        return;
    }
    tolerations(spec, at, errors);
}

fn removed_gates(spec: &Value, before: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let old: Vec<&str> = before
        .items("schedulingGates")
        .iter()
        .map(|gate| gate.text("name"))
        .collect();
    let gates = spec.items("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        let is_last = !gates[index + 1..].iter().any(|other| other.text("name") == name);
        if is_last && !old.contains(&name) {
            let rule = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&at.index(index).child("name"), rule);
        }
    }
}

/// Where a gated pod may go is narrowed, never widened.
fn narrowed(spec: &Value, before: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let new = &spec["nodeSelector"];
    if before
        .entries("nodeSelector")
        .any(|(key, value)| new.get(key) != Some(value))
    {
        let rule = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&at.child("nodeSelector"), new, rule);
    }
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let selector = &spec["affinity"]["nodeAffinity"][REQUIRED];
    let now = selector.items("nodeSelectorTerms");
    let then = before["affinity"]["nodeAffinity"][REQUIRED].items("nodeSelectorTerms");
    let list =
        at.child("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    if !then.is_empty() && now.len() != then.len() {
        let rule = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = internal::shown_items(selector, "nodeSelectorTerms", internal::NODE_TERM);
        errors.invalid(&list, shown, rule);
        return;
    }
    for (index, (now, then)) in now.iter().zip(then).enumerate() {
        if !only_adds(now, then) {
            let rule = "only additions are allowed (no mutations or deletions)";
            errors.invalid(
                &list.index(index),
                internal::shown(now, internal::NODE_TERM),
                rule,
            );
        }
    }
}

/// Whether a term has all requirements of another first. One without any selects nothing, and cannot be narrowed.
fn only_adds(now: &Value, then: &Value) -> bool {
    const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];
    let was_empty = LISTS.iter().all(|list| then.count(list) == 0);
    let is_empty = LISTS.iter().all(|list| now.count(list) == 0);
    (!was_empty || is_empty)
        && LISTS
            .iter()
            .all(|list| now.items(list).starts_with(then.items(list)))
}

/// The new spec with all that may change put back to what it was.
fn without_what_may_change(spec: &Value, before: &Value) -> Value {
    let Value::Object(mut kept) = spec.clone() else {
        return spec.clone();
    };
    for name in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put_back(&mut kept, before, name);
    }
    if before
        .number("terminationGracePeriodSeconds")
        .is_some_and(|grace| grace < 0)
        && kept.number("terminationGracePeriodSeconds") == Some(1)
    {
        put_back(&mut kept, before, "terminationGracePeriodSeconds");
    }
    if before.count("schedulingGates") > 0 {
        // A gated pod is not placed yet: where it may go can still be narrowed.
        put_back(&mut kept, before, "nodeSelector");
        put_back_node_affinity(&mut kept, before);
    }
    for list in ["containers", "initContainers"] {
        let old = before.items(list);
        let containers = kept
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for (container, old) in containers.filter_map(Value::as_object_mut).zip(old) {
            put_back(container, old, "image");
        }
    }
    Value::Object(kept)
}

fn put_back(fields: &mut Map<String, Value>, before: &Value, name: &str) {
    match before.field(name) {
        Some(value) => fields.insert(name.to_owned(), value.clone()),
        None => fields.remove(name),
    };
}

fn put_back_node_affinity(kept: &mut Map<String, Value>, before: &Value) {
    let old = &before["affinity"];
    if !kept.has("affinity") && !old.has("nodeAffinity") {
        return;
    }
    let affinity = kept.get("affinity").and_then(Value::as_object);
    let mut affinity = affinity.cloned().unwrap_or_default();
    put_back(&mut affinity, old, "nodeAffinity");
    if !before.has("affinity") && !affinity.has("podAffinity") && !affinity.has("podAntiAffinity") {
        kept.remove("affinity");
    } else {
        kept.insert("affinity".into(), Value::Object(affinity));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gated_pod_is_only_narrowed() {
        let faults = |new: Value, old: Value| {
            let mut errors = FieldErrors::new();
            narrowed(&new, &old, &Path::new("spec"), &mut errors);
            errors.iter().map(|error| error.field.clone()).collect::<Vec<_>>()
        };
        let term = |keys: &[&str]| {
            let expressions: Vec<Value> = keys
                .iter()
                .map(|key| json!({"key": key, "operator": "Exists"}))
                .collect();
            let terms = json!({"nodeSelectorTerms": [{"matchExpressions": expressions}]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
        };
        let at =
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
        assert_eq!(faults(term(&["a", "b"]), term(&["a"])), [""; 0]);
        assert_eq!(faults(term(&["b"]), term(&["a"])), [format!("{at}[0]")]);
        assert_eq!(faults(json!({}), term(&["a"])), [at]);
        assert_eq!(faults(term(&["a"]), json!({})), [""; 0]);
        let on = |labels: Value| json!({"nodeSelector": labels});
        assert_eq!(
            faults(on(json!({"a": "b", "c": "d"})), on(json!({"a": "b"}))),
            [""; 0]
        );
        assert_eq!(
            faults(on(json!({"c": "d"})), on(json!({"a": "b"}))),
            ["spec.nodeSelector"]
        );
    }

    #[test]
    fn what_changed_is_shown_line_by_line() {
        let pod = |host: &str| {
            json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "hostname": host,
                "terminationGracePeriodSeconds": 30, "serviceAccountName": "default",
                "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}})
        };
        let mut errors = FieldErrors::new();
        pod_update(&pod("b"), &pod("a"), &mut errors);
        assert_eq!(errors.len(), 1);
        let text = errors.0[0].to_string();
        assert!(
            text.contains("\n- \"Hostname\": \"a\",\n+ \"Hostname\": \"b\",\n"),
            "{text}"
        );
    }
}
