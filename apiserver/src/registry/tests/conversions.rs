//! Custom resources whose versions a webhook converts.

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::customs::{DEFINITIONS, MERGE, definition};
use super::{Answer, Fixture, context};
use crate::webhook::stand_in::{HookServer, Reply};

/// Splits `hostPort` of v1 into the `host` and `port` of v2, or puts them together.
fn convert(request: &Value) -> Reply {
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        let fields = object.as_object_mut().unwrap();
        if wanted.ends_with("/v2") {
            let joined = fields.remove("hostPort").unwrap_or_else(|| json!(":"));
            let (host, port) = joined.as_str().unwrap().split_once(':').unwrap();
            fields.insert("host".to_owned(), host.into());
            fields.insert("port".to_owned(), port.into());
        } else {
            let mut take = |name: &str| fields.remove(name).unwrap_or_else(|| "".into());
            let (host, port) = (take("host"), take("port"));
            let joined = format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap());
            fields.insert("hostPort".to_owned(), joined.into());
        }
        fields.insert("apiVersion".to_owned(), wanted.into());
        object
    });
    let objects: Vec<Value> = objects.collect();
    answer(json!({"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}}))
}

fn answer(response: Value) -> Reply {
    let review =
        json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
    Reply::Raw(Response::new(Full::new(Bytes::from(review.to_string()))))
}

async fn webhook() -> HookServer {
    HookServer::start(|_, request| convert(request)).await
}

fn ports(storage: &str, client: &Value) -> Value {
    let text = json!({"type": "string"});
    let version = |name: &str, mut properties: Value| {
        properties["spec"] = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
        let selectable: Vec<Value> = properties
            .as_object()
            .unwrap()
            .keys()
            .filter(|field| !["spec", "status"].contains(&field.as_str()))
            .map(|field| json!({"jsonPath": format!(".{field}")}))
            .collect();
        json!({"name": name, "served": true, "storage": name == storage, "selectableFields": selectable,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "additionalPrinterColumns": [{"name": "Host", "type": "string", "jsonPath": ".host"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    };
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
    let versions = json!([
        version("v1", json!({"hostPort": text, "status": status})),
        version("v2", json!({"host": text, "port": text, "status": status}))
    ]);
    let mut definition = definition("ports", "Port", versions);
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"]}});
    definition
}

fn at(version: &str) -> String {
    format!("/apis/example.com/{version}/namespaces/default/ports")
}

fn first(name: &str, joined: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Port", "metadata": {"name": name}, "hostPort": joined})
}

fn second(name: &str, host: &str, port: &str) -> Value {
    json!({"apiVersion": "example.com/v2", "kind": "Port", "metadata": {"name": name}, "host": host, "port": port})
}

async fn with_ports(storage: &str, hook: &HookServer) -> Fixture {
    let fixture = Fixture::new().await;
    fixture
        .create(DEFINITIONS, ports(storage, &hook.client_config("/convert")))
        .await;
    fixture
}

/// How many objects the webhook was asked to convert, question by question.
fn asked(hook: &HookServer) -> Vec<usize> {
    let calls = hook.take_calls();
    let counts = calls
        .iter()
        .map(|(_, review)| review["request"]["objects"].as_array().unwrap().len());
    counts.collect()
}

#[tokio::test]
async fn objects_are_read_and_written_in_every_version() {
    let hook = webhook().await;
    let fixture = with_ports("v1", &hook).await;
    fixture.create(&at("v1"), first("a", "h:1")).await;
    assert!(asked(&hook).is_empty(), "nobody needed another version");
    let read = fixture.get(&format!("{}/a", at("v2"))).await.json();
    assert_eq!((&read["host"], &read["port"]), (&json!("h"), &json!("1")));
    assert_eq!(read["apiVersion"], "example.com/v2");
    assert_eq!(read.get("hostPort"), None);
    let (target, review) = hook.calls().remove(0);
    assert_eq!(target, "/convert?timeout=30s");
    assert_eq!(review["request"]["objects"][0]["hostPort"], "h:1");
    fixture.get(&format!("{}/a", at("v2"))).await;
    assert_eq!(asked(&hook), [1], "what was converted once is kept");

    let made = fixture.create(&at("v2"), second("b", "i", "2")).await.json();
    assert_eq!(
        (&made["host"], &made["metadata"]["generation"]),
        (&json!("i"), &json!(1))
    );
    let read = fixture.get(&format!("{}/b", at("v1"))).await.json();
    assert_eq!(read["hostPort"], "i:2");

    let patch = json!({"port": "3", "metadata": {"labels": {"x": "y"}}});
    let patched = fixture.patch(&format!("{}/a", at("v2")), MERGE, patch).await;
    assert_eq!(patched.code, 200, "{}", patched.message());
    assert_eq!(patched.json()["port"], "3");
    let read = fixture.get(&format!("{}/a", at("v1"))).await.json();
    assert_eq!(
        (&read["hostPort"], &read["metadata"]["labels"]["x"]),
        (&json!("h:3"), &json!("y"))
    );

    let deleted = fixture.delete(&format!("{}/a", at("v2")), None).await;
    assert_eq!(deleted.json()["status"], "Success");
    let dry = format!("{}?dryRun=All", at("v2"));
    assert_eq!(
        fixture.create(&dry, second("c", "i", "2")).await.json()["host"],
        "i"
    );
}

#[tokio::test]
async fn a_list_is_converted_with_one_question() {
    let hook = webhook().await;
    let fixture = with_ports("v1", &hook).await;
    fixture.create(&at("v1"), first("a", "h:1")).await;
    fixture.create(&at("v1"), first("b", "h:2")).await;
    let target = format!("{DEFINITIONS}/ports.example.com");
    let mut changed = fixture.get(&target).await.json();
    for version in changed["spec"]["versions"].as_array_mut().unwrap() {
        version["storage"] = json!(version["name"] == "v2");
    }
    let changed = fixture.put(&target, changed).await;
    assert_eq!(changed.json()["status"]["storedVersions"], json!(["v1", "v2"]));
    fixture.create(&at("v2"), second("c", "i", "3")).await;
    asked(&hook);
    let hosts = |answer: &Answer| -> Vec<Value> {
        let list = answer.json();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["host"].clone()).collect()
    };
    let list = fixture.get(&at("v2")).await;
    assert_eq!(hosts(&list), [json!("h"), json!("h"), json!("i")]);
    assert_eq!(asked(&hook), [2]);
    let list = fixture.get(&at("v1")).await.json();
    assert_eq!(list["items"][2]["hostPort"], "i:3");
    assert_eq!(asked(&hook), [1]);

    let mut table = context(Method::GET, &at("v2"), &[]);
    let form = "application/json;as=Table;v=v1;g=meta.k8s.io";
    table.headers.insert(http::header::ACCEPT, form.parse().unwrap());
    let table = fixture.ask_with(table, "").await.json();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "h"]));

    // Writing an object as it is migrates it.
    let read = fixture.get(&format!("{}/a", at("v2"))).await.json();
    let written = fixture.put(&format!("{}/a", at("v2")), read.clone()).await.json();
    assert_ne!(
        written["metadata"]["resourceVersion"],
        read["metadata"]["resourceVersion"]
    );
    let again = fixture
        .put(&format!("{}/a", at("v2")), written.clone())
        .await
        .json();
    assert_eq!(
        again["metadata"]["resourceVersion"],
        written["metadata"]["resourceVersion"]
    );
    asked(&hook);
    fixture.get(&at("v2")).await;
    assert!(asked(&hook).is_empty());
}

#[tokio::test]
async fn watches_tell_of_changes_in_their_version() {
    let hook = webhook().await;
    let fixture = with_ports("v1", &hook).await;
    fixture.create(&at("v1"), first("a", "h:1")).await;
    let mut watch = fixture.watch(&format!("{}?watch=true", at("v2"))).await;
    let next = async |watch: &mut crate::request::ResponseBody| -> Value {
        let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
        serde_json::from_slice(&frame).unwrap()
    };
    let told = next(&mut watch).await;
    assert_eq!(
        (&told["type"], &told["object"]["host"]),
        (&json!("ADDED"), &json!("h"))
    );
    fixture
        .patch(&format!("{}/a", at("v1")), MERGE, json!({"hostPort": "j:5"}))
        .await;
    let told = next(&mut watch).await;
    assert_eq!(
        (&told["type"], &told["object"]["host"]),
        (&json!("MODIFIED"), &json!("j"))
    );
    asked(&hook);
    fixture.delete(&format!("{}/a", at("v1")), None).await;
    let told = next(&mut watch).await;
    assert_eq!(
        (&told["type"], &told["object"]["port"]),
        (&json!("DELETED"), &json!("5"))
    );
    assert!(asked(&hook).is_empty(), "what is gone was converted already");
}

#[tokio::test]
async fn fields_are_selected_in_the_version_asked_for() {
    let hook = webhook().await;
    let fixture = with_ports("v1", &hook).await;
    let mut watch = fixture
        .watch(&format!("{}?watch=true&fieldSelector=host=h", at("v2")))
        .await;
    fixture.create(&at("v1"), first("other", "i:1")).await;
    fixture.create(&at("v1"), first("a", "h:1")).await;
    fixture.create(&at("v2"), second("b", "h", "2")).await;
    let names = async |version: &str, selector: &str| -> Vec<Value> {
        let list = fixture
            .get(&format!("{}?fieldSelector={selector}", at(version)))
            .await
            .json();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].clone()).collect()
    };
    assert_eq!(names("v2", "host=h").await, ["a", "b"]);
    assert_eq!(names("v2", "host=h,port!=1").await, ["b"]);
    assert_eq!(names("v2", "host=h&limit=1").await, ["a"]);
    assert_eq!(names("v1", "hostPort=h:2").await, ["b"]);
    let refused = fixture
        .get(&format!("{}?fieldSelector=hostPort=x", at("v2")))
        .await;
    assert_eq!(refused.message(), "field label not supported: hostPort");

    fixture
        .patch(&format!("{}/a", at("v1")), MERGE, json!({"hostPort": "j:5"}))
        .await;
    fixture.delete(&format!("{}/b", at("v1")), None).await;
    let mut told = Vec::new();
    while told.len() < 4 {
        let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
        for line in frame.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).unwrap();
            let shown = (event["type"].clone(), event["object"]["metadata"]["name"].clone());
            assert_eq!(event["object"]["host"], "h");
            told.push(shown);
        }
    }
    let wanted = [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")];
    assert_eq!(told, wanted.map(|(kind, name)| (json!(kind), json!(name))));
}

