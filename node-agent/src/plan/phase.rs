//! The pod's phase from its containers' states, by upstream's counting.

use k8s_openapi::api::core::v1::{ContainerStatus, PodSpec};

use super::restart::{self, Role};

#[derive(Default)]
struct Count {
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

/// `Pending`, `Running`, `Succeeded` or `Failed`. `ending` says that no container will be started any more.
pub(super) fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
    ending: bool,
) -> &'static str {
    let policy = restart::pod_policy(spec);
    let (pending_init, failed_init) = init_progress(spec, init);
    if failed_init > 0 && policy == "Never" {
        return "Failed";
    }
    let mut count = Count::default();
    app.iter().for_each(|s| tally(s, &mut count));
    if pending_init > 0 && !(ending && count.stopped > 0) {
        return "Pending";
    }
    match count {
        Count { waiting, .. } if waiting > 0 => "Pending",
        Count { running, .. } if running > 0 => "Running",
        Count {
            stopped, succeeded, ..
        } if stopped > 0 => stopped_phase(policy, stopped == succeeded, ending),
        _ => "Pending",
    }
}

fn stopped_phase(policy: &str, all_succeeded: bool, ending: bool) -> &'static str {
    match policy {
        _ if ending && all_succeeded => "Succeeded",
        _ if ending => "Failed",
        "Always" => "Running",
        _ if all_succeeded => "Succeeded",
        "Never" => "Failed",
        _ => "Running",
    }
}

/// How many init containers are still to come, and how many failed.
fn init_progress(spec: &PodSpec, statuses: &[ContainerStatus]) -> (usize, usize) {
    let (mut pending, mut failed) = (0, 0);
    for container in spec.init_containers.iter().flatten() {
        let status = statuses.iter().find(|s| s.name == container.name);
        if restart::init_role(container) == Role::Sidecar {
            let started = status.is_some_and(|s| s.started == Some(true) || ran(s));
            pending += usize::from(!started);
            continue;
        }
        let state = status.and_then(|s| s.state.as_ref());
        let last = status.and_then(|s| s.last_state.as_ref());
        match state.and_then(|s| s.terminated.as_ref()) {
            Some(t) if t.exit_code == 0 => {}
            Some(_) => failed += 1,
            None => {
                pending += 1;
                let waits = state.is_some_and(|s| s.waiting.is_some());
                let failed_before = last
                    .and_then(|l| l.terminated.as_ref())
                    .is_some_and(|t| t.exit_code != 0);
                failed += usize::from(waits && failed_before);
            }
        }
    }
    (pending, failed)
}

fn ran(status: &ContainerStatus) -> bool {
    let ended = |s: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        s.as_ref().is_some_and(|s| s.terminated.is_some())
    };
    ended(&status.state) || ended(&status.last_state)
}

fn tally(status: &ContainerStatus, count: &mut Count) {
    let Some(state) = &status.state else { return };
    let before = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    if state.running.is_some() {
        count.running += 1;
    } else if let Some(terminated) = &state.terminated {
        count.stopped += 1;
        count.succeeded += usize::from(terminated.exit_code == 0);
    } else if before.is_some() {
        count.stopped += 1;
    } else {
        count.waiting += 1;
    }
}
