use super::*;
use crate::fixtures::{NodeBuilder, PodBuilder};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new("default-scheduler");
    cluster.node_seen(&NodeBuilder::new("a").cpu("1").build(), at(0));
    cluster
}

fn bound_to(decision: Option<Decision>) -> Option<String> {
    match decision? {
        Decision::Bind(_, node) => Some(node),
        Decision::Provide(..) | Decision::Refuse(..) | Decision::MakeRoom(..) => None,
    }
}

#[test]
fn an_assumed_pod_counts_and_is_not_decided_twice() {
    let mut cluster = cluster();
    let first = PodBuilder::new("first").cpu("1").build();
    cluster.pod_seen(first.clone(), at(0));
    assert_eq!(bound_to(cluster.decide(0, at(0))).as_deref(), Some("a"));
    cluster.pod_seen(first, at(0));
    assert!(
        cluster.decide(0, at(0)).is_none(),
        "an old event about it changes nothing"
    );
    cluster.pod_seen(PodBuilder::new("second").cpu("1").build(), at(0));
    assert!(matches!(cluster.decide(0, at(0)), Some(Decision::Refuse(..))));
}

#[test]
fn a_failed_binding_frees_the_node_and_is_tried_again() {
    let mut cluster = cluster();
    let pod = PodBuilder::new("p").cpu("1").build();
    cluster.pod_seen(pod.clone(), at(0));
    cluster.decide(0, at(0));
    cluster.bind_failed(&pod, at(0));
    assert!(cluster.decide(0, at(0)).is_none(), "it backs off");
    assert_eq!(bound_to(cluster.decide(0, at(1))).as_deref(), Some("a"));
}

#[test]
fn a_pod_that_leaves_makes_room() {
    let mut cluster = cluster();
    let mut first = PodBuilder::new("first").cpu("1").build();
    first.spec.as_mut().unwrap().node_name = Some("a".to_owned());
    cluster.pod_seen(first, at(0));
    cluster.pod_seen(PodBuilder::new("second").cpu("1").build(), at(0));
    assert!(matches!(cluster.decide(0, at(0)), Some(Decision::Refuse(..))));
    cluster.pods_listed(&["uid-second".to_owned()].into(), at(5));
    assert_eq!(bound_to(cluster.decide(0, at(5))).as_deref(), Some("a"));
}

#[test]
fn gated_foreign_and_terminating_pods_are_left_alone() {
    use k8s_openapi::api::core::v1::PodSchedulingGate;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    let mut cluster = cluster();
    let mut gated = PodBuilder::new("gated").build();
    gated.spec.as_mut().unwrap().scheduling_gates = Some(vec![PodSchedulingGate {
        name: "wait".to_owned(),
    }]);
    let mut foreign = PodBuilder::new("foreign").build();
    foreign.spec.as_mut().unwrap().scheduler_name = Some("other".to_owned());
    let mut leaving = PodBuilder::new("leaving").build();
    leaving.metadata.deletion_timestamp = Some(Time(at(0)));
    for pod in [gated.clone(), foreign, leaving] {
        cluster.pod_seen(pod, at(0));
    }
    assert!(cluster.decide(0, at(0)).is_none());
    gated.spec.as_mut().unwrap().scheduling_gates = None;
    cluster.pod_seen(gated, at(0));
    assert!(cluster.decide(0, at(0)).is_some());
}

#[test]
fn a_heartbeat_wakes_nobody() {
    let mut cluster = cluster();
    cluster.pod_seen(PodBuilder::new("p").cpu("2").build(), at(0));
    cluster.decide(0, at(0));
    cluster.node_seen(&NodeBuilder::new("a").cpu("1").build(), at(20));
    assert!(cluster.decide(0, at(20)).is_none());
    cluster.node_seen(&NodeBuilder::new("a").cpu("2").build(), at(20));
    assert_eq!(bound_to(cluster.decide(0, at(20))).as_deref(), Some("a"));
}

/// What was decided: `POD to NODE`, or `POD: VICTIM …`, or `POD waits`.
fn decided(cluster: &mut Cluster, second: i64) -> String {
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
    match cluster.decide(0, at(second)) {
        None => "nothing".to_owned(),
        Some(Decision::Bind(pod, node)) => format!("{} to {node}", name(&pod)),
        Some(Decision::Provide(pod, choices)) => {
            let kept = choices
                .volumes
                .iter()
                .map(|volume| volume["metadata"]["name"].to_string());
            format!("{} wants {}", name(&pod), kept.collect::<Vec<_>>().join(" "))
        }
        Some(Decision::Refuse(pod, _, nomination)) => format!("{} waits, {nomination:?}", name(&pod)),
        Some(Decision::MakeRoom(pod, _, room)) => {
            let victims: Vec<_> = room.victims.iter().map(|victim| victim.name.clone()).collect();
            format!("{}: {}", name(&pod), victims.join(" "))
        }
    }
}

