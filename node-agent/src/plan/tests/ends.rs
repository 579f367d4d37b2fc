//! What ends a pod, or its sandbox.

use super::*;

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
fn a_refused_pod_fails_and_nothing_of_it_is_made() {
    let mut world = World::one(json!({}));
    world.rejected = Some(Rejection {
        reason: "NodePorts".into(),
        message: "no port".into(),
    });
    let plan = world.plan();
    assert_eq!((plan.stage, actions(&plan).as_str()), (Stage::Ended, ""));
    let expected = json!({"phase": "Failed", "reason": "NodePorts", "message": "Pod was rejected: no port",
        "qosClass": "BestEffort", "startTime": at(100).to_string(), "observedGeneration": 1});
    assert_eq!(serde_json::to_value(&plan.status).unwrap(), expected);
    world.previous = plan.status.clone();
    world.now = 200;
    assert_eq!(world.deleted(5).plan(), plan, "and it stays so");
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
