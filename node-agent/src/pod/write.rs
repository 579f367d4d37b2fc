//! Telling the API: the pod's status, and that the pod may go.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::operation::Outcome;
use super::start::Job;
use crate::plan::{ALL_RESTARTING, OWNED_CONDITIONS, TRANSIENT_CONDITIONS};

/// Fields that must be told to be gone when they are.
const CLEARED: [&str; 8] = [
    "allocatedResources",
    "reason",
    "message",
    "podIP",
    "podIPs",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "containerStatuses",
];

/// The strategic merge patch that brings about a status where `stands` stands: addresses that are gone are deleted by
/// name, for their lists merge, and conditions of others are left alone. Pure.
fn status_patch(uid: &str, status: &PodStatus, stands: &PodStatus) -> Value {
    let mut body = serde_json::to_value(status).unwrap_or_default();
    let before = serde_json::to_value(stands).unwrap_or_default();
    let scheduled_known = stands
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "PodScheduled");
    if let Some(fields) = body.as_object_mut() {
        for field in CLEARED {
            fields.entry(field).or_insert(Value::Null);
        }
        for field in ["podIPs", "hostIPs"] {
            if let Some(Value::Array(list)) = fields.get_mut(field) {
                let gone = before[field]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|old| !list.contains(old));
                let deletions: Vec<Value> = gone
                    .map(|old| json!({"ip": old["ip"], "$patch": "delete"}))
                    .collect();
                list.extend(deletions);
            }
        }
        take_back(
            fields.get_mut("allocatedResources"),
            &before["allocatedResources"],
        );
        for side in ["requests", "limits"] {
            if let Some(resources) = fields.get_mut("resources").and_then(Value::as_object_mut) {
                resources.entry(side).or_insert(Value::Null);
                take_back(resources.get_mut(side), &before["resources"][side]);
            }
        }
        if let Some(Value::Array(conditions)) = fields.get_mut("conditions") {
            conditions.retain(|c| {
                let kind = c["type"].as_str().unwrap_or_default();
                let ours = OWNED_CONDITIONS.contains(&kind)
                    || TRANSIENT_CONDITIONS.contains(&kind)
                    || kind == ALL_RESTARTING;
                ours || (kind == "PodScheduled" && !scheduled_known)
            });
            // A condition merges with the one that stands, whose reason and message must not stay.
            for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
                for field in ["reason", "message"] {
                    condition.entry(field).or_insert(Value::Null);
                }
            }
            // Deleted whether it is seen to stand or not: the write that set it may not have come back yet.
            for kind in TRANSIENT_CONDITIONS {
                if !conditions.iter().any(|c| c["type"] == kind) {
                    conditions.push(json!({"type": kind, "$patch": "delete"}));
                }
            }
        }
    }
    json!({"metadata": {"uid": uid}, "status": body})
}

/// Amounts merge with those that stand, so those that are gone are told to be.
fn take_back(amounts: Option<&mut Value>, stand: &Value) {
    if let (Some(Value::Object(amounts)), Some(stand)) = (amounts, stand.as_object()) {
        for name in stand.keys() {
            amounts.entry(name.clone()).or_insert(Value::Null);
        }
    }
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
        let stands = self.pod.status.clone().unwrap_or_default();
        let patch = Patch::Strategic(status_patch(&self.identity.uid, &status, &stands));
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
    fn a_patch_deletes_old_addresses_clears_what_is_gone_and_leaves_foreign_conditions_alone() {
        let status: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "hostIPs": [{"ip": "192.0.2.1"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "example.com/gate", "status": "True"},
                {"type": "PodScheduled", "status": "True"}],
        }))
        .unwrap();
        let stands: PodStatus = serde_json::from_value(json!({
            "podIPs": [{"ip": "10.0.0.9"}], "hostIPs": [{"ip": "192.0.2.1"}],
            "conditions": [{"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "why"}],
        }))
        .unwrap();
        insta::assert_json_snapshot!(status_patch("u1", &status, &stands));
        let unscheduled = status_patch("u1", &status, &PodStatus::default());
        assert_eq!(unscheduled["status"]["conditions"][1]["type"], "PodScheduled");
    }

    #[test]
    fn a_condition_that_only_comes_and_goes_is_taken_back() {
        let conditions =
            |list: Value| -> PodStatus { serde_json::from_value(json!({"conditions": list})).unwrap() };
        let stands = conditions(
            json!([{"type": "PodResizePending", "status": "True"}, {"type": "Ready", "status": "True"}]),
        );
        let patch = status_patch(
            "u1",
            &conditions(json!([{"type": "Ready", "status": "True"}])),
            // The write that set it has not been seen to come back.
            &PodStatus::default(),
        );
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u1"}, "status": stands});
        let ty = coracle_api::table::by_gvk("", "v1", "Pod").unwrap();
        coracle_api::patch::strategic::apply(&mut pod, &patch, ty).unwrap();
        assert_eq!(
            pod["status"]["conditions"],
            json!([{"type": "Ready", "status": "True"}])
        );
    }

    #[test]
    fn amounts_that_are_gone_are_not_told_any_more() {
        let of = |resources: Value, allocated: Value| -> PodStatus {
            serde_json::from_value(json!({"resources": resources, "allocatedResources": allocated})).unwrap()
        };
        let stands = of(
            json!({"requests": {"cpu": "1", "example.com/dongle": "1"}, "limits": {"cpu": "1"}}),
            json!({"cpu": "1", "memory": "1Gi"}),
        );
        let told = of(json!({"requests": {"cpu": "2"}}), json!({"cpu": "2"}));
        let ty = coracle_api::table::by_gvk("", "v1", "Pod").unwrap();
        for (told, shown) in [
            (
                &told,
                json!({"resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "2"}}),
            ),
            (&of(json!({}), json!(null)), json!({"resources": {}})),
        ] {
            let mut pod =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u1"}, "status": stands});
            coracle_api::patch::strategic::apply(&mut pod, &status_patch("u1", told, &stands), ty).unwrap();
            assert_eq!(pod["status"], shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_patched_status_shows_the_new_addresses_and_no_others(
            old in proptest::option::of(proptest::collection::btree_set(0..4u8, 0..3)),
            new in proptest::collection::btree_set(0..4u8, 1..3),
        ) {
            let ips = |set: &std::collections::BTreeSet<u8>| -> Vec<Value> {
                set.iter().map(|n| json!({"ip": format!("10.0.0.{n}")})).collect()
            };
            let before = old.as_ref().map_or(json!({}), |old| json!({"podIPs": ips(old)}));
            let stands: PodStatus = serde_json::from_value(before.clone()).unwrap();
            let status: PodStatus = serde_json::from_value(json!({"podIPs": ips(&new)})).unwrap();
            let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u1"}, "status": before});
            let ty = coracle_api::table::by_gvk("", "v1", "Pod").unwrap();
            coracle_api::patch::strategic::apply(&mut pod, &status_patch("u1", &status, &stands), ty).unwrap();
            let mut shown = pod["status"]["podIPs"].as_array().cloned().unwrap_or_default();
            shown.sort_by_key(Value::to_string);
            proptest::prop_assert_eq!(shown, ips(&new));
        }
    }
}