fn room_for(cluster: &mut Cluster, second: i64) -> (Arc<Pod>, Displacement) {
    match cluster.decide(0, at(second)) {
        Some(Decision::MakeRoom(pod, _, room)) => (pod, room),
        other => panic!("no room was made: {other:?}"),
    }
}

/// A node with one CPU that a pod of priority 1 has.
fn full() -> Cluster {
    let mut cluster = cluster();
    let low = PodBuilder::new("low").cpu("1").priority(1).on("a").build();
    cluster.pod_seen(low, at(0));
    cluster
}

#[test]
fn room_is_made_once_and_taken_when_the_victim_is_gone() {
    let mut cluster = full();
    let high = PodBuilder::new("high").cpu("1").priority(10);
    cluster.pod_seen(high.clone().build(), at(0));
    let (pod, room) = room_for(&mut cluster, 0);
    cluster.pod_seen(high.clone().nominated("a").build(), at(0));
    cluster.node_seen(&NodeBuilder::new("a").cpu("1").pods("50").build(), at(1));
    assert_eq!(
        decided(&mut cluster, 5),
        "nothing",
        "while its victim is being told"
    );
    cluster.displaced(&pod, &room, &[], at(5));
    cluster.node_seen(&NodeBuilder::new("a").cpu("1").pods("51").build(), at(6));
    assert_eq!(
        decided(&mut cluster, 7),
        "high waits, AsItIs",
        "the victim still leaves"
    );
    cluster.pod_seen(PodBuilder::new("rival").cpu("1").priority(5).build(), at(7));
    cluster.pod_gone("uid-low", at(8));
    assert_eq!(
        decided(&mut cluster, 8),
        "rival waits, AsItIs",
        "the node is kept"
    );
    assert_eq!(decided(&mut cluster, 12), "high to a");
}

#[test]
fn a_victim_that_went_at_once_is_not_waited_for() {
    let mut cluster = full();
    cluster.pod_seen(PodBuilder::new("high").cpu("1").priority(10).build(), at(0));
    let (pod, room) = room_for(&mut cluster, 0);
    cluster.pod_gone("uid-low", at(0));
    cluster.displaced(&pod, &room, &[], at(0));
    assert_eq!(decided(&mut cluster, 1), "high to a");
}

#[test]
fn a_victim_that_could_not_be_told_is_told_again() {
    let mut cluster = full();
    cluster.pod_seen(PodBuilder::new("high").cpu("1").priority(10).build(), at(0));
    let (pod, room) = room_for(&mut cluster, 0);
    cluster.displaced(&pod, &room, &["uid-low".to_owned()], at(0));
    assert_eq!(decided(&mut cluster, 1), "high: low");
}

#[test]
fn a_more_important_pod_takes_over_the_room() {
    let mut cluster = full();
    cluster.pod_seen(PodBuilder::new("high").cpu("1").priority(10).build(), at(0));
    let (pod, room) = room_for(&mut cluster, 0);
    cluster.displaced(&pod, &room, &[], at(0));
    cluster.pod_seen(PodBuilder::new("higher").cpu("1").priority(20).build(), at(0));
    let (pod, room) = room_for(&mut cluster, 0);
    let outranked: Vec<_> = room.outranked.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(outranked, ["high"]);
    cluster.displaced(&pod, &room, &[], at(0));
    assert_eq!(decided(&mut cluster, 2), "high waits, AsItIs");
    cluster.pod_gone("uid-low", at(3));
    assert_eq!(decided(&mut cluster, 3), "higher to a");
}

#[test]
fn what_was_kept_is_given_back() {
    let mut cluster = full();
    let high = PodBuilder::new("high").cpu("1").priority(10).nominated("a");
    cluster.pod_seen(high.build(), at(0));
    let (pod, room) = room_for(&mut cluster, 0);
    cluster.displaced(&pod, &room, &[], at(0));
    cluster.pod_seen(PodBuilder::new("rival").cpu("1").priority(5).build(), at(0));
    cluster.pod_gone("uid-low", at(0));
    assert_eq!(decided(&mut cluster, 0), "rival waits, AsItIs");
    cluster.pod_gone("uid-high", at(2));
    assert_eq!(decided(&mut cluster, 2), "rival to a");
    let lost = PodBuilder::new("lost")
        .cpu("2")
        .priority(10)
        .nominated("a")
        .build();
    cluster.pod_seen(lost, at(3));
    assert_eq!(decided(&mut cluster, 3), "lost waits, None", "it can go nowhere");
}

