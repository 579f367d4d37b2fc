//! Services as the proxy sees them: one [`ServicePort`] for each port that kernel rules are made for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use crate::facts::cidr::{Cidr, Family};

/// Marks services (and slices) that another proxy looks after.
pub const SERVICE_PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// Seconds for which ClientIP affinity holds when the service does not say (API default).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// The service ports of one family, by name.
pub type Services = BTreeMap<ServicePortName, ServicePort>;

/// A namespace and a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// The namespace.
    pub namespace: String,
    /// The service's name.
    pub name: String,
}

/// What identifies a service port: `namespace/name:port`, or `namespace/name` when the port has no name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The service.
    pub service: ServiceName,
    /// The port's name, empty for the only port of a service.
    pub port: String,
}

impl ServicePortName {
    /// A name from its three parts.
    pub fn new(namespace: &str, name: &str, port: &str) -> Self {
        let service = ServiceName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Self {
            service,
            port: port.to_owned(),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        if self.port.is_empty() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

/// A transport protocol of the Service API, shown as iptables spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the API's default.
    Tcp,
    /// UDP, whose conntrack entries must be dropped when endpoints go.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The protocol that an API object names; nothing when it is none the kernel rules know.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("TCP" | "") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Which endpoints may take a kind of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All of the cluster.
    #[default]
    Cluster,
    /// Those of the node that the traffic came to.
    Local,
}

impl TrafficPolicy {
    fn parse(name: Option<&str>) -> Self {
        if name == Some("Local") {
            Self::Local
        } else {
            Self::Cluster
        }
    }
}

/// One port of a service with a cluster IP, in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The virtual address.
    pub cluster_ip: IpAddr,
    /// The port on the cluster IP, the external IPs and the load balancer IPs.
    pub port: u16,
    /// The port on every node, if any.
    pub node_port: Option<u16>,
    /// `spec.externalIPs` of this family.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress` addresses of this family whose mode is VIP.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges` of this family; empty admits everyone.
    pub source_ranges: Vec<Cidr>,
    /// Seconds for which a client keeps its endpoint; nothing without ClientIP affinity.
    pub affinity_seconds: Option<u32>,
    /// Who serves traffic to the cluster IP.
    pub internal_policy: TrafficPolicy,
    /// Who serves traffic to every other address.
    pub external_policy: TrafficPolicy,
    /// The port on which load balancers ask whether this node has endpoints.
    pub health_check_node_port: Option<u16>,
}

impl ServicePort {
    /// Whether anything but the cluster IP leads here.
    pub fn is_externally_accessible(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    /// Whether some traffic may go to endpoints of all nodes. External traffic with policy Local may, too: what starts
    /// on this node is treated as internal.
    pub fn uses_cluster_endpoints(&self) -> bool {
        self.internal_policy == TrafficPolicy::Cluster || self.is_externally_accessible()
    }

    /// Whether some traffic is kept on this node.
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_policy == TrafficPolicy::Local
            || (self.external_policy == TrafficPolicy::Local && self.is_externally_accessible())
    }
}

/// The ports of a Service that need rules in `family`. None for a headless or external-name service, for one that
/// another proxy looks after, and for one without an address of that family. What the API's validation would not have let
/// pass (a port out of range, an unreadable address) is left out.
pub fn service_ports(service: &Service, family: Family) -> Vec<(ServicePortName, ServicePort)> {
    let Some(spec) = service.spec.as_ref() else {
        return Vec::new();
    };
    let labels = service.metadata.labels.as_ref();
    let foreign = labels.is_some_and(|labels| labels.contains_key(SERVICE_PROXY_NAME_LABEL));
    if foreign || spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let Some(cluster_ip) = cluster_ip(spec, family) else {
        return Vec::new();
    };
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let shared = shared_facts(service, spec, family, cluster_ip);
    let mut ports = Vec::new();
    for port in spec.ports.iter().flatten() {
        let (Some(protocol), Some(number)) =
            (Protocol::parse(port.protocol.as_deref()), port_number(port.port))
        else {
            continue;
        };
        let port_name = port.name.as_deref().unwrap_or_default();
        let node_port = port.node_port.and_then(port_number);
        let fact = ServicePort {
            protocol,
            port: number,
            node_port,
            ..shared.clone()
        };
        ports.push((ServicePortName::new(namespace, name, port_name), fact));
    }
    ports
}

/// A port number of the API, when it is one. Zero stands for "none" there.
pub(crate) fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

fn cluster_ip(spec: &ServiceSpec, family: Family) -> Option<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter());
    addresses(all.map(String::as_str), family).into_iter().next()
}

