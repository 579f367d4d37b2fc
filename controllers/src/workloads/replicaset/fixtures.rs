//! Builders for the tests of workload controllers.

use super::plan::new_pod;
use crate::observed::{ContainerStatus, Pod, PodCondition, PodSpec, PodStatus};
use crate::owners::controller_reference;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{self, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;

/// A ReplicaSet that selects `app=<name>` and makes such pods.
pub(crate) fn replica_set(name: &str, replicas: i32) -> ReplicaSet {
    let labels = [("app".to_owned(), name.to_owned())].into();
    let selector = LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    };
    ReplicaSet {
        metadata: ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some("1".to_owned()),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            selector: selector.clone(),
            template: Some(template(selector.match_labels.unwrap())),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    }
}

/// A template of one container.
pub(crate) fn template(labels: std::collections::BTreeMap<String, String>) -> PodTemplateSpec {
    let container = v1::Container {
        name: "web".to_owned(),
        image: Some("web:1".to_owned()),
        ..v1::Container::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            ..ObjectMeta::default()
        }),
        spec: Some(v1::PodSpec {
            containers: vec![container],
            ..v1::PodSpec::default()
        }),
    }
}

/// Builds pods, running unless said otherwise.
#[derive(Clone)]
pub(crate) struct PodBuilder(Pod);

impl PodBuilder {
    pub(crate) fn new(name: &str) -> Self {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("default".to_owned());
        pod.metadata.creation_timestamp = Some(Time(Timestamp::from_second(1).unwrap()));
        pod.status = Some(PodStatus {
            phase: Some("Running".to_owned()),
            ..PodStatus::default()
        });
        pod.spec = Some(PodSpec::default());
        Self(pod).name(name)
    }

    pub(crate) fn name(mut self, name: &str) -> Self {
        self.0.metadata.name = Some(name.to_owned());
        self.0.metadata.uid = Some(format!("uid-{name}"));
        self
    }

    pub(crate) fn owned_by(mut self, set: &ReplicaSet) -> Self {
        let made = new_pod(set, controller_reference("apps/v1", "ReplicaSet", &set.metadata));
        self.0.metadata.owner_references = made.metadata.owner_references;
        self.0.metadata.labels = made.metadata.labels;
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.0
            .metadata
            .labels
            .get_or_insert_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn node(mut self, node: &str) -> Self {
        self.0.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        self
    }

    pub(crate) fn phase(mut self, phase: &str) -> Self {
        self.0.status.as_mut().unwrap().phase = Some(phase.to_owned());
        self
    }

    pub(crate) fn ready_at(mut self, second: i64) -> Self {
        self.0.status.as_mut().unwrap().conditions = Some(vec![PodCondition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(Timestamp::from_second(second).unwrap())),
            ..PodCondition::default()
        }]);
        self
    }

    pub(crate) fn created_at(mut self, second: i64) -> Self {
        self.0.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
        self
    }

    pub(crate) fn restarts(mut self, count: i32) -> Self {
        let status = ContainerStatus {
            restart_count: count,
            ..ContainerStatus::default()
        };
        self.0.status.as_mut().unwrap().container_statuses = Some(vec![status]);
        self
    }

    pub(crate) fn build(self) -> Arc<Pod> {
        Arc::new(self.0)
    }
}
