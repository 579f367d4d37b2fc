use serde_json::{Value, json};

use super::*;

fn filled(mut object: Value) -> Value {
    let (api_version, kind) = (
        object["apiVersion"].as_str().unwrap(),
        object["kind"].as_str().unwrap(),
    );
    let ty = table::by_api_version(api_version, kind).unwrap();
    let gvk = ty.gvk.unwrap();
    apply(gvk, &mut object);
    let once = object.clone();
    apply(gvk, &mut object);
    assert_eq!(object, once, "a second time changes nothing");
    object
}

#[test]
fn a_pod_is_filled_in_at_every_level() {
    let pod = filled(
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": true,
        "containers": [{"name": "c", "image": "web", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "0.0001"}, "requests": {"cpu": "500m"}},
            "livenessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}}),
    );
    let spec = &pod["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(
        container["ports"][0],
        json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"})
    );
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": "500m", "memory": "1m"})
    );
    assert_eq!(
        container["livenessProbe"]["httpGet"],
        json!({"port": 80, "path": "/", "scheme": "HTTP"})
    );
    assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
    assert_eq!(spec["volumes"][0], json!({"name": "v", "emptyDir": {}}));
    assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
    assert_eq!(
        (&spec["dnsPolicy"], &spec["enableServiceLinks"]),
        (&json!("ClusterFirst"), &json!(true))
    );
}

#[test]
fn images_that_may_change_are_always_pulled() {
    let cases = [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("host:5000/web", "Always"),
        ("web:1", "IfNotPresent"),
        ("host:5000/web:1", "IfNotPresent"),
        ("web@sha256:0", "IfNotPresent"),
        ("", "IfNotPresent"),
        ("Bad_Value!", "IfNotPresent"),
    ];
    for (image, want) in cases {
        let template = json!({"spec": {"containers": [{"image": image}]}});
        let set =
            filled(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"template": template}}));
        assert_eq!(
            set["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], want,
            "{image}"
        );
    }
}

#[test]
fn structs_that_are_no_pointers_are_filled_in_although_absent() {
    let deployment = filled(json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(deployment["spec"]["template"]["spec"]["restartPolicy"], "Always");
    let service = filled(json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]}}));
    assert_eq!(
        service["spec"]["ports"][0],
        json!({"port": 80, "targetPort": 80, "protocol": "TCP"})
    );
}

#[test]
fn text_of_a_secret_becomes_data() {
    let secret = filled(
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "hi"}, "data": {"b": "eA=="}}),
    );
    assert_eq!(secret["data"], json!({"a": "aGk=", "b": "eA=="}));
    assert_eq!(secret.get("stringData"), None);
}
