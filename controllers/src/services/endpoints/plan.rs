//! The legacy Endpoints a Service should have. Pure.

use crate::labels;
use crate::observed::Pod;
use crate::services::backends::{self, Port};
use crate::workloads::pods;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says whose the object is.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Set when addresses were left out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses in one object at most.
const MOST: usize = 1000;

/// The Endpoints as they should be, if they are not.
pub(crate) fn plan(service: &Service, all: &[Arc<Pod>], found: Option<&Endpoints>) -> Option<Endpoints> {
    let (subsets, truncated, changed_at) = subsets(service, all);
    let labels = endpoints_labels(service);
    let mut wanted = found.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    let was_truncated = annotations.contains_key(OVER_CAPACITY);
    let before = found
        .and_then(|found| found.subsets.as_deref())
        .unwrap_or_default();
    let same_labels = found.is_some_and(|found| found.metadata.labels.as_ref() == Some(&labels));
    if found.is_some() && before == subsets && same_labels && was_truncated == truncated {
        return None;
    }
    annotations.remove(OVER_CAPACITY);
    annotations.remove(backends::TRIGGER_TIME);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    if let Some(at) = changed_at.or(created) {
        annotations.insert(backends::TRIGGER_TIME.to_owned(), at.to_string());
    }
    wanted.metadata.labels = Some(labels);
    wanted.subsets = (!subsets.is_empty()).then_some(subsets);
    Some(wanted)
}

/// Whether this controller made the object, and not a user for a Service without a selector.
pub(crate) fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|manager| manager == MANAGER)
}

fn endpoints_labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(backends::HEADLESS);
    if backends::is_headless(service) {
        labels.insert(backends::HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// Ready and other addresses, by what ports they serve.
#[derive(Default)]
struct Group {
    ready: Vec<EndpointAddress>,
    not_ready: Vec<EndpointAddress>,
}

/// The subsets, whether addresses were left out, and the latest change among the pods.
fn subsets(service: &Service, all: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool, Option<Timestamp>) {
    let spec = service.spec.as_ref();
    let Some(selector) = spec.and_then(|spec| spec.selector.as_ref()) else {
        return (Vec::new(), false, None);
    };
    let family = spec.and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    let ipv6 = family.as_deref() == Some("IPv6");
    let publishes = backends::publishes_not_ready(service);
    let mut groups: BTreeMap<Vec<Port>, Group> = BTreeMap::new();
    let mut latest = None;
    for pod in all {
        let selected = labels::contains_all(pod.metadata.labels.as_ref(), selector);
        if !selected || !backends::is_published(pod, publishes) {
            continue;
        }
        let ip = backends::ips(pod)
            .into_iter()
            .find(|ip| backends::is_ipv6(ip) == ipv6);
        let ports = backends::ports(service, pod);
        let has_ports = !ports.is_empty() || backends::is_headless(service);
        let Some(ip) = ip.filter(|_| has_ports) else {
            continue;
        };
        latest = latest.max(backends::changed_at(pod));
        let group = groups.entry(ports).or_default();
        let list = if publishes || pods::is_ready(pod) {
            &mut group.ready
        } else {
            &mut group.not_ready
        };
        list.push(EndpointAddress {
            ip: ip.to_owned(),
            hostname: backends::hostname(service, pod),
            node_name: backends::node(pod).map(ToOwned::to_owned),
            target_ref: Some(backends::reference(pod)),
        });
    }
    let truncated = truncate(&mut groups);
    (groups.into_iter().map(subset).collect(), truncated, latest)
}

/// Leaves out what is over the limit, addresses that are not ready first.
fn truncate(groups: &mut BTreeMap<Vec<Port>, Group>) -> bool {
    let total: usize = groups
        .values()
        .map(|group| group.ready.len() + group.not_ready.len())
        .sum();
    let mut excess = total.saturating_sub(MOST);
    let truncated = excess > 0;
    let mut drop_from = |list: &mut Vec<EndpointAddress>| {
        let dropped = excess.min(list.len());
        list.truncate(list.len() - dropped);
        excess -= dropped;
    };
    groups
        .values_mut()
        .for_each(|group| drop_from(&mut group.not_ready));
    groups.values_mut().for_each(|group| drop_from(&mut group.ready));
    truncated
}

fn subset((ports, mut group): (Vec<Port>, Group)) -> EndpointSubset {
    let order = |address: &EndpointAddress| {
        (
            address.ip.clone(),
            address.target_ref.as_ref().and_then(|pod| pod.uid.clone()),
        )
    };
    group.ready.sort_by_key(order);
    group.not_ready.sort_by_key(order);
    let some = |list: Vec<EndpointAddress>| (!list.is_empty()).then_some(list);
    let ports: Vec<_> = ports
        .into_iter()
        .map(|port| EndpointPort {
            name: (!port.name.is_empty()).then_some(port.name),
            port: port.port,
            protocol: Some(port.protocol),
            app_protocol: port.app_protocol,
        })
        .collect();
    EndpointSubset {
        addresses: some(group.ready),
        not_ready_addresses: some(group.not_ready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::fixtures::{backend, service};

    #[test]
    fn ready_and_other_addresses_stand_apart() {
        let pods = [
            backend("b", "10.244.0.6", true),
            backend("a", "10.244.0.5", true),
            backend("c", "10.244.0.7", false),
        ];
        let endpoints = plan(&service(), &pods, None).unwrap();
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        let ips = |list: &Option<Vec<EndpointAddress>>| -> Vec<String> {
            list.iter().flatten().map(|address| address.ip.clone()).collect()
        };
        assert_eq!(ips(&subset.addresses), ["10.244.0.5", "10.244.0.6"]);
        assert_eq!(ips(&subset.not_ready_addresses), ["10.244.0.7"]);
        assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
        assert_eq!(
            plan(&service(), &pods, Some(&endpoints)),
            None,
            "planning after acting gives nothing to do"
        );
    }

    #[test]
    fn a_service_without_pods_has_endpoints_without_subsets() {
        let endpoints = plan(&service(), &[], None).unwrap();
        assert_eq!(endpoints.subsets, None);
        assert_eq!(plan(&service(), &[], Some(&endpoints)), None);
    }

    #[test]
    fn more_than_a_thousand_are_left_out_and_that_is_said() {
        let pods: Vec<_> = (0..1100)
            .map(|n| {
                backend(
                    &format!("p{n}"),
                    &format!("10.244.{}.{}", n / 250, n % 250),
                    n % 2 == 0,
                )
            })
            .collect();
        let endpoints = plan(&service(), &pods, None).unwrap();
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        assert_eq!(subset.addresses.as_ref().unwrap().len(), 550);
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 450);
        assert_eq!(
            endpoints.metadata.annotations.unwrap()[OVER_CAPACITY],
            "truncated"
        );
    }
}
