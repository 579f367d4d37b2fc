//! What every controller of workloads does to pods: takes them in, lets them go, creates and deletes them, and tells of it.
//! A shell; whoever uses it has decided.
//!
//! Every method returns only once the cache of pods shows what it wrote.

use super::claims::Claims;
use super::pods::{self, Failure};
use crate::observed::Pod;
use crate::owners::{controller_of, controller_reference};
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Change, Note, ObjectKey, ReconcileError, Recorder};
use crate::target::Target;
use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

/// The first batch of pods that is created; each later one is twice as large.
const SLOW_START: usize = 1;

/// A kind of object that owns pods.
pub(crate) trait OwnsPods:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}

impl<K> OwnsPods for K where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}

/// Writes an owner's status, and returns once the cache of owners shows it. One that is gone needs none any more.
///
/// # Errors
/// Those of the API.
pub(crate) async fn write_status<K: OwnsPods>(
    client: &kube::Client,
    owners: &Cache<K>,
    owner: &ObjectMeta,
    status: &impl Serialize,
) -> Result<(), ReconcileError> {
    let target = Target::of(owner);
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &resource);
    let written = write::update(&api, &target, Part::Status, |object| {
        object.data["status"] = json!(status);
    });
    match written.await {
        Ok(owner) => {
            let mark = owners.mark(owner.metadata.resource_version.as_deref());
            owners.shows(mark).await;
            Ok(())
        }
        Err(error) if error.is_gone() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Works on the pods of one kind of owner.
pub(crate) struct PodControl<K> {
    client: kube::Client,
    pods: Arc<Cache<Pod>>,
    recorder: Recorder,
    owner: PhantomData<fn() -> K>,
}

/// What came of creating or deleting.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    /// The pods it succeeded for: those created, or those deleted as they were.
    pub(crate) done: Vec<Arc<Pod>>,
    /// Why it did not for the others.
    pub(crate) failure: Option<Failure>,
}

impl<K: OwnsPods> PodControl<K> {
    pub(crate) fn new(context: &Context, informers: &Informers) -> Self {
        Self {
            client: context.client.clone(),
            pods: informers.pods.cache().clone(),
            recorder: context.recorder.clone(),
            owner: PhantomData,
        }
    }

    /// The pods that an owner has, and those of its namespace that nobody has.
    pub(crate) fn candidates(&self, owner: &ObjectMeta) -> Vec<Arc<Pod>> {
        let uid = owner.uid.as_deref().unwrap_or_default();
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        let mut pods = self.pods.by_term(&format!("owner/{uid}"));
        pods.extend(self.pods.by_term(&format!("orphan/{namespace}")));
        pods
    }

    /// Tells something about the owner.
    pub(crate) fn note(&self, owner: &ObjectMeta, note: Note) {
        let about = reference(&K::api_version(&()), &K::kind(&()), owner);
        self.recorder.record(&about, note);
    }

    /// What marks a pod as the owner's.
    pub(crate) fn reference(owner: &ObjectMeta) -> OwnerReference {
        controller_reference(&K::api_version(&()), &K::kind(&()), owner)
    }

    fn api(&self, owner: &ObjectMeta) -> Api<Pod> {
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Takes in and lets go what is claimed. A pod that is taken in gets the finalizer too, where there is one, and loses it when it
    /// is let go.
    pub(crate) async fn settle(
        &self,
        owner: &ObjectMeta,
        claims: &Claims,
        finalizer: Option<&str>,
    ) -> Result<(), ReconcileError> {
        if !claims.adopt.is_empty() {
            let target = Target::of(owner);
            let own: Api<K> = Api::namespaced(self.client.clone(), &target.namespace);
            if !write::is_still_there(&own, &target).await? {
                return Err(ReconcileError::Stale(target.name));
            }
        }
        for pod in &claims.adopt {
            let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
            owners.push(Self::reference(owner));
            let mut change = json!({"ownerReferences": owners});
            if let Some(finalizer) = finalizer {
                let mut all = pod.metadata.finalizers.clone().unwrap_or_default();
                if !pods::has_finalizer(pod, finalizer) {
                    all.push(finalizer.to_owned());
                }
                change["finalizers"] = json!(all);
            }
            self.change(owner, pod, change).await?;
        }
        for pod in &claims.release {
            let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
            owners.retain(|reference| Some(&reference.uid) != owner.uid.as_ref());
            let mut change = json!({"ownerReferences": owners});
            if let Some(finalizer) = finalizer {
                let mut all = pod.metadata.finalizers.clone().unwrap_or_default();
                all.retain(|one| one != finalizer);
                change["finalizers"] = json!(all);
            }
            self.change(owner, pod, change).await?;
        }
        Ok(())
    }

    /// Changes a pod's metadata, if the pod is as it was observed.
    pub(crate) async fn change(
        &self,
        owner: &ObjectMeta,
        pod: &Pod,
        metadata: Value,
    ) -> Result<(), ReconcileError> {
        let target = Target::of(&pod.metadata);
        match write::patch(&self.api(owner), &target, json!({"metadata": metadata})).await {
            Ok(pod) => {
                self.shows(pod.metadata.resource_version.as_deref()).await;
                Ok(())
            }
            Err(error) if write::is_gone(&error) => Ok(()),
            Err(error) => Err(ReconcileError::request(format!("changing pod {}", target.name))(
                error,
            )),
        }
    }

    /// Creates pods in batches of 1, 2, 4…, and stops at the first batch with a failure: what fails once, such as a quota,
    /// would fail as often.
    pub(crate) async fn create(&self, owner: &ObjectMeta, new: &[v1::Pod]) -> Acted {
        let mut acted = Acted::default();
        let (mut rest, mut batch) = (new, SLOW_START);
        while !rest.is_empty() && acted.failure.is_none() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let answers = join_all(now.iter().map(|pod| write::create_pod(&self.client, pod))).await;
            for answer in answers {
                match answer {
                    Ok(pod) => {
                        self.created(owner, &pod).await;
                        acted.done.push(Arc::new(pod));
                    }
                    // Nothing will come of the others either.
                    Err(error) if write::is_namespace_terminating(&error) => return acted,
                    Err(error) => {
                        acted.failure = Some(self.failed(owner, "FailedCreate", "creating", &error))
                    }
                }
            }
            rest = later;
            batch *= 2;
        }
        acted
    }

