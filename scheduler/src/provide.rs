//! Writes down what was chosen for a pod's claims, before the pod is bound: which volumes are kept for them, and where others
//! are to be provided.

use crate::volumes::Choices;
use coracle_api::object::Fields;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::Value;
use std::sync::Arc;

/// Writes all of it, and answers with the objects as they were written. What was written stays where something else fails: the binder goes on with it,
/// and the pod finds it when it is tried again.
pub(crate) async fn write(client: &kube::Client, mut choices: Choices) -> Result<Choices, kube::Error> {
    let volumes: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::erase::<PersistentVolume>(&()));
    for volume in &mut choices.volumes {
        let written = put(&volumes, volume, |object| {
            object["spec"]["claimRef"] = volume["spec"]["claimRef"].clone();
        })
        .await?;
        *volume = written;
    }
    let resource = ApiResource::erase::<PersistentVolumeClaim>(&());
    for claim in &mut choices.claims {
        let namespace = claim["metadata"].text("namespace");
        let claims: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        *claim = put(&claims, claim, |_| {}).await?;
    }
    Ok(choices)
}

/// Gives the object the annotations that were chosen and what else is to be changed, if it is still as it was observed. It goes
/// through untyped, so that what this program does not know of it survives.
async fn put(
    api: &Api<DynamicObject>,
    chosen: &Value,
    change: impl FnOnce(&mut Value),
) -> Result<Arc<Value>, kube::Error> {
    let meta = &chosen["metadata"];
    let mut whole =
        serde_json::to_value(api.get(meta.text("name")).await?).map_err(kube::Error::SerdeError)?;
    // The API server refuses it where another state stands there by now.
    whole["metadata"]["resourceVersion"] = meta["resourceVersion"].clone();
    whole["metadata"]["uid"] = meta["uid"].clone();
    whole["metadata"]["annotations"] = meta["annotations"].clone();
    change(&mut whole);
    let object: DynamicObject = serde_json::from_value(whole).map_err(kube::Error::SerdeError)?;
    let written = api
        .replace(meta.text("name"), &PostParams::default(), &object)
        .await?;
    serde_json::to_value(written)
        .map(Arc::new)
        .map_err(kube::Error::SerdeError)
}
