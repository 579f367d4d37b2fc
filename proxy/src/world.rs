//! What the API last said, kept as facts: the proxy's side of two watches. No IO.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::facts::cidr::Family;
use crate::facts::endpoint::{Endpoint, Endpoints, merge, slice_endpoints};
use crate::facts::service::{ServicePort, ServicePortName, Services, service_ports};

/// What an event changes for the kernel's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// A service came that has no endpoints so far, and whose clients are to be refused.
    Refusal,
    /// Anything else.
    Rules,
}

impl Change {
    fn if_so(changed: bool) -> Self {
        if changed { Self::Rules } else { Self::Nothing }
    }
}

/// The objects of one watch, each turned into a fact as it comes in.
struct Mirror<F> {
    facts: BTreeMap<(String, String), F>,
    /// A list in progress, which replaces `facts` as a whole when it is complete.
    listing: Option<BTreeMap<(String, String), F>>,
    complete: bool,
}

impl<F: PartialEq> Mirror<F> {
    fn new() -> Self {
        Self {
            facts: BTreeMap::new(),
            listing: None,
            complete: false,
        }
    }

    /// Takes an event in. True when that changed what is known.
    fn apply<K: Resource>(&mut self, event: &Event<K>, fact: impl Fn(&K) -> F) -> bool {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                self.listing
                    .get_or_insert_default()
                    .insert(key(object), fact(object));
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                let first = !std::mem::replace(&mut self.complete, true);
                let changed = listed != self.facts;
                self.facts = listed;
                return first || changed;
            }
            Event::Apply(object) => {
                let fact = fact(object);
                let changed = self.facts.get(&key(object)) != Some(&fact);
                self.facts.insert(key(object), fact);
                return changed;
            }
            Event::Delete(object) => return self.facts.remove(&key(object)).is_some(),
        }
        false
    }
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (
        object.meta().namespace.clone().unwrap_or_default(),
        object.name_any(),
    )
}

/// Services and endpoints of one family.
pub(crate) struct World {
    family: Family,
    node_name: String,
    services: Mirror<Vec<(ServicePortName, ServicePort)>>,
    slices: Mirror<Vec<(ServicePortName, Vec<Endpoint>)>>,
}

impl World {
    pub(crate) fn new(family: Family, node_name: &str) -> Self {
        Self {
            family,
            node_name: node_name.to_owned(),
            services: Mirror::new(),
            slices: Mirror::new(),
        }
    }

    /// Takes in what happened to a service.
    pub(crate) fn service(&mut self, event: &Event<Service>) -> Change {
        let is_new =
            matches!(event, Event::Apply(service) if !self.services.facts.contains_key(&key(service)));
        let changed = self
            .services
            .apply(event, |service| service_ports(service, self.family));
        match event {
            Event::Apply(service) if changed && is_new && !self.has_endpoints(&key(service)) => {
                Change::Refusal
            }
            _ => Change::if_so(changed),
        }
    }

    /// Takes in what happened to a slice.
    pub(crate) fn slice(&mut self, event: &Event<EndpointSlice>) -> Change {
        Change::if_so(self.slices.apply(event, |slice| {
            slice_endpoints(slice, self.family, &self.node_name)
        }))
    }

    fn has_endpoints(&self, (namespace, name): &(String, String)) -> bool {
        let mut slices = self.slices.facts.values().flatten();
        slices.any(|(port, endpoints)| {
            port.service.name == *name && port.service.namespace == *namespace && !endpoints.is_empty()
        })
    }

    /// Whether both lists were complete once: before that, rules of an earlier process must not be taken away.
    pub(crate) fn is_complete(&self) -> bool {
        self.services.complete && self.slices.complete
    }

    /// All that is known now.
    pub(crate) fn snapshot(&self) -> (Services, Endpoints) {
        let services = self.services.facts.values().flatten().cloned().collect();
        (services, merge(self.slices.facts.values().flatten()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, port: u16) -> Service {
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": name},
            "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": port}]}}))
        .unwrap()
    }

    fn slice(service: &str, addresses: &[&str]) -> EndpointSlice {
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|address| json!({"addresses": [address]}))
            .collect();
        let labels = json!({"kubernetes.io/service-name": service});
        serde_json::from_value(
            json!({"metadata": {"namespace": "ns", "name": service, "labels": labels},
            "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints}),
        )
        .unwrap()
    }

    fn empty() -> World {
        let mut world = World::new(Family::V4, "node");
        world.service(&Event::Init);
        world.service(&Event::InitDone);
        world.slice(&Event::Init);
        world.slice(&Event::InitDone);
        world
    }

    #[test]
    fn only_a_new_service_without_endpoints_can_wait_for_them() {
        let mut world = empty();
        assert_eq!(world.service(&Event::Apply(service("a", 80))), Change::Refusal);
        assert_eq!(world.service(&Event::Apply(service("a", 80))), Change::Nothing);
        assert_eq!(
            world.service(&Event::Apply(service("a", 81))),
            Change::Rules,
            "refused so far at another port"
        );
        assert_eq!(
            world.slice(&Event::Apply(slice("a", &["10.244.0.1"]))),
            Change::Rules
        );
        assert_eq!(world.service(&Event::Delete(service("a", 81))), Change::Rules);
        assert_eq!(
            world.service(&Event::Apply(service("a", 80))),
            Change::Rules,
            "its endpoints are there already"
        );
        world.slice(&Event::Apply(slice("b", &[])));
        assert_eq!(world.service(&Event::Apply(service("b", 80))), Change::Refusal);
    }

    #[test]
    fn a_new_list_replaces_what_was_known_only_when_complete() {
        let mut world = World::new(Family::V4, "node");
        assert_eq!(world.service(&Event::Init), Change::Nothing);
        world.service(&Event::InitApply(service("a", 80)));
        assert!(world.snapshot().0.is_empty());
        assert_eq!(world.service(&Event::InitDone), Change::Rules);
        assert_eq!(world.snapshot().0.len(), 1);
        assert_eq!(world.service(&Event::Apply(service("b", 80))), Change::Refusal);
        assert_eq!(
            world.service(&Event::Apply(service("b", 80))),
            Change::Nothing,
            "the same again changes nothing"
        );

        world.service(&Event::Init);
        world.service(&Event::InitApply(service("b", 80)));
        assert_eq!(world.snapshot().0.len(), 2);
        assert_eq!(world.service(&Event::InitDone), Change::Rules);
        assert_eq!(world.snapshot().0.len(), 1);
        assert_eq!(world.service(&Event::Delete(service("b", 80))), Change::Rules);
        assert!(!world.is_complete(), "slices were never listed");
    }

    #[test]
    fn an_empty_first_list_counts() {
        let mut world = World::new(Family::V4, "node");
        world.slice(&Event::Init);
        assert_eq!(world.slice(&Event::InitDone), Change::Rules);
    }
}
