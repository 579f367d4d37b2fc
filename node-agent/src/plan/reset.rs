//! `RestartAllContainers`: one container ends in a way by which all of the pod begin anew, in the same sandbox (KEP-5532). Pure.
//!
//! Everything is taken away: what runs is killed, what has ended is removed, and last of all whatever has set this off. So what
//! is seen tells at any moment that it goes on, also to an agent that has just started. Then the pod comes up as it did at first,
//! with its init containers.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStateTerminated, ContainerStatus};

use super::{Action, KillReason, PodView, Steps, restart};
use crate::runtime;

/// The condition that says so.
pub(crate) const CONDITION: &str = "AllContainersRestarting";
/// Why a container waits that was taken away, and how its last instance ended.
pub(super) const REASON: &str = "RestartingAllContainers";
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

fn containers<'a>(view: &PodView<'a>) -> impl Iterator<Item = &'a Container> {
    view.init_containers().iter().chain(&view.spec().containers)
}

/// Whether a container's end would set this off.
pub(super) fn is_possible(view: &PodView<'_>) -> bool {
    containers(view).any(restart::can_restart_all)
}

/// Whether a record is what has set this off.
fn is_cause(container: &Container, record: &runtime::Container) -> bool {
    record.has_exited() && restart::restarts_all(container, record.exit_code)
}

/// Whether all containers of the pod begin anew; some may be gone by now, or all.
pub(super) fn is_underway(view: &PodView<'_>) -> bool {
    if !is_possible(view) {
        return false;
    }
    let mut conditions = view.previous.conditions.iter().flatten();
    conditions.any(|c| c.type_ == CONDITION && c.status == "True")
        || containers(view).any(|container| {
            let latest = view.runtime.latest(&container.name);
            latest.is_some_and(|record| is_cause(container, record))
        })
}

/// Whether there is still something to take away for that.
pub(super) fn is_due(view: &PodView<'_>) -> bool {
    let any = |container: &Container| view.runtime.latest(&container.name).is_some();
    is_underway(view) && containers(view).any(any)
}

/// What is to be taken away now.
pub(super) fn steps(view: &PodView<'_>) -> Steps {
    let records = |container: &Container| {
        let name = container.name.clone();
        view.runtime.containers.iter().filter(move |r| r.name == name)
    };
    let all = containers(view).flat_map(|container| records(container).map(move |r| (container, r)));
    let (causes, others): (Vec<_>, Vec<_>) = all.partition(|(container, r)| is_cause(container, r));
    let next = if others.is_empty() { causes } else { others };
    let take_away = |(_, record): (&Container, &runtime::Container)| {
        let (id, name) = (record.id.clone(), record.name.clone());
        if record.is_running() {
            Action::KillContainer {
                id,
                name,
                grace_seconds: 0,
                reason: KillReason::RestartingAll,
            }
        } else {
            Action::RemoveContainer { id, name }
        }
    };
    Steps {
        actions: next.into_iter().map(take_away).collect(),
        ..Steps::default()
    }
}

/// What is told of a container that was taken away; none where it did not run, or was told of before.
pub(super) fn status(view: &PodView<'_>, old: &ContainerStatus) -> Option<ContainerStatus> {
    let ran = |s: &ContainerState| s.running.is_some() || s.terminated.is_some();
    if !is_underway(view) || !old.state.as_ref().is_some_and(ran) {
        return None;
    }
    let ended = ContainerStateTerminated {
        exit_code: 137,
        reason: Some(REASON.into()),
        message: Some(MESSAGE.into()),
        ..ContainerStateTerminated::default()
    };
    Some(ContainerStatus {
        name: old.name.clone(),
        image: old.image.clone(),
        restart_count: old.restart_count.saturating_add(1),
        state: Some(super::container_status::waiting(REASON, Some(MESSAGE.into()))),
        last_state: Some(ContainerState {
            terminated: Some(ended),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    })
}

/// Whether the restart that a container waits for is counted already.
pub(super) fn is_counted(old: &ContainerStatus) -> bool {
    let waits = old.state.as_ref().is_some_and(|s| s.waiting.is_some());
    let last = old.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    waits && last.is_some_and(|ended| ended.reason.as_deref() == Some(REASON))
}
