//! Webhooks as they show at the registry, asked over TLS.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Response, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Answer, Fixture, config_map};
use crate::webhook::stand_in::{HookServer, Reply, allowed, denied, patched};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook about everything that happens to ConfigMaps, with these fields besides.
fn hook(server: &HookServer, path: &str, fields: Value) -> Value {
    let mut hook = json!({
        "name": format!("{}.example.com", path.trim_matches('/')),
        "clientConfig": server.client_config(path),
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
    });
    let all = hook.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    hook
}

fn rules(operation: &str, group: &str, version: &str, resource: &str) -> Value {
    json!([{"operations": [operation], "apiGroups": [group], "apiVersions": [version], "resources": [resource]}])
}

impl Fixture {
    async fn configure(&self, sort: &str, name: &str, hooks: Value) {
        let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
        self.create(&format!("{HOOKS}/{sort}webhookconfigurations"), configuration)
            .await;
    }

    async fn validating(&self, name: &str, hook: Value) {
        self.configure("validating", name, json!([hook])).await;
    }

    async fn mutating(&self, name: &str, hook: Value) {
        self.configure("mutating", name, json!([hook])).await;
    }

    async fn post(&self, target: &str, object: Value) -> Answer {
        self.ask(Method::POST, target, Some(object)).await
    }
}

fn status(answer: &Answer) -> (u16, String) {
    (answer.code, answer.message())
}

fn set(path: &str, value: &str) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

#[tokio::test]
async fn a_refusal_counts_from_the_first_request_after_the_configuration_was_answered() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, request| match request["object"]["data"]["key"].as_str() {
        Some("bad") => denied("the key is bad"),
        _ => allowed(),
    })
    .await;
    fixture.create(MAPS, config_map("before", "bad")).await;
    fixture.validating("v", hook(&server, "/maps", json!({}))).await;
    let refused = fixture.post(MAPS, config_map("a", "bad")).await;
    let why = "admission webhook \"maps.example.com\" denied the request: the key is bad";
    assert_eq!(status(&refused), (403, why.to_owned()));
    assert_eq!(refused.json()["reason"], "Forbidden");
    fixture.create(MAPS, config_map("a", "good")).await;
    let put = fixture.put(&format!("{MAPS}/a"), config_map("a", "bad")).await;
    assert_eq!(status(&put), (403, why.to_owned()));
    let merge = "application/merge-patch+json";
    let patch = json!({"data": {"key": "bad"}});
    let patched = fixture.patch(&format!("{MAPS}/a"), merge, patch).await;
    assert_eq!(status(&patched), (403, why.to_owned()));
    // One connection carried all of it.
    assert_eq!((server.calls().len(), server.connections()), (4, 1));
    let gone = fixture
        .delete(&format!("{HOOKS}/validatingwebhookconfigurations/v"), None)
        .await;
    assert_eq!(gone.code, 200);
    fixture.create(MAPS, config_map("b", "bad")).await;
}

#[tokio::test]
async fn a_webhook_is_told_what_upstream_tells_it() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, _| allowed()).await;
    fixture.validating("v", hook(&server, "/v", json!({}))).await;
    fixture.mutating("m", hook(&server, "/m", json!({}))).await;
    fixture
        .create(
            &format!("{MAPS}?fieldManager=me&dryRun=All"),
            json!({"metadata": {"generateName": "a-"}}),
        )
        .await;
    let [(first, mutating), (second, validating)] = &server.take_calls()[..] else {
        panic!("both webhooks are asked once")
    };
    assert_eq!(
        (first.as_str(), second.as_str()),
        ("/m?timeout=5s", "/v?timeout=5s")
    );
    let (m, v) = (&mutating["request"], &validating["request"]);
    assert_eq!(
        (m["operation"].as_str(), m["namespace"].as_str()),
        (Some("CREATE"), Some("default"))
    );
    assert_eq!(
        m["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(
        m["userInfo"],
        json!({"username": "admin", "groups": ["system:masters"]})
    );
    assert_eq!((&m["dryRun"], &m["oldObject"]), (&json!(true), &Value::Null));
    assert_eq!(
        m["options"],
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"})
    );
    // The name is made between mutation and validation.
    assert_eq!((m.get("name"), m["object"]["metadata"].get("name")), (None, None));
    assert!(v["name"].as_str().unwrap().starts_with("a-"), "{v}");
    assert!(m["object"]["metadata"].get("uid").is_none() && v["object"]["metadata"]["uid"].is_string());
}

