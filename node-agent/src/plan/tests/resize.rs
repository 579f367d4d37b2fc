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
fn a_resize_that_fails_is_told() {
    let mut world = resized(json!(null));
    world.resize_fault = Some("no".into());
    let plan = world.plan();
    let conditions = plan.status.conditions.iter().flatten();
    let told = conditions
        .into_iter()
        .find(|c| c.type_ == "PodResizeInProgress")
        .unwrap();
    assert_eq!(
        (told.reason.as_deref(), told.message.as_deref()),
        (Some("Error"), Some("no"))
    );
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
    world.previous.phase = Some("Running".into());
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

#[test]
fn every_pod_tells_what_it_has_as_a_whole() {
    let mut world = World::new(json!({"containers": [
        {"name": "a", "image": "i", "resources":
            {"requests": {"cpu": "1m", "memory": "1Gi", "example.com/dongle": "1"}, "limits": {"cpu": "5m"}}},
        {"name": "b", "image": "i", "resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
    ]}))
    .sandbox(true)
    .running("a")
    .running("b");
    let shown = |plan: &PodPlan| {
        let status = serde_json::to_value(&plan.status).unwrap();
        json!([status["resources"], status["allocatedResources"]])
    };
    let granted = json!({"cpu": "1m", "memory": "2Gi", "example.com/dongle": "1"});
    let limits = json!({"cpu": "5m", "memory": "2Gi"});
    assert_eq!(
        shown(&world.plan()),
        json!([{"requests": granted, "limits": limits}, granted]),
        "until it runs"
    );
    world.previous.phase = Some("Running".into());
    assert_eq!(
        shown(&world.plan()),
        json!([{"requests": {"memory": "2Gi"}, "limits": {"memory": "2Gi"}}, granted]),
        "so little cpu cannot be read from a cgroup"
    );
    let nothing = World::one(json!({})).sandbox(true).running("c").plan();
    assert_eq!(shown(&nothing), json!([{}, null]));
}

#[test]
fn a_container_tells_the_limits_of_its_pod_beside_its_own() {
    let limits = json!({"cpu": "1", "memory": "1Gi"});
    let mut world = World::new(json!({"resources": {"limits": limits, "requests": limits}, "containers": [
        {"name": "a", "image": "i", "resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}},
        {"name": "b", "image": "i", "resources": {"requests": {"memory": "1Mi"}}},
        {"name": "c", "image": "i"},
    ]}))
    .sandbox(true)
    .running("a")
    .running("b")
    .running("c");
    for record in &mut world.runtime.containers {
        record.resources = granted(&world.pod, &record.name);
    }
    let plan = world.plan();
    assert_eq!(actions(&plan), "");
    let shown: Vec<_> = plan
        .status
        .container_statuses
        .iter()
        .flatten()
        .map(|c| &c.resources)
        .collect();
    assert_eq!(
        serde_json::to_value(shown).unwrap(),
        json!([
            {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
            {"requests": {"cpu": "1", "memory": "1Mi"}},
            {},
        ])
    );
    let spec = world.pod.spec.as_mut().unwrap();
    let grown = json!({"limits": {"cpu": "1", "memory": "2Gi"}, "requests": limits});
    spec.resources = serde_json::from_value(grown).unwrap();
    assert_eq!(
        actions(&world.plan()),
        "resize a-0 b-0 c-0",
        "their pod's limit grew"
    );
}
