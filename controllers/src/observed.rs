//! Pods as the controllers' cache keeps them: what some controller reads, and nothing else. Pure.
//!
//! A cluster has more pods than anything else, and a pod is mostly what only its node reads: commands, environment, probes,
//! mounts. As a whole it takes some ten times the memory of what stands here. Fields have upstream's names, so that rules
//! read as they would over the API's own types; what is left out is skipped while it is parsed. Whoever makes a pod uses the
//! API's type ([`k8s_openapi::api::core::v1::Pod`]), for nothing may be missing there.

use k8s_openapi::api::core::v1::{
    ContainerPort, EphemeralVolumeSource, NodeSelectorRequirement, PersistentVolumeClaimVolumeSource, PodIP,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What `kubectl apply` writes down for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    /// Without `managedFields`, and without what `kubectl apply` writes down for itself.
    #[serde(deserialize_with = "metadata")]
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: Option<PodSpec>,
    pub(crate) status: Option<PodStatus>,
}

impl k8s_openapi::Resource for Pod {
    const API_VERSION: &'static str = "v1";
    const GROUP: &'static str = "";
    const KIND: &'static str = "Pod";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "pods";
    type Scope = k8s_openapi::NamespaceResourceScope;
}

impl k8s_openapi::Metadata for Pod {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What a pod is to be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    pub(crate) node_name: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) subdomain: Option<String>,
    pub(crate) active_deadline_seconds: Option<i64>,
    /// Only which nodes it requires, by their fields.
    pub(crate) affinity: Option<Box<Affinity>>,
    #[serde(deserialize_with = "list")]
    pub(crate) containers: Vec<Container>,
    #[serde(deserialize_with = "some_list")]
    pub(crate) init_containers: Option<Vec<Container>>,
    pub(crate) resources: Imprint,
    #[serde(deserialize_with = "some_list")]
    pub(crate) tolerations: Option<Vec<Toleration>>,
    /// Only those that are claims, or for which claims are made.
    #[serde(deserialize_with = "claims")]
    pub(crate) volumes: Option<Vec<Volume>>,
}

/// Where a pod may go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Affinity {
    pub(crate) node_affinity: Option<NodeAffinity>,
}

/// To which nodes a pod may go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeAffinity {
    pub(crate) required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

/// Nodes of which one term is true.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeSelector {
    #[serde(deserialize_with = "list")]
    pub(crate) node_selector_terms: Vec<NodeSelectorTerm>,
}

/// What is true of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeSelectorTerm {
    #[serde(deserialize_with = "some_list")]
    pub(crate) match_fields: Option<Vec<NodeSelectorRequirement>>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    #[serde(deserialize_with = "some_list")]
    pub(crate) ports: Option<Vec<ContainerPort>>,
    pub(crate) restart_policy: Option<String>,
    pub(crate) resources: Imprint,
}

/// A volume of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) ephemeral: Option<Box<EphemeralVolumeSource>>,
    pub(crate) persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
}

/// What a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) phase: Option<String>,
    pub(crate) message: Option<String>,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<String>,
    #[serde(rename = "podIPs", deserialize_with = "some_list")]
    pub(crate) pod_ips: Option<Vec<PodIP>>,
    pub(crate) start_time: Option<Time>,
    #[serde(deserialize_with = "some_list")]
    pub(crate) conditions: Option<Vec<PodCondition>>,
    #[serde(deserialize_with = "some_list")]
    pub(crate) container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(deserialize_with = "some_list")]
    pub(crate) init_container_statuses: Option<Vec<ContainerStatus>>,
}

/// Something that is true of a pod, or not.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodCondition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) last_transition_time: Option<Time>,
}

/// What a container is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    pub(crate) restart_count: i32,
    pub(crate) state: Option<ContainerState>,
    pub(crate) resources: Imprint,
    pub(crate) allocated_resources: Imprint,
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerState {
    pub(crate) terminated: Option<ContainerStateTerminated>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStateTerminated {
    pub(crate) exit_code: i32,
    pub(crate) finished_at: Option<Time>,
}

/// What is left of a value that nobody reads, but that is compared with what stood there before: the same for the same
/// value, and as good as never for another. The default is that of no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imprint(Option<u64>);

impl<'de> Deserialize<'de> for Imprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<Value>::deserialize(deserializer)?;
        Ok(Self(value.map(|value| {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            hasher.finish()
        })))
    }
}

