//! Labels of nodes that have others in their stead, wherever nodes are selected; and nodes themselves.

use serde_json::Value;

use super::{Warnings, addresses};
use crate::names;
use crate::object::Fields;
use crate::validation::Path;

/// Labels of nodes that are no longer to be used, and what to do instead.
const DEPRECATED: [(&str, &str); 8] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        "use \"node-role.kubernetes.io/control-plane\" instead",
    ),
];

/// What to do instead of using a label.
pub(super) fn deprecated(label: &str) -> Option<&'static str> {
    DEPRECATED
        .iter()
        .find(|(key, _)| *key == label)
        .map(|(_, instead)| *instead)
}

/// A term that selects nodes. In one that only prefers nodes, values that no label has are let pass, and told.
pub(super) fn term(term: &Value, prefers: bool, at: &Path<'_>, found: &mut Warnings) {
    let list = at.child("matchExpressions");
    for (index, expression) in term.items("matchExpressions").iter().enumerate() {
        let at = list.index(index);
        let key = expression.text("key");
        if let Some(instead) = deprecated(key) {
            found.at(&at.child("key"), format!("{key} is {instead}"));
        }
        let values = expression.items("values").iter().filter_map(Value::as_str);
        for (index, value) in values.enumerate().filter(|_| prefers) {
            for fault in names::label_value(value) {
                let text = format!("{value} is invalid, {fault}");
                found.at(&at.child("values").index(index), text);
            }
        }
    }
}

/// A selector of labels that selects nodes.
pub(super) fn label_selector(selector: &Value, at: &Path<'_>, found: &mut Warnings) {
    term(selector, false, at, found);
    let labels = at.child("matchLabels");
    for (label, _) in selector.entries("matchLabels") {
        if let Some(instead) = deprecated(label) {
            found.at(&labels.child(label), instead);
        }
    }
}

pub(super) fn runtime_class(object: &Value, found: &mut Warnings) {
    for (label, _) in object["scheduling"].entries("nodeSelector") {
        if let Some(instead) = deprecated(label) {
            found.at(&Path::new("scheduling.nodeSelector"), instead);
        }
    }
}

pub(super) fn storage_class(object: &Value, found: &mut Warnings) {
    let list = Path::new("allowedTopologies");
    for (index, topology) in object.items("allowedTopologies").iter().enumerate() {
        let at = list.index(index);
        let at = at.child("matchLabelExpressions");
        for (index, expression) in topology.items("matchLabelExpressions").iter().enumerate() {
            if let Some(instead) = deprecated(expression.text("key")) {
                found.at(&at.index(index).child("key"), instead);
            }
        }
    }
}

pub(super) fn node(object: &Value, found: &mut Warnings) {
    let spec = &object["spec"];
    if spec.has("configSource") {
        found.at(&Path::new("spec.configSource"), "the feature is removed");
    }
    if !spec.text("externalID").is_empty() {
        let text = "this field is deprecated, and is unused by Kubernetes";
        found.at(&Path::new("spec.externalID"), text);
    }
    let list = Path::new("spec.podCIDRs");
    for (index, block) in spec.items("podCIDRs").iter().enumerate() {
        addresses::block(block.as_str().unwrap_or_default(), &list.index(index), found);
    }
}
