//! Node IPAM: gives every node a network of its own for its pods, cut from the cluster's.

use crate::config::ClusterCidr;
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder, write};
use crate::target::Target;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use serde_json::json;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) struct NodeIpam {
    client: kube::Client,
    cidr: ClusterCidr,
    nodes: Arc<Cache<Node>>,
    recorder: Recorder,
    without: Arc<Without>,
}

/// The nodes, by uid, that were told that there is no network for them. They are looked at again when one becomes free, and
/// not whenever they change: in a cluster with more nodes than networks that would be all of them for each change of one.
#[derive(Default)]
struct Without(Mutex<HashSet<String>>);

impl Without {
    /// Whether the change can mean that a network is to be given.
    fn asks_for_a_plan(&self, change: &Change<'_, Node>) -> bool {
        let node = change.object();
        match change {
            Change::Deleted(_) => {
                self.remove(node);
                network_of(node).is_some()
            }
            _ => network_of(node).is_none() && !self.lock().contains(uid_of(node)),
        }
    }

    /// Whether this is new.
    fn insert(&self, node: &Node) -> bool {
        self.lock().insert(uid_of(node).to_owned())
    }

    fn remove(&self, node: &Node) {
        self.lock().remove(uid_of(node));
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uid_of(node: &Node) -> &str {
    node.metadata.uid.as_deref().unwrap_or_default()
}

/// Builds the controller and its queue, fed by the informers. None without a network to cut from.
///
/// The queue holds one key for all nodes, so that one plan sees all networks that are taken.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
) -> Option<(Arc<NodeIpam>, Arc<Queue<ObjectKey>>)> {
    let cidr = context.config.cluster_cidr?;
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    let without = Arc::new(Without::default());
    let told = without.clone();
    informers.nodes.subscribe(move |change| {
        if told.asks_for_a_plan(&change) {
            own.add(ObjectKey::cluster("nodes"));
        }
    });
    let controller = NodeIpam {
        client: context.client.clone(),
        cidr,
        nodes: informers.nodes.cache().clone(),
        recorder: context.recorder.clone(),
        without,
    };
    Some((Arc::new(controller), queue))
}

fn network_of(node: &Node) -> Option<&str> {
    node.spec
        .as_ref()?
        .pod_cidr
        .as_deref()
        .filter(|cidr| !cidr.is_empty())
}

/// The lowest free network for each node that lacks one; none where all are taken.
fn plan(nodes: &[Arc<Node>], cidr: ClusterCidr) -> Vec<(Arc<Node>, Option<String>)> {
    let mut taken: HashSet<String> = nodes
        .iter()
        .filter_map(|node| network_of(node))
        .map(ToOwned::to_owned)
        .collect();
    let mut free = (0..count(cidr)).map_while(|index| network(cidr, index));
    let lacking = nodes
        .iter()
        .filter(|node| network_of(node).is_none() && node.metadata.deletion_timestamp.is_none());
    let mut plan = Vec::new();
    for node in lacking {
        let found = free.find(|network| !taken.contains(network));
        taken.extend(found.clone());
        plan.push((node.clone(), found));
    }
    plan
}

/// How many node networks there are.
fn count(cidr: ClusterCidr) -> u64 {
    let bits = cidr.node_prefix.saturating_sub(cidr.prefix);
    1_u64.checked_shl(u32::from(bits)).unwrap_or(u64::MAX)
}

/// The node network of this number.
fn network(cidr: ClusterCidr, index: u64) -> Option<String> {
    let prefix = u32::from(cidr.node_prefix);
    let address = match cidr.network {
        IpAddr::V4(base) => {
            let step = u32::try_from(index)
                .ok()?
                .checked_shl(32_u32.checked_sub(prefix)?)?;
            IpAddr::V4(Ipv4Addr::from(u32::from(base).checked_add(step)?))
        }
        IpAddr::V6(base) => {
            let step = u128::from(index).checked_shl(128_u32.checked_sub(prefix)?)?;
            IpAddr::V6(Ipv6Addr::from(u128::from(base).checked_add(step)?))
        }
    };
    Some(format!("{address}/{prefix}"))
}

impl Reconcile for NodeIpam {
    type Key = ObjectKey;

