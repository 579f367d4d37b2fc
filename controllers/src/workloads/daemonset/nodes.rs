//! On which nodes a DaemonSet's pods belong. Pure.

use crate::observed::Pod;
use coracle_api::selector::node::satisfies;
use coracle_api::taints::{Taint, Toleration};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
    Toleration as PodToleration,
};

/// Taints that say what is wrong with a node, which daemons bear: on a node that is not ready they are what makes it so.
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Borne by those which use the node's own network.
const BORNE_BY_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node is to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A pod of it is to run there.
    Wanted,
    /// One that runs there may stay.
    Tolerated,
    /// None is to run there.
    Barred,
}

/// Judges a node by the template's node name, node selector, required affinity and tolerations.
pub(crate) fn place(set: &DaemonSet, node: &Node) -> Place {
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut spec = template.cloned().unwrap_or_default();
    tolerate(&mut spec);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let bound = spec.node_name.as_deref().unwrap_or_default();
    if !(bound.is_empty() || bound == name) || !selects(&spec, node) {
        return Place::Barred;
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let mut place = Place::Wanted;
    for taint in taints.unwrap_or_default() {
        let taint = Taint {
            key: &taint.key,
            value: taint.value.as_deref().unwrap_or_default(),
            effect: &taint.effect,
        };
        match taint.effect {
            "NoExecute" if !bears(&spec, &taint) => return Place::Barred,
            "NoSchedule" if !bears(&spec, &taint) => place = Place::Tolerated,
            _ => {}
        }
    }
    place
}

fn bears(spec: &PodSpec, taint: &Taint<'_>) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| {
        Toleration {
            key: toleration.key.as_deref().unwrap_or_default(),
            operator: toleration.operator.as_deref().unwrap_or_default(),
            value: toleration.value.as_deref().unwrap_or_default(),
            effect: toleration.effect.as_deref().unwrap_or_default(),
        }
        .covers(taint)
    })
}

/// Adds what daemons bear to a pod's tolerations.
pub(crate) fn tolerate(spec: &mut PodSpec) {
    let host = spec.host_network == Some(true);
    let all = BORNE.into_iter().chain(host.then_some(BORNE_BY_HOST_NETWORK));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in all {
        let new = PodToleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..PodToleration::default()
        };
        let same = |old: &&mut PodToleration| {
            old.key == new.key
                && old.effect == new.effect
                && old.operator == new.operator
                && old.value == new.value
        };
        match tolerations.iter_mut().find(same) {
            Some(old) => *old = new,
            None => tolerations.push(new),
        }
    }
}

/// Whether the node is one that the pod asks for.
fn selects(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selector = spec.node_selector.iter().flatten();
    let selected = selector
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let matches = |term: &NodeSelectorTerm| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let name = node.metadata.name.as_deref();
        let field = |key: &str| name.filter(|_| key == "metadata.name");
        !(expressions.is_empty() && fields.is_empty())
            && expressions
                .iter()
                .all(|one| holds(one, labels.get(&one.key).map(String::as_str)))
            && fields.iter().all(|one| holds(one, field(&one.key)))
    };
    selected && required.is_none_or(|required| required.node_selector_terms.iter().any(matches))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    satisfies(&requirement.operator, values, value)
}

/// Has the scheduler bind the pod to this node and no other, in place of what other terms said about nodes.
pub(crate) fn pin(spec: &mut PodSpec, node: &str) {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let selector = NodeSelector {
        node_selector_terms: vec![term],
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(selector);
}

/// The node that the pod runs on or is pinned to.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let pinned = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    let [one] = pinned.into_iter().next()?.values.as_deref()? else {
        return None;
    };
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1;
    use serde_json::{Value, json};

    fn set(spec: Value) -> DaemonSet {
        let mut pod = json!({"containers": []});
        pod.as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": pod}}})).unwrap()
    }

    fn node(taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"zone": "a"}}, "spec": {"taints": taints},
        }))
        .unwrap()
    }

    #[test]
    fn nodes_are_judged_by_selectors_and_taints() {
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
        let terms = |zone: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}]}}}})
        };
        for (spec, taints, expected) in [
            (json!({}), json!([]), Place::Wanted),
            (json!({"nodeSelector": {"zone": "b"}}), json!([]), Place::Barred),
            (terms("a"), json!([]), Place::Wanted),
            (terms("b"), json!([]), Place::Barred),
            (json!({"nodeName": "n2"}), json!([]), Place::Barred),
            (json!({}), taint("own", "NoSchedule"), Place::Tolerated),
            (json!({}), taint("own", "NoExecute"), Place::Barred),
            (
                json!({"tolerations": [{"operator": "Exists"}]}),
                taint("own", "NoExecute"),
                Place::Wanted,
            ),
            (
                json!({}),
                taint("node.kubernetes.io/not-ready", "NoExecute"),
                Place::Wanted,
            ),
            (
                json!({}),
                taint("node.kubernetes.io/unschedulable", "NoSchedule"),
                Place::Wanted,
            ),
            (
                json!({}),
                taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
                Place::Tolerated,
            ),
            (
                json!({"hostNetwork": true}),
                taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
                Place::Wanted,
            ),
        ] {
            assert_eq!(
                place(&set(spec.clone()), &node(taints.clone())),
                expected,
                "{spec} {taints}"
            );
        }
    }

    #[test]
    fn a_pinned_pod_says_where() {
        let observed = |spec: &PodSpec| {
            Pod::from(v1::Pod {
                spec: Some(spec.clone()),
                ..v1::Pod::default()
            })
        };
        let mut spec = set(json!({})).spec.unwrap().template.spec.unwrap();
        assert_eq!(node_of(&observed(&spec)), None);
        pin(&mut spec, "n7");
        assert_eq!(node_of(&observed(&spec)), Some("n7"));
        tolerate(&mut spec);
        tolerate(&mut spec);
        assert_eq!(spec.tolerations.unwrap().len(), 6, "each once");
    }
}
