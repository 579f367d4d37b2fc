//! Tables and laws of the whole plan.

mod ends;
mod init;
mod laws;
mod reset;
mod resize;
mod restarts;
mod running;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::pod_level;
use crate::probe::{Kind, ProbeResults, Verdict};
use crate::runtime::{Container as Record, ContainerPhase, PodRuntime, Sandbox};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A pod and all that is seen of it, built up by tests.
struct World {
    pod: Pod,
    previous: PodStatus,
    runtime: PodRuntime,
    probes: ProbeResults,
    backoff: Backoff,
    failures: StartFailures,
    pending: Option<Pending>,
    resize_fault: Option<String>,
    pod_has: Option<ResourceRequirements>,
    rejected: Option<Rejection>,
    removed: bool,
    now: i64,
}

impl World {
    fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u1", "generation": 1}, "spec": spec});
        Self {
            pod: serde_json::from_value(pod).unwrap(),
            previous: PodStatus::default(),
            runtime: PodRuntime::default(),
            probes: ProbeResults::default(),
            backoff: Backoff::default(),
            failures: BTreeMap::new(),
            pending: None,
            resize_fault: None,
            pod_has: None,
            rejected: None,
            removed: false,
            now: 100,
        }
    }

    /// One container `c` with these further fields of the spec.
    fn one(more: Value) -> Self {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        Self::new(spec)
    }

    fn sandbox(mut self, ready: bool) -> Self {
        let attempt = u32::try_from(self.runtime.sandboxes.len()).unwrap();
        self.runtime.sandboxes.push(Sandbox {
            id: format!("s{attempt}"),
            attempt,
            ready,
            created_at: at(0),
            ips: if ready { vec!["10.244.0.5".into()] } else { vec![] },
            grace_seconds: None,
        });
        self.runtime.sort();
        self
    }

    fn record(mut self, name: &str, attempt: u32, phase: ContainerPhase, exit_code: i32) -> Self {
        let sandbox_id = self
            .runtime
            .sandboxes
            .first()
            .map(|s| s.id.clone())
            .unwrap_or_default();
        self.runtime.containers.push(Record {
            id: format!("{name}-{attempt}"),
            sandbox_id,
            name: name.into(),
            attempt,
            phase,
            created_at: at(1),
            started_at: (phase != ContainerPhase::Created).then(|| at(2)),
            finished_at: (phase == ContainerPhase::Exited).then(|| at(90)),
            exit_code,
            reason: String::new(),
            message: String::new(),
            image: "docker.io/library/i:latest".into(),
            image_id: "sha256:1".into(),
            spec_image: "i".into(),
            resources: None,
        });
        self.runtime.sort();
        self
    }

    fn running(self, name: &str) -> Self {
        self.record(name, 0, ContainerPhase::Running, 0)
    }

    fn exited(self, name: &str, code: i32) -> Self {
        self.record(name, 0, ContainerPhase::Exited, code)
    }

    fn deleted(mut self, grace: i64) -> Self {
        let until = at(self.now + grace);
        self.pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(until));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
        self
    }

    fn plan(&self) -> PodPlan {
        let node = NodeView {
            host_ips: vec!["192.0.2.1".into()],
            agent_started: at(0),
        };
        plan_pod(&PodView {
            pod: &self.pod,
            previous: &self.previous,
            runtime: &self.runtime,
            probes: &self.probes,
            backoff: &self.backoff,
            failures: &self.failures,
            node: &node,
            pending: self.pending.as_ref(),
            resize_fault: self.resize_fault.as_deref(),
            pod_has: self.pod_has.as_ref(),
            rejected: self.rejected.as_ref(),
            removed: self.removed,
            now: at(self.now),
        })
    }
}

