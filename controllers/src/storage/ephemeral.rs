//! Makes the claims of pods' ephemeral volumes (KEP-1698): each belongs to its pod and goes with it.

use super::protection::made_for;
use crate::observed::Pod;
use crate::owners::{controller_reference, is_controlled_by};
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::write;
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct EphemeralVolumes {
    client: kube::Client,
    recorder: Recorder,
    pods: Arc<Cache<Pod>>,
    claims: Arc<Cache<PersistentVolumeClaim>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(
    context: &Context,
    informers: &Informers,
) -> (Arc<EphemeralVolumes>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers.pods.subscribe(move |change| {
        if let Change::Added(pod) = change
            && templates(pod).next().is_some()
        {
            own.add(ObjectKey::of(&pod.metadata));
        }
    });
    let (own, pods) = (queue.clone(), informers.pods.cache().clone());
    informers.claims.subscribe(move |change| {
        let Change::Deleted(claim) = change else { return };
        let key = ObjectKey::of(&claim.metadata);
        let made = |pod: &Pod| templates(pod).any(|(volume, _)| made_for(pod, volume) == key.name);
        for pod in pods.in_namespace(&key.namespace).iter().filter(|pod| made(pod)) {
            own.add(ObjectKey::of(&pod.metadata));
        }
    });
    let controller = EphemeralVolumes {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        pods: informers.pods.cache().clone(),
        claims: informers.claims.cache().clone(),
    };
    (Arc::new(controller), queue)
}

/// The volumes of a pod for which claims are made, by name.
fn templates(pod: &Pod) -> impl Iterator<Item = (&str, PersistentVolumeClaim)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
        let meta = template.metadata.clone().unwrap_or_default();
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(made_for(pod, &volume.name)),
                namespace: pod.metadata.namespace.clone(),
                owner_references: Some(vec![controller_reference("v1", "Pod", &pod.metadata)]),
                annotations: meta.annotations,
                labels: meta.labels,
                ..ObjectMeta::default()
            },
            spec: Some(template.spec.clone()),
            status: None,
        };
        Some((volume.name.as_str(), claim))
    })
}

/// The claims that are missing, or the first volume whose claim is another's, and why it is. Pure.
fn plan(
    pod: &Pod,
    find: impl Fn(&ObjectKey) -> Option<Arc<PersistentVolumeClaim>>,
) -> (Vec<PersistentVolumeClaim>, Option<String>) {
    let mut missing = Vec::new();
    if pod.metadata.deletion_timestamp.is_some() {
        return (missing, None);
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    for (volume, claim) in templates(pod) {
        let key = ObjectKey::of(&claim.metadata);
        match find(&key) {
            None => missing.push(claim),
            Some(found) if is_controlled_by(&found.metadata, uid) => {}
            Some(_) => {
                let owner = ObjectKey::of(&pod.metadata);
                let why = format!("PVC {key} was not created for pod {owner} (pod is not owner)");
                return (missing, Some(format!("ephemeral volume {volume}: {why}")));
            }
        }
    }
    (missing, None)
}

impl Reconcile for EphemeralVolumes {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(pod) = self.pods.get(key) else {
            return Ok(None);
        };
        let (missing, fault) = plan(&pod, |key| self.claims.get(key));
        for claim in missing {
            self.create(&pod, &claim).await?;
        }
        match fault {
            None => Ok(None),
            Some(fault) => {
                self.tell(&pod, fault.clone());
                Err(ReconcileError::Waiting(fault))
            }
        }
    }
}

impl EphemeralVolumes {
    async fn create(&self, pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), ReconcileError> {
        let key = ObjectKey::of(&claim.metadata);
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let error = match api.create(&PostParams::default(), claim).await {
            Ok(made) => {
                let mark = self.claims.mark(made.metadata.resource_version.as_deref());
                self.claims.shows(mark).await;
                return Ok(());
            }
            Err(error) => error,
        };
        if write::is_namespace_terminating(&error) {
            return Ok(());
        }
        if !write::is_conflict(&error) {
            let volume = key.name.split_at(made_for(pod, "").len()).1;
            let why = write::api_message(&error);
            self.tell(
                pod,
                format!("ephemeral volume {volume}: create PVC {}: {why}", key.name),
            );
        }
        Err(ReconcileError::request(format!("creating claim {key}"))(error))
    }

    fn tell(&self, pod: &Pod, message: String) {
        let about = reference("v1", "Pod", &pod.metadata);
        self.recorder
            .record(&about, Note::warning("FailedBinding", message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(change: Value) -> Pod {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let mut pod = json!({
            "metadata": {"namespace": "ns", "name": "web", "uid": "1"},
            "spec": {"containers": [], "volumes": [
                {"name": "other", "emptyDir": {}},
                {"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]},
        });
        coracle_api::patch::merge::apply(&mut pod, &change).unwrap();
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn each_ephemeral_volume_has_a_claim_of_its_pod() {
        let (missing, fault) = plan(&pod(json!({})), |_| None);
        assert_eq!((missing.len(), fault), (1, None));
        let meta = &missing[0].metadata;
        assert_eq!(meta.name.as_deref(), Some("web-data"));
        assert_eq!(meta.labels.as_ref().unwrap()["a"], "b");
        assert!(is_controlled_by(meta, "1"));
        let made = Arc::new(missing[0].clone());
        assert_eq!(plan(&pod(json!({})), |_| Some(made.clone())), (Vec::new(), None));
        let (missing, fault) = plan(&pod(json!({"metadata": {"uid": "2"}})), |_| Some(made.clone()));
        assert!(missing.is_empty());
        assert_eq!(
            fault.as_deref(),
            Some("ephemeral volume data: PVC ns/web-data was not created for pod ns/web (pod is not owner)")
        );
        let going = pod(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        assert_eq!(plan(&going, |_| None), (Vec::new(), None));
    }
}
