//! The Namespace controller: empties a namespace that is being deleted, tells how that goes, and lets it go when nothing
//! is left.
//!
//! Pods go first and all else when they are gone (KEP-5080), so that nothing a pod depends on is taken from under it. The
//! pass over the content is IO and stands here; what it comes to is judged in [`plan`].

mod plan;

use crate::Clock;
use crate::observed::Pod;
use crate::run::{Context, Informers};
use crate::runtime::discovery::{Served, discover};
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError};
use crate::target::Target;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PartialObjectMeta, PostParams};
use kube::core::discovery::verbs;
use plan::{FINALIZER, Pass};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Namespaces {
    client: kube::Client,
    clock: Clock,
    namespaces: Arc<Cache<Namespace>>,
    pods: Arc<Cache<Pod>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<Namespaces>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .namespaces
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let (own, namespaces) = (queue.clone(), informers.namespaces.cache().clone());
    informers.pods.subscribe(move |change| {
        let Change::Deleted(pod) = change else { return };
        let key = ObjectKey::cluster(pod.metadata.namespace.as_deref().unwrap_or_default());
        if namespaces
            .get(&key)
            .is_some_and(|namespace| plan::is_ours_to_empty(&namespace))
        {
            own.add(key);
        }
    });
    let controller = Namespaces {
        client: context.client.clone(),
        clock: context.config.clock,
        namespaces: informers.namespaces.cache().clone(),
        pods: informers.pods.cache().clone(),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for Namespaces {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(namespace) = self.namespaces.get(key) else {
            return Ok(None);
        };
        if !plan::is_ours_to_empty(&namespace) {
            return Ok(None);
        }
        let now = self.clock.now();
        let mut target = Target::of(&namespace.metadata);
        let first_look = plan::status(&namespace, None, now);
        if namespace.status.as_ref() != Some(&first_look) {
            match self.write_status(&target, first_look).await? {
                Some(version) => target.resource_version = version,
                None => return Ok(None),
            }
        }
        self.confirm(&target).await?;
        let pass = self.empty(&key.name).await;
        if pass.is_clean() {
            return self.finalize(&target).await;
        }
        let status = plan::status(&namespace, Some(&pass), now);
        if namespace.status.as_ref() != Some(&status) {
            self.write_status(&target, status).await?;
        }
        // Nothing tells when objects of every kind are gone, so this comes back after a pause that grows.
        Err(ReconcileError::Waiting(format!(
            "content of namespace {key} remains"
        )))
    }
}

impl Namespaces {
    /// Makes sure, by the API server's word and not the cache's, that it is this namespace that is being deleted: content is
    /// found by the namespace's name, which another one may bear by now.
    async fn confirm(&self, target: &Target) -> Result<(), ReconcileError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let doing = ReconcileError::request(format!("reading namespace {} before emptying it", target.name));
        let found = api.get_opt(&target.name).await.map_err(doing)?;
        let same = |found: &Namespace| {
            found.metadata.uid.as_ref() == Some(&target.uid) && found.metadata.deletion_timestamp.is_some()
        };
        match found.as_ref().is_some_and(same) {
            true => Ok(()),
            false => Err(ReconcileError::Stale(target.name.clone())),
        }
    }

    /// Asks for the deletion of all content and counts what is left of it.
    async fn empty(&self, namespace: &str) -> Pass {
        let mut pass = Pass::default();
        let served = match discover(&self.client).await {
            Ok(served) => served,
            Err(error) => {
                pass.undiscovered = Some(error.to_string());
                return pass;
            }
        };
        let deletable = |one: &&Served| one.namespaced && one.takes(verbs::DELETE) && one.takes(verbs::LIST);
        let is_pods = |one: &Served| one.resource.group.is_empty() && one.resource.plural == "pods";
        for one in served.iter().filter(deletable).filter(|one| is_pods(one)) {
            self.empty_one(one, namespace, &mut pass).await;
        }
        if !pass.is_clean() {
            return pass;
        }
        for one in served.iter().filter(deletable).filter(|one| !is_pods(one)) {
            self.empty_one(one, namespace, &mut pass).await;
        }
        pass
    }

    async fn empty_one(&self, one: &Served, namespace: &str, pass: &mut Pass) {
        let name = format!("{}.{}", one.resource.plural, one.resource.group);
        let left = match self.delete_all(one, namespace).await {
            Ok(left) => left,
            // A resource that went away with its definition has no content.
            Err(error) if write::is_gone(&error) => return,
            Err(error) => {
                return pass
                    .failures
                    .push(format!("{name}: {}", write::api_message(&error)));
            }
        };
        if left.is_empty() {
            return;
        }
        pass.remaining.insert(name, left.len());
        for finalizer in left
            .iter()
            .flat_map(|object| object.metadata.finalizers.iter().flatten())
        {
            *pass.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    async fn delete_all(
        &self,
        one: &Served,
        namespace: &str,
    ) -> Result<Vec<PartialObjectMeta<DynamicObject>>, kube::Error> {
        let api: Api<PartialObjectMeta<DynamicObject>> = one.api(self.client.clone(), namespace);
        let all = ListParams::default();
        let before = api.list(&all).await?;
        if before.items.is_empty() {
            return Ok(Vec::new());
        }
        let objects: Api<DynamicObject> = one.api(self.client.clone(), namespace);
        let background = DeleteParams::background();
        if one.takes(verbs::DELETE_COLLECTION) {
            objects.delete_collection(&background, &all).await?;
        } else {
            for object in &before.items {
                write::delete(
                    &objects,
                    &Target::of(&object.metadata),
                    background.propagation_policy.clone(),
                )
                .await?;
            }
        }
        Ok(api.list(&all).await?.items)
    }

    async fn write_status(
        &self,
        target: &Target,
        status: NamespaceStatus,
    ) -> Result<Option<String>, ReconcileError> {
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::erase::<Namespace>(&()));
        let change = |object: &mut DynamicObject| object.data["status"] = json!(status);
        let version = match write::update(&api, target, Part::Status, change).await {
            Ok(written) => written.metadata.resource_version.unwrap_or_default(),
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(error),
        };
        self.namespaces.shows(self.namespaces.mark(Some(&version))).await;
        Ok(Some(version))
    }

    /// Takes our finalizer away, once the cache of pods agrees that none is left.
    async fn finalize(&self, target: &Target) -> Result<Option<Duration>, ReconcileError> {
        if !self.pods.in_namespace(&target.name).is_empty() {
            return Err(ReconcileError::Waiting(format!(
                "pods of namespace {} remain",
                target.name
            )));
        }
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::erase::<Namespace>(&()));
        let doing = || ReconcileError::request(format!("finalizing namespace {}", target.name));
        let Some(mut namespace) = api.get_opt(&target.name).await.map_err(doing())? else {
            return Ok(None);
        };
        if namespace.metadata.uid.as_ref() != Some(&target.uid) {
            return Ok(None);
        }
        if let Some(finalizers) = namespace.data["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let params = PostParams::default();
        match api
            .replace_subresource("finalize", &target.name, &params, &namespace)
            .await
        {
            Err(error) if !write::is_gone(&error) => Err(doing()(error)),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}
