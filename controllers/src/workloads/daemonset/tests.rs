//! Single steps, and whole updates in a world in memory.

use super::plan::{HASH, Observed, Pauses, Plan, new_pod, plan, status};
use crate::observed::Pod;
use crate::owners::controller_reference;
use crate::workloads::pods;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

struct World {
    set: DaemonSet,
    nodes: Vec<Arc<Node>>,
    pods: BTreeMap<String, Arc<Pod>>,
    hash: String,
    pauses: Pauses,
    second: i64,
}

impl World {
    fn new(nodes: usize, rolling: Value) -> Self {
        let spec = json!({
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        });
        let metadata = json!({"name": "d", "namespace": "ns", "uid": "uid-d", "generation": 1});
        let node = |number| {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": format!("n{number}")}})).unwrap())
        };
        Self {
            set: serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap(),
            nodes: (0..nodes).map(node).collect(),
            pods: BTreeMap::new(),
            hash: "a".to_owned(),
            pauses: Pauses::new(),
            second: 1000,
        }
    }

    fn observe<T>(&self, look: impl FnOnce(&Observed<'_>, Timestamp) -> T) -> T {
        let pods: Vec<_> = self.pods.values().cloned().collect();
        let observed = Observed {
            set: &self.set,
            nodes: &self.nodes,
            pods: &pods,
            hash: &self.hash,
            pauses: &self.pauses,
        };
        look(&observed, Timestamp::from_second(self.second).unwrap())
    }

    fn step(&mut self, budget: usize) -> Plan {
        let plan = self.observe(plan);
        let mut left = budget;
        for node in plan.create.iter().take(budget) {
            self.second += 1;
            left -= 1;
            let reference = controller_reference("apps/v1", "DaemonSet", &self.set.metadata);
            let mut pod = new_pod(&self.set, node, &self.hash, reference);
            let name = format!("d-{}", self.second);
            pod.metadata.name = Some(name.clone());
            pod.metadata.creation_timestamp = Some(Time(Timestamp::from_second(self.second).unwrap()));
            self.pods.insert(name, Arc::new(pod.into()));
        }
        for pod in plan.delete.iter().take(left) {
            let pod = self.pods.get_mut(pod.metadata.name.as_ref().unwrap()).unwrap();
            let now = Time(Timestamp::from_second(self.second).unwrap());
            Arc::make_mut(pod).metadata.deletion_timestamp = Some(now);
        }
        plan
    }

    fn kubelet(&mut self, number: usize) {
        self.second += 1;
        let Some(name) = self.pods.keys().nth(number).cloned() else {
            return;
        };
        let ready = json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::from_second(self.second).unwrap()}]});
        let pod = self.pods.get_mut(&name).unwrap();
        if pods::is_terminating(pod) {
            self.pods.remove(&name);
        } else if !pods::is_ready(pod) {
            let node = super::nodes::node_of(pod).map(str::to_owned);
            let pod = Arc::make_mut(pod);
            pod.spec.as_mut().unwrap().node_name = node;
            pod.status = Some(serde_json::from_value(ready).unwrap());
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let plan = self.step(usize::MAX);
            let before = self.pods.clone();
            for number in (0..self.pods.len()).rev() {
                self.kubelet(number);
            }
            if plan.create.is_empty() && plan.delete.is_empty() && before == self.pods {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn available(&self) -> usize {
        let well = |pod: &&Arc<Pod>| pods::is_ready(pod) && !pods::is_terminating(pod);
        self.pods.values().filter(well).count()
    }
}

#[test]
fn every_node_gets_one_and_the_status_counts_them() {
    let mut world = World::new(3, json!({"maxUnavailable": 1}));
    assert_eq!(world.step(9).create, ["n0", "n1", "n2"]);
    world.settle();
    let status = world.observe(status);
    assert_eq!(
        (status.desired_number_scheduled, status.current_number_scheduled),
        (3, 3)
    );
    assert_eq!(
        (
            status.number_ready,
            status.number_available,
            status.number_unavailable
        ),
        (3, Some(3), None)
    );
    assert_eq!(
        (status.updated_number_scheduled, status.number_misscheduled),
        (Some(3), 0)
    );
    let taints =
        json!({"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "own", "effect": "NoSchedule"}]}});
    world.nodes[1] = Arc::new(serde_json::from_value(taints).unwrap());
    assert!(world.step(9).delete.is_empty(), "it may stay");
    let status = world.observe(super::plan::status);
    assert_eq!(
        (status.desired_number_scheduled, status.number_misscheduled),
        (2, 1)
    );
}

#[test]
fn finished_pods_are_replaced_and_failed_ones_not_too_often() {
    let mut world = World::new(1, json!({"maxUnavailable": 1}));
    world.settle();
    let name = world.pods.keys().next().unwrap().clone();
    let pod = Arc::make_mut(world.pods.get_mut(&name).unwrap());
    pod.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    let until = Timestamp::from_second(world.second + 60).unwrap();
    world.pauses.insert("n0".to_owned(), until);
    let waits = world.step(0);
    assert_eq!((waits.delete.len(), waits.look_again), (0, Some(until)));
    world.pauses.clear();
    let plan = world.step(9);
    assert_eq!((plan.delete.len(), plan.failed), (1, vec!["n0".to_owned()]));
    assert_eq!(plan.notes[0].reason, "FailedDaemonPod");
    world.settle();
    assert_eq!(world.available(), 1);
}

#[test]
fn a_surging_update_has_the_new_pod_ready_before_the_old_one_goes() {
    let mut world = World::new(2, json!({"maxUnavailable": 0, "maxSurge": 1}));
    world.settle();
    world.hash = "b".to_owned();
    let plan = world.step(9);
    assert_eq!((plan.create.len(), plan.delete.len()), (1, 0));
    assert!(world.step(9).create.is_empty(), "one at a time");
    (0..world.pods.len()).for_each(|number| world.kubelet(number));
    assert_eq!(world.step(9).delete.len(), 1);
    world.settle();
    assert!(
        world
            .pods
            .values()
            .all(|pod| pod.metadata.labels.as_ref().unwrap()[HASH] == "b")
    );
}

#[test]
fn on_delete_nothing_is_replaced_by_itself() {
    let mut world = World::new(2, json!({"maxUnavailable": 1}));
    world.settle();
    world.set.spec.as_mut().unwrap().update_strategy =
        Some(serde_json::from_value(json!({"type": "OnDelete"})).unwrap());
    world.hash = "b".to_owned();
    assert!(world.step(9).delete.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Updates come to their end, and never take more pods away than they may.
    #[test]
    fn updates_converge_and_stay_available(
        (nodes, unavailable, surge) in (1usize..6, 0i32..3, 0i32..3),
        steps in prop::collection::vec((any::<bool>(), 0usize..12), 0..80),
    ) {
        let mut world = World::new(nodes, json!({"maxUnavailable": unavailable, "maxSurge": surge}));
        world.settle();
        world.hash = "b".to_owned();
        let missing = if surge > 0 { 0 } else { usize::try_from(unavailable.max(1)).unwrap() };
        for (acts, number) in steps {
            if acts {
                world.step(number);
            } else {
                world.kubelet(number);
            }
            prop_assert!(world.available() + missing >= nodes, "{} of {nodes}", world.available());
        }
        world.settle();
        prop_assert_eq!(world.pods.len(), nodes);
        let new = |pod: &Arc<Pod>| pod.metadata.labels.as_ref().unwrap()[HASH] == "b";
        prop_assert!(world.pods.values().all(new));
    }
}
