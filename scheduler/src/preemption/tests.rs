use super::*;
use crate::fixtures::{NodeBuilder, PodBuilder, budget};
use crate::schedule::{Unschedulable, schedule};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;

fn snapshot(nodes: &[NodeBuilder], pods: &[PodBuilder]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(&node.clone().build());
    }
    for pod in pods {
        place(&mut snapshot, pod);
    }
    snapshot
}

fn place(snapshot: &mut Snapshot, pod: &PodBuilder) {
    let pod = pod.clone().build();
    let uid = pod.metadata.uid.clone().unwrap();
    let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
    snapshot.place(&uid, &pod, &node);
}

/// The pod, to be scheduled: its node is not decided.
fn refused(nodes: &Snapshot, pod: &PodBuilder) -> Unschedulable {
    schedule(nodes, &pod.clone().build(), 0).unwrap_err()
}

/// `NODE: VICTIM …`
fn shown(nodes: &Snapshot, pod: &PodBuilder) -> String {
    match refused(nodes, pod).preemption {
        Preemption::Candidate(room) => {
            let victims: Vec<_> = room.victims.iter().map(|victim| victim.name.clone()).collect();
            format!("{}: {}", room.node, victims.join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn on(node: &str, name: &str, cpu: &str, priority: i32) -> PodBuilder {
    PodBuilder::new(name).cpu(cpu).priority(priority).on(node)
}

fn important(cpu: &str) -> PodBuilder {
    PodBuilder::new("important").cpu(cpu).priority(10)
}

#[test]
fn as_many_as_possible_are_spared_the_important_ones_first() {
    let nodes = snapshot(
        &[NodeBuilder::new("a").cpu("4")],
        &[
            on("a", "low", "1", 1),
            on("a", "mid", "2", 2),
            on("a", "high", "1", 20),
        ],
    );
    assert_eq!(shown(&nodes, &important("1")), "a: low");
    assert_eq!(shown(&nodes, &important("2")), "a: mid");
    assert_eq!(shown(&nodes, &important("3")), "a: mid low");
}

#[test]
fn of_equal_priority_the_younger_goes() {
    let nodes = snapshot(
        &[NodeBuilder::new("a").cpu("3")],
        &[
            on("a", "older", "1", 1).started(10),
            on("a", "younger", "1", 1).started(20),
            on("a", "unstarted", "1", 1),
        ],
    );
    assert_eq!(shown(&nodes, &important("1")), "a: unstarted");
    assert_eq!(shown(&nodes, &important("2")), "a: younger unstarted");
}

#[test]
fn candidates_are_weighed_by_one_criterion_after_the_other() {
    let two = [NodeBuilder::new("a").cpu("2"), NodeBuilder::new("b").cpu("2")];
    let cases = [
        // The lower the most important victim, the better.
        (
            vec![
                on("a", "a1", "2", 2),
                on("b", "b1", "1", 1),
                on("b", "b2", "1", 1),
            ],
            "b: b1 b2",
        ),
        // Then the smaller sum, even of negative priorities.
        (
            vec![
                on("a", "a1", "1", 2),
                on("a", "a2", "1", 2),
                on("b", "b1", "1", 2),
                on("b", "b2", "1", 1),
            ],
            "b: b1 b2",
        ),
        (
            vec![
                on("a", "a1", "1", -1),
                on("a", "a2", "1", -1),
                on("b", "b1", "2", -1),
            ],
            "b: b1",
        ),
        // Then who has run the shortest.
        (
            vec![on("a", "a1", "2", 1).started(5), on("b", "b1", "2", 1).started(9)],
            "b: b1",
        ),
        // Then the first.
        (
            vec![on("a", "a1", "2", 1).started(5), on("b", "b1", "2", 1).started(5)],
            "a: a1",
        ),
    ];
    for (pods, expected) in cases {
        assert_eq!(
            shown(&snapshot(&two, &pods), &important("2")),
            expected,
            "{expected}"
        );
    }
}

#[test]
fn budgets_are_broken_last() {
    let two = [NodeBuilder::new("a").cpu("2"), NodeBuilder::new("b").cpu("2")];
    let pods = [
        on("a", "kept", "1", 1).label("app", "web"),
        on("a", "free", "1", 5),
        on("b", "costly", "2", 9),
    ];
    let mut nodes = snapshot(&two, &pods);
    assert_eq!(shown(&nodes, &important("1")), "a: kept");
    nodes.budgets.set(&budget("web", &[("app", "web")], 0));
    assert_eq!(
        shown(&nodes, &important("1")),
        "a: free",
        "though it is more important"
    );
    assert_eq!(
        shown(&nodes, &important("2")),
        "b: costly",
        "rather than break a budget"
    );
    nodes.budgets.set(&budget("web", &[("app", "web")], 1));
    assert_eq!(shown(&nodes, &important("2")), "a: free kept");
}

#[test]
fn where_nobody_can_make_room_it_is_said_why() {
    let nodes = snapshot(
        &[
            NodeBuilder::new("equals").cpu("1"),
            NodeBuilder::new("small").cpu("1").taint("t", "NoSchedule"),
            NodeBuilder::new("mixed").cpu("2"),
        ],
        &[
            on("equals", "equal", "1", 10),
            on("mixed", "low", "500m", 0),
            on("mixed", "high", "1500m", 20),
        ],
    );
    assert_eq!(
        refused(&nodes, &important("1")).to_string(),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new claims to deallocate, \
         preemption: 0/3 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, \
         1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn where_room_is_made_nothing_is_said_about_it() {
    let nodes = snapshot(&[NodeBuilder::new("a").cpu("1")], &[on("a", "low", "1", 1)]);
    let why = refused(&nodes, &important("1"));
    assert_eq!(why.to_string(), "0/1 nodes are available: 1 Insufficient cpu.");
    assert!(why.waits_for_pods());
}

#[test]
fn a_pod_that_must_not_displace_others_does_not() {
    let nodes = snapshot(&[NodeBuilder::new("a").cpu("1")], &[on("a", "low", "1", 1)]);
    let why = refused(&nodes, &important("1").never_preempts());
    assert_eq!(why.preemption, Preemption::Never);
    assert!(
        why.to_string().ends_with(
            "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        )
    );
}

#[test]
fn a_host_port_can_be_made_free() {
    let nodes = snapshot(
        &[NodeBuilder::new("a")],
        &[
            on("a", "bystander", "1", 1),
            on("a", "holder", "1", 1).host_port(80),
        ],
    );
    assert_eq!(shown(&nodes, &important("1").host_port(80)), "a: holder");
}

#[test]
fn who_waits_for_victims_to_leave_takes_no_others() {
    let mut nodes = snapshot(
        &[NodeBuilder::new("a").cpu("2")],
        &[on("a", "first", "1", 1), on("a", "second", "1", 1)],
    );
    let pod: Pod = important("1").build();
    nodes.nominations.add(Placed::of(&pod, "a"));
    nodes.condemn("uid-first");
    assert_eq!(refused(&nodes, &important("1")).preemption, Preemption::Waiting);
    nodes.remove_pod("uid-first");
    assert_eq!(schedule(&nodes, &pod, 0).unwrap().node, "a");
    place(&mut nodes, &on("a", "third", "1", 20));
    assert_eq!(
        shown(&nodes, &important("1")),
        "a: second",
        "nobody leaves any more"
    );
}

#[test]
fn a_kept_node_is_full_for_all_but_the_more_important() {
    let mut nodes = snapshot(
        &[NodeBuilder::new("a").cpu("1"), NodeBuilder::new("b").cpu("500m")],
        &[],
    );
    nodes.nominations.add(Placed::of(&important("1").build(), "a"));
    let node = |name: &str, priority: i32| {
        let pod = PodBuilder::new(name).cpu("500m").priority(priority).build();
        schedule(&nodes, &pod, 0).map(|placement| placement.node).ok()
    };
    assert_eq!(node("lower", 9).as_deref(), Some("b"));
    assert_eq!(node("equal", 10).as_deref(), Some("b"));
    assert!(refused(&nodes, &PodBuilder::new("big").cpu("1").priority(9)).preemption == helpless(2));
    assert!(node("higher", 11).is_some());
    assert_eq!(
        schedule(&nodes, &important("500m").build(), 1).unwrap().node,
        "a",
        "its own is tried first"
    );
}

/// No pod to displace on any of the nodes that could hold the pod, of which there is one.
fn helpless(nodes: usize) -> Preemption {
    Preemption::Helpless([(Hindrance::NoVictims, 1), (Hindrance::NotHelpful, nodes - 1)].into())
}

proptest! {
    /// Whoever must leave is of lower priority, the pod fits without them, and with any one of them it does not.
    #[test]
    fn victims_are_lower_enough_and_none_too_many(
        nodes in prop::collection::vec(1i64..9, 1..5),
        pods in prop::collection::vec((0usize..5, 0i64..4000, -3i32..6, any::<bool>()), 0..24),
        allowed in 0i32..3,
        cpu in 1i64..8000,
        port in any::<bool>(),
        random in any::<u64>(),
    ) {
        let builders: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(n, cpu)| NodeBuilder::new(&format!("n{n}")).cpu(&cpu.to_string()))
            .collect();
        let mut all = snapshot(&builders, &[]);
        all.budgets.set(&budget("web", &[("app", "web")], allowed));
        for (number, (node, cpu, priority, marked)) in pods.iter().enumerate() {
            let mut pod = on(&format!("n{}", node % nodes.len()), &format!("p{number}"), &format!("{cpu}m"), *priority);
            if *marked {
                pod = pod.label("app", "web").host_port(80);
            }
            place(&mut all, &pod);
        }
        let mut pod = PodBuilder::new("p").cpu(&format!("{cpu}m")).priority(2);
        if port {
            pod = pod.host_port(80);
        }
        let pod = pod.build();
        let Err(why) = schedule(&all, &pod, random) else { return Ok(()) };
        let Preemption::Candidate(room) = why.preemption else { return Ok(()) };
        prop_assert!(!room.victims.is_empty());
        prop_assert!(room.victims.iter().all(|victim| victim.priority < 2 && victim.node == room.node));
        prop_assert!(room.violations <= room.victims.len());
        let asked = Asked::of(&pod);
        let row = all.row(&room.node).unwrap();
        let mut load = filters::load(&all, row, &asked);
        room.victims.iter().for_each(|victim| load.remove(victim));
        prop_assert!(filters::fits(&all, row, &load, &asked).is_ok());
        for victim in &room.victims {
            load.add(victim);
            prop_assert!(filters::fits(&all, row, &load, &asked).is_err(), "{} could stay", victim.name);
            load.remove(victim);
        }
    }
}