/// Metadata as it comes, but for what is skipped.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "some_list")]
    finalizers: Option<Vec<String>>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(deserialize_with = "some_list")]
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    uid: Option<String>,
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let meta = Meta::deserialize(deserializer)?;
    let annotations = meta.annotations.map(|mut all| {
        all.remove(LAST_APPLIED);
        all
    });
    Ok(ObjectMeta {
        annotations: annotations.filter(|all| !all.is_empty()),
        creation_timestamp: meta.creation_timestamp,
        deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
        deletion_timestamp: meta.deletion_timestamp,
        finalizers: meta.finalizers,
        generation: meta.generation,
        labels: meta.labels,
        name: meta.name,
        namespace: meta.namespace,
        owner_references: meta.owner_references,
        resource_version: meta.resource_version,
        uid: meta.uid,
        ..ObjectMeta::default()
    })
}

/// A list that takes no more room than its items.
fn some_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = Option::<Vec<T>>::deserialize(deserializer)?;
    Ok(list.map(|mut list| {
        list.shrink_to_fit();
        list
    }))
}

fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(some_list(deserializer)?.unwrap_or_default())
}

fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Volume>>, D::Error> {
    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?;
    Ok(volumes.and_then(|mut volumes| {
        volumes.retain(|volume| volume.ephemeral.is_some() || volume.persistent_volume_claim.is_some());
        volumes.shrink_to_fit();
        (!volumes.is_empty()).then_some(volumes)
    }))
}

#[cfg(test)]
impl From<k8s_openapi::api::core::v1::Pod> for Pod {
    /// As it would be observed once it is stored.
    fn from(pod: k8s_openapi::api::core::v1::Pod) -> Self {
        let value = serde_json::to_value(pod).expect("a pod is JSON");
        serde_json::from_value(value).expect("a pod is a pod")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(pod: &Value) -> Pod {
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    #[test]
    fn what_only_a_node_reads_is_skipped() {
        let pod = read(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "ns", "uid": "1", "labels": {"app": "web"},
                "annotations": {LAST_APPLIED: "{}", "a": "b"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {
                "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "B"}],
                                "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]}],
                "volumes": [{"name": "token", "projected": {"sources": []}},
                            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            },
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.1"},
        }));
        assert_eq!(pod.metadata.managed_fields, None);
        assert_eq!(
            pod.metadata.annotations,
            Some([("a".to_owned(), "b".to_owned())].into())
        );
        let spec = pod.spec.unwrap();
        assert_eq!(spec.containers[0].ports.as_ref().unwrap()[0].container_port, 80);
        let names: Vec<_> = spec.volumes.iter().flatten().map(|volume| &volume.name).collect();
        assert_eq!(names, ["data"]);
        assert_eq!(pod.status.unwrap().pod_ips.unwrap()[0].ip, "10.0.0.1");
    }

    #[test]
    fn an_imprint_tells_values_apart() {
        let imprint = |resources: Value| {
            let pod =
                json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}});
            read(&pod).spec.unwrap().containers[0].resources
        };
        let one = json!({"requests": {"cpu": "1"}});
        assert_eq!(imprint(one.clone()), imprint(one.clone()));
        assert_ne!(imprint(one.clone()), imprint(json!({"requests": {"cpu": "2"}})));
        assert_ne!(imprint(one), imprint(Value::Null));
        assert_eq!(imprint(Value::Null), Imprint::default());
    }

    #[test]
    fn nothing_is_as_good_as_null() {
        let pod = read(&json!({"metadata": {"labels": null}, "spec": {"containers": null, "volumes": null}}));
        assert_eq!(pod.spec, Some(PodSpec::default()));
        assert_eq!(pod.metadata, ObjectMeta::default());
    }
}
