//! Writing EndpointSlices, for the controllers that keep them.

use crate::runtime::{Cache, ObjectKey, ReconcileError, write};
use crate::target::Target;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use std::sync::Arc;

/// Says whose slice it is.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Names the Service a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The Service that a slice of this manager names, if it is one.
pub(crate) fn service_of(meta: &ObjectMeta, manager: &str) -> Option<ObjectKey> {
    let labels = meta.labels.as_ref()?;
    let managed = labels.get(MANAGED_BY).is_some_and(|name| name == manager);
    let name = labels.get(SERVICE_NAME).filter(|_| managed)?;
    Some(ObjectKey::new(
        meta.namespace.as_deref().unwrap_or_default(),
        name,
    ))
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    /// Whole slices, to be written over the observed ones.
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Target>,
}

/// Carries plans out, and waits until the cache shows it.
pub(crate) struct Writer {
    pub(crate) client: kube::Client,
    pub(crate) slices: Arc<Cache<EndpointSlice>>,
}

impl Writer {
    pub(crate) async fn act(&self, namespace: &str, plan: Plan) -> Result<(), ReconcileError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        for slice in &plan.create {
            match api.create(&params, slice).await {
                Ok(slice) => self.wait(&slice.metadata).await,
                Err(error) if write::is_namespace_terminating(&error) => return Ok(()),
                Err(error) => return Err(ReconcileError::request("creating an endpoint slice")(error)),
            }
        }
        for slice in &plan.update {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let updated = api.replace(name, &params, slice).await;
            let doing = ReconcileError::request(format!("updating endpoint slice {name}"));
            self.wait(&updated.map_err(doing)?.metadata).await;
        }
        for target in &plan.delete {
            self.delete(&api, target).await?;
        }
        Ok(())
    }

    async fn delete(&self, api: &Api<EndpointSlice>, target: &Target) -> Result<(), ReconcileError> {
        let deleted = write::delete(api, target, None).await;
        let doing = ReconcileError::request(format!("deleting endpoint slice {}", target.name));
        let version = deleted.map_err(doing)?;
        self.slices.shows(self.slices.mark(version.as_deref())).await;
        Ok(())
    }

    async fn wait(&self, meta: &ObjectMeta) {
        self.slices
            .shows(self.slices.mark(meta.resource_version.as_deref()))
            .await;
    }
}
