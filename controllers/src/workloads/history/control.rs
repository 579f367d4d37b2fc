//! Writes ControllerRevisions. Every method returns only once the cache shows what it wrote.

use super::{Choice, Revisions, is_same};
use crate::owners::controller_reference;
use crate::run::{Context, Informers};
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, ReconcileError};
use crate::target::Target;
use crate::workloads::control::OwnsPods;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::json;
use std::marker::PhantomData;
use std::sync::Arc;

/// Works on the revisions of one kind of owner.
pub(crate) struct History<K> {
    client: kube::Client,
    revisions: Arc<Cache<ControllerRevision>>,
    owner: PhantomData<fn() -> K>,
}

/// What became of the choice.
pub(crate) enum Chosen {
    /// This is the newest revision now.
    Revision(Arc<ControllerRevision>),
    /// Its name is taken by another; it is to be hashed apart.
    Collision,
}

impl<K: OwnsPods> History<K> {
    pub(crate) fn new(context: &Context, informers: &Informers) -> Self {
        Self {
            client: context.client.clone(),
            revisions: informers.controller_revisions.cache().clone(),
            owner: PhantomData,
        }
    }

    /// The revisions that an owner has or may have.
    pub(crate) fn of(&self, owner: &ObjectMeta, selector: &LabelSelector) -> Revisions {
        let uid = owner.uid.as_deref().unwrap_or_default();
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        let mut candidates = self.revisions.by_term(&format!("owner/{uid}"));
        candidates.extend(self.revisions.by_term(&format!("orphan/{namespace}")));
        Revisions::of(owner, selector, candidates)
    }

    fn api(&self, owner: &ObjectMeta) -> Api<ControllerRevision> {
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn shows(&self, version: Option<&str>) {
        self.revisions.shows(self.revisions.mark(version)).await;
    }

    /// Takes in those revisions that match and nobody has.
    pub(crate) async fn adopt(
        &self,
        owner: &ObjectMeta,
        revisions: &Revisions,
    ) -> Result<(), ReconcileError> {
        if revisions.adopt.is_empty() {
            return Ok(());
        }
        let target = Target::of(owner);
        let own: Api<K> = Api::namespaced(self.client.clone(), &target.namespace);
        if !write::is_still_there(&own, &target).await? {
            return Err(ReconcileError::Stale(target.name));
        }
        for revision in &revisions.adopt {
            let mut owners = revision.metadata.owner_references.clone().unwrap_or_default();
            owners.push(controller_reference(&K::api_version(&()), &K::kind(&()), owner));
            let target = Target::of(&revision.metadata);
            let change = json!({"metadata": {"ownerReferences": owners}});
            match write::patch(&self.api(owner), &target, change).await {
                Ok(revision) => self.shows(revision.metadata.resource_version.as_deref()).await,
                Err(error) if write::is_gone(&error) => {}
                Err(error) => {
                    let doing = format!("adopting controller revision {}", target.name);
                    return Err(ReconcileError::request(doing)(error));
                }
            }
        }
        Ok(())
    }

    /// Makes the choice so.
    pub(crate) async fn settle(&self, owner: &ObjectMeta, choice: Choice) -> Result<Chosen, ReconcileError> {
        match choice {
            Choice::Is(revision) => Ok(Chosen::Revision(revision)),
            Choice::Renew(revision, number) => self.renew(&revision, number).await,
            Choice::Create(new) => self.create(owner, &new).await,
        }
    }

    async fn renew(&self, revision: &ControllerRevision, number: i64) -> Result<Chosen, ReconcileError> {
        let target = Target::of(&revision.metadata);
        let resource = ApiResource::erase::<ControllerRevision>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &target.namespace, &resource);
        let written = write::update(&api, &target, Part::Main, |object| {
            object.data["revision"] = json!(number);
        });
        let written = written.await?;
        self.shows(written.metadata.resource_version.as_deref()).await;
        let renewed = ControllerRevision {
            revision: number,
            metadata: written.metadata,
            data: revision.data.clone(),
        };
        Ok(Chosen::Revision(Arc::new(renewed)))
    }

    async fn create(&self, owner: &ObjectMeta, new: &ControllerRevision) -> Result<Chosen, ReconcileError> {
        let name = new.metadata.name.as_deref().unwrap_or_default();
        let api = self.api(owner);
        let error = match api.create(&PostParams::default(), new).await {
            Ok(created) => {
                self.shows(created.metadata.resource_version.as_deref()).await;
                return Ok(Chosen::Revision(Arc::new(created)));
            }
            Err(error) => error,
        };
        if !write::is_conflict(&error) {
            let doing = format!("creating controller revision {name}");
            return Err(ReconcileError::request(doing)(error));
        }
        let found = api.get_opt(name).await;
        let doing = ReconcileError::request(format!("reading controller revision {name}"));
        match found.map_err(doing)? {
            None => Err(ReconcileError::Stale(format!("controller revision {name}"))),
            Some(found) if is_same(&found, new, owner) => {
                self.shows(found.metadata.resource_version.as_deref()).await;
                Ok(Chosen::Revision(Arc::new(found)))
            }
            Some(_) => Ok(Chosen::Collision),
        }
    }

    /// Deletes revisions.
    pub(crate) async fn delete(
        &self,
        owner: &ObjectMeta,
        revisions: &[Arc<ControllerRevision>],
    ) -> Result<(), ReconcileError> {
        for revision in revisions {
            let target = Target::of(&revision.metadata);
            let deleted = write::delete(&self.api(owner), &target, None).await;
            let doing = ReconcileError::request(format!("deleting controller revision {}", target.name));
            let version = deleted.map_err(doing)?;
            self.shows(version.as_deref()).await;
        }
        Ok(())
    }
}
