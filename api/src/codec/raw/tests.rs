use serde_json::json;

use super::super::conform::conform;
use super::*;

fn revisions() -> &'static Type {
    table::by_gvk("apps", "v1", "ControllerRevision").unwrap()
}

fn claims() -> &'static Type {
    table::by_gvk("resource.k8s.io", "v1", "ResourceClaim").unwrap()
}

/// A ControllerRevision as the registry has it of a body.
fn revision(data: &str) -> Value {
    let body = format!(
        r#"{{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{{"name":"r"}},"data":{data},"revision":1}}"#
    );
    let mut object = json::decode(body.as_bytes(), revisions()).unwrap().value;
    shield(&mut object, revisions());
    Texts::sent(body.as_bytes(), MediaType::Json, revisions()).put_back(&mut object, revisions());
    object
}

fn text(object: &Value) -> Option<&str> {
    text_of(&object["data"])
}

#[test]
fn few_types_have_such_fields() {
    for (group, version, kind, has) in [
        ("apps", "v1", "ControllerRevision", true),
        ("apps", "v1", "ControllerRevisionList", true),
        ("resource.k8s.io", "v1", "ResourceClaimTemplate", true),
        ("resource.k8s.io", "v1", "DeviceClass", true),
        ("", "v1", "Pod", false),
        ("apps", "v1", "StatefulSet", false),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", false),
    ] {
        assert_eq!(
            reaches(table::by_gvk(group, version, kind).unwrap()),
            has,
            "{kind}"
        );
    }
}

#[test]
fn only_what_go_would_write_otherwise_is_kept_as_text() {
    for (sent, kept) in [
        (r#"{"a":1,"b":{"c":[1,2.5,"x"]}}"#, false),
        (r#"{"a":"\u003cb\u003e"}"#, false),
        (r#"{"b":1,"a":2}"#, true),
        (r#"{"a": 1}"#, true),
        (r#"{"a":1.50}"#, true),
        (r#"{"a":1,"a":2}"#, true),
        (r#"{"a":"<b>"}"#, true),
        (r#"{"a":"\u0062"}"#, true),
        ("{\"\\u0000raw\":\"{}\"}", true),
    ] {
        assert_eq!(text(&revision(sent)), kept.then_some(sent), "{sent}");
    }
}

#[test]
fn the_store_has_the_bytes_that_were_sent() {
    let sent = "{ \"b\" : [ 1.0 , \"<a> \\\" \" ],\n\"a\":null }";
    let mut object = revision(sent);
    conform(&mut object, revisions()).unwrap();
    let bytes = protobuf::encode_any(&object).unwrap();
    assert!(bytes.windows(sent.len()).any(|window| window == sent.as_bytes()));
    assert_eq!(protobuf::decode_keeping(&bytes).unwrap(), object);
    let plain = protobuf::decode_any(&bytes).unwrap();
    assert_eq!(plain["data"], json!({"b": [1.0, "<a> \" "], "a": null}));
    let again = Texts::sent(&bytes, MediaType::Protobuf, revisions());
    assert_eq!(again, Texts(vec![("/data".to_owned(), sent.to_owned())]));
}

#[test]
fn answers_have_it_in_the_order_that_was_sent() {
    let object = revision("{ \"b\" : [ 1.0 , \"<a> \" ],\n\"a\":1 }");
    let answer = String::from_utf8(json(&object, revisions())).unwrap();
    assert!(
        answer.contains(r#""data":{"b":[1.0,"\u003ca\u003e "],"a":1},"#),
        "{answer}"
    );
    let as_it_is = json::encode(&object);
    assert!(is_kept_in(&as_it_is));
    assert!(!is_kept_in(answer.as_bytes()));
    assert_eq!(
        opened(&object, revisions())["data"],
        json!({"a": 1, "b": [1.0, "<a> "]})
    );
}

#[test]
fn texts_come_back_where_their_values_still_stand() {
    let before = revision(r#"{ "b":1, "a":2 }"#);
    let mut object = before.clone();
    let texts = open(&mut object, revisions());
    assert_eq!(object["data"], json!({"a": 2, "b": 1}));
    let mut same = object.clone();
    texts.clone().put_back(&mut same, revisions());
    assert_eq!(same, before);
    let mut compacted = object.clone();
    texts.clone().compacted().put_back(&mut compacted, revisions());
    assert_eq!(text(&compacted), Some(r#"{"b":1,"a":2}"#));
    object["data"]["a"] = 3.into();
    texts.put_back(&mut object, revisions());
    assert_eq!(object["data"], json!({"a": 3, "b": 1}));
}

#[test]
fn fields_within_lists_are_found() {
    let body = br#"{"spec": {"devices": {"config": [
        {"opaque": {"driver": "d", "parameters": {"a":1}}},
        {"opaque": {"driver": "d", "parameters": {"b":1,"a":2}}}]}}}"#;
    let mut claim = json::decode(body, claims()).unwrap().value;
    let plain = claim.clone();
    Texts::sent(body, MediaType::Json, claims()).put_back(&mut claim, claims());
    let parameters = |index: usize| &claim["spec"]["devices"]["config"][index]["opaque"]["parameters"];
    assert_eq!(parameters(0), &json!({"a": 1}));
    assert_eq!(text_of(parameters(1)), Some(r#"{"b":1,"a":2}"#));
    let shown = String::from_utf8(json(&claim, claims())).unwrap();
    assert!(shown.contains(r#""parameters":{"b":1,"a":2}"#), "{shown}");
    assert_eq!(*opened(&claim, claims()), plain);
}

#[test]
fn nothing_but_json_gets_out_as_text() {
    let mut object = revision("{}");
    object["data"] = json!({KEPT: "no, this"});
    let answer: Value = serde_json::from_slice(&json(&object, revisions())).unwrap();
    assert_eq!(answer["data"], object["data"]);
    object["data"] = json!({KEPT: "{}"});
    shield(&mut object, revisions());
    assert_eq!(opened(&object, revisions())["data"], json!({KEPT: "{}"}));
}

#[test]
fn the_same_is_the_same_byte_for_byte_but_for_html() {
    let same = |a: &str, b: &str| super::same(&revision(a)["data"], &revision(b)["data"]);
    for (a, b, wanted) in [
        (r#"{"a":"<"}"#, r#"{"a":"\u003c"}"#, true),
        (r#"{"b":"<","a":1}"#, r#"{"b":"\u003c","a":1}"#, true),
        (r#"{"a":"<"}"#, r#"{"a": "<"}"#, false),
        (r#"{"b":2,"a":1}"#, r#"{"a":1,"b":2}"#, false),
        (r#"{"a":1.0}"#, r#"{"a":1}"#, false),
    ] {
        assert_eq!((same(a, b), same(b, a)), (wanted, wanted), "{a} {b}");
    }
}
