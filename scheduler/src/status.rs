//! What a pod's status says while it goes nowhere: why, and which node is kept for it.

use crate::cluster::{Nomination, nominated};
use crate::schedule::Unschedulable;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

/// Says so in the pod's status, if it does not say so already.
pub(crate) async fn tell(
    client: &kube::Client,
    pod: &Pod,
    why: &Unschedulable,
    nomination: &Nomination,
    now: Timestamp,
) {
    let Some(change) = change(pod, why, nomination, now) else {
        return;
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let patched = api
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(change))
        .await;
    match patched {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => tracing::warn!(namespace, pod = name, %error, "could not write the pod's status"),
    }
}

/// The patch of the status, if there is anything to change. Pure.
fn change(pod: &Pod, why: &Unschedulable, nomination: &Nomination, now: Timestamp) -> Option<Value> {
    let mut status = Map::new();
    if let Some(condition) = condition(pod, why, now) {
        status.insert("conditions".to_owned(), json!([condition]));
    }
    match nomination {
        Nomination::Node(node) if nominated(pod) != Some(node) => {
            status.insert("nominatedNodeName".to_owned(), json!(node));
        }
        Nomination::None => {
            status.insert("nominatedNodeName".to_owned(), Value::Null);
        }
        Nomination::Node(_) | Nomination::AsItIs => {}
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": pod.metadata.uid}, "status": status}))
}

fn condition(pod: &Pod, why: &Unschedulable, now: Timestamp) -> Option<PodCondition> {
    let message = why.to_string();
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let current = conditions
        .into_iter()
        .find(|condition| condition.type_ == "PodScheduled");
    let same = current.is_some_and(|current| {
        current.status == "False"
            && current.reason.as_deref() == Some("Unschedulable")
            && current.message.as_deref() == Some(&message)
    });
    let since = current
        .filter(|current| current.status == "False")
        .and_then(|c| c.last_transition_time.clone());
    (!same).then(|| PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message),
        observed_generation: pod.metadata.generation,
        last_transition_time: since.or(Some(Time(now))),
        last_probe_time: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::PodBuilder;
    use k8s_openapi::api::core::v1::PodStatus;

    #[test]
    fn only_what_changes_is_written() {
        let (why, now) = (Unschedulable::default(), Timestamp::UNIX_EPOCH);
        let mut pod = PodBuilder::new("p").build();
        let node = Nomination::Node("a".to_owned());
        let first = change(&pod, &why, &node, now).unwrap();
        assert_eq!(first["status"]["nominatedNodeName"], "a");
        assert_eq!(first["status"]["conditions"][0]["reason"], "Unschedulable");
        pod.status = Some(PodStatus {
            conditions: Some(vec![condition(&pod, &why, now).unwrap()]),
            nominated_node_name: Some("a".to_owned()),
            ..PodStatus::default()
        });
        assert_eq!(change(&pod, &why, &node, now), None);
        assert_eq!(change(&pod, &why, &Nomination::AsItIs, now), None);
        let cleared = change(&pod, &why, &Nomination::None, now).unwrap();
        assert_eq!(cleared["status"], json!({"nominatedNodeName": null}));
    }
}
