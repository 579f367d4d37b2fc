//! The EndpointSlice controller: says which pods stand behind a Service, a hundred a slice.

pub(crate) mod plan;

use super::slices::{self, Writer};
use super::{enqueue_for_pod, selects_pods};
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plan::{MANAGER, Observed};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct EndpointSlices {
    writer: Writer,
    services: Arc<Cache<Service>>,
    pods: Arc<Cache<Pod>>,
    nodes: Arc<Cache<Node>>,
}

/// The terms a slice is found by: `service/NAMESPACE/NAME` where it is managed here.
pub(crate) fn terms(meta: &ObjectMeta) -> Vec<String> {
    service_of(meta)
        .map(|service| format!("service/{service}"))
        .into_iter()
        .collect()
}

/// The Service a slice that is managed here belongs to.
fn service_of(meta: &ObjectMeta) -> Option<ObjectKey> {
    slices::service_of(meta, MANAGER)
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
) -> (Arc<EndpointSlices>, Arc<Queue<ObjectKey>>) {
    let queue = super::queue(informers);
    let own = queue.clone();
    informers.endpoint_slices.subscribe(move |change| {
        if let Some(service) = service_of(&change.object().metadata) {
            own.add(service);
        }
    });
    let (own, services) = (queue.clone(), informers.services.cache().clone());
    let pods = informers.pods.cache().clone();
    informers.nodes.subscribe(move |change| {
        // A pod on a node that was not known yet is published now.
        if let Change::Added(node) = change {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            for pod in pods.by_term(&format!("node/{name}")) {
                enqueue_for_pod(&own, &services, &Change::Added(&pod));
            }
        }
    });
    let controller = EndpointSlices {
        writer: Writer {
            client: context.client.clone(),
            slices: informers.endpoint_slices.cache().clone(),
        },
        services: informers.services.cache().clone(),
        pods: informers.pods.cache().clone(),
        nodes: informers.nodes.cache().clone(),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for EndpointSlices {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        // The slices of a Service that is gone are the garbage collector's.
        let Some(service) = self.services.get(key) else {
            return Ok(None);
        };
        if !selects_pods(&service) || service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let pods = self.pods.in_namespace(&key.namespace);
        let nodes = self.nodes_of(&pods);
        let slices = self.writer.slices.by_term(&format!("service/{key}"));
        let observed = Observed {
            service: &service,
            pods: &pods,
            nodes: &nodes,
            slices: &slices,
        };
        self.writer.act(&key.namespace, plan::plan(&observed)).await?;
        Ok(None)
    }
}

impl EndpointSlices {
    fn nodes_of(&self, pods: &[Arc<Pod>]) -> HashMap<String, Arc<Node>> {
        let names = pods.iter().filter_map(|pod| super::backends::node(pod));
        let found =
            names.filter_map(|name| Some((name.to_owned(), self.nodes.get(&ObjectKey::cluster(name))?)));
        found.collect()
    }
}
