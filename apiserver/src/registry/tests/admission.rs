//! Admission as it shows at the registry.

use http::Method;
use serde_json::{Value, json};

use super::{Fixture, SERVICES};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn a_pod_gets_an_account_a_token_tolerations_and_a_priority() {
    let fixture = Fixture::new().await;
    let made = fixture.create(PODS, pod("a")).await.json();
    let spec = &made["spec"];
    assert_eq!(
        (spec["serviceAccountName"].as_str(), spec["priority"].as_i64()),
        (Some("default"), Some(0))
    );
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(
        volume.starts_with("kube-api-access-") && volume.len() == 21,
        "{volume}"
    );
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!(
        mount["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    assert_eq!(mount["name"], volume);
    let keys: Vec<_> = spec["tolerations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["key"].clone())
        .collect();
    assert_eq!(
        keys,
        ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    );
    assert_eq!(made["status"]["phase"], "Pending");
}

#[tokio::test]
async fn a_typed_client_may_write_a_pod_back_as_it_reads_it() {
    let fixture = Fixture::new().await;
    let mut pod = fixture.create(PODS, pod("a")).await.json();
    // Typed clients know both names of the field and send both, whatever they were told.
    for field in ["serviceAccount", "serviceAccountName"] {
        pod["spec"][field] = json!("default");
    }
    pod["metadata"]["labels"] = json!({"time": "2"});
    let answer = fixture
        .ask(Method::PUT, "/api/v1/namespaces/default/pods/a", Some(pod))
        .await;
    assert_eq!(answer.code, 200, "{}", answer.message());
}

#[tokio::test]
async fn a_pod_takes_over_what_its_runtime_class_says() {
    let fixture = Fixture::new().await;
    let class = json!({
        "metadata": {"name": "slow"}, "handler": "slow", "overhead": {"podFixed": {"cpu": "10m"}},
        "scheduling": {"nodeSelector": {"kind": "slow"}, "tolerations": [{"key": "slow", "operator": "Exists"}]},
    });
    fixture.create("/apis/node.k8s.io/v1/runtimeclasses", class).await;
    let with = |name: &str, fields: Value| {
        let mut pod = pod(name);
        let spec = pod["spec"].as_object_mut().unwrap();
        spec.extend(fields.as_object().unwrap().clone());
        pod
    };
    let asking = with(
        "a",
        json!({"runtimeClassName": "slow", "nodeSelector": {"disk": "fast"}}),
    );
    let made = fixture.create(PODS, asking).await.json();
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "10m"}));
    assert_eq!(
        made["spec"]["nodeSelector"],
        json!({"disk": "fast", "kind": "slow"})
    );
    let tolerations = made["spec"]["tolerations"].as_array().unwrap();
    assert!(tolerations.iter().any(|toleration| toleration["key"] == "slow"));
    let refusals = [
        (
            json!({"runtimeClassName": "none"}),
            "pod rejected: RuntimeClass \"none\" not found",
        ),
        (
            json!({"runtimeClassName": "slow", "nodeSelector": {"kind": "fast"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[kind] = slow; pod.spec.nodeSelector[kind] = fast",
        ),
        (
            json!({"runtimeClassName": "slow", "overhead": {"cpu": "20m"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"overhead": {"cpu": "20m"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
    ];
    for (fields, why) in refusals {
        let answer = fixture.ask(Method::POST, PODS, Some(with("b", fields))).await;
        assert_eq!(
            (answer.code, answer.message()),
            (403, format!("pods \"b\" is forbidden: {why}"))
        );
    }
}

#[tokio::test]
async fn refusals_of_admission() {
    let fixture = Fixture::new().await;
    let with = |field: &str, value: Value| {
        let mut pod = pod("a");
        pod["spec"][field] = value;
        pod
    };
    let table = [
        (
            with("serviceAccountName", json!("none")),
            "pods \"a\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found",
        ),
        (
            with("priorityClassName", json!("none")),
            "pods \"a\" is forbidden: no PriorityClass with name none was found",
        ),
    ];
    for (pod, message) in table {
        let answer = fixture.ask(Method::POST, PODS, Some(pod)).await;
        assert_eq!((answer.code, answer.message()), (403, message.to_owned()));
    }
    let answer = fixture.delete("/api/v1/namespaces/default", None).await;
    let message = "namespaces \"default\" is forbidden: this namespace may not be deleted";
    assert_eq!((answer.code, answer.message()), (403, message.to_owned()));
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_goes_and_it_goes_when_it_is_finalized() {
    let fixture = Fixture::new().await;
    fixture
        .create("/api/v1/namespaces", json!({"metadata": {"name": "n"}}))
        .await;
    let going = fixture.delete("/api/v1/namespaces/n", None).await.json();
    assert_eq!(going["status"]["phase"], "Terminating");
    let map = json!({"metadata": {"name": "a"}});
    let refused = fixture
        .ask(Method::POST, "/api/v1/namespaces/n/configmaps", Some(map))
        .await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message(),
        "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated"
    );
    assert_eq!(
        refused.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    let finalized = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
    assert_eq!(
        fixture.put("/api/v1/namespaces/n/finalize", finalized).await.code,
        200
    );
    assert_eq!(fixture.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn a_binding_puts_a_pod_on_a_node_and_its_deletion_then_takes_time() {
    let fixture = Fixture::new().await;
    fixture.create(PODS, pod("a")).await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    fixture
        .create(&format!("{PODS}/a/binding"), binding.clone())
        .await;
    let path = format!("{PODS}/a");
    assert_eq!(fixture.get(&path).await.json()["spec"]["nodeName"], "n1");
    let again = fixture
        .ask(Method::POST, &format!("{PODS}/a/binding"), Some(binding))
        .await;
    assert_eq!(again.code, 409);
    assert_eq!(
        fixture.delete(&path, None).await.json()["metadata"]["deletionGracePeriodSeconds"],
        30
    );
    assert_eq!(fixture.get(&path).await.code, 200);
    fixture
        .delete(&path, Some(json!({"gracePeriodSeconds": 0})))
        .await;
    assert_eq!(fixture.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_scale_is_read_and_written() {
    let fixture = Fixture::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod("x")["spec"]});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": template});
    fixture
        .create(deployments, json!({"metadata": {"name": "d"}, "spec": spec}))
        .await;
    let path = format!("{deployments}/d/scale");
    let mut scale = fixture.get(&path).await.json();
    assert_eq!(
        (
            scale["spec"]["replicas"].as_i64(),
            scale["status"]["selector"].as_str()
        ),
        (Some(2), Some("app=a"))
    );
    scale["spec"]["replicas"] = json!(5);
    assert_eq!(
        fixture.put(&path, scale.clone()).await.json()["spec"]["replicas"],
        5
    );
    let late = fixture.put(&path, scale).await;
    assert_eq!(late.code, 409, "{}", late.message());
    let patch = json!({"spec": {"replicas": 1}});
    let patched = fixture.patch(&path, "application/merge-patch+json", patch).await;
    assert_eq!(patched.json()["spec"]["replicas"], 1);
    let deployment = fixture.get(&format!("{deployments}/d")).await.json();
    assert_eq!(
        (
            deployment["spec"]["replicas"].as_i64(),
            deployment["metadata"]["generation"].as_i64()
        ),
        (Some(1), Some(3))
    );
}

#[tokio::test]
async fn a_scale_is_applied() {
    const APPLY: &str = "application/apply-patch+yaml";
    let fixture = Fixture::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod("x")["spec"]});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": template});
    fixture
        .create(deployments, json!({"metadata": {"name": "d"}, "spec": spec}))
        .await;
    let path = |force| format!("{deployments}/d/scale?fieldManager=scaler&force={force}");
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}});
    let conflict = fixture.patch(&path(false), APPLY, scale.clone()).await;
    assert_eq!(conflict.code, 409, "{}", conflict.message());
    assert!(
        conflict.message().contains(".spec.replicas"),
        "{}",
        conflict.message()
    );
    let applied = fixture.patch(&path(true), APPLY, scale).await.json();
    assert_eq!(
        (&applied["kind"], &applied["spec"]["replicas"]),
        (&json!("Scale"), &json!(4))
    );
    let deployment = fixture.get(&format!("{deployments}/d")).await.json();
    assert_eq!(deployment["spec"]["replicas"], 4);
    let managers = deployment["metadata"]["managedFields"].as_array().unwrap();
    let scaler = managers
        .iter()
        .find(|entry| entry["manager"] == "scaler")
        .unwrap();
    assert_eq!(
        (&scaler["operation"], &scaler["subresource"], &scaler["fieldsV1"]),
        (
            &json!("Apply"),
            &json!("scale"),
            &json!({"f:spec": {"f:replicas": {}}})
        )
    );
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 4}});
    assert_eq!(fixture.patch(&path(true), APPLY, other).await.code, 400);
}

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";

/// A quota whose usage is known.
async fn quota(fixture: &Fixture, hard: Value, used: Value) {
    let made = fixture
        .create(QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}}))
        .await;
    let mut quota = made.json();
    quota["status"] = json!({"hard": hard, "used": used});
    let status = format!("{QUOTAS}/q/status");
    assert_eq!(fixture.put(&status, quota).await.code, 200);
}