    async fn reconcile(&self, _: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let api: Api<Node> = Api::all(self.client.clone());
        for (node, network) in plan(&self.nodes.all(), self.cidr) {
            let target = Target::of(&node.metadata);
            let Some(network) = network else {
                if self.without.insert(&node) {
                    let message = format!("Node {} status is now: CIDRNotAvailable", target.name);
                    self.recorder.record(
                        &reference("v1", "Node", &node.metadata),
                        Note::normal("CIDRNotAvailable", message),
                    );
                }
                continue;
            };
            let change = json!({"spec": {"podCIDR": network, "podCIDRs": [network]}});
            match write::patch(&api, &target, change).await {
                Ok(node) => {
                    self.without.remove(&node);
                    self.nodes
                        .shows(self.nodes.mark(node.metadata.resource_version.as_deref()))
                        .await
                }
                Err(error) if write::is_gone(&error) => {}
                Err(error) => {
                    return Err(ReconcileError::request(format!(
                        "giving node {} its network",
                        target.name
                    ))(error));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NodeSpec;

    fn node(name: &str, cidr: Option<&str>) -> Arc<Node> {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        node.spec = Some(NodeSpec {
            pod_cidr: cidr.map(ToOwned::to_owned),
            ..NodeSpec::default()
        });
        Arc::new(node)
    }

    fn cidr(text: &str, prefix: u8, node_prefix: u8) -> ClusterCidr {
        ClusterCidr {
            network: text.parse().unwrap(),
            prefix,
            node_prefix,
        }
    }

    fn given(nodes: &[Arc<Node>], cidr: ClusterCidr) -> Vec<Option<String>> {
        plan(nodes, cidr)
            .into_iter()
            .map(|(_, network)| network)
            .collect()
    }

    #[test]
    fn the_lowest_free_network_is_given_once() {
        let nodes = [
            node("a", Some("10.244.0.0/24")),
            node("b", None),
            node("c", Some("10.244.2.0/24")),
            node("d", None),
        ];
        let expected = ["10.244.1.0/24", "10.244.3.0/24"].map(|network| Some(network.to_owned()));
        assert_eq!(given(&nodes, cidr("10.244.0.0", 16, 24)), expected);
    }

    #[test]
    fn when_all_are_taken_there_is_none() {
        let nodes = [node("a", None), node("b", None), node("c", None)];
        let expected = [
            Some("10.0.0.0/24".to_owned()),
            Some("10.0.1.0/24".to_owned()),
            None,
        ];
        assert_eq!(given(&nodes, cidr("10.0.0.0", 23, 24)), expected);
    }

    #[test]
    fn ipv6_networks_are_cut_likewise() {
        let expected = [
            Some("fd00:10:244::/64".to_owned()),
            Some("fd00:10:244:1::/64".to_owned()),
        ];
        assert_eq!(
            given(&[node("a", None), node("b", None)], cidr("fd00:10:244::", 48, 64)),
            expected
        );
    }

    #[test]
    fn a_node_without_a_network_is_looked_at_again_when_one_is_free() {
        let of = |uid: &str, cidr| {
            let mut node = (*node(uid, cidr)).clone();
            node.metadata.uid = Some(uid.to_owned());
            Arc::new(node)
        };
        let without = Without::default();
        let (lacking, having) = (of("a", None), of("b", Some("10.0.0.0/24")));
        assert!(without.asks_for_a_plan(&Change::Added(&lacking)), "it is new");
        assert!(without.insert(&lacking));
        assert!(!without.insert(&lacking), "it is told once");
        assert!(!without.asks_for_a_plan(&Change::Updated(&lacking, &lacking)));
        assert!(!without.asks_for_a_plan(&Change::Added(&having)));
        assert!(
            !without.asks_for_a_plan(&Change::Deleted(&lacking)),
            "it frees nothing"
        );
        assert!(without.asks_for_a_plan(&Change::Deleted(&having)));
        assert!(without.insert(&lacking), "one that was deleted is forgotten");
    }
}
