//! Routes to the pods of nodes: what lies in a node's `spec.podCIDRs` is reached by way of that node's address.
//!
//! This is the part of a pod network that upstream leaves to a cloud's route controller or to a CNI plugin's daemon. Pods keep
//! their addresses on the way: nothing is translated. Which routes there have to be is decided purely ([`plan`]); the kernel
//! ([`kernel`]) keeps them under a protocol number of our own, so that those of nobody else are touched and those of an
//! earlier process are known again.

mod kernel;
mod plan;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::plan::{NodeNetwork, change, routes};

/// How often to look whether somebody else has taken a route away.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How soon routes that the kernel has refused are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Keeps this network namespace's routes to the pods of all nodes, but for `own_node`'s, until `shutdown`. The routes stay when
/// it ends. Routes out of the cluster's `pod_network` are left alone: they are those of other clusters. The client needs to list
/// and watch nodes.
pub async fn run_routes(
    client: Client,
    own_node: Option<String>,
    pod_network: IpNet,
    shutdown: CancellationToken,
) {
    let mut known = Known::default();
    let nodes = watcher::watcher(Api::<Node>::all(client), watcher::Config::default());
    let mut nodes = pin!(nodes.default_backoff());
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = None;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sleep_until(due) => {
                due = match keep(&known, own_node.as_deref(), pod_network).await {
                    Ok(()) => None,
                    Err(error) => {
                        tracing::warn!(%error, "routes to other nodes' pods are not complete, trying again");
                        Some(Instant::now() + TRY_AGAIN)
                    }
                };
            }
            Some(event) = nodes.next() => match event {
                Ok(event) => {
                    if known.hear(event) {
                        due = Some(Instant::now());
                    }
                }
                Err(error) => tracing::warn!(%error, "watch of nodes failed and is tried again"),
            },
            _ = looks.tick() => due = due.or(known.complete.then(Instant::now)),
        }
    }
}

async fn keep(known: &Known, own_node: Option<&str>, pod_network: IpNet) -> Result<(), kernel::RouteError> {
    let wanted = routes(&known.nodes, own_node);
    let change = change(&kernel::read().await?, &wanted, pod_network);
    if change.is_empty() {
        return Ok(());
    }
    tracing::info!(add = ?change.add, remove = ?change.remove, "routes to other nodes' pods");
    kernel::write(&change).await
}

/// The nodes as last heard of.
#[derive(Default)]
struct Known {
    nodes: BTreeMap<String, NodeNetwork>,
    listing: BTreeMap<String, NodeNetwork>,
    /// Whether a list was complete once: before that, routes of an earlier process must not be taken away.
    complete: bool,
}

impl Known {
    /// Takes an event in. True when routes may have changed.
    fn hear(&mut self, event: Event<Node>) -> bool {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(node) => {
                self.listing.insert(node.name_any(), NodeNetwork::of(&node));
            }
            Event::InitDone => {
                self.nodes = std::mem::take(&mut self.listing);
                self.complete = true;
                return true;
            }
            Event::Apply(node) => {
                let network = NodeNetwork::of(&node);
                return self.nodes.insert(node.name_any(), network.clone()) != Some(network);
            }
            Event::Delete(node) => return self.nodes.remove(&node.name_any()).is_some(),
        }
        false
    }
}

/// Ends at that time; never when there is none.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
