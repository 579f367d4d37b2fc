//! Bringing a pod up and keeping it up: sandbox, init containers in order, then the others.

use k8s_openapi::api::core::v1::{Container, Probe};

use super::resize::{self, Way};
use super::restart::{self, Role};
use super::{Action, HeldBack, KillReason, PodView, Steps, Subject};
use crate::plan::stop;
use crate::probe::{Kind, Verdict};
use crate::runtime::{self, Sandbox};

/// What to do for a pod that is to run.
pub(super) fn steps(view: &PodView<'_>) -> Steps {
    let mut steps = Steps::default();
    wake_at_deadline(view, &mut steps);
    let Some(sandbox) = view.runtime.ready_sandbox() else {
        create_sandbox(view, &mut steps);
        return steps;
    };
    let initialized = has_initialized(view, sandbox);
    let ready_for_apps = init_steps(view, sandbox, initialized, &mut steps);
    ephemeral_steps(view, &mut steps);
    if !ready_for_apps {
        return steps;
    }
    for container in &view.spec().containers {
        container_steps(view, container, Role::App, &mut steps);
    }
    resize_steps(view, &mut steps);
    steps
}

/// Containers whose resources change while they run, each named by its id; none where only those of the whole pod do.
fn resize_steps(view: &PodView<'_>, steps: &mut Steps) {
    let all = view.init_containers().iter().chain(&view.spec().containers);
    let containers: Vec<String> = all
        .filter_map(|c| {
            let running = view.runtime.latest(&c.name).filter(|r| r.is_running())?;
            (resize::way(view.spec(), c, running) == Some(Way::Update)).then(|| running.id.clone())
        })
        .collect();
    if !containers.is_empty() || resize::is_pod_behind(view) {
        steps.actions.push(Action::Resize { containers });
    }
}

fn wake_at_deadline(view: &PodView<'_>, steps: &mut Steps) {
    if let Some(at) = stop::deadline(view) {
        steps.wake(at);
    }
}

/// A pod whose containers all ended for good gets no new sandbox.
fn create_sandbox(view: &PodView<'_>, steps: &mut Steps) {
    let spec = view.spec();
    let wanted = view.runtime.containers.is_empty()
        || spec
            .containers
            .iter()
            .any(|c| restart::should_start(spec, c, Role::App, view.runtime.latest(&c.name)));
    if !wanted {
        return;
    }
    if let Some(failure) = view.failures.get(&Subject::Sandbox)
        && view.now < failure.retry_at
    {
        steps.wake(failure.retry_at);
        return;
    }
    let attempt = view.runtime.sandboxes.first().map_or(0, |s| s.attempt + 1);
    steps.actions.push(Action::CreateSandbox { attempt });
}

/// Once an application container was made in this sandbox, init containers are over, even where their records are gone.
fn has_initialized(view: &PodView<'_>, sandbox: &Sandbox) -> bool {
    view.spec().containers.iter().any(|c| {
        view.runtime
            .containers
            .iter()
            .any(|r| r.name == c.name && r.sandbox_id == sandbox.id)
    })
}

/// Returns whether application containers may run.
fn init_steps(view: &PodView<'_>, sandbox: &Sandbox, initialized: bool, steps: &mut Steps) -> bool {
    for container in view.init_containers() {
        let role = restart::init_role(container);
        let record = view
            .runtime
            .latest(&container.name)
            .filter(|r| r.sandbox_id == sandbox.id);
        match role {
            Role::Sidecar => {
                container_steps(view, container, role, steps);
                let started = record.is_some_and(|r| r.is_running() && is_started(view, container, r));
                if !initialized && !started {
                    return false;
                }
            }
            _ if initialized => {}
            _ => match record {
                Some(r) if r.succeeded() => {}
                Some(r) if r.is_running() => return false,
                _ => {
                    start_when_due(view, container, role, record, steps);
                    return false;
                }
            },
        }
    }
    true
}

fn ephemeral_steps(view: &PodView<'_>, steps: &mut Steps) {
    for ephemeral in view.spec().ephemeral_containers.iter().flatten() {
        if view.runtime.latest(&ephemeral.name).is_none() {
            let container = restart::ephemeral_as_container(ephemeral);
            start_when_due(view, &container, Role::Ephemeral, None, steps);
        }
    }
}

/// Starts, keeps or kills one container that is to be up.
fn container_steps(view: &PodView<'_>, container: &Container, role: Role, steps: &mut Steps) {
    let record = view.runtime.latest(&container.name);
    if let Some(running) = record.filter(|r| r.is_running()) {
        if let Some((reason, grace_seconds)) = kill_reason(view, container, running) {
            steps.actions.push(Action::KillContainer {
                id: running.id.clone(),
                name: running.name.clone(),
                grace_seconds,
                reason,
            });
        }
        return;
    }
    let spec = view.spec();
    if restart::should_start(spec, container, role, record) {
        start_when_due(view, container, role, record, steps);
    }
}

fn kill_reason(
    view: &PodView<'_>,
    container: &Container,
    running: &runtime::Container,
) -> Option<(KillReason, i64)> {
    let grace = view.spec().termination_grace_period_seconds.unwrap_or(30);
    let with_probe = |probe: Option<&Probe>| {
        probe
            .and_then(|p| p.termination_grace_period_seconds)
            .unwrap_or(grace)
    };
    if container
        .image
        .as_deref()
        .is_some_and(|image| image != running.spec_image)
    {
        return Some((KillReason::SpecChanged, grace));
    }
    if resize::way(view.spec(), container, running) == Some(Way::Restart) {
        return Some((KillReason::Resized, grace));
    }
    if view.probes.get(&running.id, Kind::Startup) == Some(Verdict::Failure) {
        return Some((
            KillReason::NotStarted,
            with_probe(container.startup_probe.as_ref()),
        ));
    }
    if view.probes.get(&running.id, Kind::Liveness) == Some(Verdict::Failure) {
        return Some((
            KillReason::Unhealthy,
            with_probe(container.liveness_probe.as_ref()),
        ));
    }
    None
}

/// Whether a running container counts as started: at once, or when its startup probe said so.
pub(super) fn is_started(view: &PodView<'_>, container: &Container, running: &runtime::Container) -> bool {
    container.startup_probe.is_none() || view.probes.get(&running.id, Kind::Startup) == Some(Verdict::Success)
}

fn start_when_due(
    view: &PodView<'_>,
    container: &Container,
    role: Role,
    record: Option<&runtime::Container>,
    steps: &mut Steps,
) {
    if let Some(ended) = record.filter(|r| r.has_exited()) {
        if !restart::should_start(view.spec(), container, role, record) {
            return;
        }
        let since = ended.finished_at.unwrap_or(ended.created_at);
        if let Some((delay, until)) = view.backoff.holds(&container.name, since, view.now) {
            steps.wake(until);
            let container = container.name.clone();
            steps.held_back.push(HeldBack {
                container,
                delay_seconds: delay.as_secs(),
                until,
            });
            return;
        }
    }
    if let Some(failure) = view.failures.get(&Subject::Container(container.name.clone()))
        && !failure.recorded
        && view.now < failure.retry_at
    {
        steps.wake(failure.retry_at);
        return;
    }
    let remembered = super::container_status::previous_restart_count(view, role, &container.name);
    let attempt = view
        .runtime
        .latest(&container.name)
        .map_or(remembered, |r| r.attempt + 1);
    steps.actions.push(Action::StartContainer {
        name: container.name.clone(),
        role,
        attempt,
    });
}
