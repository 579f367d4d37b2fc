//! Asks the API for the claims that a pod's volumes name, and for the volumes that these have.
//!
//! As upstream's kubelet does, it asks when a pod is to start and again after a while where something is amiss; what has been made
//! ready stays so, whatever becomes of its claim.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::Api;
use serde::Serialize;
use serde_json::Value;

use super::start::Job;
use crate::volume::{Claimed, Found, MountedVolumes, claimed, origin, volume_of};

impl Job {
    /// What there is for the pod's claims, by the pod's names for them; or which are amiss, and why.
    pub(super) async fn claimed_volumes(
        &self,
        ready: Option<&MountedVolumes>,
    ) -> Result<BTreeMap<String, Found>, String> {
        let mut found = BTreeMap::new();
        let mut amiss = (Vec::new(), Vec::new());
        for one in claimed(&self.pod) {
            let made = match ready.and_then(|ready| ready.get(&one.volume)) {
                Some(mounted) => Ok(Found::Ready(mounted.clone())),
                None => self.claimed_volume(&one).await,
            };
            match made {
                Ok(made) => drop(found.insert(one.volume, made)),
                Err(why) => {
                    amiss.0.push(one.volume);
                    amiss.1.push(why);
                }
            }
        }
        let (names, reasons) = amiss;
        if names.is_empty() {
            return Ok(found);
        }
        let (names, reasons) = (names.join(" "), reasons.join("; "));
        Err(format!(
            "Unable to attach or mount volumes: unmounted volumes=[{names}], unattached volumes=[], failed to process volumes=[{names}]: {reasons}"
        ))
    }

    async fn claimed_volume(&self, one: &Claimed) -> Result<Found, String> {
        let (client, namespace) = (self.context.client.clone(), &self.identity.namespace);
        let fault = |why: String| format!("error processing PVC {namespace}/{}: {why}", one.claim);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let claim = claims
            .get(&one.claim)
            .await
            .map_err(|error| fault(format!("failed to fetch PVC from API server: {}", words(&error))))?;
        let claim = value(&claim);
        let name = volume_of(&self.pod, one, &claim)?;
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        let volume = volumes.get(name).await.map_err(|error| {
            fault(format!(
                "failed to fetch PV {name} from API server: {}",
                words(&error)
            ))
        })?;
        let bound_to_nodes = volume
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_affinity.is_some());
        let node = if bound_to_nodes {
            let nodes: Api<Node> = Api::all(client);
            let node = nodes.get(&self.context.config.node_name).await;
            Some(node.map_err(|error| fault(words(&error)))?)
        } else {
            None
        };
        let labels = node.as_ref().and_then(|node| node.metadata.labels.as_ref());
        origin(one, &claim, &value(&volume), labels)
    }
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// What the API server said, in its own words where it gave any.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