    async fn created(&self, owner: &ObjectMeta, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.note(
            owner,
            Note::normal("SuccessfulCreate", format!("Created pod: {name}")),
        );
        self.shows(pod.metadata.resource_version.as_deref()).await;
    }

    fn failed(&self, owner: &ObjectMeta, reason: &'static str, doing: &str, error: &kube::Error) -> Failure {
        let message = write::api_message(error);
        self.note(owner, Note::warning(reason, format!("Error {doing}: {message}")));
        Failure { reason, message }
    }

    /// Deletes pods, all at once.
    pub(crate) async fn delete(&self, owner: &ObjectMeta, victims: &[Arc<Pod>]) -> Acted {
        let api = self.api(owner);
        let api = &api;
        let deletes = victims.iter().map(|pod| async move {
            let answer = write::delete(api, &Target::of(&pod.metadata), None).await;
            (pod, answer)
        });
        let mut acted = Acted::default();
        for (pod, answer) in join_all(deletes).await {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match answer {
                Ok(version) => {
                    self.note(
                        owner,
                        Note::normal("SuccessfulDelete", format!("Deleted pod: {name}")),
                    );
                    self.shows(version.as_deref()).await;
                    acted.done.push(pod.clone());
                }
                Err(error) => acted.failure = Some(self.failed(owner, "FailedDelete", "deleting", &error)),
            }
        }
        acted
    }

    /// Takes a finalizer off pods, whatever else became of them meanwhile.
    pub(crate) async fn strip(
        &self,
        namespace: &str,
        from: &[Arc<Pod>],
        finalizer: &str,
    ) -> Result<(), ReconcileError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::default();
        let patches = from.iter().map(|pod| {
            let api = &api;
            let params = &params;
            async move {
                let change = json!({"metadata": {
                    "uid": pod.metadata.uid,
                    "$deleteFromPrimitiveList/finalizers": [finalizer],
                }});
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                (name, api.patch(name, params, &Patch::Strategic(change)).await)
            }
        });
        let mut failed = None;
        for (name, answer) in join_all(patches).await {
            match answer {
                Ok(pod) => self.shows(pod.metadata.resource_version.as_deref()).await,
                Err(error) if write::is_gone(&error) => {}
                Err(error) => {
                    failed = Some(ReconcileError::request(format!(
                        "taking the finalizer off pod {name}"
                    ))(error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn shows(&self, version: Option<&str>) {
        self.pods.shows(self.pods.mark(version)).await;
    }
}

/// Whom a pod concerns: the object that controls it, the one that did before, and if nobody does, every one that may take it in.
pub(crate) fn concerned<K: OwnsPods + Send + Sync>(
    owners: &Cache<K>,
    change: &Change<'_, Pod>,
    selector: impl Fn(&K) -> Option<LabelSelector>,
) -> Vec<ObjectKey> {
    let pod = change.object();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut keys: Vec<_> = [Some(pod), change.old()]
        .into_iter()
        .flatten()
        .filter_map(|pod| controller_of(&pod.metadata))
        .filter(|owner| owner.kind == K::kind(&()))
        .map(|owner| ObjectKey::new(namespace, &owner.name))
        .collect();
    if controller_of(&pod.metadata).is_none() && !matches!(change, Change::Deleted(_)) {
        let matching = owners.in_namespace(namespace).into_iter().filter(|owner| {
            let selector = selector(owner).and_then(|selector| crate::labels::compile(&selector));
            selector.is_some_and(|selector| crate::labels::matches(&selector, pod.metadata.labels.as_ref()))
        });
        keys.extend(matching.map(|owner| ObjectKey::of(owner.meta())));
    }
    keys
}
