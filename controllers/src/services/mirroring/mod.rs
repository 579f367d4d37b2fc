//! The EndpointSliceMirroring controller: shows Endpoints that users keep themselves, for Services without a selector, as
//! EndpointSlices, which is what proxies and DNS read.

mod plan;
mod subsets;

pub(super) use self::plan::is_lock;
use super::slices::{self, Plan, Writer};
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::{Cache, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use crate::target::Target;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;
use std::time::Duration;

/// How slices of this controller name it.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

pub(crate) struct Mirroring {
    writer: Writer,
    recorder: Recorder,
    services: Arc<Cache<Service>>,
    endpoints: Arc<Cache<Endpoints>>,
}

/// The terms a slice is found by: `mirror/NAMESPACE/NAME` where it is managed here.
pub(crate) fn terms(meta: &ObjectMeta) -> Vec<String> {
    mirrored(meta)
        .map(|endpoints| format!("mirror/{endpoints}"))
        .into_iter()
        .collect()
}

/// The Endpoints that a slice which is managed here shows.
fn mirrored(meta: &ObjectMeta) -> Option<ObjectKey> {
    slices::service_of(meta, MANAGER)
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Mirroring>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .services
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let own = queue.clone();
    informers
        .endpoints
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let own = queue.clone();
    informers.endpoint_slices.subscribe(move |change| {
        let states = [change.old(), Some(change.object())];
        let mirrored = states
            .into_iter()
            .flatten()
            .filter_map(|slice| mirrored(&slice.metadata));
        mirrored.for_each(|endpoints| own.add(endpoints));
    });
    let controller = Mirroring {
        writer: Writer {
            client: context.client.clone(),
            slices: informers.endpoint_slices.cache().clone(),
        },
        recorder: context.recorder.clone(),
        services: informers.services.cache().clone(),
        endpoints: informers.endpoints.cache().clone(),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for Mirroring {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let slices = self.writer.slices.by_term(&format!("mirror/{key}"));
        let endpoints = self.endpoints.get(key);
        let shown =
            endpoints.filter(|endpoints| plan::is_shown(endpoints, self.services.get(key).as_deref()));
        let plan = match shown {
            None => Plan {
                delete: slices.iter().map(|slice| Target::of(&slice.metadata)).collect(),
                ..Plan::default()
            },
            Some(endpoints) => {
                let (plan, skipped) = plan::plan(&endpoints, &slices);
                let about = reference("v1", "Endpoints", &endpoints.metadata);
                for (reason, message) in skipped.words() {
                    self.recorder.record(&about, Note::warning(reason, message));
                }
                plan
            }
        };
        self.writer.act(&key.namespace, plan).await?;
        Ok(None)
    }
}
