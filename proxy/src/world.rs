//! What the API last said, kept as facts: the proxy's side of two watches. No IO.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::facts::cidr::Family;
use crate::facts::endpoint::{Endpoint, Endpoints, merge, slice_endpoints};
use crate::facts::service::{ServicePort, ServicePortName, Services, service_ports};

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

    /// Takes in what happened to a service. True when rules may change.
    pub(crate) fn service(&mut self, event: &Event<Service>) -> bool {
        self.services
            .apply(event, |service| service_ports(service, self.family))
    }

    /// Takes in what happened to a slice. True when rules may change.
    pub(crate) fn slice(&mut self, event: &Event<EndpointSlice>) -> bool {
        self.slices.apply(event, |slice| {
            slice_endpoints(slice, self.family, &self.node_name)
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

    #[test]
    fn a_new_list_replaces_what_was_known_only_when_complete() {
        let mut world = World::new(Family::V4, "node");
        assert!(!world.service(&Event::Init));
        assert!(!world.service(&Event::InitApply(service("a", 80))));
        assert!(world.snapshot().0.is_empty());
        assert!(world.service(&Event::InitDone));
        assert_eq!(world.snapshot().0.len(), 1);
        assert!(world.service(&Event::Apply(service("b", 80))));
        assert!(
            !world.service(&Event::Apply(service("b", 80))),
            "the same again changes nothing"
        );

        world.service(&Event::Init);
        world.service(&Event::InitApply(service("b", 80)));
        assert_eq!(world.snapshot().0.len(), 2);
        assert!(world.service(&Event::InitDone));
        assert_eq!(world.snapshot().0.len(), 1);
        assert!(world.service(&Event::Delete(service("b", 80))));
        assert!(!world.is_complete(), "slices were never listed");
    }

    #[test]
    fn an_empty_first_list_counts() {
        let mut world = World::new(Family::V4, "node");
        world.slice(&Event::Init);
        assert!(world.slice(&Event::InitDone));
    }
}
