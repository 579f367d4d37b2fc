//! The root CA publisher: every namespace has a ConfigMap `kube-root-ca.crt` with the bundle that pods verify the API
//! server with.

use super::is_active;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, ObjectKey, Queue, Reconcile, ReconcileError, write};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIBED: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
     endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
     distributions of Kubernetes clusters.";

pub(crate) struct RootCas {
    client: kube::Client,
    bundle: String,
    namespaces: Arc<Cache<Namespace>>,
    published: Arc<Cache<ConfigMap>>,
}

/// Builds the controller and its queue, fed by the informers. None without a bundle to publish.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
) -> Option<(Arc<RootCas>, Arc<Queue<ObjectKey>>)> {
    let bundle = context.config.root_ca.clone()?;
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .namespaces
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let own = queue.clone();
    informers.root_cas.subscribe(move |change| {
        own.add(ObjectKey::cluster(
            change.object().metadata.namespace.as_deref().unwrap_or_default(),
        ));
    });
    let controller = RootCas {
        client: context.client.clone(),
        bundle,
        namespaces: informers.namespaces.cache().clone(),
        published: informers.root_cas.cache().clone(),
    };
    Some((Arc::new(controller), queue))
}

/// What the ConfigMap should be, if it is not.
fn plan(namespace: &str, found: Option<&ConfigMap>, bundle: &str) -> Option<ConfigMap> {
    let data = Some([(KEY.to_owned(), bundle.to_owned())].into());
    let described = found.and_then(|map| map.metadata.annotations.as_ref()?.get(DESCRIPTION));
    if found.is_some_and(|map| map.data == data) && described.is_some_and(|text| text == DESCRIBED) {
        return None;
    }
    let mut wanted = found.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    wanted
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(DESCRIPTION.to_owned(), DESCRIBED.to_owned());
    wanted.data = data;
    Some(wanted)
}

impl Reconcile for RootCas {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        if !self
            .namespaces
            .get(key)
            .is_some_and(|namespace| is_active(&namespace))
        {
            return Ok(None);
        }
        let found = self.published.get(&ObjectKey::new(&key.name, NAME));
        let Some(wanted) = plan(&key.name, found.as_deref(), &self.bundle) else {
            return Ok(None);
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.name);
        let params = PostParams::default();
        let written = match found {
            None => api.create(&params, &wanted).await,
            Some(_) => api.replace(NAME, &params, &wanted).await,
        };
        match written {
            Ok(map) => {
                self.published
                    .shows(self.published.mark(map.metadata.resource_version.as_deref()))
                    .await;
                Ok(None)
            }
            Err(error) if write::is_namespace_terminating(&error) || write::is_gone(&error) => Ok(None),
            Err(error) => Err(ReconcileError::request("publishing the root CA")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_by_others_is_put_right() {
        let fresh = plan("default", None, "PEM").unwrap();
        assert_eq!(plan("default", Some(&fresh), "PEM"), None);
        let mut changed = fresh.clone();
        changed
            .data
            .as_mut()
            .unwrap()
            .insert("extra".to_owned(), "x".to_owned());
        assert_eq!(plan("default", Some(&changed), "PEM"), Some(fresh.clone()));
        assert_eq!(
            plan("default", Some(&fresh), "NEW").unwrap().data.unwrap()[KEY],
            "NEW"
        );
    }
}
