//! Endpoints as the proxy sees them, and which of them may take a service port's traffic.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint as WireEndpoint, EndpointSlice};

use crate::facts::cidr::Family;
use crate::facts::service::{ServicePort, ServicePortName, port_number};

/// The label by which a slice names its service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The endpoints of one family by service port, each list ordered by address and without doubles.
pub type Endpoints = BTreeMap<ServicePortName, Vec<Endpoint>>;

/// One endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, even while it is shutting down.
    pub serving: bool,
    /// Is shutting down.
    pub terminating: bool,
    /// Runs on this proxy's node.
    pub local: bool,
}

impl Endpoint {
    /// A last resort: on its way out, but it still answers (KEP-1669).
    fn is_serving_terminating(&self) -> bool {
        self.serving && self.terminating
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// What one EndpointSlice says in `family`, by service port. Nothing for a slice of another family or without a service.
pub fn slice_endpoints(
    slice: &EndpointSlice,
    family: Family,
    node_name: &str,
) -> Vec<(ServicePortName, Vec<Endpoint>)> {
    let labels = slice.metadata.labels.as_ref();
    let service = labels
        .and_then(|labels| labels.get(SERVICE_NAME_LABEL))
        .filter(|name| !name.is_empty());
    let Some(service) = service.filter(|_| slice.address_type == family.address_type()) else {
        return Vec::new();
    };
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    let mut found = Vec::new();
    for port in slice.ports.iter().flatten() {
        let Some(number) = port.port.and_then(port_number) else {
            continue;
        };
        let name = ServicePortName::new(namespace, service, port.name.as_deref().unwrap_or_default());
        let endpoints = slice.endpoints.iter().flatten();
        found.push((
            name,
            endpoints
                .filter_map(|wire| endpoint(wire, number, family, node_name))
                .collect(),
        ));
    }
    found
}

/// Only the first address of an endpoint counts: the API calls the others interchangeable and kube-proxy ignores them.
/// An absent condition reads as the API says: ready and serving, not terminating.
fn endpoint(wire: &WireEndpoint, port: u16, family: Family, node_name: &str) -> Option<Endpoint> {
    let address: IpAddr = wire.addresses.first()?.parse().ok()?;
    if Family::of(address) != family {
        return None;
    }
    let conditions = wire.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    Some(Endpoint {
        address: SocketAddr::new(address, port),
        ready,
        serving: conditions
            .and_then(|conditions| conditions.serving)
            .unwrap_or(ready),
        terminating: conditions
            .and_then(|conditions| conditions.terminating)
            .unwrap_or(false),
        local: wire.node_name.as_deref() == Some(node_name),
    })
}

/// Puts the endpoints of several slices together. An address that two slices name (it moves from one to the other)
/// counts once, as ready if either says so.
pub fn merge<'a>(parts: impl Iterator<Item = &'a (ServicePortName, Vec<Endpoint>)>) -> Endpoints {
    let mut merged = Endpoints::new();
    for (name, endpoints) in parts {
        merged
            .entry(name.clone())
            .or_default()
            .extend(endpoints.iter().cloned());
    }
    for endpoints in merged.values_mut() {
        endpoints.sort_by_key(|endpoint| (endpoint.address, !endpoint.ready, !endpoint.serving));
        endpoints.dedup_by_key(|endpoint| endpoint.address);
    }
    merged
}

/// Endpoints of a service port sorted by the traffic they may take.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice<'a> {
    /// For policy Cluster.
    pub cluster: Vec<&'a Endpoint>,
    /// For policy Local.
    pub local: Vec<&'a Endpoint>,
    /// In either list.
    pub reachable: Vec<&'a Endpoint>,
    /// Whether any endpoint of the cluster could answer, be it out of reach for this node by policy: traffic is then
    /// dropped and not rejected.
    pub any: bool,
}

impl<'a> Choice<'a> {
    /// Chooses for one service port. Ready endpoints come first; where there is none, those that still serve while
    /// terminating take over, for the cluster and for this node each on its own.
    pub fn of(port: &ServicePort, endpoints: &'a [Endpoint]) -> Self {
        let mut choice = Self::default();
        if port.uses_cluster_endpoints() {
            choice.cluster = ready_or_serving(endpoints.iter());
            choice.any = !choice.cluster.is_empty();
        }
        if port.uses_local_endpoints() {
            choice.local = ready_or_serving(endpoints.iter().filter(|endpoint| endpoint.local));
            choice.any |= !ready_or_serving(endpoints.iter()).is_empty();
        }
        choice.reachable.clone_from(&choice.cluster);
        for endpoint in &choice.local {
            if !choice.cluster.contains(endpoint) {
                choice.reachable.push(endpoint);
            }
        }
        choice.reachable.sort_by_key(|endpoint| endpoint.address);
        choice
    }
}

fn ready_or_serving<'a>(endpoints: impl Iterator<Item = &'a Endpoint> + Clone) -> Vec<&'a Endpoint> {
    let ready: Vec<_> = endpoints.clone().filter(|endpoint| endpoint.ready).collect();
    if ready.is_empty() {
        endpoints
            .filter(|endpoint| endpoint.is_serving_terminating())
            .collect()
    } else {
        ready
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, endpoints: serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": name,
                "labels": {SERVICE_NAME_LABEL: "web"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}))
        .unwrap()
    }

    #[test]
    fn conditions_default_as_the_api_says() {
        let slice = slice(
            "web-1",
            json!([{"addresses": ["10.0.0.1"], "nodeName": "a"},
            {"addresses": ["10.0.0.2", "10.0.0.9"], "nodeName": "b", "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
            {"addresses": ["fd00::1"]}]),
        );
        let found = slice_endpoints(&slice, Family::V4, "a");
        let shown: Vec<_> = found[0]
            .1
            .iter()
            .map(|e| (e.to_string(), e.ready, e.serving, e.terminating, e.local))
            .collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1:8080".to_owned(), true, true, false, true),
                ("10.0.0.2:8080".to_owned(), false, false, false, false),
                ("10.0.0.3:8080".to_owned(), false, true, true, false),
            ]
        );
        assert!(slice_endpoints(&slice, Family::V6, "a").is_empty());
    }

    #[test]
    fn an_address_in_two_slices_counts_once() {
        let old = slice(
            "web-1",
            json!([{"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]),
        );
        let new = slice(
            "web-2",
            json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}]),
        );
        let parts: Vec<_> = [old, new]
            .iter()
            .flat_map(|slice| slice_endpoints(slice, Family::V4, "a"))
            .collect();
        let merged = merge(parts.iter());
        let endpoints = &merged[&ServicePortName::new("ns", "web", "http")];
        let shown: Vec<_> = endpoints.iter().map(|e| (e.to_string(), e.ready)).collect();
        assert_eq!(
            shown,
            [
                ("10.0.0.1:8080".to_owned(), true),
                ("10.0.0.2:8080".to_owned(), true)
            ]
        );
    }
}
