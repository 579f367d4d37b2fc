//! What no controller may ever do, whatever it believes: judged at every write that the API server takes, by the truth.

use http::Method;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, DynamicObject};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::sync::Mutex;

/// Sees every write before it is made.
pub(crate) struct Oracle {
    truth: Client,
    crimes: Mutex<Vec<String>>,
}

impl Oracle {
    pub(crate) fn new(truth: Client) -> Self {
        Self {
            truth,
            crimes: Mutex::default(),
        }
    }

    /// What has been done that may not be.
    pub(crate) fn crimes(&self) -> Vec<String> {
        self.crimes.lock().unwrap().clone()
    }

    /// What is wrong with a write that is about to be made, if it is not refused: a precondition may see to that.
    pub(crate) async fn judge(&self, controller: &str, method: &Method, path: &str) -> Option<String> {
        if method != Method::DELETE {
            return None;
        }
        let crime = match controller {
            "namespace-controller" => self.emptied_a_living_namespace(path).await,
            "pod-garbage-collector" => self.collected_from_a_living_node(path).await,
            "node-controller" => self.evicted_without_a_taint(path).await,
            "generic-garbage-collector" => self.collected_what_is_owned(path).await,
            "replicaset-controller" => self.deleted_what_is_needed(path).await,
            "deployment-controller" => self.deleted_a_set_in_use(path).await,
            "persistent-volume-binder" => self.deleted_a_volume_in_use(path).await,
            _ => None,
        };
        crime.map(|crime| format!("{controller}: DELETE {path}: {crime}"))
    }

    /// Keeps what has been done that may not be.
    pub(crate) fn keep(&self, crime: String) {
        let mut crimes = self.crimes.lock().unwrap();
        if !crimes.contains(&crime) {
            crimes.push(crime);
        }
    }

    /// The content of a namespace is deleted only while the namespace is being deleted.
    async fn emptied_a_living_namespace(&self, path: &str) -> Option<String> {
        let name = namespace_of(path)?;
        let namespace = Api::<Namespace>::all(self.truth.clone())
            .get_opt(name)
            .await
            .unwrap()?;
        let lives = namespace.metadata.deletion_timestamp.is_none();
        lives.then(|| format!("namespace {name} is not being deleted"))
    }

    async fn pod(&self, path: &str) -> Option<Pod> {
        let api: Api<Pod> = Api::namespaced(self.truth.clone(), namespace_of(path)?);
        api.get_opt(path.rsplit('/').next()?).await.unwrap()
    }

    async fn node_of(&self, pod: &Pod) -> Option<Node> {
        let name = pod.spec.as_ref()?.node_name.as_ref()?;
        Api::<Node>::all(self.truth.clone()).get_opt(name).await.unwrap()
    }

    /// A pod that is not finished is collected only if its node is gone.
    async fn collected_from_a_living_node(&self, path: &str) -> Option<String> {
        let pod = self.pod(path).await?;
        let node = self.node_of(&pod).await?;
        Some(format!("its node {} is there", node.name_any()))
    }

    /// A pod is evicted only from a node with a taint that asks for it.
    async fn evicted_without_a_taint(&self, path: &str) -> Option<String> {
        let pod = self.pod(path).await?;
        let node = self.node_of(&pod).await?;
        let taints = node.spec.clone().and_then(|spec| spec.taints).unwrap_or_default();
        let evicts = taints.iter().any(|taint| taint.effect == "NoExecute");
        (!evicts).then(|| format!("its node {} has no such taint", node.name_any()))
    }

    /// An object is collected only if every owner is gone, or is on its way and waits for it.
    async fn collected_what_is_owned(&self, path: &str) -> Option<String> {
        let object = self.get(path).await?;
        for owner in object.owner_references() {
            let (prefix, namespace) = (prefix(&owner.api_version), namespace_of(path)?);
            let plural = format!("{}s", owner.kind.to_lowercase());
            let found = self
                .get(&format!(
                    "{prefix}/namespaces/{namespace}/{plural}/{}",
                    owner.name
                ))
                .await;
            if let Some(found) = found
                && found.uid().as_ref() == Some(&owner.uid)
                && found.metadata.deletion_timestamp.is_none()
            {
                return Some(format!("its owner {} {} lives", owner.kind, owner.name));
            }
        }
        None
    }

    /// A set deletes a pod only if it has more than it needs.
    async fn deleted_what_is_needed(&self, path: &str) -> Option<String> {
        let pod = self.pod(path).await?;
        let owner = pod
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))?
            .clone();
        let namespace = namespace_of(path)?;
        let set = self
            .get(&format!(
                "/apis/apps/v1/namespaces/{namespace}/replicasets/{}",
                owner.name
            ))
            .await?;
        let wanted = set.data["spec"]["replicas"].as_u64().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.truth.clone(), namespace);
        let pods = pods.list(&Default::default()).await.unwrap().items;
        let active = pods.iter().filter(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod.owner_references().iter().any(|one| one.uid == owner.uid)
        });
        let active = active.count() as u64;
        let dying = pod.metadata.deletion_timestamp.is_some();
        (active <= wanted && !dying).then(|| format!("{} wants {wanted} and has {active}", owner.name))
    }

    /// A set is deleted only once it has no pods.
    async fn deleted_a_set_in_use(&self, path: &str) -> Option<String> {
        let set = self.get(path).await?;
        let pods: Api<Pod> = Api::namespaced(self.truth.clone(), namespace_of(path)?);
        let pods = pods.list(&Default::default()).await.unwrap().items;
        let own = pods.iter().filter(|pod| {
            pod.owner_references()
                .iter()
                .any(|one| Some(&one.uid) == set.uid().as_ref())
        });
        let count = own.count();
        (count > 0).then(|| format!("it has {count} pods"))
    }

    /// A volume is deleted only once its claim is gone, or has another.
    async fn deleted_a_volume_in_use(&self, path: &str) -> Option<String> {
        let volume = self.get(path).await?;
        let reference = &volume.data["spec"]["claimRef"];
        let (namespace, name) = (reference["namespace"].as_str()?, reference["name"].as_str()?);
        let claim = self
            .get(&format!(
                "/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
            ))
            .await?;
        let is_its = claim.uid().as_deref() == reference["uid"].as_str();
        let named = claim.data["spec"]["volumeName"].as_str().unwrap_or_default();
        let in_use = is_its && (named.is_empty() || named == volume.name_any());
        in_use.then(|| format!("claim {name} has it"))
    }

    async fn get(&self, path: &str) -> Option<DynamicObject> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let found: Result<Value, _> = self.truth.request(request).await;
        found.ok().and_then(|found| serde_json::from_value(found).ok())
    }
}

fn prefix(api_version: &str) -> String {
    match api_version.contains('/') {
        true => format!("/apis/{api_version}"),
        false => format!("/api/{api_version}"),
    }
}

fn namespace_of(path: &str) -> Option<&str> {
    path.split_once("/namespaces/")?.1.split('/').next()
}
