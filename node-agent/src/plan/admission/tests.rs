use super::*;
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"spec": spec})).unwrap()
}

fn asking(requests: Value) -> Pod {
    pod(json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

fn listening(port: Value) -> Pod {
    pod(json!({"containers": [{"name": "c", "ports": [port]}]}))
}

fn node() -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n1", "labels": {"zone": "a"}},
        "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}, {"key": "full", "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/foo": "2"}},
    }))
    .unwrap()
}

/// `REASON: MESSAGE`, of a pod that tolerates everything.
fn verdict(mut pod: Pod, others: &[Pod]) -> String {
    let all = json!([{"operator": "Exists"}]);
    pod.spec.as_mut().unwrap().tolerations = serde_json::from_value(all).unwrap();
    let others: Vec<_> = others.iter().cloned().map(Arc::new).collect();
    match admit(&pod, &others, &node()) {
        Ok(()) => "admitted".to_owned(),
        Err(Rejection { reason, message }) => format!("{reason}: {message}"),
    }
}

#[test]
fn what_is_short_is_told_in_the_words_of_upstream() {
    let one = || asking(json!({"cpu": "1500m", "memory": "600Mi", "example.com/foo": "2"}));
    let cases = [
        (
            json!({"cpu": "501m"}),
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000",
        ),
        (
            json!({"memory": "500Mi"}),
            "OutOfmemory: Node didn't have enough resource: memory, requested: 524288000, used: 629145600, capacity: \
             1073741824",
        ),
        (
            json!({"example.com/foo": "1"}),
            "OutOfexample.com/foo: Node didn't have enough resource: example.com/foo, requested: 1, used: 2, capacity: 2",
        ),
        (
            json!({"hugepages-2Mi": "2Mi"}),
            "OutOfhugepages-2Mi: Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
        ),
        (json!({"example.com/unknown": "9"}), "admitted"),
        (json!({"cpu": "500m", "memory": "400Mi"}), "admitted"),
    ];
    for (requests, expected) in cases {
        assert_eq!(verdict(asking(requests), &[one()]), expected);
    }
    let idle = || asking(json!({}));
    assert_eq!(
        verdict(idle(), &[idle(), idle(), idle()]),
        "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"
    );
}

#[test]
fn a_port_of_the_node_is_taken_once() {
    let free = "admitted";
    let taken =
        "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    let other = listening(json!({"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.1"}));
    for (port, expected) in [
        (json!({"containerPort": 80, "hostPort": 80}), taken),
        (
            json!({"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}),
            taken,
        ),
        (
            json!({"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.2"}),
            free,
        ),
        (
            json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}),
            free,
        ),
        (json!({"containerPort": 80, "hostPort": 81}), free),
        (json!({"containerPort": 80}), free),
    ] {
        assert_eq!(
            verdict(listening(port.clone()), std::slice::from_ref(&other)),
            expected,
            "{port}"
        );
    }
}

#[test]
fn the_node_must_be_one_that_the_pod_wants() {
    let refused =
        "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    let affinity = |term: Value| {
        let required = json!({"nodeSelectorTerms": [term]});
        json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required}}})
    };
    let by_name = |name: &str| {
        affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}))
    };
    for (spec, expected) in [
        (
            json!({"containers": [], "nodeSelector": {"zone": "a"}}),
            "admitted",
        ),
        (json!({"containers": [], "nodeSelector": {"zone": "b"}}), refused),
        (by_name("n1"), "admitted"),
        (by_name("n2"), refused),
        (affinity(json!({})), refused),
    ] {
        assert_eq!(verdict(pod(spec.clone()), &[]), expected, "{spec}");
    }
}

#[test]
fn only_taints_that_drive_pods_off_count() {
    let refused = admit(&pod(json!({"containers": []})), &[], &node()).unwrap_err();
    assert_eq!(refused.reason, "TaintToleration");
    let tolerant = json!({"containers": [], "tolerations": [{"key": "gone", "operator": "Exists"}]});
    assert_eq!(admit(&pod(tolerant), &[], &node()), Ok(()));
}

#[test]
fn settings_of_the_kernel_must_be_safe() {
    let setting = |name: &str, more: Value| {
        let mut spec =
            json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        verdict(pod(spec), &[])
    };
    let cases = [
        ("net.ipv4.tcp_syncookies", json!({}), "admitted"),
        ("net/ipv4/tcp_syncookies", json!({}), "admitted"),
        ("kernel.shm_rmid_forced", json!({"hostNetwork": true}), "admitted"),
        (
            "kernel.msgmax",
            json!({}),
            "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        ),
        (
            "net.ipv4.tcp_rmem",
            json!({"hostNetwork": true}),
            "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_rmem\" not allowed with host Net enabled",
        ),
    ];
    for (name, more, expected) in cases {
        assert_eq!(setting(name, more), expected, "{name}");
    }
}

#[test]
fn other_systems_are_refused() {
    assert!(
        verdict(pod(json!({"containers": [], "os": {"name": "windows"}})), &[])
            .starts_with("PodOSNotSupported: ")
    );
    let mut labelled = pod(json!({"containers": [], "os": {"name": "linux"}}));
    labelled.metadata.labels = Some([("kubernetes.io/os".to_owned(), "windows".to_owned())].into());
    assert!(verdict(labelled, &[]).starts_with("PodOSSelectorNodeLabelDoesNotMatch: "));
}
