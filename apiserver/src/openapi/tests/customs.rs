use std::sync::Arc;

use coracle_api::custom::Definition;

use super::*;

fn custom(schema: &Value) -> CustomResource {
    let definition = json!({
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {}},
            "selectableFields": [{"jsonPath": ".spec.color"}]}]},
        "status": {"acceptedNames": {"plural": "widgets", "kind": "Widget", "listKind": "WidgetList"}}});
    let definition = Definition::read(&definition);
    let schema = schema.clone();
    let mut mark = [0; 32];
    mark[0] = u8::try_from(schema.to_string().len() % 251).unwrap();
    CustomResource {
        version: definition.versions[0].clone(),
        list_kind: definition.list_kind,
        mark,
        schema: Arc::new(move || schema.clone()),
    }
}

fn document(open_api: &OpenApi, path: &str) -> Value {
    let wanted = Wanted {
        accept: "application/json",
        ..Wanted::default()
    };
    serde_json::from_slice(&open_api.respond(path, "", wanted).unwrap().body).unwrap()
}

#[test]
fn custom_resources_are_described_as_their_schemas_say() {
    let schema = json!({"type": "object", "description": "A widget.", "properties": {"spec": {
        "type": "object", "required": ["maybe", "size"], "properties": {
            "size": {"type": "integer", "default": 1}, "color": {"type": "string"},
            "port": {"x-kubernetes-int-or-string": true},
            "maybe": {"type": "string", "nullable": true},
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"a": {"type": "string"}}}}}}});
    let open_api = OpenApi::default().with(vec![custom(&schema)]);
    let three = document(&open_api, "/openapi/v3/apis/example.com/v1");
    check_references(&three, &three);
    let widget = &three["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["description"], "A widget.");
    assert_eq!(
        widget["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "version": "v1", "kind": "Widget"}])
    );
    let spec = &widget["properties"]["spec"]["properties"];
    assert_eq!(
        spec["port"]["anyOf"],
        json!([{"type": "integer"}, {"type": "string"}])
    );
    assert_eq!(spec["size"]["default"], 1);
    assert_eq!(spec["pod"]["required"], json!(["kind", "apiVersion"]));
    let list = &three["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets"]["get"];
    assert_eq!(list["operationId"], "listExampleComV1NamespacedWidget");
    assert!(three["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale"].is_object());

    let two = document(&open_api, "/openapi/v2");
    check_references(&two, &two);
    let spec = &two["definitions"]["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["size"]));
    assert_eq!(
        spec["properties"]["port"],
        json!({"x-kubernetes-int-or-string": true})
    );
    assert_eq!(
        spec["properties"]["raw"],
        json!({"x-kubernetes-preserve-unknown-fields": true})
    );
    assert_eq!(spec["properties"]["maybe"], json!({}));
    assert_eq!(spec["properties"]["size"], json!({"type": "integer"}));
}

#[test]
fn only_what_changes_is_made_again() {
    let first = OpenApi::default().with(vec![custom(&json!({"type": "object"}))]);
    let hash = |open_api: &OpenApi| {
        let index = document(open_api, "/openapi/v3");
        index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = hash(&first);
    let kept = |open_api: &OpenApi| -> *const Parts {
        open_api.customs["apis/example.com/v1"][0].v3(&Opened::default())
    };
    let made = kept(&first);
    let same = first.with(vec![custom(&json!({"type": "object"}))]);
    assert_eq!((hash(&same), kept(&same)), (before.clone(), made));
    let other = same.with(vec![custom(&json!({"type": "object", "title": "Another"}))]);
    assert_ne!(hash(&other), before);
    assert_ne!(kept(&other), made);
    let none = other.with(Vec::new());
    let wanted = Wanted::default();
    assert!(
        none.respond("/openapi/v3/apis/example.com/v1", "", wanted)
            .is_none()
    );
}
