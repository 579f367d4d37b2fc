//! Definitions of custom resources: established, served, changed, cleaned up.

use http::{Method, header};
use serde_json::{Value, json};

use super::Fixture;

pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
pub(super) const MERGE: &str = "application/merge-patch+json";

/// A definition of widgets, whose only version has this schema.
pub(crate) fn widgets(spec: Value) -> Value {
    let version = json!({
        "name": "v1", "served": true, "storage": true,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": spec,
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}},
    });
    definition("widgets", "Widget", json!([version]))
}

pub(super) fn definition(plural: &str, kind: &str, versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions, "names": {
            "plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": [format!("{}s", &plural[..1])]}},
    })
}

pub(super) fn spec() -> Value {
    json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1}, "replicas": {"type": "integer"},
        "color": {"type": "string", "enum": ["red", "green"], "default": "green"},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "count": {"type": "integer"}}}},
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

pub(super) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

pub(super) async fn with_widgets() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.create(DEFINITIONS, widgets(spec())).await;
    fixture
}

fn conditions(definition: &Value) -> Vec<String> {
    let conditions = definition["status"]["conditions"].as_array().unwrap();
    let text = |condition: &Value, name: &str| condition[name].as_str().unwrap().to_owned();
    conditions
        .iter()
        .map(|condition| {
            format!(
                "{}={} {}",
                text(condition, "type"),
                text(condition, "status"),
                text(condition, "reason")
            )
        })
        .collect()
}

#[tokio::test]
async fn a_definition_is_established_by_the_time_it_is_answered() {
    let fixture = with_widgets().await;
    let read = fixture
        .get(&format!("{DEFINITIONS}/widgets.example.com"))
        .await
        .json();
    assert_eq!(
        conditions(&read),
        [
            "NamesAccepted=True NoConflicts",
            "Established=True InitialNamesAccepted"
        ]
    );
    assert_eq!(read["status"]["acceptedNames"], read["spec"]["names"]);
    assert_eq!(read["status"]["storedVersions"], json!(["v1"]));
    let managers = read["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        managers
            .iter()
            .any(|entry| entry["manager"] == "kube-apiserver" && entry["subresource"] == "status")
    );
    let groups = fixture.registry.catalog.customs().groups();
    assert_eq!(groups[0].name, "example.com");
    assert_eq!(groups[0].versions[0].resources[0].resource, "widgets");

    let mut other = definition("others", "Widget", read["spec"]["versions"].clone());
    other["spec"]["names"]["singular"] = json!("other");
    fixture.create(DEFINITIONS, other).await;
    let read = fixture
        .get(&format!("{DEFINITIONS}/others.example.com"))
        .await
        .json();
    assert_eq!(
        conditions(&read),
        [
            "NamesAccepted=False ListKindConflict",
            "Established=False NotAccepted"
        ]
    );
    let none = fixture
        .get("/apis/example.com/v1/namespaces/default/others")
        .await;
    assert_eq!(none.code, 404);
    // Its names are free once the first is gone.
    fixture
        .delete(&format!("{DEFINITIONS}/widgets.example.com"), None)
        .await;
    let read = wait_for(&fixture, &format!("{DEFINITIONS}/others.example.com"), |read| {
        conditions(read)[1].starts_with("Established=True")
    })
    .await;
    assert_eq!(read["status"]["acceptedNames"]["kind"], "Widget");
}

