//! The cluster's names, made from services, endpoint slices and namespaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::ProtoError;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Namespace, Service as WireService};
use k8s_openapi::api::discovery::v1::{Endpoint as WireEndpoint, EndpointConditions, EndpointSlice};

/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Everything that questions are answered from. Made anew as a whole when an object changes.
#[derive(Debug)]
pub struct Zone {
    /// The cluster domain, such as `cluster.local.`.
    pub(crate) origin: Name,
    /// The SOA's serial.
    pub(crate) serial: u32,
    /// Namespaces with their services. A namespace without a service exists all the same.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, Service>>,
    /// Names of cluster IPs and of the endpoints of headless services.
    pub(crate) reverse: HashMap<IpAddr, BTreeSet<Name>>,
}

/// A service's part of the zone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// What a service's own name leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its virtual addresses, with these ports.
    ClusterIp {
        addresses: Vec<IpAddr>,
        ports: Arc<[Port]>,
    },
    /// Its endpoints.
    Headless,
    /// Another name.
    ExternalName(Name),
}

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Empty for a port without a name.
    pub(crate) name: String,
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: String,
    pub(crate) number: u16,
}

/// A ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    /// The label under the service's name: the pod's hostname, or its address with dashes.
    pub(crate) host: String,
    pub(crate) ports: Arc<[Port]>,
}

impl Zone {
    /// An empty zone: nothing is known yet.
    ///
    /// # Errors
    /// When the cluster domain is no domain name.
    pub fn empty(cluster_domain: &str) -> Result<Self, ProtoError> {
        let mut origin = Name::from_ascii(cluster_domain.to_ascii_lowercase())?;
        origin.set_fqdn(true);
        Ok(Self {
            origin,
            serial: 1,
            namespaces: BTreeMap::new(),
            reverse: HashMap::new(),
        })
    }

    /// The zone of a cluster with these objects. Objects that cannot have a name (which the API's validation does not let
    /// pass) are left out.
    pub fn build(
        origin: &Name,
        serial: u32,
        namespaces: &[Arc<Namespace>],
        services: &[Arc<WireService>],
        slices: &[Arc<EndpointSlice>],
    ) -> Self {
        let names = namespaces
            .iter()
            .filter_map(|namespace| namespace.metadata.name.clone());
        let mut zone = Self {
            origin: origin.clone(),
            serial,
            namespaces: names.map(|name| (name, BTreeMap::new())).collect(),
            reverse: HashMap::new(),
        };
        let mut endpoints = endpoints_by_service(slices);
        for service in services {
            let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
            let name = service.metadata.name.as_deref().unwrap_or_default();
            let Some(kind) = kind(service) else { continue };
            let endpoints = endpoints.remove(&(namespace, name)).unwrap_or_default();
            let service = Service { kind, endpoints };
            zone.add_reverse(namespace, name, &service);
            zone.namespaces
                .entry(namespace.to_owned())
                .or_default()
                .insert(name.to_owned(), service);
        }
        zone
    }

    /// The cluster domain.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// A name under the cluster domain from its labels, leftmost first. Nothing when it would be too long.
    pub(crate) fn name(&self, labels: &[&str]) -> Option<Name> {
        let mut name = self.origin.clone();
        for label in labels.iter().rev() {
            name = name.prepend_label(*label).ok()?;
        }
        Some(name)
    }

    fn add_reverse(&mut self, namespace: &str, name: &str, service: &Service) {
        let mut add = |address, name: Option<Name>| {
            if let Some(name) = name {
                self.reverse.entry(address).or_default().insert(name);
            }
        };
        let origin = &self.origin;
        let under = |labels: &[&str]| {
            labels
                .iter()
                .rev()
                .try_fold(origin.clone(), |name, label| name.prepend_label(*label).ok())
        };
        match &service.kind {
            Kind::ClusterIp { addresses, .. } => {
                for address in addresses {
                    add(*address, under(&[name, namespace, "svc"]));
                }
            }
            Kind::Headless => {
                for endpoint in &service.endpoints {
                    add(endpoint.address, under(&[&endpoint.host, name, namespace, "svc"]));
                }
            }
            Kind::ExternalName(_) => {}
        }
    }
}

fn kind(service: &WireService) -> Option<Kind> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        let mut target = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
        target.set_fqdn(true);
        return Some(Kind::ExternalName(target));
    }
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    if all.clone().any(|address| address == "None") {
        return Some(Kind::Headless);
    }
    let mut addresses: Vec<IpAddr> = all.filter_map(|address| address.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return None;
    }
    let ports = spec.ports.iter().flatten();
    let ports =
        ports.filter_map(|port| wire_port(port.name.as_deref(), port.protocol.as_deref(), Some(port.port)));
    Some(Kind::ClusterIp {
        addresses,
        ports: ports.collect(),
    })
}

fn wire_port(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or_default().to_ascii_lowercase(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
        number: u16::try_from(number?).ok()?,
    })
}

/// Ready endpoints of each service, ordered by address, each address once.
fn endpoints_by_service(slices: &[Arc<EndpointSlice>]) -> HashMap<(&str, &str), Vec<Endpoint>> {
    let mut found: HashMap<(&str, &str), Vec<Endpoint>> = HashMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) else {
            continue;
        };
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let ports = slice.ports.iter().flatten();
        let ports =
            ports.filter_map(|port| wire_port(port.name.as_deref(), port.protocol.as_deref(), port.port));
        let ports: Arc<[Port]> = ports.collect();
        let endpoints = found.entry((namespace, service)).or_default();
        for wire in slice
            .endpoints
            .iter()
            .flatten()
            .filter(|wire| is_ready(wire.conditions.as_ref()))
        {
            endpoints.extend(endpoint(wire, &ports));
        }
    }
    for endpoints in found.values_mut() {
        endpoints.sort_by(|one, other| (one.address, &one.host).cmp(&(other.address, &other.host)));
        endpoints.dedup_by(|one, other| one.address == other.address && one.ports == other.ports);
    }
    found
}

/// The controller says "ready" of every endpoint of a service with `publishNotReadyAddresses`.
fn is_ready(conditions: Option<&EndpointConditions>) -> bool {
    conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn endpoint<'a>(wire: &'a WireEndpoint, ports: &'a Arc<[Port]>) -> impl Iterator<Item = Endpoint> + 'a {
    let addresses = wire
        .addresses
        .iter()
        .filter_map(|address| address.parse::<IpAddr>().ok());
    addresses.map(|address| {
        let hostname = wire.hostname.as_deref().filter(|hostname| !hostname.is_empty());
        let host = hostname.map_or_else(|| dashed(address), str::to_ascii_lowercase);
        Endpoint {
            address,
            host,
            ports: ports.clone(),
        }
    })
}

/// An address as a label: `10-244-0-7`, `fd00--7`.
fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// The address that such a label stands for, as pods' names have it.
pub(crate) fn undashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse().map(IpAddr::V6))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_labels_and_back() {
        for (address, label) in [
            ("10.244.0.7", "10-244-0-7"),
            ("fd00::7", "fd00--7"),
            ("::1", "--1"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(dashed(address), label);
            assert_eq!(undashed(label), Some(address));
        }
        for label in ["10-244-0", "10-244-0-256", "web-0", "", "a"] {
            assert_eq!(undashed(label), None, "{label}");
        }
    }
}