#[tokio::test]
async fn deletions_are_asked_about_object_by_object() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, _| allowed()).await;
    fixture.validating("v", hook(&server, "/v", json!({}))).await;
    fixture.mutating("m", hook(&server, "/m", json!({}))).await;
    fixture.create(MAPS, config_map("b", "1")).await;
    server.take_calls();
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    fixture.delete(&format!("{MAPS}/b"), Some(options)).await;
    let calls = server.take_calls();
    assert_eq!(calls.len(), 2);
    for (_, review) in calls {
        let request = &review["request"];
        assert_eq!(
            (request["operation"].as_str(), request["name"].as_str()),
            (Some("DELETE"), Some("b"))
        );
        assert_eq!(
            (&request["object"], &request["oldObject"]["data"]),
            (&Value::Null, &json!({"key": "1"}))
        );
        assert_eq!(request["oldObject"]["kind"], "ConfigMap");
        assert_eq!(
            request["options"],
            json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Background"})
        );
    }
    fixture.create(MAPS, config_map("c", "1")).await;
    fixture.create(MAPS, config_map("d", "1")).await;
    server.take_calls();
    fixture.delete(MAPS, None).await;
    let names: Vec<_> = server
        .take_calls()
        .iter()
        .filter(|(path, _)| path.starts_with("/v"))
        .map(|(_, review)| review["request"]["oldObject"]["metadata"]["name"].clone())
        .collect();
    assert_eq!(
        names.len(),
        2,
        "each object of a collection is asked about: {names:?}"
    );
}

#[tokio::test]
async fn mutations_come_one_after_the_other_with_defaults_and_plugins_in_between() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|path, request| match path {
        "/container" => patched(&json!([{"op": "add", "path": "/spec/initContainers", "value": [
            {"name": "added", "image": "i"}]}])),
        "/label" => {
            let count = request["object"]["spec"]["initContainers"]
                .as_array()
                .map_or(0, Vec::len);
            patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": count.to_string()}}]))
        }
        _ => allowed(),
    })
    .await;
    let pods = rules("CREATE", "", "v1", "pods");
    let fields = json!({"rules": pods, "reinvocationPolicy": "IfNeeded"});
    // By the names of the configurations: the label comes first, and is asked again about what came after it.
    fixture.mutating("a", hook(&server, "/label", fields)).await;
    fixture
        .mutating("b", hook(&server, "/container", json!({"rules": pods})))
        .await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = fixture.create(PODS, pod).await.json();
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(
        added["terminationMessagePolicy"], "File",
        "defaults are filled in"
    );
    assert_eq!(
        added["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount",
        "plugins see what was added"
    );
    assert_eq!(made["metadata"]["labels"], json!({"seen": "1"}));
    let asked: Vec<_> = server.calls().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        asked,
        ["/label?timeout=5s", "/container?timeout=5s", "/label?timeout=5s"]
    );
}

/// Webhooks that cannot be asked: by their path, what is wrong with them, and what is said of it.
fn failures(server: &HookServer) -> Vec<(&'static str, Value, &'static str)> {
    let untrusted = json!({"clientConfig": {"url": server.client_config("/yes")["url"]}});
    let nowhere =
        json!({"clientConfig": {"service": {"namespace": "default", "name": "none", "path": "/x"}}});
    vec![
        (
            "/moved",
            json!({}),
            "the server responded with the status code 302",
        ),
        (
            "/never",
            json!({"timeoutSeconds": 1}),
            "context deadline exceeded",
        ),
        (
            "/broken",
            json!({}),
            "couldn't get version/kind; json parse error",
        ),
        (
            "/absent",
            json!({}),
            "received invalid webhook response: webhook response was absent",
        ),
        ("/untrusted", untrusted, "certificate signed by unknown authority"),
        ("/nowhere", nowhere, "services \"none\" not found"),
        (
            "/unknown",
            json!({"matchConditions": [{"name": "x", "expression": "object.none.none == 1"}]}),
            "expression 'object.none.none == 1' resulted in error: no such key: none",
        ),
    ]
}

