//! Bringing a pod up, and its containers up again.

use super::*;

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
