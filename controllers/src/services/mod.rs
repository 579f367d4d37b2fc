//! Controllers that say what stands behind a Service: EndpointSlices, the legacy Endpoints, and slices that show Endpoints
//! which users keep; and the one that looks after the ranges of Services' addresses.

pub(crate) mod backends;
pub(crate) mod cidrs;
pub(crate) mod endpoints;
pub(crate) mod endpointslice;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod mirroring;
pub(crate) mod slices;

use std::sync::Arc;

use crate::labels;
use crate::observed::Pod;
use crate::run::Informers;
use crate::runtime::{Cache, Change, ObjectKey, Queue};
use k8s_openapi::api::core::v1::Service;

/// A queue of Services that are to be looked at again: one that changes, and those whose pods do.
pub(crate) fn queue(informers: &Informers) -> Arc<Queue<ObjectKey>> {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .services
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let (own, services) = (queue.clone(), informers.services.cache().clone());
    informers
        .pods
        .subscribe(move |change| enqueue_for_pod(&own, &services, change));
    queue
}

/// Whether it is for a controller here to say what stands behind the Service.
pub(crate) fn selects_pods(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.selector.is_some() && spec.type_.as_deref() != Some("ExternalName"))
}

/// Asks for work on every Service that selects the pod, or selected it before.
pub(crate) fn enqueue_for_pod(queue: &Queue<ObjectKey>, services: &Cache<Service>, change: &Change<'_, Pod>) {
    if change
        .old()
        .is_some_and(|old| !backends::differ(old, change.object()))
    {
        return;
    }
    let namespace = change.object().metadata.namespace.as_deref().unwrap_or_default();
    for service in services.in_namespace(namespace) {
        let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            continue;
        };
        let mut pods = [Some(change.object()), change.old()].into_iter().flatten();
        if pods.any(|pod| labels::contains_all(pod.metadata.labels.as_ref(), selector)) {
            queue.add(ObjectKey::of(&service.metadata));
        }
    }
}
