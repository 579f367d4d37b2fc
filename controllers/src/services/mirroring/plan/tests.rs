use super::*;
use serde_json::{Value, json};

fn endpoints(subsets: Value) -> Endpoints {
    serde_json::from_value(json!({
        "metadata": {
            "name": "web", "namespace": "ns", "uid": "u1", "labels": {"app": "web"},
            "annotations": {"note": "kept", "endpoints.kubernetes.io/last-change-trigger-time": "then",
                "kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "subsets": subsets,
    }))
    .unwrap()
}

/// A slice as the server would have stored it.
fn stored(number: usize, mut slice: EndpointSlice) -> Arc<EndpointSlice> {
    slice.metadata.name = Some(format!("web-{number}"));
    slice.metadata.uid = Some(format!("s{number}"));
    slice.metadata.resource_version = Some("1".to_owned());
    Arc::new(slice)
}

fn made(endpoints: &Endpoints) -> Vec<Arc<EndpointSlice>> {
    let (plan, _) = plan(endpoints, &[]);
    assert!(plan.update.is_empty() && plan.delete.is_empty());
    plan.create
        .into_iter()
        .enumerate()
        .map(|(number, slice)| stored(number, slice))
        .collect()
}

/// `FAMILY PORTS: ADDRESSES`, those that are not ready marked.
fn shown(slice: &EndpointSlice) -> String {
    let ports = slice
        .ports
        .iter()
        .flatten()
        .map(|port| port.port.unwrap().to_string());
    let endpoints = slice.endpoints.iter().flatten().map(|endpoint| {
        let ready = endpoint.conditions.as_ref().unwrap().ready.unwrap();
        format!("{}{}", endpoint.addresses[0], if ready { "" } else { "!" })
    });
    let (ports, endpoints): (Vec<_>, Vec<_>) = (ports.collect(), endpoints.collect());
    format!(
        "{} {}: {}",
        slice.address_type,
        ports.join(","),
        endpoints.join(" ")
    )
}

fn all_shown(endpoints: &Endpoints) -> Vec<String> {
    made(endpoints).iter().map(|slice| shown(slice)).collect()
}

#[test]
fn a_slice_has_what_its_endpoints_have() {
    let endpoints = endpoints(json!([{
        "addresses": [{"ip": "10.1.2.3", "hostname": "a", "nodeName": "n1"}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "h2c"}],
    }]));
    let (plan, skipped) = plan(&endpoints, &[]);
    assert_eq!(skipped, Skipped::default());
    let expected = json!([{
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": "web-", "namespace": "ns", "annotations": {"note": "kept"},
            "labels": {"app": "web", "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": "web", "uid": "u1", "controller": true,
                "blockOwnerDeletion": true}],
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": true}, "hostname": "a", "nodeName": "n1"}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "h2c"}],
    }]);
    assert_eq!(serde_json::to_value(&plan.create).unwrap(), expected);
}

