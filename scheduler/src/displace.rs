//! Carries out what [`crate::preemption`] decided: tells victims to leave, and takes back promises that do not hold any more.

use crate::cluster::Displacement;
use crate::events::{Note, Recorder};
use crate::placed::{BY_SCHEDULER, DISRUPTION_TARGET, Placed};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use std::sync::Arc;

/// Requests under way at once for one pod.
const AT_ONCE: usize = 16;

/// Makes room for a pod. Gives the uids of the victims that could not be told to leave.
pub(crate) async fn displace(
    client: &kube::Client,
    recorder: &Recorder,
    pod: &Pod,
    displacement: &Displacement,
) -> Vec<String> {
    // They find another place sooner than when the room is made.
    for outranked in &displacement.outranked {
        withdraw(client, outranked).await;
    }
    let leaving = displacement.victims.iter().filter(|victim| !victim.terminating);
    let told: Vec<_> = leaving
        .map(|victim| spared(client, recorder, pod, victim.clone()))
        .collect();
    let spared: Vec<_> = futures::stream::iter(told)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    spared.into_iter().flatten().collect()
}

/// Tells a victim to leave; its uid where that cannot be done.
async fn spared(
    client: &kube::Client,
    recorder: &Recorder,
    pod: &Pod,
    victim: Arc<Placed>,
) -> Option<String> {
    let error = tell_to_leave(client, recorder, pod, &victim).await.err()?;
    let (namespace, name) = (&victim.namespace, &victim.name);
    tracing::warn!(namespace, pod = name, node = victim.node, %error, "could not displace the pod");
    Some(victim.uid.clone())
}

/// Whether the API server said that there is no such object, or another of its name.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}

async fn withdraw(client: &kube::Client, pod: &Placed) {
    let change = json!({"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": null}});
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let patched = api
        .patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(change))
        .await;
    if let Err(error) = patched
        && !is_gone(&error)
    {
        tracing::warn!(namespace = pod.namespace, pod = pod.name, %error, "could not withdraw the pod's nominated node");
    }
}

async fn tell_to_leave(
    client: &kube::Client,
    recorder: &Recorder,
    pod: &Pod,
    victim: &Placed,
) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &victim.namespace);
    let change = Patch::Strategic(target_condition(pod, victim, Timestamp::now()));
    match api
        .patch_status(&victim.name, &PatchParams::default(), &change)
        .await
    {
        Ok(_) => {}
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let preconditions = Preconditions {
        uid: Some(victim.uid.clone()),
        resource_version: None,
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    match api.delete(&victim.name, &params).await {
        Ok(_) => recorder.record(Note::preempted(victim, pod)),
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The patch that says why the victim ends. Where the condition stands already, since when stays.
fn target_condition(pod: &Pod, victim: &Placed, now: Timestamp) -> Value {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    let message = format!(
        "{}: preempting to accommodate a higher priority pod",
        scheduler.unwrap_or("default-scheduler")
    );
    let mut condition = json!({
        "type": DISRUPTION_TARGET,
        "status": "True",
        "reason": BY_SCHEDULER,
        "message": message,
    });
    if let Some(generation) = victim.generation {
        condition["observedGeneration"] = generation.into();
    }
    if !victim.disrupted {
        condition["lastTransitionTime"] = json!(Time(now));
    }
    json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::PodBuilder;

    #[test]
    fn the_condition_says_for_whom_and_since_when() {
        let pod = PodBuilder::new("important").build();
        let mut victim = Placed::of(&PodBuilder::new("victim").build(), "a");
        victim.generation = Some(3);
        let change = target_condition(&pod, &victim, Timestamp::UNIX_EPOCH);
        let expected = json!({"metadata": {"uid": "uid-victim"}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]}});
        assert_eq!(change, expected);
        victim.disrupted = true;
        let change = target_condition(&pod, &victim, Timestamp::UNIX_EPOCH);
        assert_eq!(
            change["status"]["conditions"][0]["lastTransitionTime"],
            Value::Null
        );
    }
}
