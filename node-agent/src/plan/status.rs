//! The whole `status` of a pod, put together from its parts.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Ending, HeldBack, PodView, Rejection, conditions, container_status, phase, resize};
use crate::{pod_level, resources};

/// Times in a status have whole seconds, so that a status read back equals the one that was written.
pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What to tell the API about the pod.
pub(super) fn pod_status(view: &PodView<'_>, ending: Option<&Ending>, held_back: &[HeldBack]) -> PodStatus {
    let init = container_status::init(view, held_back);
    let app = container_status::app(view, held_back);
    let ephemeral = container_status::ephemeral(view);
    let verdict = ending.and_then(|e| e.verdict);
    let phase = decided_phase(view, ending, &init, &app);
    let conditions = conditions::conditions(view, phase, &init, &app);
    let pod_ips = pod_ips(view);
    let list = |statuses: Vec<ContainerStatus>| (!statuses.is_empty()).then(|| seconds(statuses));
    let host_ips: Vec<HostIP> = view
        .node
        .host_ips
        .iter()
        .map(|ip| HostIP { ip: ip.clone() })
        .collect();
    PodStatus {
        phase: Some(phase.into()),
        reason: verdict
            .map(|v| v.0.to_owned())
            .or_else(|| view.previous.reason.clone()),
        message: verdict
            .map(|v| v.1.to_owned())
            .or_else(|| view.previous.message.clone()),
        conditions: Some(conditions),
        host_ip: host_ips.first().map(|h| h.ip.clone()),
        host_ips: Some(host_ips),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: start_time(view),
        qos_class: Some(resources::qos_class(view.spec()).as_str().into()),
        observed_generation: view.pod.metadata.generation,
        init_container_statuses: list(init),
        container_statuses: list(app),
        ephemeral_container_statuses: list(ephemeral),
        allocated_resources: pod_level::whole(view.spec()).requests,
        resources: Some(resize::of_pod(view)),
        ..foreign_fields(view)
    }
}

/// What to tell of a pod that the node refused: nothing of it was ever made.
pub(super) fn rejected(view: &PodView<'_>, rejection: &Rejection) -> PodStatus {
    PodStatus {
        phase: Some("Failed".into()),
        reason: Some(rejection.reason.clone()),
        message: Some(format!("Pod was rejected: {}", rejection.message)),
        start_time: start_time(view),
        qos_class: Some(resources::qos_class(view.spec()).as_str().into()),
        observed_generation: view.pod.metadata.generation,
        ..foreign_fields(view)
    }
}

/// When the node took the pod up, or turned it down.
fn start_time(view: &PodView<'_>) -> Option<Time> {
    let known = view.previous.start_time.clone();
    known.or_else(|| Some(Time(whole_seconds(view.now))))
}

/// Fields that others write and that a status patch must not take back.
fn foreign_fields(view: &PodView<'_>) -> PodStatus {
    let Some(status) = &view.pod.status else {
        return PodStatus::default();
    };
    PodStatus {
        nominated_node_name: status.nominated_node_name.clone(),
        resource_claim_statuses: status.resource_claim_statuses.clone(),
        resize: status.resize.clone(),
        ..PodStatus::default()
    }
}

/// A phase that is final stays; the node's own verdict fails the pod; else containers decide.
fn decided_phase(
    view: &PodView<'_>,
    ending: Option<&Ending>,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> &'static str {
    match view.previous.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    if ending.is_some_and(|e| e.verdict.is_some()) {
        return "Failed";
    }
    // While containers of a deleted pod still run it keeps its phase; only when all are down it becomes final.
    let over = ending.is_some() && view.runtime.alive().next().is_none();
    phase::phase(view.spec(), init, app, over)
}

fn pod_ips(view: &PodView<'_>) -> Vec<String> {
    if view.spec().host_network == Some(true) {
        let up = !view.runtime.sandboxes.is_empty();
        return if up {
            view.node.host_ips.clone()
        } else {
            Vec::new()
        };
    }
    match view.runtime.sandboxes.first() {
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        // A sandbox that is down has given its address back, yet the status tells the last one.
        _ => view
            .previous
            .pod_ips
            .iter()
            .flatten()
            .map(|p| p.ip.clone())
            .collect(),
    }
}

fn seconds(mut statuses: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    let round = |time: &mut Option<Time>| {
        if let Some(time) = time {
            time.0 = whole_seconds(time.0);
        }
    };
    for status in &mut statuses {
        for state in [&mut status.state, &mut status.last_state].into_iter().flatten() {
            if let Some(running) = &mut state.running {
                round(&mut running.started_at);
            }
            if let Some(terminated) = &mut state.terminated {
                round(&mut terminated.started_at);
                round(&mut terminated.finished_at);
            }
        }
    }
    statuses
}
