//! From watch events to what the cluster knows, with what a new list shows to be gone.

use crate::budgets;
use crate::cluster::Cluster;
use crate::volumes::claim_name;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::Event;
use serde::Serialize;
use serde_json::Value;
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
    claims: Listed,
    volumes: Listed,
    classes: Listed,
}

impl Relist {
    pub(crate) fn synced(&self) -> bool {
        let storage = self.claims.once && self.volumes.once && self.classes.once;
        self.pods.once && self.nodes.once && self.budgets.once && storage
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

    pub(crate) fn claim(
        &mut self,
        cluster: &mut Cluster,
        event: Event<PersistentVolumeClaim>,
        now: Timestamp,
    ) {
        match event {
            Event::Init => self.claims.seen.clear(),
            Event::InitApply(claim) => {
                let claim = value(&claim);
                let (namespace, name) = claim_name(&claim);
                self.claims.seen.insert(format!("{namespace}/{name}"));
                cluster.claim_seen(claim, now);
            }
            Event::InitDone => {
                cluster.volumes().retain_claims(&self.claims.done());
                cluster.volumes_moved(None, now);
            }
            Event::Apply(claim) => cluster.claim_seen(value(&claim), now),
            Event::Delete(claim) => cluster.claim_gone(&claim_name(&value(&claim)), now),
        }
    }

    pub(crate) fn volume(&mut self, cluster: &mut Cluster, event: Event<PersistentVolume>, now: Timestamp) {
        match event {
            Event::Init => self.volumes.seen.clear(),
            Event::InitApply(volume) => {
                self.volumes.seen.extend(volume.metadata.name.clone());
                cluster.volume_seen(value(&volume), now);
            }
            Event::InitDone => {
                cluster.volumes().retain_volumes(&self.volumes.done());
                cluster.volumes_moved(None, now);
            }
            Event::Apply(volume) => cluster.volume_seen(value(&volume), now),
            Event::Delete(volume) => {
                cluster.volume_gone(volume.metadata.name.as_deref().unwrap_or_default(), now);
            }
        }
    }

    pub(crate) fn class(&mut self, cluster: &mut Cluster, event: Event<StorageClass>, now: Timestamp) {
        match event {
            Event::Init => self.classes.seen.clear(),
            Event::InitApply(class) => {
                self.classes.seen.extend(class.metadata.name.clone());
                cluster.class_seen(value(&class), now);
            }
            Event::InitDone => cluster.volumes().retain_classes(&self.classes.done()),
            Event::Apply(class) => cluster.class_seen(value(&class), now),
            Event::Delete(class) => {
                cluster
                    .volumes()
                    .remove_class(class.metadata.name.as_deref().unwrap_or_default());
            }
        }
    }
}

/// An object as it is read from here on, without what is large and nobody reads.
fn value(object: &(impl kube::Resource + Clone + Serialize)) -> Value {
    let mut object = object.clone();
    object.meta_mut().managed_fields = None;
    serde_json::to_value(&object).unwrap_or_default()
}
