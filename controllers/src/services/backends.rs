//! What a pod is to a Service: whether it is published, under which ports, addresses and host name. Pure.

use crate::observed::{Container, Pod};
use crate::workloads::pods;
use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

/// Set on slices and Endpoints of headless Services.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Set to the time of the change that led to the last write, for measuring how long it took.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A port as a pod serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) port: i32,
    pub(crate) protocol: String,
    pub(crate) app_protocol: Option<String>,
}

/// Whether the pod may stand behind a Service at all. Terminating pods do for EndpointSlices, which say so.
pub(crate) fn is_published(pod: &Pod, terminating_too: bool) -> bool {
    !pods::is_finished(pod) && !ips(pod).is_empty() && (terminating_too || !pods::is_terminating(pod))
}

/// The pod's addresses of both families.
pub(crate) fn ips(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let mut ips: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    if ips.is_empty() {
        ips.extend(status.pod_ip.as_deref().filter(|ip| !ip.is_empty()));
    }
    ips
}

/// Whether an address is IPv6.
pub(crate) fn is_ipv6(ip: &str) -> bool {
    ip.contains(':')
}

/// Whether the Service has no address of its own, so that its pods' addresses stand for it.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods that are not ready are published as ready.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.publish_not_ready_addresses)
        .unwrap_or(false)
}

/// The Service's ports as this pod serves them; a named target port that the pod does not name is left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let resolved = ports.filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            port: target(port, pod)?,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => return Some(port.port),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut containers = spec.containers.iter().chain(sidecars);
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    containers.find_map(|container| named_port(container, name, protocol))
}

fn named_port(container: &Container, name: &str, protocol: &str) -> Option<i32> {
    let mut ports = container.ports.iter().flatten();
    let same = |of: &Option<String>| of.as_deref().unwrap_or("TCP") == protocol;
    ports
        .find(|port| port.name.as_deref() == Some(name) && same(&port.protocol))
        .map(|port| port.container_port)
}

/// The host name under which DNS knows the pod in this Service's domain.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|hostname| !hostname.is_empty())?;
    (spec.subdomain == service.metadata.name).then_some(hostname)
}

/// How an endpoint refers to its pod.
pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The node the pod runs on.
pub(crate) fn node(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|node| !node.is_empty())
}

/// When what the pod is to a Service changed last.
pub(crate) fn changed_at(pod: &Pod) -> Option<Timestamp> {
    pods::condition(pod, "Ready")?
        .last_transition_time
        .as_ref()
        .map(|time| time.0)
}

/// Whether anything changed that a Service's endpoints show.
pub(crate) fn differ(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels != new.metadata.labels
        || ips(old) != ips(new)
        || node(old) != node(new)
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_finished(old) != pods::is_finished(new)
        || pods::is_terminating(old) != pods::is_terminating(new)
        || hostnames(old) != hostnames(new)
        || old.metadata.uid != new.metadata.uid
}

fn hostnames(pod: &Pod) -> Option<(&Option<String>, &Option<String>)> {
    pod.spec.as_ref().map(|spec| (&spec.hostname, &spec.subdomain))
}