#[tokio::test]
async fn scale_status_and_ownership_are_of_the_version_asked_for() {
    let hook = webhook().await;
    let fixture = with_ports("v1", &hook).await;
    let target = format!("{}/a", at("v2"));
    let mut config = second("a", "h", "1");
    config["spec"] = json!({"replicas": 2});
    let apply = |manager: &str| format!("{target}?fieldManager={manager}");
    let applied = fixture
        .patch(&apply("one"), "application/apply-patch+yaml", config)
        .await;
    assert_eq!(applied.code, 201, "{}", applied.message());
    let managed = &applied.json()["metadata"]["managedFields"][0];
    assert_eq!(managed["apiVersion"], "example.com/v2");
    assert_eq!(managed["fieldsV1"]["f:host"], json!({}));
    let conflict = fixture
        .patch(
            &apply("two"),
            "application/apply-patch+yaml",
            second("a", "i", "1"),
        )
        .await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"one\": .host"
    );
    let scale = fixture.get(&format!("{target}/scale")).await.json();
    assert_eq!(scale["spec"]["replicas"], 2);
    let scaled = fixture
        .patch(
            &format!("{target}/scale"),
            MERGE,
            json!({"spec": {"replicas": 4}}),
        )
        .await;
    assert_eq!(scaled.json()["spec"]["replicas"], 4, "{}", scaled.message());
    let status = json!({"status": {"replicas": 3}, "host": "ignored"});
    let status = fixture
        .patch(&format!("{target}/status"), MERGE, status)
        .await
        .json();
    assert_eq!(
        (&status["status"]["replicas"], &status["host"]),
        (&json!(3), &json!("h"))
    );
}