#[test]
fn subsets_become_slices_by_ports_and_family() {
    let port = |port: u16| json!([{"port": port}]);
    let cases = [
        (
            json!([{"addresses": [{"ip": "10.0.0.2"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": port(80)}]),
            vec!["IPv4 80: 10.0.0.1! 10.0.0.2", "IPv6 80: fd00::1"],
        ),
        (
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": port(80)}, {"addresses": [{"ip": "10.0.0.1"}], "ports": port(81)}]),
            vec!["IPv4 80,81: 10.0.0.1"],
        ),
        (
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": port(80)}, {"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": port(80)}]),
            vec!["IPv4 80: 10.0.0.1!"],
        ),
        (
            json!([{"addresses": [{"ip": "10.0.0.1"}]}]),
            vec!["IPv4 : 10.0.0.1"],
        ),
        (
            json!([{"addresses": [{"ip": "010.000.0.1"}, {"ip": "::ffff:10.0.0.2"}, {"ip": "FD00:0::1"}], "ports": port(80)}]),
            vec!["IPv4 80: 10.0.0.1 10.0.0.2", "IPv6 80: fd00::1"],
        ),
        (json!([]), vec![]),
    ];
    for (subsets, expected) in cases {
        assert_eq!(all_shown(&endpoints(subsets.clone())), expected, "{subsets}");
    }
}

#[test]
fn what_is_not_shown_is_told() {
    let many: Vec<_> = (0..1003)
        .map(|n| json!({"ip": format!("10.0.{}.{}", n / 250, n % 250)}))
        .collect();
    let bad = [
        json!({"ip": "1.2.3"}),
        json!({"ip": "+1.2.3.4"}),
        json!({"ip": "300.1.1.1"}),
    ];
    let skipped = |addresses: &[Value]| {
        let (plan, skipped) = plan(
            &endpoints(json!([{"addresses": addresses, "ports": [{"port": 80}]}])),
            &[],
        );
        let count: usize = plan
            .create
            .iter()
            .flat_map(|slice| &slice.endpoints)
            .map(Vec::len)
            .sum();
        (count, skipped.words())
    };
    let invalid = "Skipped 3 invalid IP addresses when mirroring to EndpointSlices".to_owned();
    assert_eq!(skipped(&bad), (0, vec![("InvalidIPAddress", invalid)]));
    let beyond = "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped";
    assert_eq!(
        skipped(&many),
        (1000, vec![("TooManyAddressesToMirror", beyond.to_owned())])
    );
}

#[test]
fn planning_again_changes_nothing() {
    let mut endpoints = endpoints(json!([
        {"addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "p", "namespace": "ns", "uid": "x", "resourceVersion": "1"}}],
            "ports": [{"name": "b", "port": 81}, {"name": "a", "port": 80}]},
        {"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 90}]},
    ]));
    let slices = made(&endpoints);
    assert_eq!(plan(&endpoints, &slices).0, Plan::default());
    let subset = &mut endpoints.subsets.as_mut().unwrap()[0];
    let target = subset.addresses.as_mut().unwrap()[0].target_ref.as_mut().unwrap();
    target.resource_version = Some("2".to_owned());
    assert_eq!(
        plan(&endpoints, &slices).0,
        Plan::default(),
        "a newer revision of the target is no news"
    );
}

#[test]
fn slices_are_written_over_before_others_are_made() {
    let one = |ip: &str, port: u16| json!({"addresses": [{"ip": ip}], "ports": [{"port": port}]});
    let slices = made(&endpoints(json!([one("10.0.0.1", 80), one("fd00::1", 80)])));
    let moved = endpoints(json!([one("10.0.0.2", 90)]));
    let (plan, _) = plan(&moved, &slices);
    assert!(plan.create.is_empty());
    let updated = &plan.update[0];
    assert_eq!(
        (updated.metadata.name.as_deref(), shown(updated).as_str()),
        (Some("web-0"), "IPv4 90: 10.0.0.2")
    );
    assert_eq!(plan.delete.len(), 1, "that of the other family");
}

#[test]
fn labels_owners_and_doubles_are_put_right() {
    let endpoints = endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]));
    let good = made(&endpoints).remove(0);
    let mut bad = EndpointSlice::clone(&good);
    bad.metadata.owner_references.as_mut().unwrap()[0].uid = "older".to_owned();
    let (plan, _) = plan(
        &endpoints,
        &[stored(0, bad), stored(1, EndpointSlice::clone(&good))],
    );
    assert_eq!(plan.update, [EndpointSlice::clone(&good)]);
    assert_eq!(
        plan.delete
            .iter()
            .map(|target| target.name.as_str())
            .collect::<Vec<_>>(),
        ["web-1"]
    );
}

#[test]
fn only_endpoints_that_nobody_else_cares_for_are_shown() {
    let service = |spec: Value| -> Service { serde_json::from_value(json!({"spec": spec})).unwrap() };
    let plain = endpoints(json!([]));
    assert!(is_shown(&plain, Some(&service(json!({})))));
    assert!(!is_shown(
        &plain,
        Some(&service(json!({"selector": {"app": "web"}})))
    ));
    assert!(!is_shown(&plain, None));
    let mut skipped = plain.clone();
    skipped.metadata.labels = Some([(SKIP_MIRROR.to_owned(), "true".to_owned())].into());
    assert!(!is_shown(&skipped, Some(&service(json!({})))));
    let mut lock = plain;
    lock.metadata.annotations = Some([(LEADER.to_owned(), String::new())].into());
    assert!(!is_shown(&lock, Some(&service(json!({})))));
}
