//! What happens to a pod that runs: probes, changes, gates.

use super::*;

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
