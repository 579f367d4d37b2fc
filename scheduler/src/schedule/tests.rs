use super::*;
use crate::fixtures::{NodeBuilder, PodBuilder};
use proptest::prelude::*;
use serde_json::json;

fn snapshot(nodes: &[NodeBuilder]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(&node.clone().build());
    }
    snapshot
}

fn refusal(nodes: &[NodeBuilder], pod: &PodBuilder) -> String {
    schedule(&snapshot(nodes), &pod.clone().build(), 0)
        .unwrap_err()
        .to_string()
}

#[test]
fn reasons_are_worded_as_upstream() {
    let small = NodeBuilder::new("small").cpu("1");
    let tainted = |name| NodeBuilder::new(name).taint("dedicated", "NoSchedule");
    let cases = [
        (
            vec![],
            PodBuilder::new("p"),
            "no nodes available to schedule pods",
        ),
        (
            vec![small.clone(), tainted("t1"), tainted("t2")],
            PodBuilder::new("p").cpu("2"),
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to \
             deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        ),
        (
            vec![NodeBuilder::new("cordoned").unschedulable()],
            PodBuilder::new("p"),
            "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1 nodes \
             are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            vec![small.clone().pods("0")],
            PodBuilder::new("p"),
            "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, preemption: 0/1 nodes are \
             available: 1 No preemption victims found for incoming pod.",
        ),
        (
            vec![small],
            PodBuilder::new("p").selector("disk", "ssd"),
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to \
             deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
    ];
    for (nodes, pod, expected) in cases {
        assert_eq!(refusal(&nodes, &pod), expected);
    }
}

#[test]
fn a_pod_goes_where_its_features_are_declared() {
    let mut pod = PodBuilder::new("p").build();
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}]);
    pod.spec.as_mut().unwrap().containers[0].restart_policy_rules = serde_json::from_value(rule).unwrap();
    let mut nodes = snapshot(&[NodeBuilder::new("old")]);
    let refused = schedule(&nodes, &pod, 0).unwrap_err();
    assert_eq!(refused.reasons, [(Reason::Features, 1)].into());
    assert!(
        refused
            .to_string()
            .starts_with("0/1 nodes are available: 1 node(s) didn't match Pod's required features."),
        "{refused}"
    );
    let mut new = NodeBuilder::new("new").build();
    new.status.as_mut().unwrap().declared_features =
        Some(vec!["RestartAllContainersOnContainerExits".to_owned()]);
    nodes.set_node(&new);
    assert_eq!(schedule(&nodes, &pod, 0).unwrap().node, "new");
}

#[test]
fn a_taken_port_is_in_the_way_on_its_node_only() {
    let mut nodes = snapshot(&[NodeBuilder::new("a"), NodeBuilder::new("b")]);
    let pod = PodBuilder::new("p").host_port(80).build();
    nodes.place("first", &pod, "a");
    assert_eq!(schedule(&nodes, &pod, 0).unwrap().node, "b");
    nodes.place("second", &pod, "b");
    let refused = schedule(&nodes, &pod, 0).unwrap_err();
    assert_eq!(refused.reasons, [(Reason::Ports, 2)].into());
    nodes.remove_pod("first");
    assert_eq!(schedule(&nodes, &pod, 0).unwrap().node, "a");
}

#[test]
fn the_emptier_node_wins_and_wishes_weigh_more() {
    let mut nodes = snapshot(&[NodeBuilder::new("a"), NodeBuilder::new("b")]);
    nodes.place("first", &PodBuilder::new("first").cpu("1").build(), "a");
    assert_eq!(
        schedule(&nodes, &PodBuilder::new("p").build(), 7).unwrap().node,
        "b"
    );
    let nodes = snapshot(&[
        NodeBuilder::new("a"),
        NodeBuilder::new("b").taint("slow", "PreferNoSchedule"),
    ]);
    for random in 0..4 {
        assert_eq!(
            schedule(&nodes, &PodBuilder::new("p").build(), random)
                .unwrap()
                .node,
            "a"
        );
    }
}

#[test]
fn equal_nodes_are_picked_at_random() {
    let nodes = snapshot(&[NodeBuilder::new("a"), NodeBuilder::new("b")]);
    let pick = |random| {
        schedule(&nodes, &PodBuilder::new("p").build(), random)
            .unwrap()
            .node
    };
    assert_ne!(pick(0), pick(1));
}

#[test]
fn pods_of_a_node_that_comes_back_still_count() {
    let mut nodes = snapshot(&[NodeBuilder::new("a").cpu("2")]);
    nodes.place("first", &PodBuilder::new("first").cpu("2").build(), "a");
    nodes.remove_node("a");
    nodes.set_node(&NodeBuilder::new("a").cpu("2").build());
    assert!(schedule(&nodes, &PodBuilder::new("p").cpu("1").build(), 0).is_err());
}

