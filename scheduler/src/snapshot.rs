//! The nodes as a decision sees them: columns of numbers, and the facts that selectors ask about. Pure.
//!
//! A row is a node; removing one moves the last row into its place, so rows are dense and a filter walks arrays.

use crate::budgets::Budgets;
use crate::nominations::Nominations;
use crate::placed::Placed;
use crate::resources::Amounts;
use crate::volumes::Volumes;
use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A port of the node that a pod takes: address, protocol, number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The address it listens on; `0.0.0.0` is every one.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be taken on one node.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let everywhere = |ip: &str| ip == "0.0.0.0";
        let same_address = self.ip == other.ip || everywhere(&self.ip) || everywhere(&other.ip);
        same_address && self.protocol == other.protocol && self.port == other.port
    }
}

/// The ports of the node that a pod takes.
#[must_use]
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let ip = port
            .host_ip
            .clone()
            .filter(|ip| !ip.is_empty())
            .unwrap_or_else(|| "0.0.0.0".to_owned());
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some(HostPort {
            ip,
            protocol,
            port: number,
        })
    });
    taken.collect()
}

/// What selectors and taints ask about a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// The node's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// What its agent declares to know (`status.declaredFeatures`).
    pub declared: Vec<String>,
    /// The size in bytes of every image it has, by each of its names.
    pub images: HashMap<String, i64>,
}

impl NodeFacts {
    /// Whether no filter can tell the two apart; images only score.
    fn decides_like(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.taints == other.taints
            && self.declared == other.declared
            && self.unschedulable == other.unschedulable
    }
}

/// All nodes, in columns.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    rows: HashMap<String, usize>,
    /// What selectors ask about, per node.
    pub facts: Vec<NodeFacts>,
    /// What the node offers.
    pub allocatable: Vec<Amounts>,
    /// How many pods it takes.
    pub max_pods: Vec<i64>,
    /// What its pods ask for.
    pub requested: Vec<Amounts>,
    /// What they ask for as scores see it.
    pub scored: Vec<Amounts>,
    /// How many pods it has.
    pub pods: Vec<i64>,
    /// The node's ports that its pods take.
    pub ports: Vec<Vec<HostPort>>,
    /// The pods that count on the node.
    pub(crate) residents: Vec<Vec<Arc<Placed>>>,
    /// Pods on nodes that are not there (yet), and those that are, by uid.
    placed: HashMap<String, Arc<Placed>>,
    /// Pods that were told to leave, by uid, whatever the watch shows of them until they are gone.
    condemned: HashSet<String>,
    /// Nodes that are kept for pods which do not count on them yet.
    pub(crate) nominations: Nominations,
    /// The budgets of disruptions.
    pub budgets: Budgets,
    /// Claims and volumes.
    pub volumes: Volumes,
    /// How many nodes have an image, by each of its names.
    images: HashMap<String, usize>,
}

impl Snapshot {
    /// The number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The row of a node.
    #[must_use]
    pub fn row(&self, node: &str) -> Option<usize> {
        self.rows.get(node).copied()
    }

