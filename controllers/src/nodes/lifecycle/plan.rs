//! What a node's health makes of its conditions and taints. Pure.
//!
//! A node that has not been heard of for the grace period is Unknown. Its Ready condition, pressures and cordon become
//! taints: NoSchedule for all of them, NoExecute as well when it is not ready or unreachable.

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that keep new pods away while they are True.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
/// Conditions that become Unknown with the node.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) node: &'a Node,
    /// When this controller last saw the node's lease or status change.
    pub(crate) heard: Timestamp,
    pub(crate) grace: SignedDuration,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// All conditions, if some are to become Unknown.
    pub(crate) conditions: Option<Vec<NodeCondition>>,
    /// All taints, if some change.
    pub(crate) taints: Option<Vec<Taint>>,
    /// The node's pods are to be marked not ready.
    pub(crate) pods_not_ready: bool,
    /// When the node will be Unknown, if nothing is heard until then.
    pub(crate) look_again: Option<Timestamp>,
}

/// Decides what to write about the node.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let node = observed.node;
    if node.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let silent_from = observed.heard + observed.grace;
    let before = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let silent = silent_from <= now;
    let after = if silent {
        unknown(node, &before, now)
    } else {
        before.clone()
    };
    let ready = |conditions: &[NodeCondition]| {
        conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
            .map(|condition| condition.status.clone())
    };
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let wanted = taints_for(node, &after, &taints, now);
    Plan {
        pods_not_ready: ready(&after).is_some_and(|ready| ready != "True"),
        conditions: (after != before).then_some(after),
        taints: (!same(&taints, &wanted)).then_some(wanted),
        look_again: (!silent).then_some(silent_from),
    }
}

