//! Claims, volumes and volume attributes classes stay while something uses them: each carries a finalizer, which admission
//! puts on and which goes once the object is being deleted and nothing uses it any more.

use crate::observed::Pod;
use crate::owners::controller_of;
use crate::run::{Context, Informers};
use crate::runtime::informer::Observable;
use crate::runtime::write::{self, Part};
use crate::runtime::{Cache, Informer, ObjectKey, Queue, Reconcile, ReconcileError};
use crate::target::Target;
use coracle_api::volumes;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::sync::Arc;
use std::time::Duration;

/// Whether something uses an object, as far as the caches show.
type Used<K> = Box<dyn Fn(&K) -> bool + Send + Sync>;

/// Guards the objects of one kind.
pub(crate) struct Protection<K> {
    client: kube::Client,
    objects: Arc<Cache<K>>,
    finalizer: &'static str,
    used: Used<K>,
    /// Whether the API server is asked too before the finalizer goes.
    confirm: Option<fn(&K, &[Pod]) -> bool>,
}

type Started<K> = (Arc<Protection<K>>, Arc<Queue<ObjectKey>>);

/// Guards claims that scheduled pods name.
pub(crate) fn claims(context: &Context, informers: &Informers) -> Started<PersistentVolumeClaim> {
    let queue = follow(&informers.claims);
    let own = queue.clone();
    informers.pods.subscribe(move |change| {
        let pods = change.old().into_iter().chain([change.object()]);
        for name in pods.flat_map(|pod| claim_names(pod)) {
            let namespace = change.object().metadata.namespace.as_deref().unwrap_or_default();
            own.add(ObjectKey::new(namespace, &name));
        }
    });
    let pods = informers.pods.cache().clone();
    let used: Used<PersistentVolumeClaim> = Box::new(move |claim| {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        pods.in_namespace(namespace)
            .iter()
            .any(|pod| names_claim(pod, claim))
    });
    let confirm =
        |claim: &PersistentVolumeClaim, pods: &[Pod]| pods.iter().any(|pod| names_claim(pod, claim));
    let guard = Protection {
        client: context.client.clone(),
        objects: informers.claims.cache().clone(),
        finalizer: "kubernetes.io/pvc-protection",
        used,
        confirm: Some(confirm),
    };
    (Arc::new(guard), queue)
}

/// Guards volumes that are bound to a claim.
pub(crate) fn volumes(context: &Context, informers: &Informers) -> Started<PersistentVolume> {
    let is_bound = |volume: &PersistentVolume| {
        let status = volume.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Bound")
    };
    let guard = Protection {
        client: context.client.clone(),
        objects: informers.volumes.cache().clone(),
        finalizer: "kubernetes.io/pv-protection",
        used: Box::new(is_bound),
        confirm: None,
    };
    (Arc::new(guard), follow(&informers.volumes))
}

/// Guards classes that claims or volumes name.
pub(crate) fn attributes_classes(context: &Context, informers: &Informers) -> Started<VolumeAttributesClass> {
    let queue = follow(&informers.attributes_classes);
    let own = queue.clone();
    informers.claims.subscribe(move |change| {
        let claims = change.old().into_iter().chain([change.object()]);
        for class in claims.flat_map(|claim| classes_of_claim(claim)) {
            own.add(ObjectKey::cluster(class));
        }
    });
    let own = queue.clone();
    informers.volumes.subscribe(move |change| {
        let volumes = change.old().into_iter().chain([change.object()]);
        for class in volumes.filter_map(|volume| class_of_volume(volume)) {
            own.add(ObjectKey::cluster(class));
        }
    });
    let (claims, volumes) = (
        informers.claims.cache().clone(),
        informers.volumes.cache().clone(),
    );
    let used: Used<VolumeAttributesClass> = Box::new(move |class| {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let claimed = || {
            claims
                .all()
                .iter()
                .any(|claim| classes_of_claim(claim).contains(&name))
        };
        let held = || {
            volumes
                .all()
                .iter()
                .any(|volume| class_of_volume(volume) == Some(name))
        };
        claimed() || held()
    });
    let guard = Protection {
        client: context.client.clone(),
        objects: informers.attributes_classes.cache().clone(),
        finalizer: "kubernetes.io/vac-protection",
        used,
        confirm: None,
    };
    (Arc::new(guard), queue)
}

/// A queue of the objects that change.
fn follow<K: Observable>(informer: &Informer<K>) -> Arc<Queue<ObjectKey>> {
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informer.subscribe(move |change| own.add(ObjectKey::of(change.object().meta())));
    queue
}

/// The claims that a pod names, or that are made for it.
pub(super) fn claim_names(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(
            |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(source), _) => Some(source.claim_name.clone()),
                (None, Some(_)) => Some(made_for(pod, &volume.name)),
                (None, None) => None,
            },
        )
        .collect()
}

/// The name of the claim that is made for a pod's volume.
pub(super) fn made_for(pod: &Pod, volume: &str) -> String {
    volumes::made_for(pod.metadata.name.as_deref().unwrap_or_default(), volume)
}

