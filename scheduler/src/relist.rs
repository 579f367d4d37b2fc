//! From watch events to what the cluster knows, with what a new list shows to be gone.

use crate::budgets;
use crate::cluster::Cluster;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::Event;
use std::collections::HashSet;

/// What a new list of one kind has shown so far, and whether there was one.
#[derive(Default)]
struct Listed {
    seen: HashSet<String>,
    once: bool,
}

impl Listed {
    fn done(&mut self) -> HashSet<String> {
        self.once = true;
        std::mem::take(&mut self.seen)
    }
}

/// What new lists have shown so far, and whether every kind has been listed once.
#[derive(Default)]
pub(crate) struct Relist {
    pods: Listed,
    nodes: Listed,
    budgets: Listed,
}

impl Relist {
    pub(crate) fn synced(&self) -> bool {
        self.pods.once && self.nodes.once && self.budgets.once
    }

    pub(crate) fn pod(&mut self, cluster: &mut Cluster, event: Event<Pod>, now: Timestamp) {
        match event {
            Event::Init => self.pods.seen.clear(),
            Event::InitApply(pod) => {
                self.pods.seen.extend(pod.metadata.uid.clone());
                cluster.pod_seen(pod, now);
            }
            Event::InitDone => cluster.pods_listed(&self.pods.done(), now),
            Event::Apply(pod) => cluster.pod_seen(pod, now),
            Event::Delete(pod) => cluster.pod_gone(pod.metadata.uid.as_deref().unwrap_or_default(), now),
        }
    }

    pub(crate) fn node(&mut self, cluster: &mut Cluster, event: Event<Node>, now: Timestamp) {
        match event {
            Event::Init => self.nodes.seen.clear(),
            Event::InitApply(node) => {
                self.nodes.seen.extend(node.metadata.name.clone());
                cluster.node_seen(&node, now);
            }
            Event::InitDone => cluster.nodes_listed(&self.nodes.done()),
            Event::Apply(node) => cluster.node_seen(&node, now),
            Event::Delete(node) => cluster.node_gone(node.metadata.name.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn budget(&mut self, cluster: &mut Cluster, event: Event<PodDisruptionBudget>) {
        let all = cluster.budgets();
        match event {
            Event::Init => self.budgets.seen.clear(),
            Event::InitApply(budget) => {
                self.budgets.seen.insert(budgets::key(&budget));
                all.set(&budget);
            }
            Event::InitDone => all.retain(&self.budgets.done()),
            Event::Apply(budget) => all.set(&budget),
            Event::Delete(budget) => all.remove(&budgets::key(&budget)),
        }
    }
}
