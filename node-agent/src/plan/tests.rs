//! Tables and laws of the whole plan.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
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

#[test]
fn a_pod_comes_up_step_by_step() {
    let fresh = World::one(json!({}));
    assert_eq!(actions(&fresh.plan()), "sandbox#0");
    assert_eq!(state(&fresh.plan()), "waiting ContainerCreating");
    let boxed = World::one(json!({})).sandbox(true);
    assert_eq!(actions(&boxed.plan()), "start App c#0");
    assert_eq!(condition(&boxed.plan(), "PodReadyToStartContainers"), "True");
    assert_eq!(
        condition(&boxed.plan(), "Ready"),
        "False ContainersNotReady containers with unready status: [c]"
    );
    let up = World::one(json!({})).sandbox(true).running("c").plan();
    assert_eq!(actions(&up), "");
    assert_eq!(
        (up.stage, up.status.phase.as_deref()),
        (Stage::Running, Some("Running"))
    );
    assert_eq!(state(&up), "running started=Some(true) ready=true");
    insta::assert_json_snapshot!(up.status);
}

#[test]
fn restart_policies() {
    for (policy, code, want, phase) in [
        ("Always", 0, "start App c#1", "Running"),
        ("Always", 1, "start App c#1", "Running"),
        ("OnFailure", 1, "start App c#1", "Running"),
        ("OnFailure", 0, "stop s0", "Succeeded"),
        ("Never", 0, "stop s0", "Succeeded"),
        ("Never", 1, "stop s0", "Failed"),
    ] {
        let plan = World::one(json!({"restartPolicy": policy}))
            .sandbox(true)
            .exited("c", code)
            .plan();
        assert_eq!(actions(&plan), want, "{policy} {code}");
        assert_eq!(plan.status.phase.as_deref(), Some(phase), "{policy} {code}");
    }
}

#[test]
fn containers_rules_come_before_the_pods_policy() {
    let rule = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let container = json!({"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rule});
    for (code, want) in [(42, "start App c#1"), (1, "stop s0")] {
        let world = World::new(json!({"containers": [container.clone()]}))
            .sandbox(true)
            .exited("c", code);
        assert_eq!(actions(&world.plan()), want, "{code}");
    }
}

#[test]
fn a_crash_loop_is_held_back_and_says_so() {
    let mut world = World::one(json!({})).sandbox(true).exited("c", 1);
    world.backoff.next("c", at(50));
    world.now = 95;
    let plan = world.plan();
    assert_eq!(actions(&plan), "");
    assert_eq!(plan.wake_at, Some(at(100)));
    assert_eq!(
        state(&plan),
        "waiting CrashLoopBackOff back-off 10s restarting failed container=c pod=web_ns(u1)"
    );
    assert_eq!(plan.status.phase.as_deref(), Some("Running"));
    let last = plan.status.container_statuses.unwrap()[0]
        .last_state
        .clone()
        .unwrap();
    assert_eq!(last.terminated.unwrap().exit_code, 1);
    world.now = 100;
    assert_eq!(actions(&world.plan()), "start App c#1");
}

#[test]
fn delays_read_as_go_prints_them() {
    for (seconds, want) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
        assert!(
            container_status::crash_loop_message(seconds, "c", "p").starts_with(&format!("back-off {want} "))
        );
    }
}

#[test]
fn start_failures_are_shown_and_waited_out() {
    for (reason, later, want) in [
        ("ErrImageNeverPull", 0, "waiting ErrImageNeverPull why"),
        (
            "CreateContainerConfigError",
            9,
            "waiting CreateContainerConfigError why",
        ),
        ("ErrImagePull", 0, "waiting ErrImagePull why"),
        (
            "ErrImagePull",
            9,
            "waiting ImagePullBackOff Back-off pulling image \"i\": ErrImagePull: why",
        ),
    ] {
        let mut world = World::one(json!({})).sandbox(true);
        let failure = StartFailure {
            reason: reason.into(),
            message: "why".into(),
            at: at(100),
            retry_at: at(110),
            recorded: false,
        };
        world.failures.insert(Subject::Container("c".into()), failure);
        world.now = 100 + later;
        let plan = world.plan();
        assert_eq!(
            (state(&plan).as_str(), actions(&plan).as_str()),
            (want, ""),
            "{reason}"
        );
        assert_eq!(plan.wake_at, Some(at(110)));
        world.now = 110;
        assert_eq!(actions(&world.plan()), "start App c#0");
    }
}

fn init_world(policy: &str) -> World {
    World::new(json!({"restartPolicy": policy,
        "initContainers": [{"name": "i1", "image": "i"}, {"name": "i2", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}]}))
    .sandbox(true)
}

#[test]
fn init_containers_go_one_by_one() {
    assert_eq!(actions(&init_world("Always").plan()), "start Init i1#0");
    assert_eq!(actions(&init_world("Always").running("i1").plan()), "");
    let first = init_world("Always").exited("i1", 0);
    assert_eq!(actions(&first.plan()), "start Init i2#0");
    assert_eq!(
        condition(&first.plan(), "Initialized"),
        "False ContainersNotInitialized containers with incomplete status: [i2]"
    );
    assert_eq!(state(&first.plan()), "waiting PodInitializing");
    let both = init_world("Always").exited("i1", 0).exited("i2", 0);
    assert_eq!(actions(&both.plan()), "start App c#0");
    assert_eq!(condition(&both.plan(), "Initialized"), "True");
    let failed = init_world("Always").exited("i1", 1);
    assert_eq!(
        (
            actions(&failed.plan()).as_str(),
            failed.plan().status.phase.as_deref()
        ),
        ("start Init i1#1", Some("Pending"))
    );
    let given_up = init_world("Never").exited("i1", 1).plan();
    assert_eq!(
        (actions(&given_up).as_str(), given_up.status.phase.as_deref()),
        ("stop s0", Some("Failed"))
    );
}

#[test]
fn collected_init_containers_are_not_run_again() {
    assert_eq!(actions(&init_world("Always").running("c").plan()), "");
}

fn sidecar_world() -> World {
    World::new(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}, {"name": "late", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "i"}]}))
    .sandbox(true)
}

