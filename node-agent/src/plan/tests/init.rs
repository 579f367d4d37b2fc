//! Containers that go before the others.

use super::*;

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