async fn used(fixture: &Fixture) -> Value {
    fixture.get(&format!("{QUOTAS}/q")).await.json()["status"]["used"].take()
}

#[tokio::test]
async fn a_quota_is_charged_with_what_it_allows_and_refuses_the_rest() {
    let fixture = Fixture::new().await;
    let config_maps = "/api/v1/namespaces/default/configmaps";
    quota(
        &fixture,
        json!({"count/configmaps": "1"}),
        json!({"count/configmaps": "0"}),
    )
    .await;
    let dry = format!("{config_maps}?dryRun=All");
    fixture.create(&dry, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(used(&fixture).await, json!({"count/configmaps": "0"}));
    fixture
        .create(config_maps, json!({"metadata": {"name": "a"}}))
        .await;
    assert_eq!(used(&fixture).await, json!({"count/configmaps": "1"}));
    let second = json!({"metadata": {"name": "b"}});
    let answer = fixture.ask(Method::POST, config_maps, Some(second)).await;
    assert_eq!(
        answer.message(),
        "configmaps \"b\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"
    );
}

#[tokio::test]
async fn an_update_is_charged_for_what_it_adds() {
    let fixture = Fixture::new().await;
    quota(
        &fixture,
        json!({"services.nodeports": "1"}),
        json!({"services.nodeports": "0"}),
    )
    .await;
    let made = fixture
        .create(
            SERVICES,
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 1}]}}),
        )
        .await;
    let mut service = made.json();
    service["spec"]["type"] = json!("NodePort");
    let path = format!("{SERVICES}/s");
    assert_eq!(fixture.put(&path, service.clone()).await.code, 200);
    assert_eq!(used(&fixture).await, json!({"services.nodeports": "1"}));
    service["metadata"]["resourceVersion"] = Value::Null;
    service["spec"]["ports"] = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
    assert_eq!(fixture.put(&path, service).await.code, 403);
}

#[tokio::test]
async fn a_quota_is_never_overshot_by_many_at_once() {
    let fixture = Fixture::new().await;
    quota(&fixture, json!({"pods": "5"}), json!({"pods": "0"})).await;
    let names: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let writes = names
        .iter()
        .map(|name| fixture.ask(Method::POST, PODS, Some(pod(name))));
    let answers = futures::future::join_all(writes).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    let refused = answers.iter().filter(|answer| answer.code == 403).count();
    assert_eq!((made, refused), (5, 15));
    assert_eq!(used(&fixture).await, json!({"pods": "5"}));
}