#[tokio::test]
async fn what_cannot_be_asked_fails_or_is_passed_over_as_the_policy_says() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|path, _| match path {
        "/moved" => {
            let moved = Response::builder().status(302).header(header::LOCATION, "/yes");
            Reply::Raw(moved.body(Full::new(Bytes::new())).unwrap())
        }
        "/never" => Reply::Never,
        "/broken" => Reply::Raw(Response::new(Full::new(Bytes::from_static(b"{")))),
        "/absent" => Reply::Raw(Response::new(Full::new(Bytes::from_static(b"{}")))),
        _ => allowed(),
    })
    .await;
    for (index, (path, fields, why)) in failures(&server).into_iter().enumerate() {
        let object = config_map(&format!("m{index}"), "1");
        let mut fields = fields;
        let failing = hook(&server, path, fields.clone());
        fixture.validating("v", failing).await;
        let refused = fixture.post(MAPS, object.clone()).await;
        let message = refused.message();
        assert!(message.contains(why), "{path}: {message}");
        if path == "/unknown" {
            assert_eq!(refused.code, 403);
        } else {
            let name = path.trim_matches('/');
            let start = format!("Internal error occurred: failed calling webhook \"{name}.example.com\": ");
            assert_eq!(
                (refused.code, message.starts_with(&start)),
                (500, true),
                "{message}"
            );
        }
        let configurations = format!("{HOOKS}/validatingwebhookconfigurations");
        fixture.delete(&format!("{configurations}/v"), None).await;
        fields["failurePolicy"] = json!("Ignore");
        fixture.mutating("m", hook(&server, path, fields)).await;
        fixture.create(MAPS, object).await;
        fixture
            .delete(&format!("{HOOKS}/mutatingwebhookconfigurations/m"), None)
            .await;
    }
    let followed = server.calls().iter().any(|(path, _)| path.starts_with("/yes"));
    assert!(!followed, "a redirect is not followed");
}

#[tokio::test]
async fn configurations_themselves_are_exempt() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, _| denied("nothing goes")).await;
    let all = json!({"rules": rules("*", "*", "*", "*/*")});
    fixture.validating("v", hook(&server, "/all", all.clone())).await;
    fixture.mutating("m", hook(&server, "/all", all)).await;
    assert_eq!(fixture.post(MAPS, config_map("a", "1")).await.code, 403);
    let asked = server.calls().len();
    for sort in ["validating", "mutating"] {
        let name = &sort[..1];
        let path = format!("{HOOKS}/{sort}webhookconfigurations/{name}");
        let merge = "application/merge-patch+json";
        let patch = json!({"metadata": {"labels": {"a": "b"}}});
        assert_eq!(fixture.patch(&path, merge, patch).await.code, 200);
        assert_eq!(fixture.delete(&path, None).await.code, 200);
    }
    assert_eq!(server.calls().len(), asked);
}

#[tokio::test]
async fn dry_runs_need_a_webhook_without_side_effects_and_warnings_reach_the_client() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, _| {
        Reply::Review(json!({"allowed": true, "warnings": ["mind the \"gap\"", "mind the \"gap\""]}))
    })
    .await;
    let hooks = json!([hook(&server, "/careful", json!({"sideEffects": "NoneOnDryRun"}))]);
    fixture.configure("validating", "v", hooks).await;
    let made = fixture
        .create(&format!("{MAPS}?dryRun=All"), config_map("a", "1"))
        .await;
    let warnings: Vec<_> = made.headers.get_all(header::WARNING).iter().collect();
    assert_eq!(warnings, ["299 - \"mind the \\\"gap\\\"\""]);
    assert_eq!(fixture.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn another_version_is_asked_about_in_its_own_shape() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, request| {
        let target = &request["object"]["spec"]["targetCPUUtilizationPercentage"];
        match target.as_i64() {
            Some(60) => patched(
                &json!([{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70}]),
            ),
            _ => allowed(),
        }
    })
    .await;
    let fields = json!({"rules": rules("*", "autoscaling", "v1", "*")});
    fixture.mutating("m", hook(&server, "/scale", fields)).await;
    let scaler = json!({"metadata": {"name": "a"}, "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}, "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 60}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = fixture.create(path, scaler).await.json();
    assert_eq!(
        made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        70
    );
    let (_, review) = &server.calls()[0];
    assert_eq!(review["request"]["kind"]["version"], "v1");
    assert_eq!(review["request"]["requestKind"]["version"], "v2");
}

