//! How many pods their controllers want: of the built-in kinds by what is observed, of others by their `scale` subresource.

use crate::observed::Pod;
use crate::owners::controller_of;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thiserror::Error;

/// The pods' controllers could not all be asked. The words are upstream's, and become a condition's message.
#[derive(Debug, Error)]
pub(crate) enum ScaleError {
    #[error("found no controllers for pod {0:?}")]
    NoController(String),
    #[error("no matches for kind {kind:?} in version {version:?}")]
    NoKind { kind: String, version: String },
    #[error("{resource} does not implement the scale subresource")]
    NoScale { resource: String },
    #[error("{0}")]
    Request(String),
}

/// Knows the scales of controllers.
pub(crate) struct Scales {
    client: kube::Client,
    controllers: Arc<Cache<ReplicationController>>,
    sets: Arc<Cache<ReplicaSet>>,
    deployments: Arc<Cache<Deployment>>,
    stateful_sets: Arc<Cache<StatefulSet>>,
}

/// What the pods' controllers want in all.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) scale: i32,
    /// Pods that nobody controls.
    pub(crate) unmanaged: Vec<String>,
}

impl Scales {
    pub(crate) fn new(context: &Context, informers: &Informers) -> Self {
        Self {
            client: context.client.clone(),
            controllers: informers.replication_controllers.cache().clone(),
            sets: informers.replica_sets.cache().clone(),
            deployments: informers.deployments.cache().clone(),
            stateful_sets: informers.stateful_sets.cache().clone(),
        }
    }

    /// Sums up what the controllers of these pods want, each once.
    pub(crate) async fn of(&self, pods: &[Arc<Pod>]) -> Result<Wanted, ScaleError> {
        let mut asked = BTreeSet::new();
        let mut scales = BTreeMap::new();
        let mut wanted = Wanted::default();
        for pod in pods {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let Some(owner) = controller_of(&pod.metadata) else {
                wanted.unmanaged.push(name);
                continue;
            };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if !asked.insert(&owner.uid) {
                continue;
            }
            let found = match self.built_in(owner, namespace) {
                Some(found) => Some(found),
                None => self.by_subresource(owner, namespace).await?,
            };
            let (uid, scale) = found.ok_or(ScaleError::NoController(name))?;
            scales.insert(uid, scale.unwrap_or(0));
        }
        wanted.scale = scales.values().copied().fold(0, i32::saturating_add);
        Ok(wanted)
    }

    /// The controller's uid and scale, where it is of a kind that is known and there. A Deployment stands for its ReplicaSets.
    fn built_in(&self, owner: &OwnerReference, namespace: &str) -> Option<(String, Option<i32>)> {
        let key = ObjectKey::new(namespace, &owner.name);
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        match (group, owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let found = self.controllers.get(&key)?;
                let spec = found.spec.as_ref();
                same(
                    owner,
                    found.metadata.uid.as_ref(),
                    spec.and_then(|spec| spec.replicas),
                )
            }
            ("apps", "StatefulSet") => {
                let found = self.stateful_sets.get(&key)?;
                let spec = found.spec.as_ref();
                same(
                    owner,
                    found.metadata.uid.as_ref(),
                    spec.and_then(|spec| spec.replicas),
                )
            }
            ("apps" | "extensions", "ReplicaSet") => {
                let set = self.sets.get(&key)?;
                let spec = set.spec.as_ref();
                let own = same(
                    owner,
                    set.metadata.uid.as_ref(),
                    spec.and_then(|spec| spec.replicas),
                )?;
                match controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
                    None => Some(own),
                    Some(owner) => {
                        let found = self.deployments.get(&ObjectKey::new(namespace, &owner.name))?;
                        let spec = found.spec.as_ref();
                        same(
                            owner,
                            found.metadata.uid.as_ref(),
                            spec.and_then(|spec| spec.replicas),
                        )
                    }
                }
            }
            _ => None,
        }
    }

    async fn by_subresource(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, Option<i32>)>, ScaleError> {
        let (group, version) = owner
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let Ok((resource, _)) = pinned_kind(&self.client, &kind).await else {
            return Err(ScaleError::NoKind {
                kind: owner.kind.clone(),
                version: owner.api_version.clone(),
            });
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        match api.get_scale(&owner.name).await {
            Ok(scale) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas);
                Ok(same(owner, scale.metadata.uid.as_ref(), replicas))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Err(ScaleError::NoScale {
                resource: format!("{}.{}", resource.plural, group),
            }),
            Err(error) => Err(ScaleError::Request(crate::runtime::write::api_message(&error))),
        }
    }
}

/// The scale, if this is the very object that the reference means.
fn same(owner: &OwnerReference, uid: Option<&String>, scale: Option<i32>) -> Option<(String, Option<i32>)> {
    uid.filter(|uid| **uid == owner.uid)
        .map(|uid| (uid.clone(), scale))
}
