//! Nodes that are kept for pods for which room is being made there. Pure.
//!
//! A nominated pod counts on its node for all that may not displace it: pods of its own or a lower priority. It is not
//! bound to that node; when room is made it goes wherever it fits, there first.

use crate::placed::Placed;
use std::collections::HashMap;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Nominations {
    pods: HashMap<String, Arc<Placed>>,
    nodes: HashMap<String, Vec<Arc<Placed>>>,
}

impl Nominations {
    /// Keeps a node for a pod, and no other node any more.
    pub(crate) fn add(&mut self, pod: Placed) {
        self.withdraw(&pod.uid);
        let pod = Arc::new(pod);
        self.nodes.entry(pod.node.clone()).or_default().push(pod.clone());
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Keeps no node for the pod. Gives what was kept.
    pub(crate) fn withdraw(&mut self, uid: &str) -> Option<Arc<Placed>> {
        let pod = self.pods.remove(uid)?;
        if let Some(on_node) = self.nodes.get_mut(&pod.node) {
            on_node.retain(|other| other.uid != uid);
            if on_node.is_empty() {
                self.nodes.remove(&pod.node);
            }
        }
        Some(pod)
    }

    /// The node that is kept for the pod.
    pub(crate) fn node_of(&self, uid: &str) -> Option<&str> {
        self.pods.get(uid).map(|pod| pod.node.as_str())
    }

    /// The pods that this node is kept for.
    pub(crate) fn on(&self, node: &str) -> &[Arc<Placed>] {
        self.nodes.get(node).map_or(&[], Vec::as_slice)
    }
}
