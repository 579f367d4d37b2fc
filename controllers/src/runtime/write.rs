//! Writes that hold to what was observed: deletes and updates with uid and resourceVersion preconditions.

use super::worker::ReconcileError;
use crate::observed::Pod;
use crate::target::Target;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// Whether the API server said that there is no such object, or not this one any more.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server said that the object changed, or that one of that name exists.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether a create was refused because its namespace is going away; there is nothing to do then, and nothing to report.
pub(crate) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the API server said, in its own words where it gave any.
pub(crate) fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Creates a pod in its namespace, and answers with what the cache will show of it.
pub(crate) async fn create_pod(
    client: &kube::Client,
    pod: &k8s_openapi::api::core::v1::Pod,
) -> Result<Pod, kube::Error> {
    let url = <Pod as kube::Resource>::url_path(&(), pod.metadata.namespace.as_deref());
    let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
    let request = Request::new(url).create(&PostParams::default(), body);
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// Deletes this very object; that it is gone, or another of its name stands there, is as good. Returns the revision it was
/// left at, where it stays for a while (finalizers, grace).
pub(crate) async fn delete<K>(
    api: &Api<K>,
    target: &Target,
    policy: Option<PropagationPolicy>,
) -> Result<Option<String>, kube::Error>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug,
{
    let params = DeleteParams {
        propagation_policy: policy,
        ..of_uid(target)
    };
    match api.delete(&target.name, &params).await {
        Ok(answer) => Ok(answer
            .left()
            .and_then(|object| object.meta().resource_version.clone())),
        Err(error) if is_gone(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes this very object without any grace.
pub(crate) async fn delete_at_once<K>(api: &Api<K>, target: &Target) -> Result<Option<String>, kube::Error>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug,
{
    match api.delete(&target.name, &of_uid(target).grace_period(0)).await {
        Ok(answer) => Ok(answer
            .left()
            .and_then(|object| object.meta().resource_version.clone())),
        Err(error) if is_gone(&error) || is_conflict(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes the object only if it is still as it was observed; a conflict is for the caller to see.
pub(crate) async fn delete_observed<K>(
    api: &Api<K>,
    target: &Target,
    policy: Option<PropagationPolicy>,
) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = DeleteParams {
        propagation_policy: policy,
        ..of_uid(target)
    };
    if let Some(preconditions) = &mut params.preconditions {
        preconditions.resource_version = Some(target.resource_version.clone());
    }
    match api.delete(&target.name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn of_uid(target: &Target) -> DeleteParams {
    let preconditions = Preconditions {
        uid: Some(target.uid.clone()),
        resource_version: None,
    };
    DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    }
}

/// Whether this very object is there and stays, by the API server's word and not the cache's: an owner that was deleted and
/// made anew under its name must not adopt in the name of the old one.
pub(crate) async fn is_still_there<K>(api: &Api<K>, target: &Target) -> Result<bool, ReconcileError>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug,
{
    let found = api.get_opt(&target.name).await;
    let found = found.map_err(ReconcileError::request(format!(
        "reading {} before adopting",
        target.name
    )))?;
    let stays = |object: &K| {
        object.meta().uid.as_ref() == Some(&target.uid) && object.meta().deletion_timestamp.is_none()
    };
    Ok(found.as_ref().is_some_and(stays))
}

/// Merges `change` into the object if it is still the observed one. Returns its new metadata.
pub(crate) async fn patch<K>(api: &Api<K>, target: &Target, mut change: Value) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    hold(&mut change, target);
    api.patch(&target.name, &PatchParams::default(), &Patch::Merge(change))
        .await
}

/// Merges `change` into the object's status if it is still the observed one.
pub(crate) async fn patch_status<K>(
    api: &Api<K>,
    target: &Target,
    mut change: Value,
) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    hold(&mut change, target);
    api.patch_status(&target.name, &PatchParams::default(), &Patch::Merge(change))
        .await
}

/// Writes uid and resourceVersion into a change, so that the API server refuses it for any other state of the object.
fn hold(change: &mut Value, target: &Target) {
    if !change["metadata"].is_object() {
        change["metadata"] = json!({});
    }
    change["metadata"]["uid"] = json!(target.uid);
    change["metadata"]["resourceVersion"] = json!(target.resource_version);
}

/// Which part of an object an update writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The object itself.
    Main,
    /// Its `status` subresource.
    Status,
    /// Its `approval` subresource, which requests for certificates have.
    Approval,
}

/// Reads the object, lets `change` edit it and writes it back whole, for where a controller may update but not patch. The
/// object goes through untyped, so that fields this program does not know survive.
pub(crate) async fn update(
    api: &Api<DynamicObject>,
    target: &Target,
    part: Part,
    change: impl FnOnce(&mut DynamicObject),
) -> Result<DynamicObject, ReconcileError> {
    let doing = || {
        format!(
            "updating {} {}/{}",
            api.resource_url(),
            target.namespace,
            target.name
        )
    };
    let mut object = api
        .get(&target.name)
        .await
        .map_err(ReconcileError::request(doing()))?;
    let observed = object.metadata.resource_version.as_ref() == Some(&target.resource_version);
    if !observed || object.metadata.uid.as_ref() != Some(&target.uid) {
        return Err(ReconcileError::Stale(format!(
            "{}/{}",
            target.namespace, target.name
        )));
    }
    change(&mut object);
    let params = PostParams::default();
    let written = match part {
        Part::Main => api.replace(&target.name, &params, &object).await,
        Part::Status => api.replace_status(&target.name, &params, &object).await,
        Part::Approval => {
            api.replace_subresource("approval", &target.name, &params, &object)
                .await
        }
    };
    written.map_err(ReconcileError::request(doing()))
}
