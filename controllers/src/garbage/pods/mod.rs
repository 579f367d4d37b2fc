//! The pod garbage collector: deletes pods whose node is gone, that never had one, or that are finished in excess.

mod plan;

use crate::Clock;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::worker::until;
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use crate::workloads::pods;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use plan::Why;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct PodCollector {
    client: kube::Client,
    clock: Clock,
    threshold: usize,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
    missing: Mutex<BTreeMap<String, Timestamp>>,
}

/// Builds the controller and its queue, fed by the informers. One key stands for all pods.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<PodCollector>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let (own, nodes) = (queue.clone(), informers.nodes.cache().clone());
    informers.pods.subscribe(move |change| {
        let node = change
            .object()
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref())
            .unwrap_or_default();
        let there = nodes.get(&ObjectKey::cluster(node)).is_some();
        if !matches!(change, Change::Deleted(_)) && plan::is_candidate(change.object(), there) {
            own.add(ObjectKey::cluster("pods"));
        }
    });
    let own = queue.clone();
    informers.nodes.subscribe(move |change| {
        if matches!(change, Change::Deleted(_) | Change::Added(_)) {
            own.add(ObjectKey::cluster("pods"));
        }
    });
    let controller = PodCollector {
        client: context.client.clone(),
        clock: context.config.clock,
        threshold: context.config.terminated_pod_threshold,
        pods: informers.pods.cache().clone(),
        nodes: informers.nodes.cache().clone(),
        missing: Mutex::default(),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for PodCollector {
    type Key = ObjectKey;

    async fn reconcile(&self, _: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let now = self.clock.now();
        let nodes: BTreeSet<String> = self
            .nodes
            .all()
            .iter()
            .filter_map(|node| node.metadata.name.clone())
            .collect();
        let missing = self.missing.lock().expect("no holder of the lock panics").clone();
        let plan = plan::plan(&self.pods.all(), &nodes, &missing, self.threshold, now);
        *self.missing.lock().expect("no holder of the lock panics") = plan.missing;
        let gone = plan.delete.iter().filter(|(_, why)| *why == Why::NodeGone);
        let there = self
            .nodes_there(gone.map(|(pod, _)| plan::node(pod)).collect())
            .await?;
        for (pod, why) in &plan.delete {
            // Once the cache of nodes shows it, this is planned anew.
            if *why == Why::NodeGone && there.contains(plan::node(pod)) {
                continue;
            }
            self.delete(pod, *why, now).await?;
        }
        Ok(plan.look_again.map(|at| until(now, at)))
    }
}

impl PodCollector {
    /// Which of these nodes there are after all, by the API server's word: the cache of nodes may lag behind that of pods, for
    /// longer than any quarantine.
    async fn nodes_there<'n>(&self, names: BTreeSet<&'n str>) -> Result<BTreeSet<&'n str>, ReconcileError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut there = BTreeSet::new();
        for name in names {
            let found = nodes.get_opt(name).await;
            if found
                .map_err(ReconcileError::request(format!("reading node {name}")))?
                .is_some()
            {
                there.insert(name);
            }
        }
        Ok(there)
    }

    async fn delete(&self, pod: &Pod, why: Why, now: Timestamp) -> Result<(), ReconcileError> {
        let target = Target::of(&pod.metadata);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        if !pods::is_finished(pod) {
            self.mark_failed(&api, &target, why, now).await?;
        }
        let deleted = write::delete_at_once(&api, &target).await;
        let doing = ReconcileError::request(format!("collecting pod {}/{}", target.namespace, target.name));
        let version = deleted.map_err(doing)?;
        self.pods.shows(self.pods.mark(version.as_deref())).await;
        Ok(())
    }

    /// Says what becomes of the pod before it goes, for those who watch it.
    async fn mark_failed(
        &self,
        api: &Api<Pod>,
        target: &Target,
        why: Why,
        now: Timestamp,
    ) -> Result<(), ReconcileError> {
        let mut status = json!({"phase": "Failed"});
        if why == Why::NodeGone {
            status["conditions"] = json!([{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": Time(now),
            }]);
        }
        // Whether it has a node may have changed since it was seen without one.
        let mut change = json!({"metadata": {"uid": target.uid}, "status": status});
        if why == Why::NeverAssigned {
            change["metadata"]["resourceVersion"] = json!(target.resource_version);
        }
        match api
            .patch_status(&target.name, &PatchParams::default(), &Patch::Strategic(change))
            .await
        {
            Err(error) if !write::is_gone(&error) => Err(ReconcileError::request(format!(
                "marking pod {} failed",
                target.name
            ))(error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
