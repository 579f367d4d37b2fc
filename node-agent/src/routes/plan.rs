//! From nodes to the routes that lead to their pods, and from the routes there are to what has to change. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

/// Routes by where they lead: the gateway of each.
pub(super) type Routes = BTreeMap<IpNet, IpAddr>;

/// What of a node matters to routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeNetwork {
    /// Its own addresses (`InternalIP`), the first one first.
    addresses: Vec<IpAddr>,
    /// The networks of its pods.
    pods: Vec<IpNet>,
}

impl NodeNetwork {
    pub(super) fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let pods = spec
            .and_then(|spec| spec.pod_cidrs.clone().filter(|all| !all.is_empty()))
            .or_else(|| spec.and_then(|spec| spec.pod_cidr.clone()).map(|one| vec![one]));
        let addresses = node
            .status
            .as_ref()
            .and_then(|status| status.addresses.as_deref());
        let internal = addresses
            .into_iter()
            .flatten()
            .filter(|address| address.type_ == "InternalIP");
        Self {
            addresses: internal
                .filter_map(|address| address.address.parse().ok())
                .collect(),
            pods: pods
                .into_iter()
                .flatten()
                .filter_map(|network| network.parse().ok())
                .collect(),
        }
    }

    fn routes(&self) -> impl Iterator<Item = (IpNet, IpAddr)> {
        self.pods.iter().filter_map(|network| {
            let gateway = self
                .addresses
                .iter()
                .find(|address| address.is_ipv4() == network.addr().is_ipv4());
            // The kernel names a network by its first address.
            gateway.map(|gateway| (network.trunc(), *gateway))
        })
    }
}

/// The routes that a machine needs to reach the pods of every node but its own. Of two nodes that claim one network, which the
/// API does not let come about, the first by name has it.
pub(super) fn routes(nodes: &BTreeMap<String, NodeNetwork>, own_node: Option<&str>) -> Routes {
    let others = nodes.iter().filter(|(name, _)| Some(name.as_str()) != own_node);
    let mut routes = Routes::new();
    for (network, gateway) in others.flat_map(|(_, node)| node.routes()) {
        routes.entry(network).or_insert(gateway);
    }
    routes
}

/// What makes the routes there are into those there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Routes to be made, or to be led another way.
    pub(super) add: Routes,
    /// Networks that need no route any more.
    pub(super) remove: Vec<IpNet>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// What turns the routes there are into the wanted ones. What leads out of the cluster's pod network is another cluster's,
/// which keeps its own on the same machine.
pub(super) fn change(present: &Routes, wanted: &Routes, pod_network: IpNet) -> Change {
    let add = wanted
        .iter()
        .filter(|(network, gateway)| present.get(network) != Some(gateway));
    let remove = present
        .keys()
        .filter(|network| pod_network.contains(*network) && !wanted.contains_key(network));
    Change {
        add: add.map(|(network, gateway)| (*network, *gateway)).collect(),
        remove: remove.copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(pods: &[&str], addresses: &[&str]) -> NodeNetwork {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| json!({"type": "InternalIP", "address": address}))
            .chain([json!({"type": "Hostname", "address": "192.0.2.1"})])
            .collect();
        let node = json!({"spec": {"podCIDRs": pods}, "status": {"addresses": addresses}});
        NodeNetwork::of(&serde_json::from_value(node).unwrap())
    }

    fn shown(routes: &Routes) -> Vec<String> {
        routes
            .iter()
            .map(|(network, gateway)| format!("{network} via {gateway}"))
            .collect()
    }

    fn nodes() -> BTreeMap<String, NodeNetwork> {
        [
            ("a", node(&["10.244.0.0/24"], &["10.89.0.10"])),
            (
                "b",
                node(&["10.244.1.0/24", "fd00:1::/64"], &["10.89.0.11", "fd00::b"]),
            ),
            ("c", node(&["10.244.2.0/24", "fd00:2::/64"], &["10.89.0.12"])),
            ("new", node(&[], &["10.89.0.13"])),
        ]
        .map(|(name, node)| (name.to_owned(), node))
        .into()
    }

    #[test]
    fn every_other_nodes_pods_lie_behind_its_address_of_their_family() {
        assert_eq!(
            shown(&routes(&nodes(), Some("a"))),
            [
                "10.244.1.0/24 via 10.89.0.11",
                "10.244.2.0/24 via 10.89.0.12",
                "fd00:1::/64 via fd00::b"
            ]
        );
        assert_eq!(routes(&nodes(), None).len(), 4, "who is no node needs them all");
    }

    #[test]
    fn a_network_claimed_twice_and_one_that_is_none_make_no_trouble() {
        let nodes = [
            ("a", node(&["10.244.0.7/24"], &["10.89.0.10"])),
            ("b", node(&["10.244.0.0/24", "nonsense"], &["10.89.0.11"])),
        ];
        let nodes = nodes.map(|(name, node)| (name.to_owned(), node)).into();
        assert_eq!(shown(&routes(&nodes, None)), ["10.244.0.0/24 via 10.89.0.10"]);
    }

    #[test]
    fn an_older_node_tells_one_network() {
        let node = json!({"spec": {"podCIDR": "10.244.9.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.89.0.9"}]}});
        let network = NodeNetwork::of(&serde_json::from_value(node).unwrap());
        assert_eq!(network.routes().count(), 1);
    }

    #[test]
    fn a_change_leads_from_what_there_is_to_what_should_be() {
        let wanted = routes(&nodes(), Some("a"));
        let mut present = wanted.clone();
        let change = |present: &Routes| change(present, &wanted, "10.244.0.0/16".parse().unwrap());
        assert!(change(&present).is_empty());
        present.insert("10.244.1.0/24".parse().unwrap(), "10.89.0.99".parse().unwrap());
        present.insert("10.244.7.0/24".parse().unwrap(), "10.89.0.17".parse().unwrap());
        // Another cluster's, which this machine has as well.
        present.insert("10.245.0.0/24".parse().unwrap(), "10.89.1.10".parse().unwrap());
        let change = change(&present);
        assert_eq!(shown(&change.add), ["10.244.1.0/24 via 10.89.0.11"]);
        assert_eq!(change.remove, ["10.244.7.0/24".parse().unwrap()]);
    }
}
