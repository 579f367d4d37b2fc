//! What holds of every pod, whatever happens to it.

use super::*;

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
