//! The Endpoints controller: the legacy list of a Service's pods, for clients that do not know EndpointSlices.

mod plan;

use super::mirroring::is_lock;
use super::selects_pods;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError, write};
use crate::target::Target;
use k8s_openapi::api::core::v1::{Endpoints as Object, Service};
use kube::api::{Api, PostParams};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) struct Endpoints {
    client: kube::Client,
    services: Arc<Cache<Service>>,
    pods: Arc<Cache<Pod>>,
    endpoints: Arc<Cache<Object>>,
    bereft: Bereft,
}

/// Names whose Service was seen to go, or may have gone unseen. As upstream, it takes with it whatever Endpoints have its name,
/// also those that a user made. Others that never had a Service stay until the controller starts anew: it cannot know then.
#[derive(Clone, Default)]
struct Bereft(Arc<Mutex<BTreeSet<ObjectKey>>>);

impl Bereft {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Endpoints>, Arc<Queue<ObjectKey>>) {
    let bereft = Bereft::default();
    let gone = bereft.clone();
    // Before the queue hears of it, so that whoever works on it knows.
    informers.services.subscribe(move |change| {
        let key = ObjectKey::of(&change.object().metadata);
        if matches!(change, Change::Deleted(_)) {
            gone.lock().insert(key);
        } else {
            gone.lock().remove(&key);
        }
    });
    let queue = super::queue(informers);
    let (own, left, seen) = (queue.clone(), bereft.clone(), informers.endpoints.cache().clone());
    informers.endpoints.subscribe(move |change| {
        let endpoints = change.object();
        let key = ObjectKey::of(&endpoints.metadata);
        if !seen.is_synced() && !is_lock(endpoints) {
            left.lock().insert(key.clone());
        }
        own.add(key);
    });
    let controller = Endpoints {
        client: context.client.clone(),
        services: informers.services.cache().clone(),
        pods: informers.pods.cache().clone(),
        endpoints: informers.endpoints.cache().clone(),
        bereft,
    };
    (Arc::new(controller), queue)
}

impl Reconcile for Endpoints {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let found = self.endpoints.get(key);
        let api: Api<Object> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(service) = self.services.get(key) else {
            // Endpoints have no owner reference: they go here when their Service is gone.
            let bereft = self.bereft.lock().contains(key);
            let deleted = match found.filter(|found| bereft || plan::is_ours(found)) {
                Some(found) => self.delete(&api, &Target::of(&found.metadata)).await?,
                None => None,
            };
            self.bereft.lock().remove(key);
            return Ok(deleted);
        };
        if !selects_pods(&service) {
            return Ok(None);
        }
        let pods = self.pods.in_namespace(&key.namespace);
        let Some(wanted) = plan::plan(&service, &pods, found.as_deref()) else {
            return Ok(None);
        };
        let params = PostParams::default();
        let written = match found {
            None => api.create(&params, &wanted).await,
            Some(_) => api.replace(&key.name, &params, &wanted).await,
        };
        match written {
            Ok(object) => {
                self.endpoints
                    .shows(self.endpoints.mark(object.metadata.resource_version.as_deref()))
                    .await;
                Ok(None)
            }
            Err(error) if write::is_namespace_terminating(&error) => Ok(None),
            Err(error) => Err(ReconcileError::request(format!("writing endpoints {key}"))(error)),
        }
    }
}

impl Endpoints {
    async fn delete(&self, api: &Api<Object>, target: &Target) -> Result<Option<Duration>, ReconcileError> {
        let deleted = write::delete(api, target, None).await;
        let version = deleted.map_err(ReconcileError::request(format!(
            "deleting endpoints {}",
            target.name
        )))?;
        self.endpoints
            .shows(self.endpoints.mark(version.as_deref()))
            .await;
        Ok(None)
    }
}
