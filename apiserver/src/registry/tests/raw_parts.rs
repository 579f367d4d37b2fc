//! What is kept as it was sent, on its way in, through and out.

use coracle_api::codec::protobuf;
use http::Method;
use serde_json::{Value, json};

use super::{Answer, Fixture, context};

const REVISIONS: &str = "/apis/apps/v1/namespaces/default/controllerrevisions";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A ControllerRevision with this data, word for word.
fn body(data: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{"name":"r"}},"data":{data},"revision":1}}"#
    )
}

async fn created(fixture: &Fixture, data: &str) -> Answer {
    let ctx = context(Method::POST, REVISIONS, &[("content-type", "application/json")]);
    let answer = fixture.ask_with(ctx, body(data)).await;
    assert_eq!(answer.code, 201, "{}", text(&answer));
    answer
}

async fn put(fixture: &Fixture, data: &str) -> Answer {
    let path = format!("{REVISIONS}/r");
    let ctx = context(Method::PUT, &path, &[("content-type", "application/json")]);
    fixture.ask_with(ctx, body(data)).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.bytes).into_owned()
}

const SENT: &str = "{ \"b\" : 1.0 ,\n\"a\" : \"<x> \" }";
const SHOWN: &str = "\"data\":{\"b\":1.0,\"a\":\"\\u003cx\\u003e \"}";

#[tokio::test]
async fn answers_in_json_keep_order_and_spelling() {
    let fixture = Fixture::new().await;
    let answer = created(&fixture, SENT).await;
    assert!(text(&answer).contains(SHOWN), "{}", text(&answer));
    for target in [REVISIONS.to_owned(), format!("{REVISIONS}/r")] {
        let answer = fixture.get(&target).await;
        assert!(text(&answer).contains(SHOWN), "{}", text(&answer));
    }
    let dry = created_dry(&fixture).await;
    assert!(dry.contains(SHOWN), "{dry}");
}

async fn created_dry(fixture: &Fixture) -> String {
    let target = format!("{REVISIONS}?dryRun=All");
    let ctx = context(Method::POST, &target, &[("content-type", "application/json")]);
    text(&fixture.ask_with(ctx, body(SENT).replace("\"r\"", "\"s\"")).await)
}

#[tokio::test]
async fn protobuf_has_the_bytes_that_were_sent() {
    let fixture = Fixture::new().await;
    created(&fixture, SENT).await;
    let path = format!("{REVISIONS}/r");
    for target in [REVISIONS, path.as_str()] {
        let ctx = context(
            Method::GET,
            target,
            &[("accept", "application/vnd.kubernetes.protobuf")],
        );
        let answer = fixture.ask_with(ctx, "").await;
        let found = answer
            .bytes
            .windows(SENT.len())
            .any(|window| window == SENT.as_bytes());
        assert!(found, "{target}");
        protobuf::decode_any(&answer.bytes).unwrap();
    }
}

#[tokio::test]
async fn fields_deep_within_have_it_too() {
    let fixture = Fixture::new().await;
    let classes = "/apis/resource.k8s.io/v1/deviceclasses";
    let class = format!(
        r#"{{"apiVersion":"resource.k8s.io/v1","kind":"DeviceClass","metadata":{{"name":"c"}},
        "spec":{{"config":[{{"opaque":{{"driver":"d.example.com","parameters":{SENT}}}}}]}}}}"#
    );
    let shown = SHOWN.replace("data", "parameters");
    let ctx = context(Method::POST, classes, &[("content-type", "application/json")]);
    let answer = fixture.ask_with(ctx, class).await;
    assert_eq!(answer.code, 201, "{}", text(&answer));
    assert!(text(&answer).contains(&shown), "{}", text(&answer));
    for target in [classes.to_owned(), format!("{classes}/c")] {
        let answer = fixture.get(&target).await;
        assert!(text(&answer).contains(&shown), "{target}: {}", text(&answer));
    }
}

