//! The Node object as the agent states it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::machine::MachineFacts;
use crate::config::Config;
use crate::cri::{ImageInfo, RuntimeHealth};

/// Images told of at most, the largest first, as upstream does.
const MAX_IMAGES: usize = 50;
const MAX_NAMES_PER_IMAGE: usize = 5;

/// What the node's status is made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) machine: MachineFacts,
    pub(crate) runtime_version: String,
    pub(crate) health: RuntimeHealth,
    /// Why the runtime cannot be seen at all.
    pub(crate) runtime_fault: Option<String>,
    pub(crate) images: Vec<ImageInfo>,
    /// Port on which the HTTPS server really listens.
    pub(crate) port: Option<u16>,
}

fn os_labels(config: &Config) -> BTreeMap<String, String> {
    let (os, arch) = ("linux".to_owned(), architecture());
    let mut labels = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", config.node_name.clone()),
        ("kubernetes.io/os", os.clone()),
        ("kubernetes.io/arch", arch.clone()),
        ("beta.kubernetes.io/os", os),
        ("beta.kubernetes.io/arch", arch),
    ] {
        labels.insert(key.into(), value);
    }
    labels
}

/// As Go names it.
fn architecture() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
    .into()
}

/// The Node to register.
pub(crate) fn node(config: &Config, observed: &Observed, now: Timestamp) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(os_labels(config)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!config.taints.is_empty()).then(|| config.taints.clone()),
            ..NodeSpec::default()
        }),
        status: Some(status(config, observed, &NodeStatus::default(), now)),
    }
}

/// What this agent can do that not every one can (KEP-5328), by name: resize a pod as a whole and its init containers in place,
/// and begin anew with all containers of a pod when one has ended.
const DECLARED: [&str; 3] = [
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

/// The node's status, with the times of `previous` where a condition did not change.
pub(crate) fn status(
    config: &Config,
    observed: &Observed,
    previous: &NodeStatus,
    now: Timestamp,
) -> NodeStatus {
    let capacity = capacity(config, &observed.machine);
    NodeStatus {
        addresses: Some(addresses(config)),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(conditions(observed, previous, now)),
        declared_features: Some(DECLARED.map(str::to_owned).to_vec()),
        daemon_endpoints: observed.port.map(|port| NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(port),
            }),
        }),
        images: Some(images(&observed.images)),
        node_info: Some(NodeSystemInfo {
            architecture: architecture(),
            boot_id: observed.machine.boot_id.clone(),
            container_runtime_version: observed.runtime_version.clone(),
            kernel_version: observed.machine.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: config.version.clone(),
            machine_id: observed.machine.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: observed.machine.os_image.clone(),
            swap: None,
            system_uuid: observed.machine.system_uuid.clone(),
        }),
        ..NodeStatus::default()
    }
}

fn addresses(config: &Config) -> Vec<NodeAddress> {
    let ip = |ip: &std::net::IpAddr| NodeAddress {
        address: ip.to_string(),
        type_: "InternalIP".into(),
    };
    let name = NodeAddress {
        address: config.node_name.clone(),
        type_: "Hostname".into(),
    };
    config.node_ips.iter().map(ip).chain([name]).collect()
}

fn capacity(config: &Config, machine: &MachineFacts) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        (
            "memory".to_owned(),
            Quantity(format!("{}Ki", machine.memory_bytes / 1024)),
        ),
        (
            "ephemeral-storage".to_owned(),
            Quantity(format!("{}Ki", machine.disk_bytes / 1024)),
        ),
        ("pods".to_owned(), Quantity(config.max_pods.to_string())),
        ("hugepages-1Gi".to_owned(), Quantity("0".into())),
        ("hugepages-2Mi".to_owned(), Quantity("0".into())),
    ])
}

fn images(images: &[ImageInfo]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&ImageInfo> = images.iter().collect();
    sorted.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let image = |i: &ImageInfo| ContainerImage {
        names: Some(i.names.iter().take(MAX_NAMES_PER_IMAGE).cloned().collect()),
        size_bytes: i64::try_from(i.size).ok(),
    };
    sorted.into_iter().take(MAX_IMAGES).map(image).collect()
}