/// A claim that waits for its first consumer, and a volume for it.
fn with_late_claim() -> Cluster {
    use serde_json::json;
    let mut cluster = cluster();
    let class = json!({"metadata": {"name": "late"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"});
    cluster.class_seen(class, at(0));
    let spec = json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim = json!({"metadata": {"namespace": "default", "name": "data", "uid": "1", "resourceVersion": "1"}, "spec": spec});
    cluster.claim_seen(claim, at(0));
    let spec =
        json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
    let volume = json!({"metadata": {"name": "v", "resourceVersion": "2"}, "spec": spec, "status": {"phase": "Available"}});
    cluster.volume_seen(volume, at(0));
    cluster
}

fn with_claim(name: &str) -> Pod {
    use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};
    let mut pod = PodBuilder::new(name).build();
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: "data".to_owned(),
        read_only: None,
    };
    pod.spec.as_mut().unwrap().volumes = Some(vec![Volume {
        name: "data".to_owned(),
        persistent_volume_claim: Some(source),
        ..Volume::default()
    }]);
    pod
}

fn choices(cluster: &mut Cluster, second: i64) -> crate::volumes::Choices {
    match cluster.decide(0, at(second)) {
        Some(Decision::Provide(_, choices)) => choices,
        other => panic!("nothing was chosen: {other:?}"),
    }
}

fn bound_claim() -> serde_json::Value {
    let annotations = serde_json::json!({"pv.kubernetes.io/bind-completed": "yes"});
    serde_json::json!({
        "metadata": {"namespace": "default", "name": "data", "uid": "1", "resourceVersion": "9", "annotations": annotations},
        "spec": {"volumeName": "v", "storageClassName": "late"},
        "status": {"phase": "Bound"},
    })
}

#[test]
fn a_pod_is_bound_once_its_claims_are() {
    let mut cluster = with_late_claim();
    let pod = with_claim("p");
    cluster.pod_seen(pod.clone(), at(0));
    let written = choices(&mut cluster, 0);
    assert_eq!(decided(&mut cluster, 0), "nothing");
    cluster.provided(&pod, Some(written), at(0));
    assert_eq!(decided(&mut cluster, 1), "nothing", "its claim is not bound yet");
    cluster.claim_seen(bound_claim(), at(2));
    assert!(cluster.is_ready(at(2)));
    assert_eq!(decided(&mut cluster, 2), "p to a");
    assert_eq!(decided(&mut cluster, 2), "nothing");
    // Whoever comes later finds the claim bound.
    cluster.pod_seen(with_claim("q"), at(3));
    assert_eq!(decided(&mut cluster, 3), "q to a");
}

#[test]
fn a_pod_whose_claims_are_not_bound_is_tried_again() {
    let mut cluster = with_late_claim();
    let pod = with_claim("p");
    cluster.pod_seen(pod.clone(), at(0));
    choices(&mut cluster, 0);
    cluster.provided(&pod, None, at(0));
    assert_eq!(decided(&mut cluster, 0), "nothing", "it backs off");
    let written = choices(&mut cluster, 1);
    cluster.provided(&pod, Some(written), at(1));
    assert_eq!(cluster.due(), Some(at(601)));
    assert_eq!(decided(&mut cluster, 600), "nothing");
    cluster.decide(0, at(601));
    assert_eq!(decided(&mut cluster, 605), "p wants \"v\"");
}

#[test]
fn a_pod_waits_for_what_its_claims_want() {
    let mut cluster = with_late_claim();
    cluster.volume_gone("v", at(0));
    cluster.pod_seen(with_claim("p"), at(0));
    match cluster.decide(0, at(0)) {
        Some(Decision::Refuse(_, why, _)) => assert_eq!(
            why.to_string(),
            "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ),
        other => panic!("{other:?}"),
    }
    cluster.claim_gone(&("default".to_owned(), "data".to_owned()), at(1));
    match cluster.decide(0, at(1)) {
        Some(Decision::Refuse(_, why, _)) => assert_eq!(
            why.to_string(),
            "0/1 nodes are available: persistentvolumeclaim \"data\" not found. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ),
        other => panic!("{other:?}"),
    }
    cluster.pod_gone("uid-p", at(2));
    assert!(!cluster.is_ready(at(1000)));
}
