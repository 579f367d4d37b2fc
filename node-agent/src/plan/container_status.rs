//! `status.containerStatuses` and its siblings, worded as upstream words them.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::resize;
use super::restart::{self, Role};
use super::{HeldBack, PodView, Subject, reset, start};
use crate::probe::{Kind, Verdict};
use crate::runtime::{self, ContainerPhase};

/// For how long a failed pull is shown as such before it is shown as waiting for the next try.
const PULL_ERROR_SHOWN_SECONDS: i64 = 5;

/// Statuses of `spec.containers`, in order of names as upstream sorts them.
pub(super) fn app(view: &PodView<'_>, held_back: &[HeldBack]) -> Vec<ContainerStatus> {
    let mut statuses: Vec<_> = view
        .spec()
        .containers
        .iter()
        .map(|c| status(view, c, Role::App, held_back))
        .collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    statuses
}

/// Statuses of `spec.initContainers`, in their order.
pub(super) fn init(view: &PodView<'_>, held_back: &[HeldBack]) -> Vec<ContainerStatus> {
    view.init_containers()
        .iter()
        .map(|c| status(view, c, restart::init_role(c), held_back))
        .collect()
}

/// Statuses of `spec.ephemeralContainers`.
pub(super) fn ephemeral(view: &PodView<'_>) -> Vec<ContainerStatus> {
    let containers = view
        .spec()
        .ephemeral_containers
        .iter()
        .flatten()
        .map(restart::ephemeral_as_container);
    containers
        .map(|c| status(view, &c, Role::Ephemeral, &[]))
        .collect()
}

/// The restart count that a container gets whose earlier records the runtime no longer has.
pub(super) fn previous_restart_count(view: &PodView<'_>, role: Role, name: &str) -> u32 {
    let Some(previous) = previous(view, role, name) else {
        return 0;
    };
    let ran = |s: &Option<ContainerState>| {
        s.as_ref()
            .is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    };
    let count = u32::try_from(previous.restart_count).unwrap_or(0);
    if !reset::is_counted(previous) && (ran(&previous.state) || ran(&previous.last_state)) {
        count + 1
    } else {
        count
    }
}

fn previous<'a>(view: &PodView<'a>, role: Role, name: &str) -> Option<&'a ContainerStatus> {
    let list = match role {
        Role::App => &view.previous.container_statuses,
        Role::Init | Role::Sidecar => &view.previous.init_container_statuses,
        Role::Ephemeral => &view.previous.ephemeral_container_statuses,
    };
    list.iter().flatten().find(|s| s.name == name)
}

fn status(view: &PodView<'_>, container: &Container, role: Role, held_back: &[HeldBack]) -> ContainerStatus {
    let mut records = view
        .runtime
        .containers
        .iter()
        .filter(|r| r.name == container.name);
    let (current, before) = (records.next(), records.next());
    let old = previous(view, role, &container.name);
    let mut status = match current {
        Some(record) => from_record(view, container, record),
        None => without_record(view, container, old),
    };
    if let Some(before) = before {
        status.last_state = Some(state_of(before));
    } else if current.is_some() {
        status.last_state = carried_last_state(current, old);
    }
    wait_for_start(view, container, role, current, held_back, &mut status);
    fill_in_readiness(view, container, role, current, old, &mut status);
    status
}

fn from_record(view: &PodView<'_>, container: &Container, record: &runtime::Container) -> ContainerStatus {
    let state = match record.phase {
        ContainerPhase::Created => waiting(default_reason(view), None),
        _ => state_of(record),
    };
    ContainerStatus {
        name: container.name.clone(),
        container_id: Some(container_id(&record.id)),
        image: record.image.clone(),
        image_id: record.image_id.clone(),
        restart_count: i32::try_from(record.attempt).unwrap_or(i32::MAX),
        state: Some(state),
        resources: resize::actual(container, record),
        volume_mounts: volume_mounts(container),
        allocated_resources: container.resources.as_ref().and_then(|r| r.requests.clone()),
        ..ContainerStatus::default()
    }
}

/// KEP-3857: which mounts are read-only all the way down; here none is.
fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|m| !m.is_empty())?;
    let status = |mount: &VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
        volume_status: None,
    };
    Some(mounts.iter().map(status).collect())
}

/// A container that never ran waits; one that ran and whose record is gone keeps what was said of it.
fn without_record(
    view: &PodView<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(default_reason(view), None)),
        ..ContainerStatus::default()
    };
    let Some(old) = old else { return status };
    if let Some(taken_away) = reset::status(view, old) {
        return taken_away;
    }
    if old.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old.state.as_ref().is_some_and(|s| s.running.is_some()) {
        status.last_state = Some(lost());
        status.container_id = old.container_id.clone();
    }
    status
}

fn lost() -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