#[test]
fn sidecars_start_first_and_stop_last() {
    assert_eq!(actions(&sidecar_world().plan()), "start Sidecar side#0");
    assert_eq!(
        actions(&sidecar_world().running("side").plan()),
        "start Sidecar late#0"
    );
    let both = || sidecar_world().running("side").running("late");
    assert_eq!(actions(&both().plan()), "start App c#0");
    let crashed = sidecar_world().exited("side", 1).running("late").running("c");
    assert_eq!(actions(&crashed.plan()), "start Sidecar side#1");
    let done = both().exited("c", 0);
    assert_eq!(actions(&done.plan()), "kill late-0 30 NotNeeded");
    assert_eq!(
        actions(&both().running("c").deleted(10).plan()),
        "kill c-0 10 PodEnds"
    );
    let mut late = both().exited("c", 0).deleted(10);
    late.now += 7;
    assert_eq!(actions(&late.plan()), "kill late-0 3 PodEnds");
}

#[test]
fn deletion_stops_containers_then_the_sandbox_then_ends() {
    let alive = World::one(json!({})).sandbox(true).running("c").deleted(5).plan();
    assert_eq!(
        (alive.stage, actions(&alive).as_str()),
        (Stage::Ending, "kill c-0 5 PodEnds")
    );
    assert_eq!(alive.status.phase.as_deref(), Some("Running"));
    let stopped = World::one(json!({}))
        .sandbox(true)
        .exited("c", 143)
        .deleted(5)
        .plan();
    assert_eq!(
        (stopped.stage, actions(&stopped).as_str()),
        (Stage::Ending, "stop s0")
    );
    let down = World::one(json!({}))
        .sandbox(false)
        .exited("c", 143)
        .deleted(5)
        .plan();
    assert_eq!((down.stage, actions(&down).as_str()), (Stage::Ended, ""));
    assert_eq!(down.status.phase.as_deref(), Some("Failed"));
    let mut removed = World::one(json!({"terminationGracePeriodSeconds": 7}))
        .sandbox(true)
        .running("c");
    removed.removed = true;
    assert_eq!(actions(&removed.plan()), "kill c-0 7 PodEnds");
}

