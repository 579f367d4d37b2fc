//! `status.conditions` that the node owns, and the keeping of those that it does not.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::PodView;
use super::reset;
use super::resize;
use super::restart::{self, Role};

/// The conditions that the node alone writes.
pub(crate) const OWNED: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
];

/// Conditions that the node alone writes and that are there only while they hold.
pub(crate) const TRANSIENT: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

struct Finding {
    kind: &'static str,
    ok: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    fn ok(kind: &'static str) -> Self {
        Self {
            kind,
            ok: true,
            reason: None,
            message: None,
        }
    }

    fn not(kind: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self {
            kind,
            ok: false,
            reason: Some(reason),
            message,
        }
    }
}

/// The conditions of a pod, in upstream's order, with those of others after them.
pub(super) fn conditions(
    view: &PodView<'_>,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Vec<PodCondition> {
    let spec = view.spec();
    let containers_ready = containers_ready(spec, phase, init, app);
    let ready = ready(view, &containers_ready);
    let findings = [
        sandbox(view, phase),
        initialized(spec, phase, init, app),
        ready,
        containers_ready,
    ];
    let generation = view.pod.metadata.generation;
    let mut conditions: Vec<PodCondition> = findings
        .into_iter()
        .chain(restarting(view, phase))
        .chain(resizing(view))
        .map(|f| condition(f, view.previous, generation, view.now))
        .collect();
    let foreign = view.pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let all_ours = || OWNED.iter().chain(&TRANSIENT).chain(&[reset::CONDITION]);
    let ours = |c: &PodCondition| all_ours().any(|kind| *kind == c.type_);
    conditions.extend(foreign.filter(|c| !ours(c)).cloned());
    if !conditions.iter().any(|c| c.type_ == "PodScheduled") {
        let scheduled = Finding::ok("PodScheduled");
        conditions.push(condition(scheduled, view.previous, generation, view.now));
    }
    conditions
}

/// Whether all containers begin anew, where that may happen.
fn restarting(view: &PodView<'_>, phase: &str) -> Option<Finding> {
    let over = matches!(phase, "Succeeded" | "Failed");
    reset::is_possible(view).then(|| {
        if over || !reset::is_due(view) {
            return Finding {
                ok: false,
                ..Finding::ok(reset::CONDITION)
            };
        }
        Finding {
            reason: Some("RestartAllContainersStarted"),
            message: Some("container exited with restart policy rule".to_owned()),
            ..Finding::ok(reset::CONDITION)
        }
    })
}

/// How a resize stands (KEP-1287).
fn resizing(view: &PodView<'_>) -> impl Iterator<Item = Finding> {
    let [pending, in_progress] = TRANSIENT;
    let pending = view.pending.map(|why| Finding {
        reason: Some(why.reason),
        message: Some(why.message.clone()),
        ..Finding::ok(pending)
    });
    let in_progress = resize::is_in_progress(view).then(|| Finding {
        reason: view.resize_fault.map(|_| "Error"),
        message: view.resize_fault.map(str::to_owned),
        ..Finding::ok(in_progress)
    });
    pending.into_iter().chain(in_progress)
}

fn condition(f: Finding, previous: &PodStatus, generation: Option<i64>, now: Timestamp) -> PodCondition {
    let status = if f.ok { "True" } else { "False" };
    let before = previous.conditions.iter().flatten().find(|c| c.type_ == f.kind);
    let since = before
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: f.kind.into(),
        status: status.into(),
        reason: f.reason.map(Into::into),
        message: f.message,
        last_transition_time: Some(since.unwrap_or_else(|| Time(crate::plan::status::whole_seconds(now)))),
        last_probe_time: None,
        observed_generation: generation,
    }
}

/// KEP-3085: the sandbox is up and has its network.
fn sandbox(view: &PodView<'_>, phase: &str) -> Finding {
    let host_network = view.spec().host_network == Some(true);
    let up = view
        .runtime
        .ready_sandbox()
        .is_some_and(|s| host_network || !s.ips.is_empty());
    let over = matches!(phase, "Succeeded" | "Failed");
    Finding {
        kind: "PodReadyToStartContainers",
        ok: up && !over,
        reason: None,
        message: None,
    }
}

fn initialized(spec: &PodSpec, phase: &str, init: &[ContainerStatus], app: &[ContainerStatus]) -> Finding {
    const KIND: &str = "Initialized";
    if phase == "Succeeded" {
        return Finding {
            reason: Some("PodCompleted"),
            ..Finding::ok(KIND)
        };
    }
    let went_on = app.iter().any(|s| {
        let ran =
            |s: &k8s_openapi::api::core::v1::ContainerState| s.running.is_some() || s.terminated.is_some();
        s.state.as_ref().is_some_and(ran) || s.last_state.as_ref().is_some_and(ran)
    });
    let incomplete: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| {
            let status = init.iter().find(|s| s.name == c.name);
            let done = if restart::init_role(c) == Role::Sidecar {
                status.is_some_and(|s| s.started == Some(true))
            } else {
                status.is_some_and(|s| s.ready)
            };
            !done
        })
        .map(|c| c.name.as_str())
        .collect();
    if went_on || incomplete.is_empty() {
        return Finding::ok(KIND);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Finding::not(KIND, "ContainersNotInitialized", Some(message))
}

fn containers_ready(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Finding {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => return Finding::not(KIND, "PodCompleted", None),
        "Failed" => return Finding::not(KIND, "PodFailed", None),
        _ => {}
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| restart::init_role(c) == Role::Sidecar);
    let expected = sidecars
        .map(|c| (c, init))
        .chain(spec.containers.iter().map(|c| (c, app)));
    let unready: Vec<&str> = expected
        .filter(|(c, statuses)| !statuses.iter().any(|s| s.name == c.name && s.ready))
        .map(|(c, _)| c.name.as_str())
        .collect();
    if unready.is_empty() {
        return Finding::ok(KIND);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Finding::not(KIND, "ContainersNotReady", Some(message))
}

fn ready(view: &PodView<'_>, containers: &Finding) -> Finding {
    const KIND: &str = "Ready";
    if !containers.ok {
        return Finding {
            kind: KIND,
            ok: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let theirs: Vec<_> = view
        .pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .collect();
    let faults: Vec<String> = view
        .spec()
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(
            |gate| match theirs.iter().find(|c| c.type_ == gate.condition_type) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{}\" does not exist.",
                    gate.condition_type
                )),
                Some(c) if c.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                    gate.condition_type, c.status
                )),
                Some(_) => None,
            },
        )
        .collect();
    if faults.is_empty() {
        return Finding::ok(KIND);
    }
    Finding::not(KIND, "ReadinessGatesNotReady", Some(faults.join(", ")))
}
