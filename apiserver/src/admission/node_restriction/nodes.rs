//! A node writes its own Node, and of its labels only those that do not steer workloads.

use std::collections::BTreeSet;

use coracle_api::object::{Fields, same};
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::Write;
use crate::admission::Operation;

/// Labels of Kubernetes' own that say what a node knows of itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

pub(super) fn restrict(write: &Write<'_>) -> Result<(), ApiError> {
    let (node, named) = (quote(write.node), write.attributes.name);
    if named != write.node {
        let named = quote(named);
        return write.forbid(&format!("node {node} is not allowed to modify node {named}"));
    }
    match (write.attributes.operation, write.object, write.old) {
        (Operation::Create, Some(new), _) => creation(write, new),
        (Operation::Update, Some(new), Some(old)) => update(write, new, old),
        _ => Ok(()),
    }
}

fn creation(write: &Write<'_>, new: &Value) -> Result<(), ApiError> {
    let node = quote(write.node);
    if new["spec"].has("configSource") {
        return write.forbid(&format!(
            "node {node} is not allowed to create pods with a non-nil configSource"
        ));
    }
    let forbidden = forbidden_labels(new, &Value::Null);
    if forbidden.is_empty() {
        return Ok(());
    }
    write.forbid(&format!(
        "node {node} is not allowed to set the following labels: {}",
        forbidden.join(", ")
    ))
}

fn update(write: &Write<'_>, new: &Value, old: &Value) -> Result<(), ApiError> {
    let node = quote(write.node);
    let kept = |pointer: &str| same(new.pointer(pointer), old.pointer(pointer));
    if new["spec"].has("configSource") && !kept("/spec/configSource") {
        return write.forbid(&format!(
            "node {node} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    if !kept("/spec/taints") {
        return write.forbid(&format!("node {node} is not allowed to modify taints"));
    }
    if !kept("/metadata/ownerReferences") {
        return write.forbid(&format!("node {node} is not allowed to modify ownerReferences"));
    }
    let forbidden = forbidden_labels(new, old);
    if forbidden.is_empty() {
        return Ok(());
    }
    write.forbid(&format!(
        "is not allowed to modify labels: {}",
        forbidden.join(", ")
    ))
}

/// The labels that differ and that a node may not set, change or take away.
fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let labels = |node: &'_ Value| -> BTreeSet<(String, String)> {
        let entries = node["metadata"].entries("labels");
        let texts =
            entries.map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned()));
        texts.collect()
    };
    let (new, old) = (labels(new), labels(old));
    let changed: BTreeSet<&String> = new.symmetric_difference(&old).map(|(key, _)| key).collect();
    let forbidden = changed.into_iter().filter(|key| is_forbidden(key));
    forbidden.cloned().collect()
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |suffix: &str| {
        domain == suffix
            || domain
                .strip_suffix(suffix)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let own = OWN_LABELS.contains(&label) || within("kubelet.kubernetes.io") || within("node.kubernetes.io");
    let of_kubernetes = within("kubernetes.io") || within("k8s.io");
    within("node-restriction.kubernetes.io") || (of_kubernetes && !own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_steer_workloads_are_not_a_node_s_to_set() {
        let table = [
            ("disk", false),
            ("example.com/disk", false),
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/anything", false),
            ("x.kubelet.kubernetes.io/y", false),
            ("node-role.kubernetes.io/control-plane", true),
            ("kubernetes.io/other", true),
            ("foo.k8s.io/x", true),
            ("node-restriction.kubernetes.io/x", true),
            ("x.node-restriction.kubernetes.io/y", true),
            ("notkubernetes.io/x", false),
        ];
        for (label, want) in table {
            assert_eq!(is_forbidden(label), want, "{label}");
        }
    }
}
