//! Registering the node and keeping its status current.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::facts::{self, Observed};
use super::{cni, machine::MachineFacts};
use crate::clock;
use crate::cri::RuntimeHealth;
use crate::events::{Severity, node_reference};
use crate::pod::{Context, RuntimeWatch};

/// While the node is not ready or not registered it is looked at this often.
const HASTY: std::time::Duration = std::time::Duration::from_millis(500);

/// What is needed to tell the API of the node.
pub(crate) struct Registrar {
    pub(crate) context: Arc<Context>,
    pub(crate) machine: MachineFacts,
    pub(crate) port: Option<u16>,
    pub(crate) runtime: RuntimeWatch,
    /// The node as the API has it, for others to read.
    pub(crate) node: watch::Sender<Node>,
}

/// Registers the node, then keeps its status, and writes the CNI configuration as soon as pods have a range.
pub(crate) async fn keep_current(registrar: Registrar) {
    let context = registrar.context.clone();
    let mut runtime_changed = registrar.runtime.subscribe();
    let mut ticks = tokio::time::interval(context.config.status_update_frequency);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<Node> = None;
    let mut reported = None;
    let mut failing = false;
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            changed = runtime_changed.changed() => if changed.is_err() { return },
        }
        match registrar.once(&mut known, &mut reported).await {
            Ok(settled) => {
                failing = false;
                if !settled {
                    ticks.reset_after(HASTY);
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "node status not written, trying again");
                }
                failing = true;
                known = None;
                ticks.reset_after(HASTY * 2);
            }
        }
    }
}

impl Registrar {
    fn api(&self) -> Api<Node> {
        Api::all(self.context.client.clone())
    }

    /// One look and, where something changed, one write. True if the node is ready and needs no haste.
    async fn once(
        &self,
        known: &mut Option<Node>,
        reported: &mut Option<jiff::Timestamp>,
    ) -> Result<bool, kube::Error> {
        let observed = self.observe().await;
        let node = match known.take() {
            // Read again, for labels, taints and ranges are written by others.
            Some(_) => self.api().get_opt(&self.context.config.node_name).await?,
            None => None,
        };
        let node = match node {
            Some(node) => node,
            None => self.register(&observed).await?,
        };
        let has_network = self.write_cni(&node);
        let now = clock::now();
        let empty = NodeStatus::default();
        let current = node.status.as_ref().unwrap_or(&empty);
        let next = facts::status(&self.context.config, &observed, current, now);
        let overdue = reported.is_none_or(|at| {
            now.duration_since(at)
                > SignedDuration::try_from(self.context.config.status_report_frequency)
                    .unwrap_or(SignedDuration::MAX)
        });
        let ready = is_ready(&next);
        if overdue || !same(current, &next) {
            self.tell_readiness(&node, current, ready);
            let patch = status_patch(&next, current);
            let name = &self.context.config.node_name;
            let written = self
                .api()
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await?;
            *reported = Some(now);
            self.node.send_replace(written.clone());
            *known = Some(written);
        } else {
            self.node.send_replace(node.clone());
            *known = Some(node);
        }
        Ok(ready && has_network)
    }

    async fn observe(&self) -> Observed {
        let cri = &self.context.cri;
        let (version, health, images) = tokio::join!(cri.version(), cri.health(), cri.list_images());
        let fault = match (&health, self.runtime.fault()) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), fault) => fault,
        };
        Observed {
            machine: self.machine.clone(),
            runtime_version: version.unwrap_or_default(),
            health: health.unwrap_or_else(|_| RuntimeHealth::default()),
            runtime_fault: fault,
            images: images.unwrap_or_default(),
            port: self.port,
        }
    }

    /// Makes the Node, or brings the labels of one that is there up to date.
    async fn register(&self, observed: &Observed) -> Result<Node, kube::Error> {
        let wanted = facts::node(&self.context.config, observed, clock::now());
        match self.api().create(&PostParams::default(), &wanted).await {
            Ok(node) => {
                tracing::info!(node = self.context.config.node_name, "node registered");
                self.context.recorder.record(
                    node_reference(&node),
                    Severity::Normal,
                    "Starting",
                    "Starting kubelet.",
                );
                Ok(node)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let patch = Patch::Merge(json!({"metadata": {"labels": wanted.metadata.labels}}));
                self.api()
                    .patch(&self.context.config.node_name, &PatchParams::default(), &patch)
                    .await
            }
            Err(error) => Err(error),
        }
    }

    /// False while the node waits for its range.
    fn write_cni(&self, node: &Node) -> bool {
        let Some(dir) = &self.context.config.cni_conf_dir else {
            return true;
        };
        let spec = node.spec.as_ref();
        let cidrs = spec
            .and_then(|s| s.pod_cidrs.clone().filter(|c| !c.is_empty()))
            .or_else(|| spec.and_then(|s| s.pod_cidr.clone()).map(|c| vec![c]));
        let Some(cidrs) = cidrs else { return false };
        let data = self.context.config.root_dir.join("cni").join("networks");
        let config = cni::conflist(&self.context.config.cni_bridge, &cidrs, &data);
        match cni::write(dir, &config) {
            Ok(true) => tracing::info!(?cidrs, "CNI configuration written"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, dir = %dir.display(), "CNI configuration not written"),
        }
        true
    }

    fn tell_readiness(&self, node: &Node, before: &NodeStatus, ready: bool) {
        if is_ready(before) == ready {
            return;
        }
        let name = &self.context.config.node_name;
        let reason = if ready { "NodeReady" } else { "NodeNotReady" };
        let message = format!("Node {name} status is now: {reason}");
        self.context
            .recorder
            .record(node_reference(node), Severity::Normal, reason, message);
    }
}

fn is_ready(status: &NodeStatus) -> bool {
    status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Compares what the agent states; the rest of the status belongs to others.
fn same(current: &NodeStatus, next: &NodeStatus) -> bool {
    let mut stated = current.clone();
    let ours = |kind: &str| next.conditions.iter().flatten().any(|c| c.type_ == kind);
    if let Some(conditions) = &mut stated.conditions {
        conditions.retain(|c| ours(&c.type_));
    }
    let stated = NodeStatus {
        addresses: stated.addresses,
        allocatable: stated.allocatable,
        capacity: stated.capacity,
        conditions: stated.conditions,
        declared_features: stated.declared_features,
        daemon_endpoints: stated.daemon_endpoints,
        images: stated.images,
        node_info: stated.node_info,
        ..NodeStatus::default()
    };
    // Times are kept in whole seconds by the API.
    let mut rounded = next.clone();
    for condition in rounded.conditions.iter_mut().flatten() {
        if let Some(time) = &mut condition.last_transition_time {
            time.0 = jiff::Timestamp::from_second(time.0.as_second()).unwrap_or(time.0);
        }
    }
    facts::same_but_heartbeats(&stated, &rounded)
}

/// Addresses are replaced where some stand, for merged by type two of one type would be one; conditions of others stay.
fn status_patch(status: &NodeStatus, stands: &NodeStatus) -> Value {
    let mut body = serde_json::to_value(status).unwrap_or_default();
    let any_stand = stands.addresses.as_ref().is_some_and(|a| !a.is_empty());
    if let Some(Value::Array(addresses)) = body.get_mut("addresses").filter(|_| any_stand) {
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    json!({"status": body})
}
