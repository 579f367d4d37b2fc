//! UDP flows that outlive the endpoint they were translated to.
//!
//! The kernel translates a flow once and remembers it as long as packets keep coming. A UDP client that keeps its port
//! would go on talking to an endpoint that is gone, or be rejected for ever by a service that had none at first. So after
//! a change such entries are deleted. TCP needs nothing: a connection ends by itself. Decisions only; [`crate::kernel::conntrack`]
//! does the deleting.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::facts::cidr::Family;
use crate::facts::endpoint::{Choice, Endpoints};
use crate::facts::service::{Protocol, ServicePortName, Services};

/// What a client's packets were sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A cluster IP, external IP or load balancer IP, and the service's port.
    Address(IpAddr, u16),
    /// A node port on any address.
    NodePort(u16),
}

/// Conntrack entries to delete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleFlows {
    /// Where the client sent to.
    pub destination: Destination,
    /// Only those that were translated to this address; all when the service had no endpoint before.
    pub endpoint: Option<IpAddr>,
}

/// The UDP service ports with their destinations and the endpoints that rules lead to.
pub type UdpView = BTreeMap<ServicePortName, (BTreeSet<Destination>, BTreeSet<IpAddr>)>;

/// What matters of services and endpoints for UDP flows.
pub fn udp_view(services: &Services, endpoints: &Endpoints) -> UdpView {
    let mut view = UdpView::new();
    for (name, port) in services.iter().filter(|(_, port)| port.protocol == Protocol::Udp) {
        let addresses = port
            .external_ips
            .iter()
            .chain(&port.load_balancer_ips)
            .chain([&port.cluster_ip]);
        let mut destinations: BTreeSet<_> = addresses
            .map(|address| Destination::Address(*address, port.port))
            .collect();
        destinations.extend(port.node_port.map(Destination::NodePort));
        let endpoints = endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
        let reachable = Choice::of(port, endpoints).reachable;
        view.insert(
            name.clone(),
            (
                destinations,
                reachable.iter().map(|endpoint| endpoint.address.ip()).collect(),
            ),
        );
    }
    view
}

/// The entries that a change made stale.
pub fn stale_flows(old: &UdpView, new: &UdpView) -> BTreeSet<StaleFlows> {
    let mut stale = BTreeSet::new();
    let none = (BTreeSet::new(), BTreeSet::new());
    for (name, (destinations, endpoints)) in old {
        let (_, still) = new.get(name).unwrap_or(&none);
        for destination in destinations {
            for gone in endpoints.difference(still) {
                stale.insert(StaleFlows {
                    destination: destination.clone(),
                    endpoint: Some(*gone),
                });
            }
        }
    }
    for (name, (destinations, endpoints)) in new {
        let served_before = old.get(name).is_some_and(|(_, endpoints)| !endpoints.is_empty());
        if !endpoints.is_empty() && !served_before {
            for destination in destinations {
                stale.insert(StaleFlows {
                    destination: destination.clone(),
                    endpoint: None,
                });
            }
        }
    }
    stale
}

impl StaleFlows {
    /// The arguments of `conntrack` that delete these entries.
    pub fn arguments(&self, family: Family) -> Vec<String> {
        let family = if family == Family::V4 { "ipv4" } else { "ipv6" };
        let mut arguments = vec!["-D", "-f", family, "-p", "udp"]
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        match &self.destination {
            Destination::Address(address, port) => {
                add("--orig-dst", address.to_string());
                add("--orig-port-dst", port.to_string());
            }
            Destination::NodePort(port) => add("--orig-port-dst", port.to_string()),
        }
        if let Some(endpoint) = self.endpoint {
            add("--reply-src", endpoint.to_string());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(endpoints: &[&str]) -> UdpView {
        let destinations = [
            Destination::Address("10.96.0.10".parse().unwrap(), 53),
            Destination::NodePort(30053),
        ];
        let endpoints = endpoints
            .iter()
            .map(|endpoint| endpoint.parse().unwrap())
            .collect();
        [(
            ServicePortName::new("kube-system", "kube-dns", "dns"),
            (destinations.into(), endpoints),
        )]
        .into()
    }

    fn arguments(old: &UdpView, new: &UdpView) -> Vec<String> {
        stale_flows(old, new)
            .iter()
            .map(|flows| flows.arguments(Family::V4).join(" "))
            .collect()
    }

    #[test]
    fn flows_to_an_endpoint_that_went_are_stale() {
        assert_eq!(
            arguments(&view(&["10.244.0.2", "10.244.0.3"]), &view(&["10.244.0.3"])),
            [
                "-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.244.0.2",
                "-D -f ipv4 -p udp --orig-port-dst 30053 --reply-src 10.244.0.2",
            ]
        );
        assert_eq!(arguments(&view(&["10.244.0.2"]), &UdpView::new()).len(), 2);
    }

    #[test]
    fn flows_that_were_rejected_are_stale_once_there_is_an_endpoint() {
        assert_eq!(
            arguments(&view(&[]), &view(&["10.244.0.3"])),
            [
                "-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53",
                "-D -f ipv4 -p udp --orig-port-dst 30053",
            ]
        );
    }

    #[test]
    fn a_new_endpoint_beside_others_disturbs_no_flow() {
        assert!(arguments(&view(&["10.244.0.2"]), &view(&["10.244.0.2", "10.244.0.3"])).is_empty());
    }
}