/// Reads until what is read is as wanted; the registry tells when to look again.
pub(super) async fn wait_for(fixture: &Fixture, target: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let mut changes = fixture.registry.definitions().cache.changes();
    loop {
        changes.mark_unchanged();
        let answer = fixture.get(target).await;
        let read = answer.json();
        if is_wanted(&read) {
            return read;
        }
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn versions_share_their_objects() {
    let fixture = Fixture::new().await;
    let version = |name: &str, storage: bool, field: &str| {
        json!({"name": name, "served": true, "storage": storage, "deprecated": name == "v1beta1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "both": {"type": "string"}, field: {"type": "string", "default": name}}}}}}})
    };
    let two = |storage: &str| {
        json!([
            version("v1beta1", storage == "v1beta1", "old"),
            version("v1", storage == "v1", "new")
        ])
    };
    let made = fixture
        .create(DEFINITIONS, definition("gadgets", "Gadget", two("v1beta1")))
        .await;
    let at = |version: &str| format!("/apis/example.com/{version}/namespaces/default/gadgets");
    let gadget = json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "a"}, "spec": {"both": "x"}});
    let created = fixture.create(&at("v1"), gadget).await;
    assert_eq!(
        created.json()["spec"],
        json!({"both": "x"}),
        "what the stored version does not have is not kept"
    );
    let old = fixture.get(&format!("{}/a", at("v1beta1"))).await;
    assert_eq!(
        old.headers[header::WARNING],
        "299 - \"example.com/v1beta1 Gadget is deprecated; use example.com/v1 Gadget\""
    );
    assert_eq!(old.json()["apiVersion"], "example.com/v1beta1");
    assert_eq!(old.json()["spec"], json!({"both": "x", "old": "v1beta1"}));

    // Another storage version: what is stored stays readable, and is defaulted by the version it was written in.
    let target = format!("{DEFINITIONS}/gadgets.example.com");
    let mut changed = fixture.get(&target).await.json();
    changed["spec"]["versions"] = two("v1");
    let changed = fixture.put(&target, changed).await;
    assert_eq!(changed.code, 200, "{}", changed.message());
    assert_eq!(
        changed.json()["status"]["storedVersions"],
        json!(["v1beta1", "v1"])
    );
    let new = fixture.get(&format!("{}/a", at("v1"))).await.json();
    assert_eq!(
        (new["apiVersion"].clone(), new["spec"].clone()),
        (json!("example.com/v1"), json!({"both": "x"}))
    );
    assert_eq!(made.code, 201);
    assert_eq!(fixture.get(&at("v2")).await.code, 404);
}

#[tokio::test]
async fn a_definition_takes_its_objects_with_it() {
    let fixture = with_widgets().await;
    fixture.create(WIDGETS, widget("a", json!({"size": 1}))).await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    fixture.create(WIDGETS, held).await;
    let target = format!("{DEFINITIONS}/widgets.example.com");
    let answer = fixture.delete(&target, None).await.json();
    assert_eq!(
        answer["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    let read = wait_for(&fixture, &target, |read| {
        conditions(read)
            .last()
            .is_some_and(|last| last == "Terminating=True InstanceDeletionInProgress")
    })
    .await;
    assert_eq!(read["metadata"]["name"], "widgets.example.com");
    let refused = fixture
        .ask(Method::POST, WIDGETS, Some(widget("b", json!({"size": 1}))))
        .await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            403,
            "widgets.example.com \"b\" is forbidden: create not allowed while custom resource definition is terminating"
        )
    );
    let freed = fixture
        .patch(
            &format!("{WIDGETS}/held"),
            MERGE,
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    assert_eq!(freed.code, 200, "{}", freed.message());
    let gone = wait_for(&fixture, &target, |read| read["code"] == 404).await;
    assert_eq!(gone["reason"], "NotFound");
    assert_eq!(fixture.get(WIDGETS).await.code, 404);
    // A definition of the same name begins anew.
    fixture.create(DEFINITIONS, widgets(spec())).await;
    assert_eq!(fixture.get(WIDGETS).await.json()["items"], json!([]));
}

#[tokio::test]
async fn definitions_are_served_again_after_a_restart() {
    let fixture = with_widgets().await;
    fixture.create(WIDGETS, widget("a", json!({"size": 1}))).await;
    let store = std::sync::Arc::clone(&fixture.store);
    drop(fixture);
    let again = Fixture::on(store).await;
    assert_eq!(again.get(&format!("{WIDGETS}/a")).await.json()["spec"]["size"], 1);
}

#[tokio::test]
async fn watches_go_on_while_only_the_names_change_and_end_with_the_schema() {
    use http_body_util::BodyExt;
    let fixture = with_widgets().await;
    let mut watch = fixture.watch(&format!("{WIDGETS}?watch=true")).await;
    fixture.create(WIDGETS, widget("a", json!({"size": 1}))).await;
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["kind"]),
        (&json!("ADDED"), &json!("Widget"))
    );
    let target = format!("{DEFINITIONS}/widgets.example.com");
    let categories = json!({"spec": {"names": {"categories": ["all"]}}});
    assert_eq!(fixture.patch(&target, MERGE, categories).await.code, 200);
    fixture.create(WIDGETS, widget("b", json!({"size": 1}))).await;
    assert!(watch.frame().await.is_some());
    let mut changed = fixture.get(&target).await.json();
    changed["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["more"] =
        json!({"type": "string"});
    assert_eq!(fixture.put(&target, changed).await.code, 200);
    assert!(watch.frame().await.is_none());
    assert_eq!(
        fixture.get(WIDGETS).await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
