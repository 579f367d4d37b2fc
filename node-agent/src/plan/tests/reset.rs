//! Pods of which all containers begin anew once one has ended.

use super::*;

/// An init container and two others that never run again by themselves; code 42 of `a` makes all begin anew.
fn world() -> World {
    let rules = json!([
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}},
        {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7, 42]}},
    ]);
    World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [
            {"name": "a", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules},
            {"name": "b", "image": "i"},
        ],
    }))
    .sandbox(true)
    .exited("init", 0)
}

/// Carries out what is planned, once.
fn step(world: &mut World) -> String {
    let plan = world.plan();
    world.previous = plan.status.clone();
    plan.actions
        .iter()
        .for_each(|action| carry_out(world, action, 137));
    world.now += 1;
    actions(&plan)
}

fn restarting(world: &World) -> String {
    condition(&world.plan(), "AllContainersRestarting")
}

#[test]
fn all_is_taken_away_and_comes_up_again_in_order() {
    let mut world = world().running("b").exited("a", 42);
    assert_eq!(
        restarting(&world),
        "True RestartAllContainersStarted container exited with restart policy rule"
    );
    let phase = |world: &World| world.plan().status.phase.unwrap();
    assert_eq!(phase(&world), "Running");
    assert_eq!(step(&mut world), "remove init-0, kill b-0 0 RestartingAll");
    assert_eq!(step(&mut world), "remove b-0");
    assert_eq!(step(&mut world), "remove a-0", "what has set it off goes last");
    assert_eq!(restarting(&world), "False");
    let plan = world.plan();
    assert_eq!(
        state(&plan),
        "waiting RestartingAllContainers The container is removed because RestartAllContainers in place"
    );
    let a = &plan.status.container_statuses.as_ref().unwrap()[0];
    let last = a.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((a.restart_count, last.exit_code), (1, 137));
    assert_ne!(phase(&world), "Failed");
    assert_eq!(step(&mut world), "start Init init#1");
    end(&mut world, "init-1", 0);
    assert_eq!(step(&mut world), "start App a#1, start App b#1");
    let plan = world.plan();
    assert_eq!((actions(&plan).as_str(), phase(&world).as_str()), ("", "Running"));
    for status in plan.status.container_statuses.unwrap() {
        let last = status.last_state.unwrap().terminated.unwrap();
        assert_eq!(
            (status.restart_count, last.reason.as_deref()),
            (1, Some("RestartingAllContainers")),
            "{}",
            status.name
        );
    }
}

#[test]
fn the_first_rule_that_matches_counts() {
    let world = world().running("b").exited("a", 7);
    assert_eq!(restarting(&world), "False");
    assert_eq!(actions(&world.plan()), "start App a#1");
    assert_eq!(world.plan().status.phase.as_deref(), Some("Running"));
}

#[test]
fn an_end_that_no_rule_is_about_is_one_for_good() {
    let world = world().exited("a", 1).exited("b", 0);
    assert_eq!(restarting(&world), "False");
    assert_eq!(actions(&world.plan()), "stop s0");
    assert_eq!(world.plan().status.phase.as_deref(), Some("Failed"));
}

#[test]
fn what_is_seen_is_enough_to_go_on_with() {
    // The agent starts anew while containers are taken away: nobody has told it.
    let world = world().exited("a", 42).exited("b", 137);
    assert_eq!(world.plan().stage, Stage::Running);
    assert_eq!(actions(&world.plan()), "remove init-0, remove b-0");
}
