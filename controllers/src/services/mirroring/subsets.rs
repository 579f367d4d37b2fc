//! Endpoints by the ports they are reached under, however a user has cut them into subsets. Pure.

use crate::services::backends::Port;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints};
use std::collections::BTreeMap;

/// Addresses that are all reached under the same ports, and all ports that they are reached under.
#[derive(Debug)]
pub(super) struct Subset<'a> {
    /// In order; none where the Endpoints name none.
    pub(super) ports: Vec<Port>,
    /// Those that are ready, then the others, each with whether it is.
    pub(super) addresses: Vec<(&'a EndpointAddress, bool)>,
}

/// An address, told apart by the uid of what it stands for, as several may share one.
type Identity<'a> = (&'a str, &'a str);

fn identity(address: &EndpointAddress) -> Identity<'_> {
    let target = address.target_ref.as_ref();
    let uid = target.and_then(|target| target.uid.as_deref());
    (&address.ip, uid.unwrap_or_default())
}

fn port(port: &EndpointPort) -> Port {
    Port {
        name: port.name.clone().unwrap_or_default(),
        port: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
    }
}

/// Every address and port that subset names, both ways; an address that is ready here and not there is not.
pub(super) fn repacked(endpoints: &Endpoints) -> Vec<Subset<'_>> {
    let mut known: BTreeMap<Identity<'_>, &EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<Port>, BTreeMap<Identity<'_>, bool>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        for port in ports_of(subset) {
            let reached = by_port.entry(port).or_default();
            let ready = subset.addresses.iter().flatten().map(|address| (address, true));
            let others = subset.not_ready_addresses.iter().flatten();
            for (address, ready) in ready.chain(others.map(|address| (address, false))) {
                let identity = identity(address);
                known.entry(identity).or_insert(address);
                *reached.entry(identity).or_insert(true) &= ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<Vec<(Identity<'_>, bool)>, Vec<Port>> = BTreeMap::new();
    for (port, reached) in by_port {
        let ports = by_addresses.entry(reached.into_iter().collect()).or_default();
        ports.extend(port);
    }
    let subset = |(addresses, ports): (Vec<(Identity<'_>, bool)>, Vec<Port>)| {
        let with = |wanted: bool| addresses.iter().filter(move |(_, ready)| *ready == wanted);
        let known = with(true)
            .chain(with(false))
            .map(|(identity, ready)| (known[identity], *ready));
        Subset {
            ports,
            addresses: known.collect(),
        }
    };
    by_addresses.into_iter().map(subset).collect()
}

/// The ports of a subset; one that stands for none where it has none, so that its addresses are not lost.
fn ports_of(subset: &EndpointSubset) -> Vec<Option<Port>> {
    let ports: Vec<_> = subset.ports.iter().flatten().map(|it| Some(port(it))).collect();
    if ports.is_empty() { vec![None] } else { ports }
}
