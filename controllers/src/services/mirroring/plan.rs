//! The EndpointSlices that show Endpoints, and the fewest writes that lead there. Pure.
//!
//! Each set of ports and family of addresses has one slice, so what does not fit into one is left out, and an event says so.

use super::MANAGER;
use super::subsets::{Subset, repacked};
use crate::owners::controller_reference;
use crate::services::backends::{Port, TRIGGER_TIME};
use crate::services::slices::{MANAGED_BY, Plan, SERVICE_NAME};
use crate::target::Target;
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, ObjectReference, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Addresses of one subset that are shown at most (`--mirroring-max-endpoints-per-subset`).
const MOST: usize = 1000;
/// Set to `true` by whoever keeps slices of these Endpoints himself.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints that are only a lock for the election of a leader have it.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that say something about the Endpoints alone.
const OWN_ANNOTATIONS: [&str; 2] = [TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"];

/// Whether these Endpoints are only a lock for the election of a leader.
pub(in crate::services) fn is_lock(endpoints: &Endpoints) -> bool {
    let annotations = endpoints.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(LEADER))
}

/// Whether these Endpoints are shown: they do not say otherwise, and no other controller keeps slices for their Service.
pub(super) fn is_shown(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let meta = &endpoints.metadata;
    let labels = meta.labels.as_ref();
    let skips = labels.and_then(|labels| labels.get(SKIP_MIRROR));
    let selects = |service: &Service| service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
    skips.is_none_or(|skips| skips != "true")
        && !is_lock(endpoints)
        && service.is_some_and(|service| !selects(service))
}

/// Addresses that are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// What is no address.
    invalid: usize,
    /// More than a slice may hold.
    beyond: usize,
}

impl Skipped {
    /// Reasons and messages of the events that tell of it, in upstream's words.
    pub(super) fn words(self) -> Vec<(&'static str, String)> {
        let Self { invalid, beyond } = self;
        let mut words = Vec::new();
        if invalid > 0 {
            let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
            words.push(("InvalidIPAddress", message));
        }
        if beyond > 0 {
            let skipped = invalid + beyond;
            let message = format!(
                "A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were \
                 skipped"
            );
            words.push(("TooManyAddressesToMirror", message));
        }
        words
    }
}

/// Slices are of one address type and one set of ports.
type Group = (&'static str, Vec<Port>);
/// What makes two endpoints of a slice the same: address, host name, and the target's namespace and name.
type Identity = (String, Option<String>, Option<String>, Option<String>);
type Wanted = BTreeMap<Group, BTreeMap<Identity, Endpoint>>;

/// Decides which slices to write for Endpoints that are shown; `slices` are those of them that are managed here.
pub(super) fn plan(endpoints: &Endpoints, slices: &[Arc<EndpointSlice>]) -> (Plan, Skipped) {
    let (wanted, skipped) = wanted(endpoints);
    let mut existing: BTreeMap<Group, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        existing.entry(group_of(slice)).or_default().push(slice);
    }
    let mut missing = Vec::new();
    let mut spare: Vec<&Arc<EndpointSlice>> = Vec::new();
    let mut plan = Plan::default();
    for (group, wanted) in wanted {
        let mut found = existing.remove(&group).unwrap_or_default().into_iter();
        let Some(first) = found.next() else {
            missing.push(fresh(endpoints, &group, wanted));
            continue;
        };
        spare.extend(found);
        let new = rewritten(first, fresh(endpoints, &group, wanted));
        if !same(first, &new) {
            plan.update.push(new);
        }
    }
    spare.extend(existing.into_values().flatten());
    for new in missing {
        // Rather than one deleted and one made, one is written over.
        match spare
            .iter()
            .position(|slice| slice.address_type == new.address_type)
        {
            Some(at) => plan.update.push(rewritten(spare.remove(at), new)),
            None => plan.create.push(new),
        }
    }
    if endpoints.metadata.deletion_timestamp.is_some() {
        plan.create.clear();
    }
    plan.delete = spare
        .into_iter()
        .map(|slice| Target::of(&slice.metadata))
        .collect();
    (plan, skipped)
}