/// Actions in one line: `start c#0`, `kill c-0 30 PodEnds`, …
fn actions(plan: &PodPlan) -> String {
    let show = |a: &Action| match a {
        Action::CreateSandbox { attempt } => format!("sandbox#{attempt}"),
        Action::StartContainer { name, role, attempt } => format!("start {role:?} {name}#{attempt}"),
        Action::KillContainer {
            id,
            grace_seconds,
            reason,
            ..
        } => format!("kill {id} {grace_seconds} {reason:?}"),
        Action::Resize { containers } => format!("resize {}", containers.join(" ")),
        Action::StopSandbox { id } => format!("stop {id}"),
        Action::RemoveContainer { id, .. } => format!("remove {id}"),
        Action::RemoveSandbox { id } => format!("remove {id}"),
    };
    plan.actions.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// The first container's state in one line.
fn state(plan: &PodPlan) -> String {
    let list = plan.status.container_statuses.as_deref().unwrap_or_default();
    let Some(status) = list.first() else {
        return "none".into();
    };
    let state = status.state.clone().unwrap_or_default();
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    if let Some(w) = state.waiting {
        return format!("waiting {} {}", text(&w.reason), text(&w.message))
            .trim_end()
            .to_owned();
    }
    if let Some(t) = state.terminated {
        return format!("terminated {} {}", text(&t.reason), t.exit_code);
    }
    format!("running started={:?} ready={}", status.started, status.ready)
}

fn condition(plan: &PodPlan, kind: &str) -> String {
    let list = plan.status.conditions.as_deref().unwrap_or_default();
    let found = list.iter().find(|c| c.type_ == kind).unwrap();
    [
        Some(found.status.clone()),
        found.reason.clone(),
        found.message.clone(),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(" ")
}

/// What the pod's spec says that a container is to have.
fn granted(pod: &Pod, name: &str) -> Option<ResourceRequirements> {
    let spec = pod.spec.as_ref()?;
    let (container, _) = find_container(spec, name)?;
    Some(pod_level::effective(spec, &container))
}

/// The status of one of the pod's conditions.
fn standing<'p>(plan: &'p PodPlan, kind: &str) -> Option<&'p str> {
    let conditions = plan.status.conditions.as_ref()?.iter();
    conditions
        .into_iter()
        .find(|c| c.type_ == kind)
        .map(|c| c.status.as_str())
}

/// Carries out an action as a runtime would.
fn carry_out(world: &mut World, action: &Action, code: i32) {
    match action {
        Action::CreateSandbox { attempt } => world.runtime.sandboxes.push(Sandbox {
            id: format!("s{attempt}"),
            attempt: *attempt,
            ready: true,
            created_at: at(world.now),
            ips: vec!["10.244.0.9".into()],
            grace_seconds: None,
        }),
        Action::StartContainer { name, attempt, .. } => {
            let sandbox_id = world.runtime.sandboxes[0].id.clone();
            let fresh = Record {
                id: format!("{name}-{attempt}"),
                sandbox_id,
                name: name.clone(),
                attempt: *attempt,
                phase: ContainerPhase::Running,
                created_at: at(world.now),
                started_at: Some(at(world.now)),
                finished_at: None,
                exit_code: 0,
                reason: String::new(),
                message: String::new(),
                image: "i".into(),
                image_id: String::new(),
                spec_image: "i".into(),
                resources: granted(&world.pod, name),
            };
            world.runtime.containers.push(fresh);
        }
        Action::Resize { containers } => {
            for record in &mut world.runtime.containers {
                if containers.contains(&record.id) {
                    record.resources = granted(&world.pod, &record.name);
                }
            }
            world.pod_has = world.pod.spec.as_ref().map(pod_level::whole);
        }
        Action::KillContainer { id, .. } => end(world, id, code),
        Action::StopSandbox { id } => {
            world
                .runtime
                .sandboxes
                .iter_mut()
                .filter(|s| s.id == *id)
                .for_each(|s| s.ready = false);
        }
        Action::RemoveContainer { id, .. } => world.runtime.containers.retain(|c| c.id != *id),
        Action::RemoveSandbox { id } => world.runtime.sandboxes.retain(|s| s.id != *id),
    }
    world.runtime.sort();
}

fn end(world: &mut World, id: &str, code: i32) {
    let now = at(world.now);
    for container in world.runtime.containers.iter_mut().filter(|c| c.id == id) {
        container.phase = ContainerPhase::Exited;
        container.finished_at = Some(now);
        container.exit_code = code;
    }
}