#[tokio::test]
async fn fields_are_owned_across_the_versions_that_a_webhook_converts() {
    let hook = webhook().await;
    let fixture = with_ports("v1", &hook).await;
    let apply = async |version: &str, query: &str, config: Value| {
        let target = format!("{}/a?{query}", at(version));
        fixture
            .patch(&target, "application/apply-patch+yaml", config)
            .await
    };
    let owners = |object: &Value| -> Vec<(String, String, Value)> {
        let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
        let read = entries.map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("manager"), text("apiVersion"), entry["fieldsV1"].clone())
        });
        let mut owners: Vec<_> = read.collect();
        // By name, two before unknown, for the order goes by time.
        owners.sort_by(|a, b| a.0.cmp(&b.0));
        owners
    };
    let of = |name: &str, version: &str, fields: Value| {
        (name.to_owned(), format!("example.com/{version}"), fields)
    };
    let made = apply("v1", "fieldManager=one", first("a", "h:1")).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let refused = apply("v2", "fieldManager=two", second("a", "i", "1")).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"one\": .hostPort",
        "its owner wrote it so"
    );
    let shared = apply("v2", "fieldManager=two", second("a", "h", "1"))
        .await
        .json();
    let of_two = of("two", "v2", json!({"f:host": {}, "f:port": {}}));
    assert_eq!(
        owners(&shared),
        [of("one", "v1", json!({"f:hostPort": {}})), of_two.clone()]
    );
    let forced = apply("v2", "fieldManager=two&force=true", second("a", "i", "1"))
        .await
        .json();
    assert_eq!((&forced["host"], owners(&forced)), (&json!("i"), vec![of_two]));

    // An ordinary write, in the other version, takes what it changes.
    let patched = fixture
        .patch(&format!("{}/a", at("v1")), MERGE, json!({"hostPort": "i:2"}))
        .await
        .json();
    let left = owners(&patched);
    assert_eq!(left[0], of("two", "v2", json!({"f:host": {}})), "{patched}");
    assert_eq!(
        (&left[1].1, &left[1].2),
        (&"example.com/v1".to_owned(), &json!({"f:hostPort": {}}))
    );

    // Who goes on in another version is the same manager.
    let moved = apply("v1", "fieldManager=two&force=true", first("a", "j:3"))
        .await
        .json();
    assert_eq!(owners(&moved), [of("two", "v1", json!({"f:hostPort": {}}))]);
}

