//! Builders for the tests of Service controllers.

use crate::observed::{Container, Pod};
use crate::workloads::replicaset::fixtures::PodBuilder;
use k8s_openapi::api::core::v1::{ContainerPort, Node, PodIP, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

/// A Service `web` that selects `app=web`, with port 80 to the target port `http`.
pub(crate) fn service() -> Service {
    Service {
        metadata: ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some("web".to_owned()),
            uid: Some("uid-service".to_owned()),
            creation_timestamp: Some(Time(Timestamp::from_second(1).unwrap())),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("10.96.0.20".to_owned()),
            selector: Some([("app".to_owned(), "web".to_owned())].into()),
            ip_families: Some(vec!["IPv4".to_owned()]),
            ports: Some(vec![ServicePort {
                port: 80,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("http".to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A pod that serves `http` on 8080, ready if said so.
pub(crate) fn backend(name: &str, ip: &str, ready: bool) -> Arc<Pod> {
    let mut pod = PodBuilder::new(name).label("app", "web").node("n1");
    if ready {
        pod = pod.ready_at(1_000);
    }
    let mut pod = Arc::unwrap_or_clone(pod.build());
    pod.status.as_mut().unwrap().pod_ips = Some(vec![PodIP { ip: ip.to_owned() }]);
    let port = ContainerPort {
        name: Some("http".to_owned()),
        container_port: 8080,
        ..ContainerPort::default()
    };
    pod.spec.as_mut().unwrap().containers = vec![Container {
        name: "web".to_owned(),
        ports: Some(vec![port]),
        ..Container::default()
    }];
    Arc::new(pod)
}

/// A node with a zone.
pub(crate) fn node(name: &str) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = Some(name.to_owned());
    node.metadata.labels = Some([("topology.kubernetes.io/zone".to_owned(), "z1".to_owned())].into());
    Arc::new(node)
}