#[test]
fn a_deadline_fails_the_pod() {
    let mut world = World::one(json!({"activeDeadlineSeconds": 30}))
        .sandbox(true)
        .running("c");
    world.previous.start_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    world.now = 29;
    assert_eq!(world.plan().wake_at, Some(at(30)));
    world.now = 30;
    let plan = world.plan();
    assert_eq!(actions(&plan), "kill c-0 30 PodEnds");
    assert_eq!(plan.status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(plan.status.phase.as_deref(), Some("Failed"));
}

#[test]
fn a_lost_sandbox_is_made_again() {
    let lost = World::one(json!({})).sandbox(false).exited("c", 137);
    assert_eq!(actions(&lost.plan()), "sandbox#1");
    let done = World::one(json!({"restartPolicy": "Never"}))
        .sandbox(false)
        .exited("c", 0);
    assert_eq!(actions(&done.plan()), "");
    let again = World::one(json!({}))
        .sandbox(false)
        .exited("c", 137)
        .sandbox(true);
    assert_eq!(actions(&again.plan()), "start App c#1");
    let running = World::one(json!({}))
        .sandbox(false)
        .exited("c", 137)
        .sandbox(true)
        .record("c", 1, ContainerPhase::Running, 0);
    assert_eq!(
        actions(&running.plan()),
        "",
        "the dead one of the old sandbox stays for its log"
    );
}

#[test]
fn probes_decide_readiness_and_restarts() {
    let container = json!({"name": "c", "image": "i",
        "readinessProbe": {"tcpSocket": {"port": 80}}, "livenessProbe": {"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 3},
        "startupProbe": {"tcpSocket": {"port": 80}}});
    let world = || {
        World::new(json!({"containers": [container.clone()]}))
            .sandbox(true)
            .running("c")
    };
    assert_eq!(state(&world().plan()), "running started=Some(false) ready=false");
    let mut started = world();
    started.probes.set("c-0", Kind::Startup, Verdict::Success);
    assert_eq!(state(&started.plan()), "running started=Some(true) ready=false");
    started.probes.set("c-0", Kind::Readiness, Verdict::Success);
    assert_eq!(state(&started.plan()), "running started=Some(true) ready=true");
    started.probes.set("c-0", Kind::Readiness, Verdict::Failure);
    assert_eq!(
        condition(&started.plan(), "ContainersReady"),
        "False ContainersNotReady containers with unready status: [c]"
    );
    started.probes.set("c-0", Kind::Liveness, Verdict::Failure);
    assert_eq!(actions(&started.plan()), "kill c-0 3 Unhealthy");
    let mut never = world();
    never.probes.set("c-0", Kind::Startup, Verdict::Failure);
    assert_eq!(actions(&never.plan()), "kill c-0 30 NotStarted");
}

#[test]
fn an_adopted_container_keeps_the_readiness_that_the_api_remembers() {
    let container = json!({"name": "c", "image": "i", "readinessProbe": {"tcpSocket": {"port": 80}}});
    let mut world = World::new(json!({"containers": [container]}))
        .sandbox(true)
        .running("c");
    world.runtime.containers[0].started_at = Some(at(-50));
    world.previous = serde_json::from_value(
        json!({"containerStatuses": [{"name": "c", "ready": true, "started": true,
        "containerID": "containerd://c-0", "image": "i", "imageID": "", "restartCount": 0}]}),
    )
    .unwrap();
    assert_eq!(state(&world.plan()), "running started=Some(true) ready=true");
}

#[test]
fn a_changed_image_replaces_the_container() {
    let mut world = World::one(json!({})).sandbox(true).running("c");
    world.runtime.containers[0].spec_image = "old".into();
    assert_eq!(actions(&world.plan()), "kill c-0 30 SpecChanged");
}

#[test]
fn readiness_gates_hold_back_ready_only() {
    let mut world = World::one(json!({"readinessGates": [{"conditionType": "example.com/gate"}]}))
        .sandbox(true)
        .running("c");
    assert_eq!(condition(&world.plan(), "ContainersReady"), "True");
    assert_eq!(
        condition(&world.plan(), "Ready"),
        "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"example.com/gate\" does not exist."
    );
    let status = json!({"conditions": [{"type": "example.com/gate", "status": "True"}]});
    world.pod.status = Some(serde_json::from_value(status).unwrap());
    assert_eq!(condition(&world.plan(), "Ready"), "True");
}

#[test]
fn ephemeral_containers_start_once() {
    let world = || {
        World::one(json!({"ephemeralContainers": [{"name": "debug", "image": "d"}]}))
            .sandbox(true)
            .running("c")
    };
    assert_eq!(actions(&world().plan()), "start Ephemeral debug#0");
    assert_eq!(actions(&world().exited("debug", 1).plan()), "");
}

#[test]
fn only_the_newest_dead_container_stays() {
    let world = World::one(json!({}))
        .sandbox(true)
        .exited("c", 1)
        .record("c", 1, ContainerPhase::Exited, 1)
        .record("c", 2, ContainerPhase::Running, 0);
    assert_eq!(actions(&world.plan()), "remove c-0");
}

/// What the pod's spec says that a container is to have.
fn granted(pod: &Pod, name: &str) -> Option<ResourceRequirements> {
    let (container, _) = find_container(pod.spec.as_ref()?, name)?;
    Some(container.resources.unwrap_or_default())
}

/// Two containers that run with one cpu each, where `a` is to have two.
fn resized(policy: Value) -> World {
    let mut world = World::new(json!({"containers": [
        {"name": "a", "image": "i", "resources": {"limits": {"cpu": "2"}}, "resizePolicy": policy},
        {"name": "b", "image": "i", "resources": {"limits": {"cpu": "1"}}},
    ]}))
    .sandbox(true)
    .running("a")
    .running("b");
    for record in &mut world.runtime.containers {
        record.resources = serde_json::from_value(json!({"limits": {"cpu": "1"}})).unwrap();
    }
    world
}

#[test]
fn a_resize_reaches_running_containers_and_the_status_tells_what_they_have() {
    let mut world = resized(json!(null));
    let plan = world.plan();
    assert_eq!(actions(&plan), "resize a-0");
    let shown = |plan: &PodPlan| {
        let a = &plan.status.container_statuses.as_ref().unwrap()[0];
        serde_json::to_value(a.resources.as_ref().unwrap()).unwrap()
    };
    assert_eq!(shown(&plan), json!({"limits": {"cpu": "1"}}));
    assert_eq!(standing(&plan, "PodResizeInProgress"), Some("True"));
    carry_out(&mut world, &plan.actions[0], 0);
    let plan = world.plan();
    assert_eq!(actions(&plan), "");
    assert_eq!(shown(&plan), json!({"limits": {"cpu": "2"}}));
    assert_eq!(standing(&plan, "PodResizeInProgress"), None);
}

#[test]
fn a_resize_restarts_where_its_policy_says_so() {
    let world = resized(json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]));
    assert_eq!(actions(&world.plan()), "kill a-0 30 Resized");
    let world = resized(json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]));
    assert_eq!(actions(&world.plan()), "resize a-0");
}