fn conditions(observed: &Observed, previous: &NodeStatus, now: Timestamp) -> Vec<NodeCondition> {
    let enough = [
        (
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
    ];
    let faults = faults(observed);
    let ready = if faults.is_empty() {
        (
            "Ready",
            "True",
            "KubeletReady",
            "kubelet is posting ready status".to_owned(),
        )
    } else {
        ("Ready", "False", "KubeletNotReady", faults.join(", "))
    };
    enough
        .into_iter()
        .map(|(kind, reason, message)| (kind, "False", reason, message.to_owned()))
        .chain([ready])
        .map(|(kind, status, reason, message)| {
            let before = previous
                .conditions
                .iter()
                .flatten()
                .find(|c| c.type_ == kind && c.status == status);
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: before
                    .and_then(|c| c.last_transition_time.clone())
                    .or(Some(Time(now))),
            }
        })
        .collect()
}

/// Why the node cannot run pods.
fn faults(observed: &Observed) -> Vec<String> {
    [
        observed
            .runtime_fault
            .as_ref()
            .map(|f| format!("container runtime is down: {f}")),
        observed
            .health
            .runtime_fault
            .as_ref()
            .map(|f| format!("container runtime not ready: {f}")),
        observed
            .health
            .network_fault
            .as_ref()
            .map(|f| format!("container runtime network not ready: {f}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether two statuses tell the same but for their heartbeats.
pub(crate) fn same_but_heartbeats(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(a) == still(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn observed() -> Observed {
        Observed {
            machine: MachineFacts {
                machine_id: "m".into(),
                system_uuid: "s".into(),
                boot_id: "b".into(),
                kernel_version: "6.1".into(),
                os_image: "Debian".into(),
                cpus: 4,
                memory_bytes: 8 << 30,
                disk_bytes: 100 << 30,
            },
            runtime_version: "containerd://1.6.20".into(),
            images: vec![
                ImageInfo {
                    id: "a".into(),
                    names: vec!["a:1".into()],
                    size: 10,
                    ..ImageInfo::default()
                },
                ImageInfo {
                    id: "b".into(),
                    names: vec!["b:1".into()],
                    size: 20,
                    ..ImageInfo::default()
                },
            ],
            port: Some(10250),
            ..Observed::default()
        }
    }

    fn config() -> Config {
        Config::new("n1", IpAddr::from([192, 0, 2, 1]))
    }

    #[test]
    fn a_node_as_a_whole() {
        let mut node = node(&config(), &observed(), at(0));
        // The only fact here that depends on the machine that tests run on.
        for value in [&mut node.metadata.labels]
            .into_iter()
            .flatten()
            .flat_map(|l| l.values_mut())
        {
            if *value == architecture() {
                *value = "ARCH".into();
            }
        }
        if let Some(info) = node.status.as_mut().and_then(|s| s.node_info.as_mut()) {
            info.architecture = "ARCH".into();
        }
        insta::assert_json_snapshot!(node);
    }

    #[test]
    fn readiness_follows_the_runtime() {
        let ready = |o: &Observed| {
            let status = status(&config(), o, &NodeStatus::default(), at(0));
            let c = status.conditions.unwrap().pop().unwrap();
            (c.status, c.reason.unwrap(), c.message.unwrap())
        };
        let mut seen = observed();
        assert_eq!(ready(&seen).1, "KubeletReady");
        seen.health.network_fault = Some("NetworkReady=false reason:NetworkPluginNotReady message:x".into());
        let want =
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:x";
        assert_eq!(
            ready(&seen),
            ("False".into(), "KubeletNotReady".into(), want.into())
        );
        seen.runtime_fault = Some("gone".into());
        assert_eq!(ready(&seen).2, format!("container runtime is down: gone, {want}"));
    }

    #[test]
    fn transitions_keep_their_time() {
        let first = status(&config(), &observed(), &NodeStatus::default(), at(0));
        let later = status(&config(), &observed(), &first, at(60));
        assert!(same_but_heartbeats(&first, &later));
        assert_ne!(first, later);
        let mut broken = observed();
        broken.runtime_fault = Some("gone".into());
        let down = status(&config(), &broken, &later, at(120));
        let times: Vec<_> = down
            .conditions
            .unwrap()
            .into_iter()
            .map(|c| c.last_transition_time.unwrap().0)
            .collect();
        assert_eq!(times, [at(0), at(0), at(0), at(120)]);
    }
}