/// What the previous instance left, when its record was collected: its end as it was last reported.
fn carried_last_state(
    current: Option<&runtime::Container>,
    old: Option<&ContainerStatus>,
) -> Option<ContainerState> {
    let (current, old) = (current?, old?);
    let same = old.container_id.as_deref() == Some(container_id(&current.id).as_str());
    let ended_before = old.state.as_ref().filter(|s| s.terminated.is_some() && !same);
    ended_before.cloned().or_else(|| old.last_state.clone())
}

/// A container that is about to be started again waits, and says for what.
fn wait_for_start(
    view: &PodView<'_>,
    container: &Container,
    role: Role,
    current: Option<&runtime::Container>,
    held_back: &[HeldBack],
    status: &mut ContainerStatus,
) {
    let done_init = role == Role::Init && current.is_some_and(runtime::Container::succeeded);
    if done_init || !restart::should_start(view.spec(), container, role, current) {
        return;
    }
    let Some(waiting) =
        held_back_state(view, container, held_back).or_else(|| failure_state(view, container))
    else {
        return;
    };
    if let Some(state) = status.state.replace(waiting)
        && state.terminated.is_some()
    {
        status.last_state = Some(state);
    }
}

fn held_back_state(
    view: &PodView<'_>,
    container: &Container,
    held_back: &[HeldBack],
) -> Option<ContainerState> {
    let held = held_back.iter().find(|h| h.container == container.name)?;
    let message = crash_loop_message(held.delay_seconds, &container.name, &pod_full_name(view));
    Some(waiting("CrashLoopBackOff", Some(message)))
}

/// `back-off 10s restarting failed container=… pod=…`, durations as Go prints them.
pub(crate) fn crash_loop_message(delay_seconds: i64, container: &str, pod: &str) -> String {
    let delay = match (delay_seconds / 60, delay_seconds % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    };
    format!("back-off {delay} restarting failed container={container} pod={pod}")
}

fn pod_full_name(view: &PodView<'_>) -> String {
    let meta = &view.pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

fn failure_state(view: &PodView<'_>, container: &Container) -> Option<ContainerState> {
    let failure = view.failures.get(&Subject::Container(container.name.clone()))?;
    if failure.recorded
        && view
            .runtime
            .latest(&container.name)
            .is_some_and(|r| r.is_running())
    {
        return None;
    }
    let shown = view.now.duration_since(failure.at).as_secs();
    let image = container.image.as_deref().unwrap_or_default();
    if failure.reason == "ErrImagePull" && shown >= PULL_ERROR_SHOWN_SECONDS {
        let message = format!(
            "Back-off pulling image \"{image}\": ErrImagePull: {}",
            failure.message
        );
        return Some(waiting("ImagePullBackOff", Some(message)));
    }
    Some(waiting(&failure.reason, Some(failure.message.clone())))
}

fn fill_in_readiness(
    view: &PodView<'_>,
    container: &Container,
    role: Role,
    current: Option<&runtime::Container>,
    old: Option<&ContainerStatus>,
    status: &mut ContainerStatus,
) {
    let Some(record) = current else {
        status.started = Some(false);
        status.ready = role == Role::Init && exited_well(status);
        return;
    };
    if role == Role::Init {
        status.started = Some(record.is_running());
        status.ready = record.succeeded();
        return;
    }
    let adopted = record.started_at.is_some_and(|at| at < view.node.agent_started);
    let remembered = |field: fn(&ContainerStatus) -> bool| {
        adopted && old.is_some_and(|o| o.container_id == status.container_id && field(o))
    };
    let started = record.is_running()
        && (start::is_started(view, container, record) || remembered(|o| o.started == Some(true)));
    let ready = match view.probes.get(&record.id, Kind::Readiness) {
        _ if container.readiness_probe.is_none() => true,
        Some(verdict) => verdict == Verdict::Success,
        None => remembered(|o| o.ready),
    };
    status.started = Some(started);
    status.ready = started && ready && role != Role::Ephemeral;
}

fn exited_well(status: &ContainerStatus) -> bool {
    status
        .state
        .as_ref()
        .and_then(|s| s.terminated.as_ref())
        .is_some_and(|t| t.exit_code == 0)
}

/// `PodInitializing` where init containers go first, else `ContainerCreating`.
fn default_reason(view: &PodView<'_>) -> &'static str {
    if view.init_containers().is_empty() {
        "ContainerCreating"
    } else {
        "PodInitializing"
    }
}

pub(super) fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.into()),
            message,
        }),
        ..ContainerState::default()
    }
}

fn state_of(record: &runtime::Container) -> ContainerState {
    let started_at = record.started_at.map(Time);
    if record.is_running() {
        let running = Some(ContainerStateRunning { started_at });
        return ContainerState {
            running,
            ..ContainerState::default()
        };
    }
    let reason = match (record.reason.as_str(), record.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(container_id(&record.id)),
            exit_code: record.exit_code,
            reason: Some(reason.into()),
            message: (!record.message.is_empty()).then(|| record.message.clone()),
            started_at,
            finished_at: record.finished_at.map(Time),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

fn container_id(id: &str) -> String {
    format!("containerd://{id}")
}