    /// How many nodes have the image of this name.
    #[must_use]
    pub(crate) fn having_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or(0)
    }

    fn count_images(&mut self, facts: &NodeFacts) {
        for name in facts.images.keys() {
            *self.images.entry(name.clone()).or_default() += 1;
        }
    }

    fn discount_images(&mut self, facts: &NodeFacts) {
        for name in facts.images.keys() {
            if let Entry::Occupied(mut having) = self.images.entry(name.clone()) {
                *having.get_mut() -= 1;
                if *having.get() == 0 {
                    having.remove();
                }
            }
        }
    }

    /// Adds a node, or takes in what changed about it. Says whether anything did that decides.
    pub fn set_node(&mut self, node: &Node) -> bool {
        let facts = node_facts(node);
        let allocatable = node
            .status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref());
        let amounts = Amounts::read(allocatable);
        let pods = allocatable.and_then(|list| list.get("pods"));
        let max_pods = pods
            .and_then(|pods| pods.0.parse::<Quantity>().ok())
            .map_or(0, |pods| pods.value());
        if let Some(row) = self.row(&facts.name) {
            let same_facts = self.facts[row].decides_like(&facts);
            let changed = !same_facts || self.allocatable[row] != amounts || self.max_pods[row] != max_pods;
            if self.facts[row].images != facts.images {
                self.count_images(&facts);
                let former = std::mem::take(&mut self.facts[row]);
                self.discount_images(&former);
            }
            self.facts[row] = facts;
            self.allocatable[row] = amounts;
            self.max_pods[row] = max_pods;
            return changed;
        }
        self.count_images(&facts);
        let name = facts.name.clone();
        self.rows.insert(name.clone(), self.facts.len());
        self.facts.push(facts);
        self.allocatable.push(amounts);
        self.max_pods.push(max_pods);
        self.requested.push(Amounts::default());
        self.scored.push(Amounts::default());
        self.pods.push(0);
        self.ports.push(Vec::new());
        self.residents.push(Vec::new());
        let waiting: Vec<_> = self
            .placed
            .values()
            .filter(|placed| placed.node == name)
            .cloned()
            .collect();
        for placed in &waiting {
            self.count(placed);
        }
        true
    }

    /// Removes a node. Its pods are remembered, should it come back.
    pub fn remove_node(&mut self, name: &str) {
        let Some(row) = self.rows.remove(name) else { return };
        let facts = self.facts.swap_remove(row);
        self.discount_images(&facts);
        self.allocatable.swap_remove(row);
        self.max_pods.swap_remove(row);
        self.requested.swap_remove(row);
        self.scored.swap_remove(row);
        self.pods.swap_remove(row);
        self.ports.swap_remove(row);
        self.residents.swap_remove(row);
        if let Some(moved) = self.facts.get(row) {
            self.rows.insert(moved.name.clone(), row);
        }
    }

    /// Counts a pod on a node, wherever it was counted before.
    pub fn place(&mut self, uid: &str, pod: &Pod, node: &str) {
        self.take_off(uid);
        let mut placed = Placed::of(pod, node);
        uid.clone_into(&mut placed.uid);
        let placed = Arc::new(placed);
        self.count(&placed);
        self.placed.insert(uid.to_owned(), placed);
    }

    fn count(&mut self, placed: &Arc<Placed>) {
        if let Some(row) = self.row(&placed.node) {
            self.requested[row].add(&placed.requested);
            self.scored[row].add(&placed.scored);
            self.pods[row] += 1;
            self.ports[row].extend(placed.ports.iter().cloned());
            self.residents[row].push(placed.clone());
        }
    }

    /// Counts a pod no more. Says whether it was counted.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.condemned.remove(uid);
        self.take_off(uid)
    }

    fn take_off(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(row) = self.row(&placed.node) {
            self.requested[row].subtract(&placed.requested);
            self.scored[row].subtract(&placed.scored);
            self.pods[row] -= 1;
            for port in &placed.ports {
                if let Some(at) = self.ports[row].iter().position(|taken| taken == port) {
                    self.ports[row].swap_remove(at);
                }
            }
            self.residents[row].retain(|resident| resident.uid != uid);
        }
        true
    }

    /// The node a pod is counted on.
    #[must_use]
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.placed.get(uid).map(|placed| placed.node.as_str())
    }

    /// Takes a pod for one that leaves because room is made, before the watch shows it so.
    pub(crate) fn condemn(&mut self, uid: &str) {
        if self.placed.contains_key(uid) {
            self.condemned.insert(uid.to_owned());
        }
    }

    /// It does not leave after all.
    pub(crate) fn pardon(&mut self, uid: &str) {
        self.condemned.remove(uid);
    }

    /// Whether the pod leaves because room is made.
    pub(crate) fn is_preempted(&self, pod: &Placed) -> bool {
        pod.preempted || self.condemned.contains(&pod.uid)
    }
}

fn node_facts(node: &Node) -> NodeFacts {
    let spec = node.spec.as_ref();
    let images = node
        .status
        .iter()
        .flat_map(|status| status.images.iter().flatten());
    let named = images.flat_map(|image| {
        let size = image.size_bytes.unwrap_or(0);
        image.names.iter().flatten().map(move |name| (name.clone(), size))
    });
    NodeFacts {
        name: node.metadata.name.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
        unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
        declared: node
            .status
            .as_ref()
            .and_then(|status| status.declared_features.clone())
            .unwrap_or_default(),
        images: named.collect(),
    }
}
