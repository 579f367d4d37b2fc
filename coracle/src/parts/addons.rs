//! What a cluster has besides bootstrap objects: the Service and the permissions of the cluster DNS, what lets nodes and other
//! parts renew their certificates, and the API of what nodes and pods use.
//!
//! Made where missing, at every start, and left alone otherwise: what somebody has changed stays changed.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{DynamicObject, PostParams};
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

type Manifest = (&'static str, &'static str);

/// What lets parts renew their certificates: wherever there is an API server.
pub(crate) const CERTIFICATES: [Manifest; 1] = [(
    "certificates.yaml",
    include_str!("../../../manifests/addons/certificates.yaml"),
)];
/// What a cluster of Coracle's own parts has besides.
pub(crate) const ALL: [Manifest; 3] = [
    ("dns.yaml", include_str!("../../../manifests/addons/dns.yaml")),
    CERTIFICATES[0],
    (
        "resource-metrics.yaml",
        include_str!("../../../manifests/addons/resource-metrics.yaml"),
    ),
];
/// An API that has just started may refuse for a moment; every refusal that lasts is worth a line in the log.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Makes what is missing, trying again until it is there or the cluster ends.
///
/// # Errors
/// When a manifest of ours does not parse.
pub(crate) async fn keep(
    client: Client,
    manifests: &'static [Manifest],
    shutdown: CancellationToken,
) -> Result<()> {
    for object in objects(manifests)? {
        let made = async {
            while let Err(error) = make(&client, &object).await {
                tracing::warn!("add-on {} is not made yet: {error:#}", object.name_any());
                tokio::time::sleep(TRY_AGAIN).await;
            }
        };
        tokio::select! {
            () = made => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

fn objects(manifests: &[Manifest]) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for (file, text) in manifests {
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            objects.push(
                DynamicObject::deserialize(document).with_context(|| format!("{file} is no manifest"))?,
            );
        }
    }
    Ok(objects)
}

async fn make(client: &Client, object: &DynamicObject) -> Result<()> {
    let types = object.types.as_ref().context("it has no kind")?;
    let (resource, capabilities) = pinned_kind(client, &types.try_into()?).await?;
    let api = api(client, object, &resource, &capabilities.scope);
    // A Service that names its own address would be refused for that address rather than for its name.
    if api.get_metadata_opt(&object.name_any()).await?.is_some() {
        return Ok(());
    }
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        outcome => outcome.map(drop).map_err(Into::into),
    }
}

fn api(client: &Client, object: &DynamicObject, resource: &ApiResource, scope: &Scope) -> Api<DynamicObject> {
    match (scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, resource),
        _ => Api::all_with(client.clone(), resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_parses_and_names_its_kind() {
        let objects = objects(&ALL).unwrap();
        assert!(objects.iter().any(|object| object.name_any() == "kube-dns"));
        assert!(objects.iter().all(|object| object.types.is_some()));
    }
}
