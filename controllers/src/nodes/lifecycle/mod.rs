//! The node lifecycle controller: notices nodes that have gone silent, and turns health into taints.
//!
//! A node is heard of when its Lease is renewed or its status changes, by this process's own clock, so that nodes' clocks
//! do not matter and a controller that starts gives every node a full grace period.

mod plan;

use crate::Clock;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::worker::until;
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder, write};
use crate::target::Target;
use crate::workloads::pods;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
pub(super) use plan::standing;
use plan::{Observed, Plan};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was last heard of a node, and when.
struct Heard {
    renewed: Option<MicroTime>,
    reported: Option<Time>,
    at: Timestamp,
}

pub(crate) struct NodeLifecycle {
    client: kube::Client,
    clock: Clock,
    grace: SignedDuration,
    nodes: Arc<Cache<Node>>,
    leases: Arc<Cache<Lease>>,
    pods: Arc<Cache<Pod>>,
    recorder: Recorder,
    heard: Mutex<HashMap<String, Heard>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<NodeLifecycle>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .nodes
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let own = queue.clone();
    informers.node_leases.subscribe(move |change| {
        own.add(ObjectKey::cluster(
            change.object().metadata.name.as_deref().unwrap_or_default(),
        ));
    });
    let (own, nodes) = (queue.clone(), informers.nodes.cache().clone());
    informers.pods.subscribe(move |change| {
        // A pod that turns up ready on a node that is not is told so as well.
        let node = change
            .object()
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref());
        let Some(key) = node.map(ObjectKey::cluster) else {
            return;
        };
        let unwell = || nodes.get(&key).is_some_and(|node| !is_ready(&node));
        if !matches!(change, Change::Deleted(_)) && pods::is_ready(change.object()) && unwell() {
            own.add(key.clone());
        }
    });
    let controller = NodeLifecycle {
        client: context.client.clone(),
        clock: context.config.clock,
        grace: SignedDuration::try_from(context.config.node_grace_period).unwrap_or(SignedDuration::MAX),
        nodes: informers.nodes.cache().clone(),
        leases: informers.node_leases.cache().clone(),
        pods: informers.pods.cache().clone(),
        recorder: context.recorder.clone(),
        heard: Mutex::default(),
    };
    (Arc::new(controller), queue)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

impl Reconcile for NodeLifecycle {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(node) = self.nodes.get(key) else {
            self.heard
                .lock()
                .expect("no holder of the lock panics")
                .remove(&key.name);
            return Ok(None);
        };
        let now = self.clock.now();
        let heard = self.heard(&node, key, now);
        let plan = plan::plan(
            &Observed {
                node: &node,
                heard,
                grace: self.grace,
            },
            now,
        );
        self.act(&node, &plan, now).await?;
        Ok(plan.look_again.map(|at| until(now, at)))
    }
}

impl NodeLifecycle {
    /// When the node was last heard of, taking in what its Lease and status say now.
    fn heard(&self, node: &Node, key: &ObjectKey, now: Timestamp) -> Timestamp {
        let lease = self.leases.get(&ObjectKey::new("kube-node-lease", &key.name));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
        let conditions = node
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let reported = conditions
            .filter_map(|condition| condition.last_heartbeat_time.clone())
            .max();
        let mut all = self.heard.lock().expect("no holder of the lock panics");
        let before = all.get(&key.name);
        if let Some(before) = before
            && before.renewed == renewed
            && before.reported == reported
        {
            return before.at;
        }
        all.insert(
            key.name.clone(),
            Heard {
                renewed,
                reported,
                at: now,
            },
        );
        now
    }

    async fn act(&self, node: &Node, plan: &Plan, now: Timestamp) -> Result<(), ReconcileError> {
        let api: Api<Node> = Api::all(self.client.clone());
        let mut target = Target::of(&node.metadata);
        let doing = |what: &str| ReconcileError::request(format!("writing {what} of node {}", target.name));
        let (conditions, taints) = (doing("conditions"), doing("taints"));
        if let Some(wanted) = &plan.conditions {
            let change = json!({"status": {"conditions": wanted}});
            let written = write::patch_status(&api, &target, change)
                .await
                .map_err(conditions)?;
            target = Target::of(&written.metadata);
            let message = format!("Node {} status is now: NodeNotReady", target.name);
            self.recorder.record(
                &reference("v1", "Node", &node.metadata),
                Note::normal("NodeNotReady", message),
            );
        }
        if let Some(wanted) = &plan.taints {
            let change = json!({"spec": {"taints": wanted}});
            let written = write::patch(&api, &target, change).await.map_err(taints)?;
            target = Target::of(&written.metadata);
        }
        self.nodes
            .shows(self.nodes.mark(Some(&target.resource_version)))
            .await;
        if plan.pods_not_ready {
            self.mark_pods(&target.name, now).await?;
        }
        Ok(())
    }

    /// Pods of a node that is not ready are not ready, so that no Service leads to them.
    async fn mark_pods(&self, node: &str, now: Timestamp) -> Result<(), ReconcileError> {
        for pod in self.pods.by_term(&format!("node/{node}")) {
            if !pods::is_ready(&pod) || pods::is_finished(&pod) {
                continue;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": Time(now)});
            let change = json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [condition]},
            });
            match api
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(change))
                .await
            {
                Ok(pod) => {
                    self.pods
                        .shows(self.pods.mark(pod.metadata.resource_version.as_deref()))
                        .await
                }
                Err(error) if write::is_gone(&error) || write::is_conflict(&error) => {}
                Err(error) => {
                    return Err(ReconcileError::request(format!(
                        "marking pod {namespace}/{name} not ready"
                    ))(error));
                }
            }
        }
        Ok(())
    }
}
