use serde_json::{Value, json};

use super::*;

/// A pod that is in order, with one part of its spec replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}});
    if pointer.is_empty() {
        return pod;
    }
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    pod["spec"].pointer_mut(parent).unwrap()[name] = value;
    pod
}

fn fields(pod: &Value) -> Vec<String> {
    let mut errors = FieldErrors::new();
    super::pod(pod, &mut errors);
    errors
        .iter()
        .map(|error| {
            error
                .field
                .strip_prefix("spec.")
                .unwrap_or(&error.field)
                .to_owned()
        })
        .collect()
}

#[test]
fn a_pod_in_order_has_no_faults() {
    assert_eq!(fields(&with("", Value::Null)), Vec::<String>::new());
}

#[test]
fn every_part_is_judged() {
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/containers", json!([]), &["containers"]),
        ("/restartPolicy", json!("Sometimes"), &["restartPolicy"]),
        ("/dnsPolicy", json!("None"), &["dnsConfig"]),
        ("/nodeName", json!("Bad Name"), &["nodeName"]),
        ("/volumes", json!([]), &["containers[0].volumeMounts[0].name"]),
        (
            "/volumes",
            json!([{"name": "data"}]),
            &["volumes[0]", "containers[0].volumeMounts[0].name"],
        ),
        (
            "/tolerations",
            json!([{"operator": "Equal"}]),
            &["tolerations[0].operator"],
        ),
        (
            "/securityContext",
            json!({"runAsUser": -1}),
            &["securityContext.runAsUser"],
        ),
        ("/activeDeadlineSeconds", json!(0), &["activeDeadlineSeconds"]),
        (
            "/ephemeralContainers",
            json!([{"name": "e", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]),
            &["ephemeralContainers"],
        ),
    ];
    for (pointer, value, want) in cases {
        assert_eq!(fields(&with(pointer, value.clone())), want, "{pointer} {value}");
    }
}

#[test]
fn containers_are_judged() {
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("name", json!(""), &["name"]),
        ("image", json!(" i"), &["image"]),
        (
            "ports",
            json!([{"containerPort": 0, "protocol": "TCP"}]),
            &["ports[0].containerPort"],
        ),
        (
            "ports",
            json!([{"containerPort": 1, "protocol": "tcp"}]),
            &["ports[0].protocol"],
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {}}]),
            &["env[0].valueFrom"],
        ),
        ("env", json!([{"name": "A=B"}]), &["env[0].name"]),
        ("envFrom", json!([{}]), &["envFrom"]),
        (
            "livenessProbe",
            json!({}),
            &["livenessProbe.successThreshold", "livenessProbe"],
        ),
        (
            "resources",
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            &["resources.requests"],
        ),
        (
            "resources",
            json!({"limits": {"bogus": "1"}}),
            &["resources.limits[bogus]", "resources.limits[bogus]"],
        ),
        (
            "volumeMounts",
            json!([{"name": "data", "mountPath": "/a", "subPath": "../x"}]),
            &["volumeMounts.subPath"],
        ),
        (
            "securityContext",
            json!({"procMount": "Unmasked"}),
            &["securityContext.procMount"],
        ),
        ("lifecycle", json!({"preStop": {}}), &["lifecycle.preStop"]),
    ];
    for (name, value, want) in cases {
        let want: Vec<String> = want
            .iter()
            .map(|field| format!("containers[0].{field}"))
            .collect();
        let mut found = fields(&with(&format!("/containers/0/{name}"), value.clone()));
        found.sort();
        let mut want = want;
        want.sort();
        let probe_defaults = name == "livenessProbe";
        if probe_defaults {
            // Without defaults the success threshold is 0; only the missing handler is of interest here.
            found.retain(|field| !field.ends_with("successThreshold"));
            want.retain(|field| !field.ends_with("successThreshold"));
        }
        assert_eq!(found, want, "{name} {value}");
    }
}

#[test]
fn only_a_few_fields_of_a_pod_change() {
    let old = with("", Value::Null);
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/containers/0/image", json!("j"), &[]),
        ("/tolerations", json!([{"operator": "Exists"}]), &[]),
        ("/activeDeadlineSeconds", json!(5), &[]),
        ("/nodeName", json!("n"), &["spec"]),
        ("/containers/0/command", json!(["x"]), &["spec"]),
    ];
    for (pointer, value, want) in cases {
        let mut errors = FieldErrors::new();
        pod_update(&with(pointer, value), &old, &mut errors);
        let found: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(found, want, "{pointer}");
    }
}
