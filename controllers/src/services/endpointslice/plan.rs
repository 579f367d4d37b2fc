//! The EndpointSlices a Service should have, and the fewest writes that lead there. Pure.

use crate::labels;
use crate::observed::Pod;
use crate::owners::controller_reference;
use crate::services::backends::{self, Port};
use crate::services::slices::{MANAGED_BY, Plan, SERVICE_NAME};
use crate::target::Target;
use crate::workloads::pods;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How slices of this controller name it.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Endpoints in one slice at most (upstream's default).
const MOST: usize = 100;

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) service: &'a Service,
    /// The pods of its namespace.
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) nodes: &'a HashMap<String, Arc<Node>>,
    /// The slices of this Service that are managed here.
    pub(crate) slices: &'a [Arc<EndpointSlice>],
}

/// Slices are of one address type and one set of ports.
type Group = (String, Vec<Port>);

/// An endpoint that should be, and when it came to be so.
struct Wanted {
    endpoint: Endpoint,
    since: Option<Timestamp>,
}

/// Decides which slices to write.
pub(crate) fn plan(observed: &Observed<'_>) -> Plan {
    let mut wanted = wanted(observed);
    let mut existing: BTreeMap<Group, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    let mut plan = Plan::default();
    let families = address_types(observed.service);
    for slice in observed.slices {
        if families.contains(&slice.address_type) && slice.metadata.deletion_timestamp.is_none() {
            existing.entry(group_of(slice)).or_default().push(slice);
        } else {
            plan.delete.push(Target::of(&slice.metadata));
        }
    }
    for family in families {
        // A Service without endpoints keeps one empty slice, which says that it has none.
        if !wanted.keys().any(|(of, _)| *of == family) {
            wanted.insert((family, Vec::new()), BTreeMap::new());
        }
    }
    let groups: Vec<Group> = wanted.keys().cloned().collect();
    for group in groups {
        let slices = existing.remove(&group).unwrap_or_default();
        let endpoints = wanted.remove(&group).unwrap_or_default();
        fill(observed.service, &group, slices, endpoints, &mut plan);
    }
    let leftover = existing.into_values().flatten();
    plan.delete
        .extend(leftover.map(|slice| Target::of(&slice.metadata)));
    plan
}

fn address_types(service: &Service) -> Vec<String> {
    let families = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.clone())
        .unwrap_or_default();
    if families.is_empty() {
        vec!["IPv4".to_owned()]
    } else {
        families
    }
}

/// The endpoints by group and by the pod they stand for.
fn wanted(observed: &Observed<'_>) -> BTreeMap<Group, BTreeMap<String, Wanted>> {
    let mut wanted: BTreeMap<Group, BTreeMap<String, Wanted>> = BTreeMap::new();
    let service = observed.service;
    let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
        return wanted;
    };
    for pod in observed.pods {
        let selected = labels::contains_all(pod.metadata.labels.as_ref(), selector);
        if !selected || !backends::is_published(pod, true) {
            continue;
        }
        let node = backends::node(pod).and_then(|node| observed.nodes.get(node));
        // A pod on a node that is not there cannot be reached, unless the user wants it published regardless.
        if backends::node(pod).is_some() && node.is_none() && !backends::publishes_not_ready(service) {
            continue;
        }
        for family in address_types(service) {
            let endpoint = endpoint(service, pod, node.map(Arc::as_ref), &family);
            if !endpoint.addresses.is_empty() {
                let group = (family, backends::ports(service, pod));
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                let since = backends::changed_at(pod);
                wanted
                    .entry(group)
                    .or_default()
                    .insert(uid, Wanted { endpoint, since });
            }
        }
    }
    wanted
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, family: &str) -> Endpoint {
    let of_family = |ip: &&str| backends::is_ipv6(ip) == (family == "IPv6");
    let addresses = backends::ips(pod)
        .into_iter()
        .filter(of_family)
        .map(ToOwned::to_owned)
        .collect();
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    let ready = backends::publishes_not_ready(service) || (serving && !terminating);
    let labels = node.and_then(|node| node.metadata.labels.as_ref());
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: backends::hostname(service, pod),
        node_name: backends::node(pod).map(ToOwned::to_owned),
        target_ref: Some(backends::reference(pod)),
        zone: labels.and_then(|labels| labels.get(ZONE)).cloned(),
        ..Endpoint::default()
    }
}

fn group_of(slice: &EndpointSlice) -> Group {
    let ports = slice.ports.iter().flatten().map(|port| Port {
        name: port.name.clone().unwrap_or_default(),
        port: port.port.unwrap_or(0),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
    });
    (slice.address_type.clone(), ports.collect())
}

