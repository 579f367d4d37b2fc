//! The ServiceAccount controller: every namespace has a ServiceAccount `default`.

use super::is_active;
use crate::run::{Context, Informers};
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError, write};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "default";

pub(crate) struct ServiceAccounts {
    client: kube::Client,
    namespaces: Arc<Cache<Namespace>>,
    accounts: Arc<Cache<ServiceAccount>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
) -> (Arc<ServiceAccounts>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers
        .namespaces
        .subscribe(move |change| own.add(ObjectKey::of(&change.object().metadata)));
    let own = queue.clone();
    informers.service_accounts.subscribe(move |change| {
        if let Change::Deleted(account) = change {
            own.add(ObjectKey::cluster(
                account.metadata.namespace.as_deref().unwrap_or_default(),
            ));
        }
    });
    let controller = ServiceAccounts {
        client: context.client.clone(),
        namespaces: informers.namespaces.cache().clone(),
        accounts: informers.service_accounts.cache().clone(),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for ServiceAccounts {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let active = self
            .namespaces
            .get(key)
            .is_some_and(|namespace| is_active(&namespace));
        if !active || self.accounts.get(&ObjectKey::new(&key.name, NAME)).is_some() {
            return Ok(None);
        }
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(NAME.to_owned());
        account.metadata.namespace = Some(key.name.clone());
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.name);
        match api.create(&PostParams::default(), &account).await {
            Ok(_) => Ok(None),
            Err(error) if write::is_conflict(&error) || write::is_namespace_terminating(&error) => Ok(None),
            Err(error) => Err(ReconcileError::request("creating the default service account")(
                error,
            )),
        }
    }
}
