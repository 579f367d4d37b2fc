//! This server among the endpoints of the Service `kube-dns`.
//!
//! The service has no selector, so nobody else keeps its slices. Each node's server keeps one, named after the service and the
//! node, and takes it away when it ends in order. It belongs to the Node object, so that it goes with the node.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};

/// The namespace of the cluster's DNS service.
pub const NAMESPACE: &str = "kube-system";

/// What slices name as the one who keeps them.
pub const MANAGED_BY: &str = "coracle-dns";

/// Where this server is to be found, and of which service.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The service, `kube-dns` by convention.
    pub service_name: String,
    /// The node.
    pub node_name: String,
    /// The address that pods can reach.
    pub address: IpAddr,
    /// The port, usually 53.
    pub port: u16,
}

impl Registration {
    /// The slice's name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.service_name, self.node_name)
    }

    /// The slice as it should be. `node_uid` makes it the node's.
    pub fn slice(&self, node_uid: Option<String>) -> EndpointSlice {
        let labels = [
            ("kubernetes.io/service-name", self.service_name.as_str()),
            ("endpointslice.kubernetes.io/managed-by", MANAGED_BY),
        ];
        let owner = node_uid.map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node_name.clone(),
            uid,
            ..OwnerReference::default()
        });
        EndpointSlice {
            metadata: ObjectMeta {
                namespace: Some(NAMESPACE.to_owned()),
                name: Some(self.name()),
                labels: Some(
                    labels
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into(),
                ),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            address_type: if self.address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
            endpoints: Some(vec![Endpoint {
                addresses: vec![self.address.to_string()],
                conditions: Some(EndpointConditions {
                    ready: Some(true),
                    serving: Some(true),
                    terminating: Some(false),
                }),
                node_name: Some(self.node_name.clone()),
                ..Endpoint::default()
            }]),
            ports: Some(vec![
                self.slice_port("dns", "UDP"),
                self.slice_port("dns-tcp", "TCP"),
            ]),
        }
    }

    fn slice_port(&self, name: &str, protocol: &str) -> EndpointPort {
        EndpointPort {
            name: Some(name.to_owned()),
            protocol: Some(protocol.to_owned()),
            port: Some(self.port.into()),
            app_protocol: None,
        }
    }

    /// Makes the slice what it should be.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn ensure(&self, client: &Client) -> kube::Result<()> {
        let node = Api::<Node>::all(client.clone()).get_opt(&self.node_name).await?;
        let mut wanted = self.slice(node.and_then(|node| node.uid()));
        let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
        let Some(found) = slices.get_opt(&self.name()).await? else {
            return slices.create(&PostParams::default(), &wanted).await.map(drop);
        };
        if is_as_wanted(&found, &wanted) {
            return Ok(());
        }
        wanted.metadata.resource_version = found.metadata.resource_version;
        slices
            .replace(&self.name(), &PostParams::default(), &wanted)
            .await
            .map(drop)
    }

    /// Takes the slice away.
    ///
    /// # Errors
    /// When the API refuses. A slice that is not there is none.
    pub async fn remove(&self, client: &Client) -> kube::Result<()> {
        let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
        match slices.delete(&self.name(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            result => result.map(drop),
        }
    }
}

fn is_as_wanted(found: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    found.metadata.labels == wanted.metadata.labels
        && found.metadata.owner_references == wanted.metadata.owner_references
        && found.endpoints == wanted.endpoints
        && found.ports == wanted.ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slice_names_service_node_and_ports() {
        let address = "192.0.2.7".parse().unwrap();
        let registration = Registration {
            service_name: "kube-dns".into(),
            node_name: "node-1".into(),
            address,
            port: 53,
        };
        insta::assert_json_snapshot!(registration.slice(Some("u-1".into())));
    }
}