/// Puts one group's endpoints into its slices: those that stay keep their slice, new ones fill slices that are written
/// anyway, then the fullest slice that has room for all, then new slices.
fn fill(
    service: &Service,
    group: &Group,
    slices: Vec<&Arc<EndpointSlice>>,
    mut wanted: BTreeMap<String, Wanted>,
    plan: &mut Plan,
) {
    let mut drafts: Vec<Draft> = slices
        .into_iter()
        .map(|slice| Draft::from(slice, service, &mut wanted))
        .collect();
    for draft in drafts.iter_mut().filter(|draft| draft.changed) {
        draft.take(&mut wanted);
    }
    if !wanted.is_empty() && wanted.len() < MOST {
        let mut with_room: Vec<_> = drafts
            .iter_mut()
            .filter(|d| d.endpoints.len() + wanted.len() <= MOST)
            .collect();
        with_room.sort_by_key(|draft| draft.endpoints.len());
        if let Some(fullest) = with_room.pop() {
            fullest.take(&mut wanted);
        }
    }
    while !wanted.is_empty() || drafts.is_empty() {
        let mut draft = Draft::empty(service, group);
        draft.take(&mut wanted);
        drafts.push(draft);
    }
    // Of several slices one that came out empty goes; the last of them stays, as a Service keeps at least one.
    let mut left = drafts.len();
    for draft in drafts {
        if draft.endpoints.is_empty() && left > 1 && !draft.is_new() {
            left -= 1;
            plan.delete.push(Target::of(&draft.slice.metadata));
        } else if draft.is_new() {
            plan.create.push(draft.finish(service));
        } else if draft.changed {
            plan.update.push(draft.finish(service));
        }
    }
}

/// A slice in the making.
struct Draft {
    slice: EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
    /// The earliest of the changes that are written with it.
    since: Option<Timestamp>,
}

impl Draft {
    /// Keeps of an observed slice what is still wanted, as it is wanted now.
    fn from(slice: &EndpointSlice, service: &Service, wanted: &mut BTreeMap<String, Wanted>) -> Self {
        let mut draft = Self {
            slice: slice.clone(),
            endpoints: Vec::new(),
            changed: false,
            since: None,
        };
        for old in slice.endpoints.iter().flatten() {
            let uid = old
                .target_ref
                .as_ref()
                .and_then(|pod| pod.uid.as_deref())
                .unwrap_or_default();
            match wanted.remove(uid) {
                None => draft.changed = true,
                Some(new) if same(old, &new.endpoint) => draft.endpoints.push(old.clone()),
                Some(new) => draft.push(new),
            }
        }
        let labels = slice_labels(service);
        let owners = Some(vec![controller_reference("v1", "Service", &service.metadata)]);
        if slice.metadata.labels.as_ref() != Some(&labels) || slice.metadata.owner_references != owners {
            draft.changed = true;
        }
        draft
    }

    fn empty(service: &Service, (address_type, ports): &Group) -> Self {
        let ports = ports.iter().map(|port| EndpointPort {
            name: Some(port.name.clone()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        });
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let slice = EndpointSlice {
            address_type: address_type.clone(),
            metadata: ObjectMeta {
                namespace: service.metadata.namespace.clone(),
                generate_name: Some(format!("{name}-")),
                ..ObjectMeta::default()
            },
            ports: Some(ports.collect()),
            endpoints: None,
        };
        let since = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Self {
            slice,
            endpoints: Vec::new(),
            changed: true,
            since,
        }
    }

    fn is_new(&self) -> bool {
        self.slice.metadata.uid.is_none()
    }

    fn take(&mut self, wanted: &mut BTreeMap<String, Wanted>) {
        if self.is_new() && !wanted.is_empty() {
            self.since = None;
        }
        while self.endpoints.len() < MOST
            && let Some((_, new)) = wanted.pop_first()
        {
            self.push(new);
        }
    }

    fn push(&mut self, new: Wanted) {
        self.changed = true;
        self.since = match (self.since, new.since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.endpoints.push(new.endpoint);
    }

    fn finish(mut self, service: &Service) -> EndpointSlice {
        let meta = &mut self.slice.metadata;
        meta.labels = Some(slice_labels(service));
        meta.owner_references = Some(vec![controller_reference("v1", "Service", &service.metadata)]);
        let mut annotations = meta.annotations.take().unwrap_or_default();
        annotations.remove(backends::TRIGGER_TIME);
        if let Some(since) = self.since {
            annotations.insert(backends::TRIGGER_TIME.to_owned(), since.to_string());
        }
        meta.annotations = (!annotations.is_empty()).then_some(annotations);
        self.slice.endpoints = Some(self.endpoints);
        self.slice
    }
}

/// Whether two endpoints say the same, whatever a mirror of absent and empty says.
fn same(old: &Endpoint, new: &Endpoint) -> bool {
    old.addresses == new.addresses
        && old.conditions == new.conditions
        && old.hostname == new.hostname
        && old.node_name == new.node_name
        && old.zone == new.zone
        && old.target_ref == new.target_ref
}

/// The Service's labels, and those that say whose the slice is.
fn slice_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(backends::HEADLESS);
    if backends::is_headless(service) {
        labels.insert(backends::HEADLESS.to_owned(), String::new());
    }
    labels.insert(
        SERVICE_NAME.to_owned(),
        service.metadata.name.clone().unwrap_or_default(),
    );
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

#[cfg(test)]
mod tests;
