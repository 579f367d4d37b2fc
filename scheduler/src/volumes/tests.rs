use super::*;
use serde_json::json;

fn pod(volumes: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "web", "uid": "7"},
        "spec": {"containers": [], "volumes": volumes},
    }))
    .unwrap()
}

fn with_claims(names: &[&str]) -> Pod {
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    pod(names.iter().map(volume).collect())
}

/// Each object is newer than those that were made before.
fn next_revision() -> String {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        .to_string()
}

fn claim(name: &str, change: Value) -> Value {
    let mut claim = json!({
        "metadata": {"namespace": "ns", "name": name, "uid": format!("uid of {name}"), "resourceVersion": next_revision()},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "late", "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    coracle_api::patch::merge::apply(&mut claim, &change).unwrap();
    claim
}

fn bound(name: &str, volume: &str) -> Value {
    let annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim(
        name,
        json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}, "status": {"phase": "Bound"}}),
    )
}

fn volume(name: &str, size: &str, node: &str) -> Value {
    let here = json!({"key": "host", "operator": "In", "values": [node]});
    json!({
        "metadata": {"name": name, "resourceVersion": next_revision()},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "late", "capacity": {"storage": size},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
        "status": {"phase": "Available"},
    })
}

fn node(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        labels: [("host".to_owned(), name.to_owned())].into(),
        ..NodeFacts::default()
    }
}

/// A class whose claims wait, of this provisioner.
fn world(provisioner: &str) -> Volumes {
    let mut world = Volumes::default();
    let class = json!({"metadata": {"name": "late"}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"});
    world.set_class(class);
    world
}

#[test]
fn why_a_pod_can_go_nowhere() {
    let mut world = world(NO_PROVISIONER);
    world.set_claim(claim("now", json!({"spec": {"storageClassName": "other"}})));
    world.set_claim(claim(
        "lost",
        json!({"spec": {"volumeName": "v"}, "status": {"phase": "Lost"}}),
    ));
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    world.set_claim(claim("going", going));
    world.set_claim(claim("web-own", json!({})));
    let why = |pod: &Pod| world.needs(pod).map(drop).unwrap_err();
    assert_eq!(
        why(&with_claims(&["none"])),
        "persistentvolumeclaim \"none\" not found"
    );
    assert_eq!(
        why(&with_claims(&["now"])),
        "pod has unbound immediate PersistentVolumeClaims"
    );
    assert_eq!(
        why(&with_claims(&["lost"])),
        "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"v\""
    );
    assert_eq!(
        why(&with_claims(&["going"])),
        "persistentvolumeclaim \"going\" is being deleted"
    );
    let own = |name: &str| pod(json!([{"name": name, "ephemeral": {}}]));
    assert_eq!(
        why(&own("new")),
        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"web-new\""
    );
    assert_eq!(
        why(&own("own")),
        "PVC ns/web-own was not created for pod ns/web (pod is not owner)"
    );
    assert!(
        world
            .needs(&pod(json!([{"name": "plain", "emptyDir": {}}])))
            .is_ok()
    );
}

#[test]
fn a_bound_volume_says_where() {
    let mut world = world(NO_PROVISIONER);
    world.set_claim(bound("here", "v"));
    world.set_claim(bound("gone", "none"));
    world.set_volume(volume("v", "1Gi", "n1"));
    let needs = world.needs(&with_claims(&["here"])).unwrap();
    assert_eq!(world.choose(&needs, &node("n1")), Ok(Choices::default()));
    assert_eq!(
        world.choose(&needs, &node("n2")),
        Err(vec![Reason::VolumesElsewhere])
    );
    let needs = world.needs(&with_claims(&["gone"])).unwrap();
    assert_eq!(world.choose(&needs, &node("n1")), Err(vec![Reason::VolumesGone]));
}

#[test]
fn late_claims_get_different_volumes_where_the_pod_goes() {
    let mut world = world(NO_PROVISIONER);
    world.set_claim(claim(
        "large",
        json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
    ));
    world.set_claim(claim("small", json!({})));
    for (name, size, host) in [("a", "2Gi", "n1"), ("b", "1Gi", "n1"), ("c", "9Gi", "n2")] {
        world.set_volume(volume(name, size, host));
    }
    let pod = with_claims(&["large", "small"]);
    let needs = world.needs(&pod).unwrap();
    assert_eq!(world.choose(&needs, &node("n2")), Err(vec![Reason::NoVolumes]));
    let choices = world.choose(&needs, &node("n1")).unwrap();
    let kept: Vec<_> = choices
        .volumes
        .iter()
        .map(|one| (name(one), one["spec"]["claimRef"].text("name").to_owned()))
        .collect();
    assert_eq!(
        kept,
        [
            ("b".to_owned(), "small".to_owned()),
            ("a".to_owned(), "large".to_owned())
        ]
    );
    assert_eq!(
        choices.volumes[0]["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"],
        "yes"
    );

    world.assume(&choices);
    world.set_claim(claim("third", json!({})));
    let third = world.needs(&with_claims(&["third"])).unwrap();
    assert_eq!(
        world.choose(&third, &node("n1")),
        Err(vec![Reason::NoVolumes]),
        "they are taken"
    );
    assert_eq!(world.outcome(&choices, "n1"), Outcome::Open);
    world.set_claim(bound("small", "b"));
    assert_eq!(world.outcome(&choices, "n1"), Outcome::Open);
    world.set_claim(bound("large", "a"));
    assert_eq!(world.outcome(&choices, "n1"), Outcome::Bound);
    world.revert(&choices);
    assert!(world.choose(&third, &node("n1")).is_ok());
}

#[test]
fn what_there_is_no_volume_for_is_provided_at_the_node() {
    let mut world = world("example.test/disks");
    world.set_claim(claim("data", json!({})));
    let needs = world.needs(&with_claims(&["data"])).unwrap();
    let choices = world.choose(&needs, &node("n1")).unwrap();
    assert_eq!(Claim(&choices.claims[0]).selected_node(), Some("n1"));
    let older = claim("data", json!({}));
    let mut choices = choices;
    Arc::make_mut(&mut choices.claims[0])["metadata"]["resourceVersion"] = json!(next_revision());
    world.assume(&choices);
    // What the watch is late with does not count any more.
    world.set_claim(older);
    // From then on it is bound to that node, until whoever provides says that it cannot be there.
    let needs = world.needs(&with_claims(&["data"])).unwrap();
    assert_eq!(world.choose(&needs, &node("n2")), Err(vec![Reason::NoVolumes]));
    assert_eq!(world.outcome(&choices, "n1"), Outcome::Open);
    world.set_claim(claim("data", json!({})));
    assert_eq!(world.outcome(&choices, "n1"), Outcome::Undone);
    world.remove_claim(&("ns".to_owned(), "data".to_owned()));
    assert_eq!(world.outcome(&choices, "n1"), Outcome::Undone);
}

#[test]
fn a_class_may_keep_to_some_places() {
    let mut world = Volumes::default();
    world.set_class(json!({
        "metadata": {"name": "late"}, "provisioner": "example.test/disks", "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "host", "values": ["n1"]}]}],
    }));
    world.set_claim(claim("data", json!({})));
    let needs = world.needs(&with_claims(&["data"])).unwrap();
    assert!(world.choose(&needs, &node("n1")).is_ok());
    assert_eq!(world.choose(&needs, &node("n2")), Err(vec![Reason::NoVolumes]));
}
