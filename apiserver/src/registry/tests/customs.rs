//! Custom resources: established, served, checked, scaled, cleaned up.

use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{Answer, Fixture, context};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const MERGE: &str = "application/merge-patch+json";

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

fn spec() -> Value {
    json!({"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1}, "replicas": {"type": "integer"},
        "color": {"type": "string", "enum": ["red", "green"], "default": "green"},
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "count": {"type": "integer"}}}},
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn with_widgets() -> Fixture {
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
async fn objects_are_read_and_written_like_any_others() {
    let fixture = with_widgets().await;
    let made = fixture
        .create(
            WIDGETS,
            widget("a", json!({"size": 1, "bogus": 1, "raw": {"any": [1]}})),
        )
        .await;
    assert_eq!(made.headers.get_all(header::WARNING).iter().count(), 1);
    let made = made.json();
    assert_eq!(
        made["spec"],
        json!({"size": 1, "color": "green", "raw": {"any": [1]}})
    );
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"]["namespace"], "default");
    let target = format!("{WIDGETS}/a");
    assert_eq!(fixture.get(&target).await.json(), made);

    let patched = fixture
        .patch(
            &target,
            MERGE,
            json!({"spec": {"color": "red"}, "status": {"replicas": 5}}),
        )
        .await;
    assert_eq!(patched.code, 200, "{}", patched.message());
    let patched = patched.json();
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(patched.get("status"), None);
    let strategic = fixture
        .patch(&target, "application/strategic-merge-patch+json", json!({}))
        .await;
    assert_eq!(strategic.code, 415);

    let mut unconditional = patched.clone();
    unconditional["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let refused = fixture.put(&target, unconditional).await;
    assert_eq!(
        refused.message(),
        "widgets.example.com \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );

    fixture.create(WIDGETS, widget("b", json!({"size": 2}))).await;
    let names = |answer: &Answer| {
        let list = answer.json();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let red = fixture
        .get(&format!("{WIDGETS}?fieldSelector=spec.color=red"))
        .await;
    assert_eq!(
        (names(&red), red.json()["kind"].clone()),
        (vec!["a".to_owned()], json!("WidgetList"))
    );
    let unknown = fixture.get(&format!("{WIDGETS}?fieldSelector=spec.size=1")).await;
    assert_eq!(
        (unknown.code, unknown.message().as_str()),
        (400, "field label not supported: spec.size")
    );
    let gone = fixture.delete(&target, None).await;
    assert_eq!(gone.json()["status"], "Success");
    assert_eq!(names(&fixture.get(WIDGETS).await), ["b"]);
}

#[tokio::test]
async fn faults_are_told_in_upstreams_words() {
    let fixture = with_widgets().await;
    let table = [
        (json!({}), "spec.size: Required value"),
        (
            json!({"size": "x"}),
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (
            json!({"size": 0}),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({"size": 1, "color": "blue"}),
            "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"",
        ),
        (
            json!({"size": 1, "replicas": -1}),
            ".spec.replicas: Invalid value: -1: should be a non-negative integer",
        ),
        (
            json!({"size": 1, "parts": [{"name": "x"}, {"name": "x"}]}),
            "spec.parts[1]: Duplicate value: {\"name\":\"x\"}",
        ),
    ];
    for (spec, fault) in table {
        let refused = fixture.ask(Method::POST, WIDGETS, Some(widget("a", spec))).await;
        assert_eq!(refused.code, 422);
        assert_eq!(
            refused.message(),
            format!("Widget.example.com \"a\" is invalid: {fault}")
        );
    }
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = fixture
        .ask(
            Method::POST,
            &strict,
            Some(widget("a", json!({"size": 1, "x": 1}))),
        )
        .await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            400,
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.x\""
        )
    );
    let none = fixture.get(&format!("{WIDGETS}/a/bogus")).await;
    assert_eq!(none.message(), "widgets.example.com \"a\" not found");
}

#[tokio::test]
async fn status_and_scale_are_parts_of_their_own() {
    let fixture = with_widgets().await;
    fixture
        .create(WIDGETS, widget("a", json!({"size": 1, "replicas": 2})))
        .await;
    let status = fixture
        .patch(
            &format!("{WIDGETS}/a/status"),
            MERGE,
            json!({"spec": {"size": 9}, "status": {"replicas": 1, "selector": "a=b"}, "metadata": {"labels": {"x": "y"}}}),
        )
        .await
        .json();
    assert_eq!(status["spec"]["size"], 1);
    assert_eq!(status["status"], json!({"replicas": 1, "selector": "a=b"}));
    assert_eq!(status["metadata"]["generation"], 1);
    assert_eq!(status["metadata"].get("labels"), None);
    let scale = format!("{WIDGETS}/a/scale");
    let shown = fixture.get(&scale).await.json();
    assert_eq!(
        (&shown["spec"], &shown["status"]),
        (
            &json!({"replicas": 2}),
            &json!({"replicas": 1, "selector": "a=b"})
        )
    );
    let scaled = fixture
        .patch(&scale, MERGE, json!({"spec": {"replicas": 7}}))
        .await;
    assert_eq!(scaled.code, 200, "{}", scaled.message());
    let read = fixture.get(&format!("{WIDGETS}/a")).await.json();
    assert_eq!(
        (&read["spec"]["replicas"], &read["metadata"]["generation"]),
        (&json!(7), &json!(2))
    );
}

#[tokio::test]
async fn tables_have_the_columns_of_the_definition() {
    let fixture = with_widgets().await;
    fixture.create(WIDGETS, widget("a", json!({"size": 3}))).await;
    let mut ctx = context(Method::GET, WIDGETS, &[]);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    ctx.headers
        .insert(header::ACCEPT, HeaderValue::from_static(table));
    let shown = fixture.ask_with(ctx, "").await.json();
    assert_eq!(shown["columnDefinitions"][1]["name"], "Size");
    assert_eq!(shown["rows"][0]["cells"], json!(["a", 3]));
}

#[tokio::test]
async fn fields_are_owned_as_the_schema_says() {
    let fixture = with_widgets().await;
    let apply = async |manager: &str, spec: Value| {
        let target = format!("{WIDGETS}/a?fieldManager={manager}");
        fixture
            .patch(&target, "application/apply-patch+yaml", widget("a", spec))
            .await
    };
    let first = apply(
        "one",
        json!({"size": 1, "parts": [{"name": "x", "count": 1}], "raw": {"a": {"b": 1}}}),
    )
    .await;
    assert_eq!(first.code, 201, "{}", first.message());
    let second = apply(
        "two",
        json!({"parts": [{"name": "y", "count": 2}], "raw": {"a": {"c": 2}}}),
    )
    .await;
    assert_eq!(second.code, 200, "{}", second.message());
    let both = second.json();
    assert_eq!(
        both["spec"]["parts"],
        json!([{"name": "x", "count": 1}, {"name": "y", "count": 2}])
    );
    assert_eq!(both["spec"]["raw"], json!({"a": {"b": 1, "c": 2}}));
    let conflict = apply("two", json!({"parts": [{"name": "x", "count": 5}]})).await;
    assert_eq!(
        conflict.message(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.parts[name=\"x\"].count"
    );
    let unknown = apply("two", json!({"bogus": 1})).await;
    assert_eq!(
        (unknown.code, unknown.message().as_str()),
        (
            500,
            "failed to create typed patch object (default/a; example.com/v1, Kind=Widget): .spec.bogus: field not declared in schema"
        )
    );
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

#[tokio::test]
async fn lists_show_whole_objects_in_any_form() {
    let fixture = with_widgets().await;
    fixture.create(WIDGETS, widget("a", json!({"size": 1}))).await;
    let item = |answer: &Answer| answer.json()["items"][0].clone();
    let list = fixture.get(WIDGETS).await;
    assert_eq!(list.json()["metadata"]["continue"], "");
    let json = item(&list);
    assert_eq!(
        (&json["kind"], &json["apiVersion"]),
        (&json!("Widget"), &json!("example.com/v1"))
    );
    let accept = async |form: &'static str| {
        let ctx = context(Method::GET, &format!("{WIDGETS}/a"), &[("accept", form)]);
        fixture.ask_with(ctx, "").await
    };
    // There is no protobuf of what only a definition describes.
    let refused = accept("application/vnd.kubernetes.protobuf").await;
    assert_eq!(refused.code, 406);
    assert_eq!(
        refused.json()["message"],
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf"
    );
    let second = accept("application/vnd.kubernetes.protobuf,application/json").await;
    assert_eq!(second.json()["kind"], "Widget");
    let metadata =
        accept("application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await;
    assert_eq!(metadata.code, 200);
}

#[tokio::test]
async fn rules_in_cel_are_held_against_objects() {
    let fixture = Fixture::new().await;
    let mut spec = spec();
    spec["x-kubernetes-validations"] = json!([
        {"rule": "self.size >= oldSelf.size", "message": "sizes never shrink"},
        {"rule": "self.size % 2 == 0", "message": "sizes are even"}]);
    fixture.create(DEFINITIONS, widgets(spec)).await;
    let odd = fixture
        .ask(Method::POST, WIDGETS, Some(widget("a", json!({"size": 3}))))
        .await;
    assert_eq!(odd.code, 422);
    assert!(odd.message().contains("sizes are even"), "{}", odd.message());
    fixture.create(WIDGETS, widget("a", json!({"size": 4}))).await;
    let target = format!("{WIDGETS}/a");
    let smaller = fixture.patch(&target, MERGE, json!({"spec": {"size": 2}})).await;
    assert_eq!(smaller.code, 422);
    assert!(
        smaller.message().contains("sizes never shrink"),
        "{}",
        smaller.message()
    );
    let larger = fixture.patch(&target, MERGE, json!({"spec": {"size": 6}})).await;
    assert_eq!(larger.code, 200, "{}", larger.message());
}