/// The conditions of a node that has gone silent.
fn unknown(node: &Node, before: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let mut after = before.to_vec();
    for kind in REPORTED {
        match after.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            None => after.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    after
}

/// The node's taints with ours put right: others' stay, ours that stay keep their time.
fn taints_for(node: &Node, conditions: &[NodeCondition], taints: &[Taint], now: Timestamp) -> Vec<Taint> {
    let status = |kind: &str| {
        conditions
            .iter()
            .find(|condition| condition.type_ == kind)
            .map(|condition| condition.status.as_str())
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    // A node that never said whether it is ready is none of ours to judge before it goes silent.
    match status("Ready") {
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        Some(_) => {}
        None => wanted.extend(kept_while_unknown(taints)),
    }
    let pressing = PRESSURES.iter().filter(|(kind, _)| status(kind) == Some("True"));
    wanted.extend(pressing.map(|(_, key)| (*key, "NoSchedule")));
    if node
        .spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false)
    {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let mut after: Vec<Taint> = taints
        .iter()
        .filter(|t| !is_ours(t) || wanted.iter().any(|wanted| is(t, wanted)))
        .cloned()
        .collect();
    for wanted in &wanted {
        if !after.iter().any(|taint| is(taint, wanted)) {
            after.push(Taint {
                key: wanted.0.to_owned(),
                effect: wanted.1.to_owned(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    after
}

/// The node's taints without those that its own conditions speak against, which are about to be taken off.
pub(crate) fn standing(node: &Node, now: Timestamp) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let taints: Vec<Taint> = taints.cloned().collect();
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut standing = taints_for(node, conditions.unwrap_or_default(), &taints, now);
    standing.retain(|taint| taints.contains(taint));
    standing
}

/// The taints a new node came with, which stay until it says that it is ready.
fn kept_while_unknown(taints: &[Taint]) -> Vec<(&'static str, &'static str)> {
    let kept = [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")];
    kept.into_iter()
        .filter(|(key, effect)| taints.iter().any(|t| t.key == *key && t.effect == *effect))
        .collect()
}

fn is_ours(taint: &Taint) -> bool {
    let pressure = PRESSURES.iter().any(|(_, key)| taint.key == *key);
    let health = taint.key == NOT_READY || taint.key == UNREACHABLE;
    (health && taint.effect != "PreferNoSchedule")
        || ((pressure || taint.key == UNSCHEDULABLE) && taint.effect == "NoSchedule")
}

/// Whether two lists hold the same taints, in whatever order.
fn same(a: &[Taint], b: &[Taint]) -> bool {
    a.len() == b.len() && a.iter().all(|taint| b.contains(taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeSpec, NodeStatus};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn node(ready: Option<&str>) -> Node {
        let condition = ready.map(|status| NodeCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            ..NodeCondition::default()
        });
        Node {
            spec: Some(NodeSpec::default()),
            status: Some(NodeStatus {
                conditions: Some(condition.into_iter().collect()),
                ..NodeStatus::default()
            }),
            ..Node::default()
        }
    }

    fn planned(node: &Node, second: i64) -> Plan {
        plan(
            &Observed {
                node,
                heard: at(0),
                grace: SignedDuration::from_secs(50),
            },
            at(second),
        )
    }

    fn keys(plan: &Plan) -> Vec<(String, String)> {
        plan.taints
            .iter()
            .flatten()
            .map(|taint| (taint.key.clone(), taint.effect.clone()))
            .collect()
    }

    fn both(key: &str) -> Vec<(String, String)> {
        ["NoSchedule", "NoExecute"]
            .map(|effect| (key.to_owned(), effect.to_owned()))
            .to_vec()
    }

    #[test]
    fn a_node_is_unknown_and_unreachable_after_the_grace_period() {
        let node = node(Some("True"));
        let heard = planned(&node, 49);
        assert_eq!(
            heard,
            Plan {
                look_again: Some(at(50)),
                ..Plan::default()
            }
        );
        let silent = planned(&node, 50);
        let conditions = silent.conditions.as_ref().unwrap();
        assert!(conditions.len() == 4 && conditions.iter().all(|condition| condition.status == "Unknown"));
        assert_eq!(
            conditions[0].message.as_deref(),
            Some("Kubelet stopped posting node status.")
        );
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert_eq!(keys(&silent), both(UNREACHABLE));
        assert!(silent.pods_not_ready);
    }

    #[test]
    fn taints_follow_readiness_and_others_stay() {
        let mut node = node(Some("False"));
        let own = Taint {
            key: "dedicated".to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        };
        node.spec.as_mut().unwrap().taints = Some(vec![own.clone()]);
        let plan = planned(&node, 0);
        assert_eq!(keys(&plan)[1..], both(NOT_READY));
        node.spec.as_mut().unwrap().taints = plan.taints;
        assert_eq!(
            planned(&node, 10).taints,
            None,
            "planning after acting gives nothing to do"
        );
        node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "True".to_owned();
        assert_eq!(planned(&node, 10).taints, Some(vec![own]));
    }

    #[test]
    fn a_cordon_is_a_taint() {
        let mut node = node(Some("True"));
        node.spec.as_mut().unwrap().unschedulable = Some(true);
        assert_eq!(
            keys(&planned(&node, 0)),
            [(UNSCHEDULABLE.to_owned(), "NoSchedule".to_owned())]
        );
    }

    #[test]
    fn a_new_node_keeps_the_taint_it_came_with_until_it_is_ready() {
        let mut node = node(None);
        let came_with = Taint {
            key: NOT_READY.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        node.spec.as_mut().unwrap().taints = Some(vec![came_with]);
        assert_eq!(planned(&node, 0).taints, None);
    }

    #[test]
    fn a_taint_stands_until_the_node_says_otherwise() {
        let taint = |key: &str| Taint {
            key: key.to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        };
        let standing = |ready| {
            let mut node = node(Some(ready));
            node.spec.as_mut().unwrap().taints = Some(vec![taint(UNREACHABLE), taint("someone's")]);
            let standing = standing(&node, at(0)).into_iter();
            standing.map(|taint| taint.key).collect::<Vec<_>>()
        };
        assert_eq!(standing("Unknown"), [UNREACHABLE, "someone's"]);
        assert_eq!(standing("True"), ["someone's"]);
    }
}