/// Whether a pod has the claim in use. One without a node has not: a kubelet starts no pod with a claim that is being deleted.
fn names_claim(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = pod
        .spec
        .as_ref()
        .filter(|spec| spec.node_name.as_ref().is_some_and(|node| !node.is_empty()))
    else {
        return false;
    };
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let is_its =
        || controller_of(&claim.metadata).is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref());
    spec.volumes.iter().flatten().any(
        |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name == name,
            (None, Some(_)) => !is_shut_down(pod) && made_for(pod, &volume.name) == name && is_its(),
            (None, None) => false,
        },
    )
}

/// Whether its node is done with a pod that is being deleted. Such a pod may wait for the claims that were made for it to go
/// first, so that these do not wait for the pod.
fn is_shut_down(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds == Some(0)
}

/// The classes that a claim asks for, has, or is on its way to.
fn classes_of_claim(claim: &PersistentVolumeClaim) -> Vec<&str> {
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.as_deref());
    let modify = status.and_then(|status| status.modify_volume_status.as_ref());
    let target = modify.and_then(|modify| modify.target_volume_attributes_class_name.as_deref());
    [wanted, current, target].into_iter().flatten().collect()
}

fn class_of_volume(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.volume_attributes_class_name.as_deref()
}

/// The finalizers that an object should have, if it has others.
fn plan(meta: &ObjectMeta, finalizer: &str, is_used: impl FnOnce() -> bool) -> Option<Vec<String>> {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let guarded = finalizers.iter().any(|other| other == finalizer);
    match (meta.deletion_timestamp.is_some(), guarded) {
        (true, true) if !is_used() => finalizers.retain(|other| other != finalizer),
        (false, false) => finalizers.push(finalizer.to_owned()),
        _ => return None,
    }
    Some(finalizers)
}

impl<K> Reconcile for Protection<K>
where
    K: kube::Resource<DynamicType = ()> + Observable,
{
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(object) = self.objects.get(key) else {
            return Ok(None);
        };
        let meta = Observable::meta(&*object);
        let Some(finalizers) = plan(meta, self.finalizer, || (self.used)(&object)) else {
            return Ok(None);
        };
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        // The cache may not show a pod yet that has just been put on a node.
        if let Some(uses) = self.confirm.filter(|_| meta.deletion_timestamp.is_some()) {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let pods = pods.list(&ListParams::default()).await;
            let pods = pods.map_err(ReconcileError::request(format!("listing pods for {key}")))?;
            if uses(&object, &pods.items) {
                return Err(ReconcileError::Stale(key.to_string()));
            }
        }
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let change = |object: &mut DynamicObject| object.metadata.finalizers = Some(finalizers);
        match write::update(&api, &Target::of(meta), Part::Main, change).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_finalizer_goes_with_the_last_use() {
        let deleted = "2026-01-01T00:00:00Z";
        let guarded = meta(json!({"deletionTimestamp": deleted, "finalizers": ["a", "guard"]}));
        assert_eq!(plan(&guarded, "guard", || true), None);
        assert_eq!(plan(&guarded, "guard", || false), Some(vec!["a".to_owned()]));
        let bare = meta(json!({"finalizers": ["a"]}));
        assert_eq!(
            plan(&bare, "guard", || true),
            Some(vec!["a".to_owned(), "guard".to_owned()])
        );
        let going = meta(json!({"deletionTimestamp": deleted, "finalizers": ["a"]}));
        assert_eq!(plan(&going, "guard", || false), None);
        assert_eq!(
            plan(&meta(json!({"finalizers": ["guard"]})), "guard", || false),
            None
        );
    }

    #[test]
    fn a_pod_on_a_node_uses_its_claims() {
        let pod = |node: Value, volume: Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "web", "uid": "1"},
                "spec": {"containers": [], "nodeName": node, "volumes": [volume]},
            }))
            .unwrap()
        };
        let claim = |name: &str, owner: &str| -> PersistentVolumeClaim {
            let owner =
                json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": owner, "controller": true});
            serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [owner]}})).unwrap()
        };
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
        let made = json!({"name": "v", "ephemeral": {}});
        assert!(names_claim(&pod(json!("n"), named.clone()), &claim("data", "9")));
        assert!(!names_claim(
            &pod(json!("n"), named.clone()),
            &claim("other", "9")
        ));
        assert!(!names_claim(&pod(Value::Null, named), &claim("data", "9")));
        assert!(names_claim(&pod(json!("n"), made.clone()), &claim("web-v", "1")));
        assert!(!names_claim(&pod(json!("n"), made.clone()), &claim("web-v", "2")));
        let mut ended = pod(json!("n"), made.clone());
        ended.metadata.deletion_timestamp =
            meta(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})).deletion_timestamp;
        assert!(names_claim(&ended, &claim("web-v", "1")));
        ended.metadata.deletion_grace_period_seconds = Some(0);
        assert!(!names_claim(&ended, &claim("web-v", "1")));
        assert_eq!(claim_names(&pod(Value::Null, made)), ["web-v"]);
    }

    #[test]
    fn a_class_is_used_by_those_that_have_it_or_want_it() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "spec": {"volumeAttributesClassName": "gold"},
            "status": {"currentVolumeAttributesClassName": "silver",
                       "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "bronze"}},
        }))
        .unwrap();
        assert_eq!(classes_of_claim(&claim), ["gold", "silver", "bronze"]);
    }
}
