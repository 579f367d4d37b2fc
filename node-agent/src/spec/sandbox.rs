//! The sandbox that the runtime is asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec};

use super::dns::{self, Resolver};
use super::{hosts, security};
use crate::runtime::{PodIdentity, label};

/// What a sandbox needs besides the pod.
pub(crate) struct SandboxInput<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) identity: &'a PodIdentity,
    pub(crate) attempt: u32,
    pub(crate) resolver: &'a Resolver,
    pub(crate) log_directory: &'a Path,
    /// The pod's cgroup, as containerd takes it with the cgroupfs driver: an absolute path in each hierarchy.
    pub(crate) cgroup_parent: &'a str,
    pub(crate) root_dir: &'a Path,
}

/// Labels that every object of the pod bears: the pod's own and those by which it is found again.
pub(crate) fn pod_labels(
    identity: &PodIdentity,
    own: Option<&BTreeMap<String, String>>,
) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = own
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    labels.insert(label::POD_NAME.into(), identity.name.clone());
    labels.insert(label::POD_NAMESPACE.into(), identity.namespace.clone());
    labels.insert(label::POD_UID.into(), identity.uid.clone());
    labels
}

/// The sandbox's configuration; also wanted, unchanged, with each container.
pub(crate) fn sandbox_config(input: &SandboxInput<'_>) -> cri::PodSandboxConfig {
    let pod = input.pod;
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let host_network = spec.host_network == Some(true);
    let sysctls = spec
        .security_context
        .iter()
        .flat_map(|c| c.sysctls.iter().flatten());
    let mut annotations: HashMap<String, String> = pod
        .metadata
        .annotations
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if let Some(grace) = spec.termination_grace_period_seconds {
        annotations.insert(label::GRACE_PERIOD.into(), grace.to_string());
    }
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: input.identity.name.clone(),
            uid: input.identity.uid.clone(),
            namespace: input.identity.namespace.clone(),
            attempt: input.attempt,
        }),
        // A pod on the node's network bears the node's name.
        hostname: if host_network {
            String::new()
        } else {
            hosts::sandbox_hostname(pod, &input.resolver.cluster_domain)
        },
        log_directory: input.log_directory.to_string_lossy().into_owned(),
        dns_config: Some(dns::pod_dns(spec, &input.identity.namespace, input.resolver)),
        port_mappings: if host_network {
            Vec::new()
        } else {
            port_mappings(spec)
        },
        labels: pod_labels(input.identity, pod.metadata.labels.as_ref()),
        annotations,
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: input.cgroup_parent.to_owned(),
            security_context: Some(security::sandbox(spec, input.root_dir)),
            sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
            ..cri::LinuxPodSandboxConfig::default()
        }),
        windows: None,
    }
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    let ports = |c: &Container| c.ports.clone().unwrap_or_default();
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    containers
        .flat_map(ports)
        .filter(|p| p.host_port.is_some_and(|p| p > 0))
        .map(port_mapping)
        .collect()
}

fn port_mapping(port: ContainerPort) -> cri::PortMapping {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => cri::Protocol::Udp,
        Some("SCTP") => cri::Protocol::Sctp,
        _ => cri::Protocol::Tcp,
    };
    cri::PortMapping {
        protocol: protocol as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sandbox_as_a_whole() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u1", "labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "128"}]},
                "containers": [{"name": "c", "ports": [
                    {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"}]}],
            },
        }))
        .unwrap();
        let identity = PodIdentity {
            uid: "u1".into(),
            namespace: "ns".into(),
            name: "web".into(),
        };
        let config = sandbox_config(&SandboxInput {
            pod: &pod,
            identity: &identity,
            attempt: 1,
            resolver: &Resolver {
                cluster_domain: "cluster.local".into(),
                ..Resolver::default()
            },
            log_directory: Path::new("/var/log/pods/ns_web_u1"),
            cgroup_parent: "/kubepods/besteffort/podu1",
            root_dir: Path::new("/var/lib/kubelet"),
        });
        let mut settings = insta::Settings::clone_current();
        settings.set_sort_maps(true);
        settings.bind(|| insta::assert_json_snapshot!(config));
    }
}
