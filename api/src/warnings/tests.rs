use serde_json::{Value, json};

use super::*;

fn gvk(group: &'static str, kind: &'static str) -> Gvk {
    Gvk {
        group,
        version: "v1",
        kind,
    }
}

fn pod(spec: Value) -> Vec<String> {
    create(gvk("", "Pod"), &json!({"metadata": {"name": "p"}, "spec": spec}))
}

#[test]
fn pods_are_warned_of_what_surprises() {
    let table = [
        (
            json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}),
            vec![],
        ),
        (
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            vec![
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ],
        ),
        (
            json!({"containers": [{"name": "c", "env": [
                {"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]}]}),
            vec![
                "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
            ],
        ),
        (
            json!({"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]}),
            vec![
                "spec.imagePullSecrets[1].name: duplicate name \"a\"",
                "spec.imagePullSecrets[2].name: invalid empty name \"\"",
            ],
        ),
        (
            json!({"initContainers": [{"name": "i", "resources": {"limits": {"memory": "1500m"}}}]}),
            vec![
                "spec.initContainers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            ],
        ),
        (
            json!({"containers": [
                {"ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}]},
                {"ports": [{"name": "http", "containerPort": 80, "protocol": "TCP", "hostPort": 8080}]}]}),
            vec![
                "spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[0]: duplicate port name \"http\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"path": "a/b"}, {"path": "a"}]}}]}),
            vec!["volume \"v\" (ConfigMap \"m\"): overlapping paths: \"a\" with \"a/b\""],
        ),
        (
            json!({"hostAliases": [{"ip": "FD00::1"}], "volumes": [{"name": "g", "gitRepo": {}}]}),
            vec![
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.hostAliases[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
            ],
        ),
    ];
    for (spec, want) in table {
        assert_eq!(pod(spec), want);
    }
}

#[test]
fn a_template_is_warned_of_when_it_changes() {
    let set = |generation: i64| {
        json!({"metadata": {"name": "a.b", "generation": generation}, "spec": {"template": {
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}},
            "spec": {"containers": [{"name": "c"}]}}}})
    };
    let deployment = gvk("apps", "Deployment");
    let old = "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead";
    let created = create(deployment, &set(1));
    assert_eq!(created.len(), 2);
    let name = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [";
    assert!(created[0].starts_with(name), "{}", created[0]);
    assert_eq!(created[1], old);
    assert_eq!(update(deployment, "", &set(2), &set(1)), [old]);
    assert_eq!(update(deployment, "", &set(1), &set(1)), [""; 0]);
    assert_eq!(update(deployment, "status", &set(2), &set(1)), [""; 0]);
}

#[test]
fn other_kinds_have_warnings_of_their_own() {
    let table = [
        (
            gvk("", "Service"),
            json!({"spec": {"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP", "trafficDistribution": "PreferClose"}}),
            vec![
                "spec.SessionAffinity is ignored for headless services",
                "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
            ],
        ),
        (
            gvk("", "PersistentVolume"),
            json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle", "rbd": {}}}),
            vec![
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
                "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
            ],
        ),
        (
            gvk("networking.k8s.io", "Ingress"),
            json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}}),
            vec![
                "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
            ],
        ),
        (
            gvk("networking.k8s.io", "NetworkPolicy"),
            json!({"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}}),
            vec![
                "spec.egress[0].to[0].ipBlock.cidr: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)",
            ],
        ),
        (
            gvk("storage.k8s.io", "StorageClass"),
            json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone"}]}]}),
            vec![
                "allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
            ],
        ),
    ];
    for (gvk, object, want) in table {
        assert_eq!(create(gvk, &object), want, "{}", gvk.kind);
    }
}
