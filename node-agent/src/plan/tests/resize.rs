//! Resources that change while a pod runs.

use super::*;

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

#[test]
fn the_pod_as_a_whole_is_resized_without_its_containers() {
    let mut world = World::one(json!({"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}}))
        .sandbox(true)
        .running("c");
    let has = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}});
    world.pod_has = serde_json::from_value(has.clone()).unwrap();
    let plan = world.plan();
    assert_eq!(actions(&plan), "resize ");
    assert_eq!(standing(&plan, "PodResizeInProgress"), Some("True"));
    assert_eq!(serde_json::to_value(&plan.status.resources).unwrap(), has);
    assert_eq!(
        serde_json::to_value(&plan.status.allocated_resources).unwrap(),
        json!({"cpu": "2"}),
        "which it was granted, and has not yet"
    );
    carry_out(&mut world, &plan.actions[0], 0);
    let plan = world.plan();
    assert_eq!(
        (actions(&plan).as_str(), standing(&plan, "PodResizeInProgress")),
        ("", None)
    );
    let cpu = &plan.status.resources.unwrap().limits.unwrap()["cpu"];
    assert_eq!(cpu.0, "2");
}
