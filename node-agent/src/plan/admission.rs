//! Whether the node takes a pod that was bound to it (upstream's `pkg/kubelet/lifecycle/predicate.go` and
//! `pkg/kubelet/sysctl/allowlist.go`). Pure.
//!
//! The scheduler asked the same, but pods come by other ways as well, and two schedulers may each think that the last room is
//! theirs. Who is refused fails and is not tried again; its owner makes another.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::quantity::Quantity;
use coracle_api::selector::node::satisfies;
use coracle_api::taints;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec};

use crate::resources;

/// Settings of the kernel that pods may have: each is a namespace's own and touches no other pod.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// The system that pods run on here.
const OS: &str = "linux";

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// `status.reason`, and the event's.
    pub(crate) reason: String,
    /// The event's message; the status puts some words before it.
    pub(crate) message: String,
}

impl Rejection {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    fn predicate(name: &str, words: &str) -> Self {
        Self::new(name, format!("Predicate {name} failed: {words}"))
    }

    fn lacks(resource: &str, [requested, used, capacity]: [i64; 3]) -> Self {
        let message = format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        Self::new(&format!("OutOf{resource}"), message)
    }
}

/// Whether this node takes the pod beside the others that it has taken; if not, the first reason against it.
pub(crate) fn admit(pod: &Pod, others: &[Arc<Pod>], node: &Node) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let others: Vec<&PodSpec> = others.iter().filter_map(|other| other.spec.as_ref()).collect();
    sets_allowed_sysctls(spec)?;
    fits_system(pod, spec)?;
    has_room(spec, &others, node)?;
    let words = "node(s) didn't match Pod's node affinity/selector";
    if !is_selected(spec, node) {
        return Err(Rejection::predicate("NodeAffinity", words));
    }
    let own = host_ports(spec);
    let mut taken = others.iter().flat_map(|other| host_ports(other));
    if taken.any(|taken| own.iter().any(|port| port.conflicts(&taken))) {
        let words = "node(s) didn't have free ports for the requested pod ports";
        return Err(Rejection::predicate("NodePorts", words));
    }
    if !tolerates(spec, node) {
        let words = "node(s) had taints that the pod didn't tolerate";
        return Err(Rejection::predicate("TaintToleration", words));
    }
    Ok(())
}

/// A name that is written with slashes, as `sysctl` allows it too, with dots.
fn dotted(name: &str) -> String {
    let slashed = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('/'));
    let swap = |letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    if slashed {
        name.chars().map(swap).collect()
    } else {
        name.to_owned()
    }
}

fn sets_allowed_sysctls(spec: &PodSpec) -> Result<(), Rejection> {
    let context = spec.security_context.as_ref();
    for sysctl in context
        .iter()
        .flat_map(|context| context.sysctls.iter().flatten())
    {
        let name = dotted(&sysctl.name);
        let (namespace, shared) = if name.starts_with("net.") {
            ("Net", spec.host_network)
        } else {
            ("IPC", spec.host_ipc)
        };
        let fault = if !SAFE_SYSCTLS.contains(&name.as_str()) {
            format!("{name:?} not allowlisted")
        } else if shared == Some(true) {
            format!("{name:?} not allowed with host {namespace} enabled")
        } else {
            continue;
        };
        return Err(Rejection::new(
            "SysctlForbidden",
            format!("forbidden sysctl: {fault}"),
        ));
    }
    Ok(())
}

fn fits_system(pod: &Pod, spec: &PodSpec) -> Result<(), Rejection> {
    let labels = pod.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get("kubernetes.io/os"));
    if label.is_some_and(|label| label != OS) {
        return Err(Rejection::new(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        ));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != OS) {
        return Err(Rejection::new(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        ));
    }
    Ok(())
}

/// Whether a resource is one that nodes advertise beside those that Kubernetes itself knows.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.")
}

fn has_room(spec: &PodSpec, others: &[&PodSpec], node: &Node) -> Result<(), Rejection> {
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    let offered = |resource: &str| {
        let quantity = allocatable?.get(resource)?.0.parse::<Quantity>().ok()?;
        Some(if resource == "cpu" {
            quantity.milli_value()
        } else {
            quantity.value()
        })
    };
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let most = offered("pods").unwrap_or(0);
    if count >= most {
        return Err(Rejection::lacks("pods", [1, count, most]));
    }
    let known = ["cpu", "memory", "ephemeral-storage"];
    let named: BTreeSet<&str> = resources::named_requests(spec).collect();
    let more = named.iter().copied().filter(|name| !known.contains(name));
    for resource in known.into_iter().chain(more) {
        let requested = resources::requested(spec, resource);
        // What no node advertises is the cluster's to give, and was granted elsewhere.
        let capacity = match offered(resource) {
            None if is_extended(resource) => continue,
            offered => offered.unwrap_or(0),
        };
        let used = others
            .iter()
            .map(|other| resources::requested(other, resource))
            .sum();
        if requested > 0 && requested > capacity - used {
            return Err(Rejection::lacks(resource, [requested, used, capacity]));
        }
    }
    Ok(())
}

fn is_selected(spec: &PodSpec, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let field = |key: &str| node.metadata.name.as_deref().filter(|_| key == "metadata.name");
    let holds = |one: &NodeSelectorRequirement, value: Option<&str>| {
        satisfies(&one.operator, one.values.as_deref().unwrap_or_default(), value)
    };
    let matches = |term: &NodeSelectorTerm| {
        let labels = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        !(labels.is_empty() && fields.is_empty())
            && labels.iter().all(|one| holds(one, label(&one.key)))
            && fields.iter().all(|one| holds(one, field(&one.key)))
    };
    let mut selector = spec.node_selector.iter().flatten();
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selector.all(|(key, value)| label(key) == Some(value))
        && required.is_none_or(|required| required.node_selector_terms.iter().any(matches))
}

/// A port of the node that a pod takes.
struct HostPort<'a> {
    /// Nothing is every address.
    ip: Option<&'a str>,
    protocol: &'a str,
    port: i32,
}

impl HostPort<'_> {
    fn conflicts(&self, other: &Self) -> bool {
        let same_address = self.ip == other.ip || self.ip.is_none() || other.ip.is_none();
        same_address && self.protocol == other.protocol && self.port == other.port
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort<'_>> {
    let init = spec.init_containers.iter().flatten();
    let sidecars = init.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    let taken = ports.filter_map(|port| {
        let everywhere = |ip: &&str| ip.is_empty() || *ip == "0.0.0.0";
        Some(HostPort {
            ip: port.host_ip.as_deref().filter(|ip| !everywhere(ip)),
            protocol: port.protocol.as_deref().unwrap_or("TCP"),
            port: port.host_port.filter(|port| *port > 0)?,
        })
    });
    taken.collect()
}

/// Whether no taint of the node drives the pod off at once.
fn tolerates(spec: &PodSpec, node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut driving = taints.filter(|taint| taint.effect == "NoExecute");
    driving.all(|taint| {
        let taint = taints::Taint {
            key: &taint.key,
            value: taint.value.as_deref().unwrap_or_default(),
            effect: &taint.effect,
        };
        spec.tolerations.iter().flatten().any(|toleration| {
            let toleration = taints::Toleration {
                key: toleration.key.as_deref().unwrap_or_default(),
                operator: toleration.operator.as_deref().unwrap_or_default(),
                value: toleration.value.as_deref().unwrap_or_default(),
                effect: toleration.effect.as_deref().unwrap_or_default(),
            };
            toleration.covers(&taint)
        })
    })
}

#[cfg(test)]
mod tests;
