//! Telling the API: the pod's status, and that the pod may go.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::operation::Outcome;
use super::start::Job;
use crate::plan::OWNED_CONDITIONS;

/// Fields that must be told to be gone when they are.
const CLEARED: [&str; 7] = [
    "reason",
    "message",
    "podIP",
    "podIPs",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "containerStatuses",
];

/// The strategic merge patch that brings about a status: lists that are merged by key elsewhere are replaced, and
/// conditions of others are left alone. Pure.
pub(super) fn status_patch(uid: &str, status: &PodStatus, scheduled_known: bool) -> Value {
    let mut body = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        for field in CLEARED {
            fields.entry(field).or_insert(Value::Null);
        }
        for field in ["podIPs", "hostIPs"] {
            if let Some(Value::Array(list)) = fields.get_mut(field) {
                list.insert(0, json!({"$patch": "replace"}));
            }
        }
        if let Some(Value::Array(conditions)) = fields.get_mut("conditions") {
            conditions.retain(|c| {
                let kind = c["type"].as_str().unwrap_or_default();
                OWNED_CONDITIONS.contains(&kind) || (kind == "PodScheduled" && !scheduled_known)
            });
        }
    }
    json!({"metadata": {"uid": uid}, "status": body})
}

impl Job {
    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), &self.identity.namespace)
    }

    /// Writes the status if the pod is still the same one.
    pub(super) async fn write_status(self, status: PodStatus) -> Outcome {
        let Ok(_slot) = self.context.slots.api_writes.acquire().await else {
            return Outcome::Again;
        };
        let conditions = self.pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let scheduled_known = conditions.into_iter().any(|c| c.type_ == "PodScheduled");
        let patch = Patch::Strategic(status_patch(&self.identity.uid, &status, scheduled_known));
        let result = self
            .api()
            .patch_status(&self.identity.name, &PatchParams::default(), &patch)
            .await;
        self.settle("pod status not written", result.map(drop))
    }

    /// All of the pod is down: the API may forget it.
    pub(super) async fn delete(self) -> Outcome {
        let Ok(_slot) = self.context.slots.api_writes.acquire().await else {
            return Outcome::Again;
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.identity.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let result = self.api().delete(&self.identity.name, &params).await;
        self.settle("pod not deleted", result.map(drop))
    }

    fn settle(&self, what: &str, result: Result<(), kube::Error>) -> Outcome {
        match result {
            Ok(()) => Outcome::Done,
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Outcome::Gone,
            Err(error) => {
                tracing::warn!(pod = self.identity.name, namespace = self.identity.namespace, %error, "{what}");
                Outcome::Again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_replaces_addresses_clears_what_is_gone_and_leaves_foreign_conditions_alone() {
        let status: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "hostIPs": [{"ip": "192.0.2.1"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "example.com/gate", "status": "True"},
                {"type": "PodScheduled", "status": "True"}],
        }))
        .unwrap();
        insta::assert_json_snapshot!(status_patch("u1", &status, true));
        let unscheduled = status_patch("u1", &status, false);
        assert_eq!(unscheduled["status"]["conditions"][1]["type"], "PodScheduled");
    }
}
