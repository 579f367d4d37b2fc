//! The two kinds that keep a number of pods. A ReplicationController is the older one; it is worked as the ReplicaSet that asks
//! for the same, as upstream does.

use crate::runtime::informer::Observable;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::borrow::Cow;

/// A kind whose objects keep a number of pods.
pub(crate) trait KeepsReplicas:
    Observable + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
{
    /// Whether its status has `terminatingReplicas`.
    const COUNTS_TERMINATING: bool;

    /// The ReplicaSet that asks for the same, under the same metadata.
    fn as_replica_set(&self) -> Cow<'_, ReplicaSet>;
}

impl KeepsReplicas for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;

    fn as_replica_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Borrowed(self)
    }
}

impl KeepsReplicas for ReplicationController {
    const COUNTS_TERMINATING: bool = false;

    fn as_replica_set(&self) -> Cow<'_, ReplicaSet> {
        let spec = self.spec.as_ref().map(|spec| ReplicaSetSpec {
            min_ready_seconds: spec.min_ready_seconds,
            replicas: spec.replicas,
            selector: LabelSelector {
                match_labels: spec.selector.clone(),
                ..LabelSelector::default()
            },
            template: spec.template.clone(),
        });
        Cow::Owned(ReplicaSet {
            metadata: self.metadata.clone(),
            spec,
            status: self.status.as_ref().map(status),
        })
    }
}

fn status(status: &ReplicationControllerStatus) -> ReplicaSetStatus {
    let conditions = status.conditions.iter().flatten();
    let conditions = conditions.map(|condition| ReplicaSetCondition {
        type_: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: condition.last_transition_time.clone(),
    });
    ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        terminating_replicas: None,
        observed_generation: status.observed_generation,
        conditions: status.conditions.is_some().then(|| conditions.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_replication_controller_is_worked_as_a_replica_set() {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
        let status = json!({"replicas": 2, "readyReplicas": 1, "observedGeneration": 3, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]});
        let older: ReplicationController = serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u"},
            "spec": {"replicas": 2, "minReadySeconds": 5, "selector": {"app": "web"}, "template": template},
            "status": status}))
        .unwrap();
        let expected: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u"},
            "spec": {"replicas": 2, "minReadySeconds": 5, "selector": {"matchLabels": {"app": "web"}}, "template": template},
            "status": status}))
        .unwrap();
        assert_eq!(*older.as_replica_set(), expected);
    }
}