#[test]
fn a_resize_that_is_not_granted_is_told() {
    let mut world = World::one(json!({})).sandbox(true).running("c");
    world.pending = Some(Pending {
        reason: "Deferred",
        message: "later".into(),
    });
    let plan = world.plan();
    assert_eq!(actions(&plan), "");
    assert_eq!(standing(&plan, "PodResizePending"), Some("True"));
    world.pending = None;
    world.previous = plan.status.clone();
    world.pod.status = Some(plan.status);
    assert_eq!(
        standing(&world.plan(), "PodResizePending"),
        None,
        "it is not taken for another's"
    );
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

fn settle(world: &mut World) -> Result<(), TestCaseError> {
    for _ in 0..64 {
        let plan = world.plan();
        world.previous = plan.status.clone();
        if plan.actions.is_empty() {
            return Ok(());
        }
        for action in &plan.actions {
            carry_out(world, action, 0);
        }
        // Init containers run to their end at once.
        let inits: Vec<String> = world
            .runtime
            .containers
            .iter()
            .filter(|c| c.is_running() && c.name.starts_with("init"))
            .map(|c| c.id.clone())
            .collect();
        inits.iter().for_each(|id| end(world, id, 0));
    }
    Err(TestCaseError::fail("the plan does not come to rest"))
}

fn specs() -> impl Strategy<Value = Value> {
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    (policy, 0..3usize, 0..2usize, 1..3usize).prop_map(|(policy, inits, sidecars, apps)| {
        let plain = |prefix: &str, n: usize| -> Vec<Value> {
            (0..n)
                .map(|i| json!({"name": format!("{prefix}{i}"), "image": "i"}))
                .collect()
        };
        let mut init = plain("side", sidecars);
        init.iter_mut().for_each(|c| c["restartPolicy"] = json!("Always"));
        init.extend(plain("init", inits));
        json!({"restartPolicy": policy, "initContainers": init, "containers": plain("app", apps)})
    })
}

proptest! {
    #[test]
    fn a_plan_comes_to_rest_and_planning_again_changes_nothing(spec in specs(), crashes in prop::collection::vec((any::<prop::sample::Index>(), 0..2i32), 0..4)) {
        let mut world = World::new(spec);
        settle(&mut world)?;
        for (which, code) in crashes {
            world.now += 1000;
            let alive: Vec<String> = world.runtime.alive().map(|c| c.id.clone()).collect();
            if alive.is_empty() {
                break;
            }
            let id = which.get(&alive).clone();
            end(&mut world, &id, code);
            settle(&mut world)?;
        }
        let (first, second) = (world.plan(), world.plan());
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_deleted_pod_always_ends(spec in specs(), grace in 0..40i64) {
        let mut world = World::new(spec);
        settle(&mut world)?;
        world = world.deleted(grace);
        settle(&mut world)?;
        prop_assert_eq!(world.plan().stage, Stage::Ended);
        prop_assert!(world.runtime.is_down());
    }

    #[test]
    fn a_final_phase_is_final(spec in specs(), code in 0..2i32) {
        let mut world = World::new(spec);
        settle(&mut world)?;
        world.previous.phase = Some(if code == 0 { "Succeeded" } else { "Failed" }.into());
        let before = world.previous.phase.clone();
        settle(&mut world)?;
        prop_assert_eq!(world.plan().status.phase, before);
        prop_assert!(world.runtime.is_down());
    }
}