#[tokio::test]
async fn a_webhook_that_fails_is_told_of() {
    let hook = HookServer::start(|_, request| {
        answer(json!({"uid": request["uid"], "convertedObjects": [],
            "result": {"status": "Failure", "message": "cannot do that"}}))
    })
    .await;
    let fixture = with_ports("v1", &hook).await;
    fixture.create(&at("v1"), first("a", "h:1")).await;
    let fault = "conversion webhook for example.com/v1, Kind=Port failed: cannot do that";
    for target in [format!("{}/a", at("v2")), at("v2")] {
        let refused = fixture.get(&target).await;
        assert_eq!((refused.code, refused.message().as_str()), (500, fault));
    }
    let refused = fixture
        .ask(Method::POST, &at("v2"), Some(second("b", "i", "2")))
        .await;
    assert_eq!(
        refused.message(),
        "conversion webhook for example.com/v2, Kind=Port failed: cannot do that"
    );
    let mut watch = fixture.watch(&format!("{}?watch=true", at("v2"))).await;
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    let told: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(
        (&told["type"], &told["object"]["message"]),
        (&json!("ERROR"), &json!(fault))
    );
    assert!(watch.frame().await.is_none());
    assert_eq!(fixture.get(&format!("{}/a", at("v1"))).await.code, 200);
    // What the definition leaves can be deleted without its webhook.
    let target = format!("{DEFINITIONS}/ports.example.com");
    fixture.delete(&target, None).await;
    super::customs::wait_for(&fixture, &target, |read| read["code"] == 404).await;
}

#[tokio::test]
async fn admission_sees_the_version_that_it_names() {
    let hook = HookServer::start(|path, request| {
        if path == "/convert" {
            return convert(request);
        }
        crate::webhook::stand_in::patched(&json!([{"op": "replace", "path": "/port", "value": "9"}]))
    })
    .await;
    let fixture = with_ports("v1", &hook).await;
    let configuration = json!({"metadata": {"name": "c"}, "webhooks": [{"name": "a.example.com",
        "clientConfig": hook.client_config("/mutate"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["ports"]}]}]});
    fixture
        .create(
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            configuration,
        )
        .await;
    let made = fixture.create(&at("v1"), first("a", "h:1")).await.json();
    assert_eq!(made["hostPort"], "h:9");
    let calls = hook.take_calls();
    let shown = calls
        .iter()
        .find(|(path, _)| path.starts_with("/mutate"))
        .unwrap();
    assert_eq!(shown.1["request"]["object"]["host"], "h");
}