fn wanted(endpoints: &Endpoints) -> (Wanted, Skipped) {
    let mut wanted = Wanted::new();
    let mut skipped = Skipped::default();
    for Subset { ports, addresses } in repacked(endpoints) {
        let mut shown = 0;
        for (at, (address, ready)) in addresses.iter().enumerate() {
            if shown >= MOST {
                skipped.beyond += addresses.len() - at;
                break;
            }
            let Some((family, endpoint)) = endpoint(address, *ready) else {
                skipped.invalid += 1;
                continue;
            };
            shown += 1;
            let group = wanted.entry((family, ports.clone())).or_default();
            group.insert(identity(&endpoint), endpoint);
        }
    }
    (wanted, skipped)
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip = parse(&address.ip)?;
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let conditions = EndpointConditions {
        ready: Some(ready),
        ..EndpointConditions::default()
    };
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(conditions),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    Some((family, endpoint))
}

/// An address, also one with zeros before its numbers, as older Endpoints may have it; one of IPv4 that is written as IPv6
/// is of IPv4.
fn parse(ip: &str) -> Option<IpAddr> {
    if let Ok(ip) = ip.parse::<Ipv6Addr>() {
        return Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4));
    }
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
        part.parse::<u8>().ok().filter(|_| digits)
    };
    let parts: Option<Vec<u8>> = ip.split('.').map(number).collect();
    let parts: [u8; 4] = parts?.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(parts)))
}

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    (
        endpoint.addresses.join(","),
        endpoint.hostname.clone(),
        target.and_then(|target| target.namespace.clone()),
        target.and_then(|target| target.name.clone()),
    )
}

fn group_of(slice: &EndpointSlice) -> Group {
    let family = if slice.address_type == "IPv6" {
        "IPv6"
    } else {
        "IPv4"
    };
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        port: port.port.unwrap_or(0),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
    });
    let mut ports: Vec<_> = ports.collect();
    ports.sort();
    (family, ports)
}

/// A slice that is not there yet.
fn fresh(
    endpoints: &Endpoints,
    (family, ports): &Group,
    wanted: BTreeMap<Identity, Endpoint>,
) -> EndpointSlice {
    let meta = &endpoints.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    let ports = ports.iter().map(|port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    });
    EndpointSlice {
        address_type: (*family).to_owned(),
        metadata: ObjectMeta {
            namespace: meta.namespace.clone(),
            generate_name: Some(format!("{name}-")),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![controller_reference("v1", "Endpoints", meta)]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.collect()),
        endpoints: Some(wanted.into_values().collect()),
    }
}

/// The new slice in the place of an observed one.
fn rewritten(old: &EndpointSlice, new: EndpointSlice) -> EndpointSlice {
    let metadata = ObjectMeta {
        labels: new.metadata.labels,
        annotations: new.metadata.annotations,
        owner_references: new.metadata.owner_references,
        ..old.metadata.clone()
    };
    EndpointSlice { metadata, ..new }
}

/// Whether a slice shows what its new form would.
fn same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    let (before, after) = (&old.metadata, &new.metadata);
    let none = BTreeMap::new();
    let annotations = before.annotations.as_ref().unwrap_or(&none);
    let shown = |slice: &EndpointSlice| -> BTreeMap<Identity, Endpoint> {
        let all = slice.endpoints.iter().flatten();
        all.map(|endpoint| (identity(endpoint), regardless_of_revision(endpoint)))
            .collect()
    };
    before.labels == after.labels
        && annotations == after.annotations.as_ref().unwrap_or(&none)
        && before.owner_references == after.owner_references
        && shown(old) == shown(new)
}

/// An endpoint without the revision that its target had when it was written.
fn regardless_of_revision(endpoint: &Endpoint) -> Endpoint {
    let without = |target: &ObjectReference| ObjectReference {
        resource_version: None,
        ..target.clone()
    };
    Endpoint {
        target_ref: endpoint.target_ref.as_ref().map(without),
        ..endpoint.clone()
    }
}

#[cfg(test)]
mod tests;