#[tokio::test]
async fn what_json_libraries_keep_for_themselves_is_a_key_like_any_other() {
    let fixture = Fixture::new().await;
    for key in ["RawValue", "Number"] {
        // Two features of serde_json, each of which would read such a map as what its text says.
        let data = format!(r#"{{"$serde_json::private::{key}":"[1]"}}"#);
        let ctx = context(Method::POST, REVISIONS, &[("content-type", "application/json")]);
        let sent = body(&data).replace("\"r\"", &format!("\"{}\"", key.to_lowercase()));
        let answer = fixture.ask_with(ctx, sent).await;
        assert_eq!(answer.code, 201, "{}", text(&answer));
        let path = format!("{REVISIONS}/{}", key.to_lowercase());
        let again = fixture.get(&path).await;
        assert!(text(&again).contains(&data), "{}", text(&again));
        let labels = json!({"metadata": {"labels": {"x": "y"}}});
        assert_eq!(fixture.patch(&path, MERGE, labels).await.code, 200, "{data}");
    }
}

#[tokio::test]
async fn other_forms_have_values() {
    let fixture = Fixture::new().await;
    created(&fixture, SENT).await;
    let path = format!("{REVISIONS}/r");
    let data = json!({"a": "<x> ", "b": 1.0});
    let yaml = fixture
        .ask_with(context(Method::GET, &path, &[("accept", "application/yaml")]), "")
        .await;
    assert!(text(&yaml).contains("\ndata:\n  a: "), "{}", text(&yaml));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let target = format!("{path}?includeObject=Object");
    let rows = fixture
        .ask_with(context(Method::GET, &target, &[("accept", table)]), "")
        .await;
    assert_eq!(rows.json()["rows"][0]["object"]["data"], data);
    assert_eq!(fixture.get(&path).await.json()["data"], data);
}

#[tokio::test]
async fn data_is_the_same_only_byte_for_byte() {
    let fixture = Fixture::new().await;
    created(&fixture, SENT).await;
    assert_eq!(put(&fixture, SENT).await.code, 200);
    let refused = put(&fixture, r#"{"b":1.0,"a": "<x> "}"#).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            422,
            "ControllerRevision.apps \"r\" is invalid: data: Invalid value: \
             {\"b\":1.0,\"a\":\"\\u003cx\\u003e \"}: field is immutable"
        )
    );
}

#[tokio::test]
async fn patches_write_the_text_anew_as_upstream_s_do() {
    // What was sent; whether a merge patch, a strategic patch and a configuration may change a label beside it.
    for (data, merge, strategic) in [
        (r#"{"a":1,"b":"x"}"#, 200, 200),
        (r#"{"b":1,"a":"x"}"#, 200, 422),
        (r#"{"a": 1}"#, 422, 422),
        (r#"{"a":"<"}"#, 200, 200),
        (r#"{"a":"\u003c"}"#, 200, 200),
    ] {
        let fixture = Fixture::new().await;
        created(&fixture, data).await;
        let path = format!("{REVISIONS}/r");
        let labels = json!({"metadata": {"labels": {"x": "y"}}});
        assert_eq!(
            fixture.patch(&path, MERGE, labels.clone()).await.code,
            merge,
            "{data}"
        );
        let labels = json!({"metadata": {"labels": {"x": "z"}}});
        assert_eq!(
            fixture.patch(&path, STRATEGIC, labels).await.code,
            strategic,
            "{data}"
        );
        let config = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {"name": "r", "labels": {"w": "x"}}});
        let target = format!("{path}?fieldManager=m");
        assert_eq!(
            fixture.patch(&target, APPLY, config).await.code,
            strategic,
            "{data}"
        );
    }
}

#[tokio::test]
async fn a_configuration_that_changes_nothing_leaves_the_text() {
    let fixture = Fixture::new().await;
    created(&fixture, "{ \"b\" : 1 ,\n\"a\" : \"x\" }").await;
    let path = format!("{REVISIONS}/r");
    let config = |data: Value| json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "data": data});
    let target = format!("{path}?fieldManager=m");
    let same = fixture
        .patch(&target, APPLY, config(json!({"a": "x", "b": 1})))
        .await;
    assert_eq!(same.code, 200, "{}", text(&same));
    assert!(
        text(&same).contains(r#""data":{"b":1,"a":"x"}"#),
        "{}",
        text(&same)
    );
    let target = format!("{target}&force=true");
    let other = fixture.patch(&target, APPLY, config(json!({"b": 2}))).await;
    assert_eq!(other.code, 422, "{}", text(&other));
}

#[tokio::test]
async fn a_value_that_looks_like_a_text_is_what_it_is() {
    let fixture = Fixture::new().await;
    let data = r#"{"\u0000raw":"{}"}"#;
    let answer = created(&fixture, data).await;
    let wanted: Value = serde_json::from_str(data).unwrap();
    assert_eq!(answer.json()["data"], wanted);
    let path = format!("{REVISIONS}/r");
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    let answer = fixture.patch(&path, STRATEGIC, labels).await;
    assert_eq!((answer.code, &answer.json()["data"]), (200, &wanted));
}
