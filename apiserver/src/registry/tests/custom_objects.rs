//! Custom resources: read, written, checked, scaled, shown.

use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::customs::{DEFINITIONS, MERGE, WIDGETS, spec, widget, widgets, with_widgets};
use super::{Answer, Fixture, context};

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
            "failed to create typed patch object (/a; example.com/v1, Kind=Widget): .spec.bogus: field not declared in schema"
        )
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
