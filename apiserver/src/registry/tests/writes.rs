//! create, update, patch, delete.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use super::{Fixture, config_map, context};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_made_read_changed_and_removed() {
    let fixture = Fixture::new().await;
    let made = fixture.create(MAPS, config_map("a", "1")).await.json();
    assert_eq!(
        (made["kind"].as_str(), made["apiVersion"].as_str()),
        (Some("ConfigMap"), Some("v1"))
    );
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());

    let path = format!("{MAPS}/a");
    assert_eq!(fixture.get(&path).await.json(), made);

    let mut changed = made.clone();
    changed["data"]["key"] = json!("2");
    let updated = fixture.put(&path, changed).await;
    assert_eq!(
        (updated.code, updated.json()["data"]["key"].as_str()),
        (200, Some("2"))
    );
    let before: u64 = made["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(updated.revision() > before);

    let deleted = fixture.delete(&path, None).await;
    assert_eq!(
        (deleted.code, deleted.json()["status"].as_str()),
        (200, Some("Success"))
    );
    let gone = fixture.get(&path).await;
    assert_eq!(
        (gone.code, gone.message()),
        (404, "configmaps \"a\" not found".to_owned())
    );
}

#[tokio::test]
async fn refusals_of_create() {
    let fixture = Fixture::new().await;
    fixture.create(MAPS, config_map("a", "1")).await;
    let table = [
        (MAPS, config_map("a", "1"), 409, "configmaps \"a\" already exists"),
        (
            MAPS,
            json!({"metadata": {"name": "b", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "/api/v1/namespaces/none/configmaps",
            config_map("a", "1"),
            404,
            "namespaces \"none\" not found",
        ),
        (
            "/api/v1/namespaces/default/bogus",
            config_map("a", "1"),
            404,
            "the server could not find the requested resource",
        ),
        (
            "/api/v1/namespaces/default/configmaps/a",
            config_map("a", "1"),
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            "/api/v1/namespaces/default/configmaps?dryRun=Some",
            config_map("b", "1"),
            422,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
        ),
    ];
    for (target, object, code, message) in table {
        let answer = fixture.ask(http::Method::POST, target, Some(object)).await;
        assert_eq!(
            (answer.code, answer.message()),
            (code, message.to_owned()),
            "{target}"
        );
    }
}

#[tokio::test]
async fn updates_are_refused_when_somebody_was_faster() {
    let fixture = Fixture::new().await;
    let made = fixture.create(MAPS, config_map("a", "1")).await.json();
    let path = format!("{MAPS}/a");
    fixture.put(&path, config_map("a", "2")).await;
    let late = fixture.put(&path, made.clone()).await;
    assert_eq!(late.code, 409);
    assert_eq!(
        late.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );
    let mut other = config_map("a", "3");
    other["metadata"]["uid"] = json!("other");
    let other = fixture.put(&path, other).await;
    assert_eq!(other.code, 409);
    assert!(
        other
            .message()
            .contains("Precondition failed: UID in precondition: other"),
        "{}",
        other.message()
    );
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let fixture = Fixture::new().await;
    let made = fixture.create(MAPS, config_map("a", "1")).await;
    let again = fixture.put(&format!("{MAPS}/a"), made.json()).await;
    assert_eq!(again.revision(), made.revision());
}

#[tokio::test]
async fn three_kinds_of_patches() {
    let fixture = Fixture::new().await;
    fixture.create(MAPS, config_map("a", "1")).await;
    let path = format!("{MAPS}/a");
    let table = [
        (
            "application/merge-patch+json",
            json!({"data": {"m": "1", "key": null}}),
            json!({"m": "1"}),
        ),
        (
            "application/json-patch+json",
            json!([{"op": "add", "path": "/data/j", "value": "2"}]),
            json!({"j": "2", "m": "1"}),
        ),
        (
            "application/strategic-merge-patch+json",
            json!({"data": {"s": "3"}}),
            json!({"j": "2", "m": "1", "s": "3"}),
        ),
    ];
    for (media_type, patch, want) in table {
        let answer = fixture.patch(&path, media_type, patch).await;
        assert_eq!(
            (answer.code, answer.json()["data"].clone()),
            (200, want),
            "{media_type}"
        );
    }
    let unknown = fixture.patch(&path, "application/json", json!({})).await;
    assert_eq!(unknown.code, 415);
    let renamed = fixture
        .patch(
            &path,
            "application/merge-patch+json",
            json!({"metadata": {"name": "b"}}),
        )
        .await;
    assert_eq!(renamed.code, 400, "{}", renamed.message());
}

#[tokio::test]
async fn concurrent_patches_all_arrive() {
    let fixture = Fixture::new().await;
    fixture.create(MAPS, config_map("a", "1")).await;
    let path = format!("{MAPS}/a");
    let patches = (0..20).map(|i| {
        let (fixture, path) = (&fixture, &path);
        async move {
            let patch = json!({"data": {format!("k{i}"): "v"}});
            fixture
                .patch(path, "application/merge-patch+json", patch)
                .await
                .code
        }
    });
    let codes = futures::future::join_all(patches).await;
    assert_eq!(codes, vec![200; 20]);
    let data = fixture.get(&path).await.json()["data"].as_object().unwrap().len();
    assert_eq!(data, 21);
}

#[tokio::test]
async fn dry_runs_leave_no_trace() {
    let fixture = Fixture::new().await;
    let made = fixture
        .create(&format!("{MAPS}?dryRun=All"), config_map("a", "1"))
        .await;
    assert!(made.json()["metadata"].get("resourceVersion").is_none());
    assert_eq!(fixture.get(&format!("{MAPS}/a")).await.code, 404);
    let kept = fixture.create(MAPS, config_map("a", "1")).await;
    fixture
        .put(&format!("{MAPS}/a?dryRun=All"), config_map("a", "2"))
        .await;
    fixture.delete(&format!("{MAPS}/a?dryRun=All"), None).await;
    assert_eq!(
        fixture.get(&format!("{MAPS}/a")).await.revision(),
        kept.revision()
    );
}

#[tokio::test]
async fn generated_names_differ() {
    let fixture = Fixture::new().await;
    let object = json!({"metadata": {"generateName": "gen-"}});
    let first = fixture.create(MAPS, object.clone()).await.json();
    let second = fixture.create(MAPS, object).await.json();
    let name = first["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
    assert_ne!(first["metadata"]["name"], second["metadata"]["name"]);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let fixture = Fixture::new().await;
    let mut object = config_map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    fixture.create(MAPS, object).await;
    let path = format!("{MAPS}/a");
    let held = fixture.delete(&path, None).await.json();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(fixture.get(&path).await.code, 200);
    let patch = json!({"metadata": {"finalizers": null}});
    assert_eq!(
        fixture
            .patch(&path, "application/merge-patch+json", patch)
            .await
            .code,
        200
    );
    assert_eq!(fixture.get(&path).await.code, 404);
}

#[tokio::test]
async fn preconditions_of_delete() {
    let fixture = Fixture::new().await;
    fixture.create(MAPS, config_map("a", "1")).await;
    let path = format!("{MAPS}/a");
    let other = fixture
        .delete(&path, Some(json!({"preconditions": {"uid": "other"}})))
        .await;
    assert_eq!(other.code, 409);
    assert!(other.message().starts_with(
        "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (other) does not match"
    ));
    let old = fixture
        .delete(&path, Some(json!({"preconditions": {"resourceVersion": "1"}})))
        .await;
    assert_eq!(old.code, 409);
    assert_eq!(fixture.get(&path).await.code, 200);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let fixture = Fixture::new().await;
    for (name, data) in [("a", "1"), ("b", "2"), ("c", "1")] {
        fixture.create(MAPS, config_map(name, data)).await;
    }
    let deleted = fixture
        .delete(&format!("{MAPS}?labelSelector=data=1"), None)
        .await
        .json();
    assert_eq!(deleted["items"].as_array().unwrap().len(), 2);
    let left = fixture.get(MAPS).await.json();
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_stored_survives_a_restart_of_the_registry() {
    let fixture = Fixture::new().await;
    let made = fixture.create(MAPS, config_map("a", "1")).await.json();
    let second = Fixture::on(fixture.store.clone()).await;
    assert_eq!(second.get(&format!("{MAPS}/a")).await.json(), made);
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let fixture = Fixture::new().await;
    let mut object = config_map("a", "1");
    object["bogus"] = json!(1);
    let strict = format!("{MAPS}?dryRun=All&fieldValidation=Strict");
    let refused = fixture
        .ask(http::Method::POST, &strict, Some(object.clone()))
        .await;
    assert_eq!(refused.code, 400);
    assert!(
        refused
            .message()
            .ends_with("strict decoding error: unknown field \"bogus\""),
        "{}",
        refused.message()
    );
    let warned = fixture
        .create(&format!("{MAPS}?dryRun=All"), object.clone())
        .await;
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"bogus\\\"\"");
    let ignored = fixture
        .create(&format!("{MAPS}?dryRun=All&fieldValidation=Ignore"), object)
        .await;
    assert!(!ignored.headers.contains_key("warning"));
}

#[tokio::test]
async fn applied_configurations_are_merged_and_owned() {
    const APPLY: &str = "application/apply-patch+yaml";
    let fixture = Fixture::new().await;
    let path = format!("{MAPS}/a?fieldManager=one");
    let config = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let made = fixture
        .patch(&path, APPLY, config(json!({"x": "1", "y": "1"})))
        .await;
    assert_eq!(made.code, 201, "{}", made.message());
    let owner = &made.json()["metadata"]["managedFields"][0];
    assert_eq!(
        (owner["manager"].as_str(), owner["operation"].as_str()),
        (Some("one"), Some("Apply"))
    );
    let again = fixture
        .patch(&path, APPLY, config(json!({"x": "1", "y": "1"})))
        .await;
    assert_eq!(again.revision(), made.revision());

    let other = format!("{MAPS}/a?fieldManager=two");
    let conflict = fixture.patch(&other, APPLY, config(json!({"x": "2"}))).await;
    assert_eq!(conflict.code, 409, "{}", conflict.message());
    let forced = fixture
        .patch(&format!("{other}&force=true"), APPLY, config(json!({"x": "2"})))
        .await;
    assert_eq!(
        (forced.code, forced.json()["data"].clone()),
        (200, json!({"x": "2", "y": "1"}))
    );
    let less = fixture.patch(&path, APPLY, config(json!({}))).await.json();
    assert_eq!(less["data"], json!({"x": "2"}));

    let nameless = fixture
        .patch(&format!("{MAPS}/a"), APPLY, config(json!({})))
        .await;
    assert_eq!(nameless.code, 422, "{}", nameless.message());
}

#[tokio::test]
async fn an_approval_brings_its_metadata_along_and_nothing_else() {
    let fixture = Fixture::new().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let asked = rcgen::KeyPair::generate().and_then(|key| {
        rcgen::CertificateParams::new(vec!["own.example.com".to_owned()])?
            .serialize_request(&key)?
            .pem()
    });
    let asked = STANDARD.encode(asked.expect("a certificate request"));
    let spec = json!({"request": asked, "signerName": "example.com/own", "usages": ["digital signature"]});
    fixture
        .create(requests, json!({"metadata": {"name": "r"}, "spec": spec}))
        .await;
    let approval = json!({
        "metadata": {"annotations": {"seen": "yes"}},
        "spec": {"signerName": "example.com/other"},
        "status": {"certificate": "eA==", "conditions": [{"type": "Approved", "status": "True", "reason": "test"}]},
    });
    let context = context(
        Method::PATCH,
        &format!("{requests}/r/approval"),
        &[("content-type", "application/merge-patch+json")],
    );
    let approved = fixture.ask_with(context, approval.to_string()).await;
    assert_eq!(approved.code, 200, "{}", approved.message());
    let approved = approved.json();
    assert_eq!(approved["metadata"]["annotations"], json!({"seen": "yes"}));
    assert_eq!(approved["spec"]["signerName"], "example.com/own");
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["status"].get("certificate"), None);
}

#[tokio::test]
async fn orphan_dependents_says_in_older_words_what_becomes_of_dependents() {
    let fixture = Fixture::new().await;
    let path = format!("{MAPS}/a");
    fixture.create(MAPS, config_map("a", "1")).await;
    let both = json!({"orphanDependents": true, "propagationPolicy": "Orphan"});
    assert_eq!(fixture.delete(&path, Some(both)).await.code, 422);
    let orphaning = fixture
        .delete(&path, Some(json!({"orphanDependents": true})))
        .await;
    assert_eq!(orphaning.code, 200);
    let going = orphaning.json();
    assert_eq!(going["metadata"]["finalizers"], json!(["orphan"]));
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    // Whoever takes it back lets the object go.
    let query = format!("{path}?orphanDependents=false");
    let gone = fixture.delete(&query, None).await;
    assert_eq!(
        (gone.code, gone.json()["status"].as_str()),
        (200, Some("Success"))
    );
    assert_eq!(fixture.get(&path).await.code, 404);
}

#[tokio::test]
async fn resources_of_a_pod_change_by_resize_alone() {
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let fixture = Fixture::new().await;
    let pod = |resources: serde_json::Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}});
    let made = fixture.create(PODS, pod(json!({"requests": {"cpu": "1"}}))).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let mut changed = made.json();
    changed["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
    let (path, resize) = (format!("{PODS}/p"), format!("{PODS}/p/resize"));
    let refused = fixture.put(&path, changed.clone()).await;
    assert_eq!(refused.code, 422);
    let resized = fixture.put(&resize, changed.clone()).await;
    assert_eq!(resized.code, 200, "{}", resized.message());
    let resized = resized.json();
    assert_eq!(
        resized["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "2"
    );
    assert_eq!(resized["metadata"]["generation"], 2);
    let mut guaranteed = resized.clone();
    guaranteed["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1Gi"}});
    let refused = fixture.put(&resize, guaranteed).await;
    assert_eq!(refused.code, 422);
    assert!(
        refused
            .message()
            .contains("Pod QOS Class may not change as a result of resizing")
    );
    let patch = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}});
    let patched = fixture
        .patch(&resize, "application/strategic-merge-patch+json", patch)
        .await;
    assert_eq!(
        (patched.code, &patched.json()["metadata"]["generation"]),
        (200, &json!(3))
    );
    assert_eq!(fixture.get(&path).await.json(), patched.json());
}