/// The readable addresses of one family. `None` (a headless service) and empty texts are not readable.
fn addresses<'a>(texts: impl Iterator<Item = &'a str>, family: Family) -> Vec<IpAddr> {
    texts
        .filter_map(|text| text.parse().ok())
        .filter(|address| Family::of(*address) == family)
        .collect()
}

/// What all ports of a service have in common; the port itself is filled in by the caller.
fn shared_facts(service: &Service, spec: &ServiceSpec, family: Family, cluster_ip: IpAddr) -> ServicePort {
    let ingress = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = ingress
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default();
    let virtual_ips = ingress
        .iter()
        .filter(|entry| entry.ip_mode.as_deref() != Some("Proxy"));
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    let ranges = ranges.filter_map(|range| range.parse::<Cidr>().ok());
    let external_policy = TrafficPolicy::parse(spec.external_traffic_policy.as_deref());
    let balanced = spec.type_.as_deref() == Some("LoadBalancer") && external_policy == TrafficPolicy::Local;
    ServicePort {
        protocol: Protocol::Tcp,
        cluster_ip,
        port: 0,
        node_port: None,
        external_ips: addresses(spec.external_ips.iter().flatten().map(String::as_str), family),
        load_balancer_ips: addresses(virtual_ips.filter_map(|entry| entry.ip.as_deref()), family),
        source_ranges: ranges.filter(|range| range.family() == family).collect(),
        affinity_seconds: affinity_seconds(spec),
        internal_policy: TrafficPolicy::parse(spec.internal_traffic_policy.as_deref()),
        external_policy,
        health_check_node_port: spec
            .health_check_node_port
            .and_then(port_number)
            .filter(|_| balanced),
    }
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client_ip| client_ip.timeout_seconds);
    Some(
        seconds
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(DEFAULT_AFFINITY_SECONDS),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ports(spec: serde_json::Value) -> Vec<(ServicePortName, ServicePort)> {
        let service = json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": spec});
        service_ports(&serde_json::from_value(service).unwrap(), Family::V4)
    }

    #[test]
    fn headless_external_name_and_foreign_services_have_no_ports() {
        assert!(ports(json!({"clusterIP": "None", "ports": [{"port": 80}]})).is_empty());
        assert!(ports(json!({"clusterIP": "", "ports": [{"port": 80}]})).is_empty());
        assert!(ports(json!({"type": "ExternalName", "externalName": "a.example"})).is_empty());
        assert!(ports(json!({"clusterIP": "fd00::1", "ports": [{"port": 80}]})).is_empty());
        let foreign = json!({"metadata": {"labels": {SERVICE_PROXY_NAME_LABEL: "other"}},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}});
        assert!(service_ports(&serde_json::from_value(foreign).unwrap(), Family::V4).is_empty());
    }

    #[test]
    fn a_service_gives_one_fact_for_each_port() {
        let found = ports(
            json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"],
            "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.7", "fd00::7"],
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"},
                      {"name": "odd", "port": 99999}]}),
        );
        let names: Vec<String> = found.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["ns/web:http", "ns/web:dns"]);
        assert_eq!(found[0].1.node_port, Some(30080));
        assert_eq!(found[0].1.affinity_seconds, Some(10_800));
        assert_eq!(found[0].1.external_ips, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(found[1].1.protocol, Protocol::Udp);
        assert_eq!(found[1].1.node_port, None);
    }

    #[test]
    fn a_load_balancer_in_proxy_mode_is_reached_through_the_network() {
        let service = json!({"metadata": {"namespace": "ns", "name": "web"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalTrafficPolicy": "Local",
                     "healthCheckNodePort": 31000, "loadBalancerSourceRanges": ["203.0.113.0/24", "fd00::/8"],
                     "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "Proxy"}, {"ip": "192.0.2.2"},
                                                    {"hostname": "lb.example"}]}}});
        let found = service_ports(&serde_json::from_value(service).unwrap(), Family::V4);
        let port = &found[0].1;
        assert_eq!(port.load_balancer_ips, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(port.source_ranges, ["203.0.113.0/24".parse().unwrap()]);
        assert_eq!(port.health_check_node_port, Some(31000));
    }
}
