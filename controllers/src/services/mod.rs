//! Controllers that say which pods stand behind a Service: EndpointSlices, and the legacy Endpoints.

pub(crate) mod backends;
pub(crate) mod endpoints;
pub(crate) mod endpointslice;
#[cfg(test)]
pub(crate) mod fixtures;

use crate::labels;
use crate::runtime::{Cache, Change, ObjectKey, Queue};
use k8s_openapi::api::core::v1::{Pod, Service};

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