proptest! {
    /// Whatever is placed and removed, no node is ever given more than it has, and the reasons of a refusal count every
    /// node at least once.
    #[test]
    fn never_overcommits(
        nodes in prop::collection::vec((1i64..8, 1i64..8), 1..6),
        steps in prop::collection::vec((0i64..5000, 0i64..4, any::<u64>(), any::<bool>()), 1..60),
    ) {
        let builders: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(n, (cpu, pods))| NodeBuilder::new(&format!("n{n}")).cpu(&cpu.to_string()).pods(&pods.to_string()))
            .collect();
        let mut nodes = snapshot(&builders);
        for (number, (cpu, gigabytes, random, remove)) in steps.iter().enumerate() {
            let pod = PodBuilder::new("p").cpu(&format!("{cpu}m")).memory(&format!("{gigabytes}Gi")).build();
            match schedule(&nodes, &pod, *random) {
                Ok(placement) => nodes.place(&number.to_string(), &pod, &placement.node),
                Err(why) => {
                    prop_assert!(why.reasons.values().sum::<usize>() >= nodes.len());
                    prop_assert!(why.reasons.values().all(|count| *count <= nodes.len()));
                }
            }
            if *remove && number > 3 {
                nodes.remove_pod(&(number - 3).to_string());
            }
            for row in 0..nodes.len() {
                prop_assert!(nodes.requested[row].milli_cpu <= nodes.allocatable[row].milli_cpu);
                prop_assert!(nodes.requested[row].memory <= nodes.allocatable[row].memory);
                prop_assert!(nodes.pods[row] <= nodes.max_pods[row]);
            }
        }
    }
}

#[test]
fn a_share_of_a_large_cluster_is_enough() {
    let shares = [
        (0, 0),
        (1, 1),
        (99, 99),
        (150, 100),
        (300, 144),
        (1000, 420),
        (5000, 500),
        (10_000, 500),
    ];
    for (nodes, expected) in shares {
        assert_eq!(enough(nodes), expected, "{nodes} nodes");
    }
}

#[test]
fn whatever_node_comes_first_the_only_one_that_fits_is_found() {
    let nodes: Vec<_> = (0..150)
        .map(|at| NodeBuilder::new(&format!("n{at}")).cpu(if at == 71 { "4" } else { "1" }))
        .collect();
    let nodes = snapshot(&nodes);
    for first in [0_u64, 70, 71, 72, 149, 1 << 31] {
        let pod = PodBuilder::new("p").cpu("2").build();
        assert_eq!(schedule(&nodes, &pod, first << 32).unwrap().node, "n71");
        let refusals = possible(
            &nodes,
            &Asked::of(&PodBuilder::new("p").cpu("3").build()),
            first << 32,
        );
        assert_eq!(refusals.unwrap(), [71]);
        let refusals = possible(
            &nodes,
            &Asked::of(&PodBuilder::new("p").cpu("5").build()),
            first << 32,
        );
        let refusals = refusals.unwrap_err();
        assert!(
            refusals.iter().all(|refusal| !refusal.resolvable),
            "none ever has so much"
        );
        assert_eq!(refusals.len(), 150);
    }
}

#[test]
fn refusals_are_told_by_row_wherever_the_search_began() {
    let nodes: Vec<_> = (0..150)
        .map(|at| {
            let node = NodeBuilder::new(&format!("n{at}")).cpu("1");
            if at == 3 { node.unschedulable() } else { node }
        })
        .collect();
    let nodes = snapshot(&nodes);
    let pod = PodBuilder::new("p").cpu("2").build();
    let refusals = possible(&nodes, &Asked::of(&pod), 77 << 32).unwrap_err();
    let cordoned = refusals
        .iter()
        .position(|refusal| refusal.reasons == [Reason::Unschedulable]);
    assert_eq!(cordoned, Some(3));
}

#[test]
fn nodes_that_have_an_image_are_counted_as_they_come_and_go() {
    let with = |name: &str, image: &str| {
        let mut node = NodeBuilder::new(name).build();
        let images = json!([{"names": [image], "sizeBytes": 500_000_000}]);
        node.status.as_mut().unwrap().images = serde_json::from_value(images).unwrap();
        node
    };
    let mut nodes = Snapshot::default();
    nodes.set_node(&with("a", "web:1"));
    nodes.set_node(&with("b", "web:1"));
    assert_eq!(nodes.having_image("web:1"), 2);
    nodes.set_node(&with("b", "web:2"));
    assert_eq!((nodes.having_image("web:1"), nodes.having_image("web:2")), (1, 1));
    nodes.remove_node("b");
    assert_eq!((nodes.having_image("web:1"), nodes.having_image("web:2")), (1, 0));
    nodes.set_node(&with("c", "db:latest"));
    let mut pod = PodBuilder::new("p").build();
    pod.spec.as_mut().unwrap().containers[0].image = Some("db".to_owned());
    assert_eq!(
        schedule(&nodes, &pod, 0).unwrap().node,
        "c",
        "a name without a tag means latest"
    );
}
