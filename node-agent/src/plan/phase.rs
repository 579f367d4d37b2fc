//! The pod's phase from its containers' states, by upstream's counting.

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, PodSpec};

use super::reset;
use super::restart::{self, Role};

#[derive(Default)]
struct Count {
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
    /// How many of those that stopped run again.
    restarting: usize,
}

/// `Pending`, `Running`, `Succeeded` or `Failed`. `ending` says that no container will be started any more.
pub(super) fn phase(
    spec: &PodSpec,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
    ending: bool,
) -> &'static str {
    let (pending_init, failed_init) = init_progress(spec, init);
    if failed_init > 0 {
        return "Failed";
    }
    let mut count = Count::default();
    for status in app {
        let container = spec.containers.iter().find(|c| c.name == status.name);
        tally(spec, container, status, &mut count);
    }
    if pending_init > 0 && !(ending && count.stopped > 0) {
        return "Pending";
    }
    match count {
        Count { waiting, .. } if waiting > 0 => "Pending",
        Count { running, .. } if running > 0 => "Running",
        Count {
            stopped, restarting, ..
        } if stopped > 0 && restarting > 0 && !ending => "Running",
        Count {
            stopped, succeeded, ..
        } if stopped > 0 && stopped == succeeded => "Succeeded",
        Count { stopped, .. } if stopped > 0 => "Failed",
        _ => "Pending",
    }
}

/// Whether a container that ended like this runs again.
fn restarts(spec: &PodSpec, container: &Container, role: Role, ended: &ContainerStateTerminated) -> bool {
    ended.reason.as_deref() == Some(reset::REASON)
        || restart::restarts_after(spec, container, role, ended.exit_code)
}

/// How many init containers are still to come, and how many failed for good.
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
            Some(t) => failed += usize::from(!restarts(spec, container, Role::Init, t)),
            None => {
                pending += 1;
                let waits = state.is_some_and(|s| s.waiting.is_some());
                let ended_before = last.and_then(|l| l.terminated.as_ref());
                let failed_before = ended_before
                    .is_some_and(|t| t.exit_code != 0 && !restarts(spec, container, Role::Init, t));
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

fn tally(spec: &PodSpec, container: Option<&Container>, status: &ContainerStatus, count: &mut Count) {
    let Some(state) = &status.state else { return };
    let before = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    let again =
        |ended: &ContainerStateTerminated| container.is_some_and(|c| restarts(spec, c, Role::App, ended));
    if state.running.is_some() {
        count.running += 1;
    } else if let Some(terminated) = &state.terminated {
        count.stopped += 1;
        count.succeeded += usize::from(terminated.exit_code == 0);
        count.restarting += usize::from(again(terminated));
    } else if let Some(before) = before {
        count.stopped += 1;
        count.restarting += usize::from(again(before));
    } else {
        count.waiting += 1;
    }
}
