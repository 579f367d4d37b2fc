//! Taint eviction: deletes pods from nodes with NoExecute taints that they do not, or no longer, tolerate.

mod plan;

use super::lifecycle::standing;
use crate::Clock;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::worker::until;
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder, write};
use crate::target::Target;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use plan::Verdict;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How soon a pod is judged again whose node is not as the cache shows it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(crate) struct TaintEviction {
    client: kube::Client,
    clock: Clock,
    nodes: Arc<Cache<Node>>,
    pods: Arc<Cache<Pod>>,
    recorder: Recorder,
    /// When a pod's node was first seen tainted, for taints without a time; by pod.
    first_seen: Mutex<HashMap<ObjectKey, Timestamp>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<TaintEviction>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let (own, nodes) = (queue.clone(), informers.nodes.cache().clone());
    informers.pods.subscribe(move |change| {
        let node = node_of(change.object()).and_then(|name| nodes.get(&ObjectKey::cluster(name)));
        let tainted = node.is_some_and(|node| plan::concerns(&taints_of(&node)));
        if tainted || matches!(change, Change::Deleted(_)) {
            own.add(ObjectKey::of(&change.object().metadata));
        }
    });
    let (own, pods) = (queue.clone(), informers.pods.cache().clone());
    informers.nodes.subscribe(move |change| {
        let before = change.old().map(|old| taints_of(old)).unwrap_or_default();
        let after = taints_of(change.object());
        if before != after && (plan::concerns(&before) || plan::concerns(&after)) {
            let name = change.object().metadata.name.as_deref().unwrap_or_default();
            for pod in pods.by_term(&format!("node/{name}")) {
                own.add(ObjectKey::of(&pod.metadata));
            }
        }
    });
    let controller = TaintEviction {
        client: context.client.clone(),
        clock: context.config.clock,
        nodes: informers.nodes.cache().clone(),
        pods: informers.pods.cache().clone(),
        recorder: context.recorder.clone(),
        first_seen: Mutex::default(),
    };
    (Arc::new(controller), queue)
}

fn taints_of(node: &Node) -> Vec<Taint> {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

impl Reconcile for TaintEviction {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let pod = self.pods.get(key);
        let node = pod
            .as_ref()
            .and_then(|pod| self.nodes.get(&ObjectKey::cluster(node_of(pod)?)));
        let taints = node.map(|node| taints_of(&node)).unwrap_or_default();
        let now = self.clock.now();
        let Some(pod) = pod.filter(|_| plan::concerns(&taints)) else {
            self.first_seen
                .lock()
                .expect("no holder of the lock panics")
                .remove(key);
            return Ok(None);
        };
        let first_seen = *self
            .first_seen
            .lock()
            .expect("no holder of the lock panics")
            .entry(key.clone())
            .or_insert(now);
        match plan::plan(&pod, &taints, first_seen, now) {
            Verdict::Stay => Ok(None),
            Verdict::LeaveAt(at) => Ok(Some(until(now, at))),
            Verdict::Leave => match self.confirm(&pod, first_seen, now).await? {
                Verdict::Leave => self.evict(&pod, now).await.map(|()| None),
                Verdict::LeaveAt(at) => Ok(Some(until(now, at))),
                Verdict::Stay => Ok(Some(LOOK_AGAIN)),
            },
        }
    }
}

impl TaintEviction {
    /// Judges the pod anew by what the API server says of its node: the cache may lag behind, and a taint that is gone, or that
    /// the node's own health speaks against, evicts nobody.
    async fn confirm(
        &self,
        pod: &Pod,
        first_seen: Timestamp,
        now: Timestamp,
    ) -> Result<Verdict, ReconcileError> {
        let name = node_of(pod).unwrap_or_default();
        let found = Api::<Node>::all(self.client.clone()).get_opt(name).await;
        let node = found.map_err(ReconcileError::request(format!("reading node {name}")))?;
        let taints = node.map(|node| standing(&node, now)).unwrap_or_default();
        Ok(plan::plan(pod, &taints, first_seen, now))
    }

    async fn evict(&self, pod: &Pod, now: Timestamp) -> Result<(), ReconcileError> {
        let target = Target::of(&pod.metadata);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let message = format!("Marking for deletion Pod {}/{}", target.namespace, target.name);
        self.recorder.record(
            &reference("v1", "Pod", &pod.metadata),
            Note::normal("TaintManagerEviction", message),
        );
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": Time(now),
        });
        let change = json!({"metadata": {"uid": target.uid}, "status": {"conditions": [condition]}});
        let marked = api
            .patch_status(&target.name, &PatchParams::default(), &Patch::Strategic(change))
            .await;
        match marked {
            Err(error) if write::is_gone(&error) => return Ok(()),
            Err(error) => {
                return Err(ReconcileError::request(format!("marking pod {}", target.name))(
                    error,
                ));
            }
            Ok(_) => {}
        }
        let deleted = write::delete(&api, &target, None).await;
        let doing = ReconcileError::request(format!("evicting pod {}/{}", target.namespace, target.name));
        let version = deleted.map_err(doing)?;
        self.pods.shows(self.pods.mark(version.as_deref())).await;
        Ok(())
    }
}