#[tokio::test]
async fn parts_of_objects_are_asked_about_by_their_own_kind() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, request| match request["kind"]["kind"].as_str() {
        Some("Scale") => patched(&json!([{"op": "replace", "path": "/spec/replicas", "value": 2}])),
        _ => allowed(),
    })
    .await;
    let set_of_one = json!({"metadata": {"name": "r"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    fixture.create(sets, set_of_one).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    fixture.create(PODS, pod).await;
    let all = json!({"rules": rules("*", "*", "*", "*/*")});
    fixture.mutating("m", hook(&server, "/all", all)).await;
    let scale = json!({"spec": {"replicas": 5}});
    let merge = "application/merge-patch+json";
    let scaled = fixture.patch(&format!("{sets}/r/scale"), merge, scale).await;
    assert_eq!(
        (scaled.code, scaled.json()["spec"]["replicas"].as_i64()),
        (200, Some(2))
    );
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(
        fixture.post(&format!("{PODS}/p/binding"), binding).await.code,
        201
    );
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(
        fixture.post(&format!("{PODS}/p/eviction"), eviction).await.code,
        201
    );
    let asked: Vec<String> = server
        .calls()
        .iter()
        .map(|(_, review)| {
            let request = &review["request"];
            let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
            let kind = request["kind"]["kind"].as_str().unwrap_or_default();
            format!("{} {kind} {}", text("operation"), text("subResource"))
        })
        .collect();
    assert_eq!(
        asked,
        [
            "UPDATE Scale scale",
            "CREATE Binding binding",
            "CREATE Eviction eviction"
        ],
        "what an eviction deletes was asked about as an eviction"
    );
}

#[tokio::test]
async fn every_try_of_a_write_is_asked_about() {
    let fixture = std::sync::Arc::new(Fixture::new().await);
    fixture.create(MAPS, config_map("a", "1")).await;
    let server = HookServer::start(|_, _| patched(&set("/data/touched", "yes"))).await;
    fixture.mutating("m", hook(&server, "/m", json!({}))).await;
    let merge = "application/merge-patch+json";
    let patches = (0..4).map(|index| {
        let fixture = fixture.clone();
        async move {
            let patch = json!({"data": {format!("k{index}"): "v"}});
            fixture.patch(&format!("{MAPS}/a"), merge, patch).await.code
        }
    });
    assert_eq!(futures::future::join_all(patches).await, [200; 4]);
    let data: BTreeMap<String, String> =
        serde_json::from_value(fixture.get(&format!("{MAPS}/a")).await.json()["data"].clone()).unwrap();
    let names: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(names, ["k0", "k1", "k2", "k3", "key", "touched"]);
    assert!(server.calls().len() >= 4);
}

#[tokio::test]
async fn custom_resources_are_asked_about_like_any_other() {
    let fixture = Fixture::new().await;
    let server = HookServer::start(|_, request| match request["operation"].as_str() {
        Some("CREATE") => patched(&json!([
            {"op": "add", "path": "/spec/color", "value": "red"}, {"op": "add", "path": "/spec/unknown", "value": 1}])),
        _ => allowed(),
    })
    .await;
    let spec = json!({"type": "object", "properties": {
        "color": {"type": "string"}, "size": {"type": "integer", "default": 3}, "replicas": {"type": "integer"}}});
    let mut definition = super::customs::widgets(spec);
    let mut newer = definition["spec"]["versions"][0].clone();
    (newer["name"], newer["storage"]) = (json!("v2"), json!(false));
    definition["spec"]["versions"].as_array_mut().unwrap().push(newer);
    fixture
        .create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
        )
        .await;
    // The webhook knows the newer version only, and is asked about writes to the older one.
    let of = json!({"rules": rules("*", "example.com", "v2", "*/*")});
    fixture.mutating("m", hook(&server, "/m", of)).await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {}});
    let made = fixture.create(widgets, widget).await.json();
    assert_eq!(
        (&made["apiVersion"], &made["spec"]),
        (&json!("example.com/v1"), &json!({"color": "red", "size": 3}))
    );
    let scale = format!("{widgets}/a/scale");
    let merge = "application/merge-patch+json";
    let scaled = fixture
        .patch(&scale, merge, json!({"spec": {"replicas": 2}}))
        .await;
    assert_eq!(scaled.code, 200, "{}", scaled.message());
    assert_eq!(fixture.delete(&format!("{widgets}/a"), None).await.code, 200);
    let calls = server.take_calls();
    let [(_, create), (_, scale), (_, delete)] = &calls[..] else {
        panic!("three writes are asked about: {calls:?}")
    };
    assert_eq!(create["request"]["object"]["apiVersion"], "example.com/v2");
    assert_eq!(create["request"]["requestResource"]["version"], "v1");
    assert_eq!(scale["request"]["object"]["kind"], "Scale");
    assert_eq!(scale["request"]["object"]["spec"], json!({"replicas": 2}));
    assert_eq!(delete["request"]["oldObject"]["apiVersion"], "example.com/v2");
    assert_eq!(delete["request"]["oldObject"]["spec"]["replicas"], 2);
}
