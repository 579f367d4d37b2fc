//! Definitions with faults, and what is said of them.

use super::*;
use serde_json::json;

fn faults_of(versions: &Value) -> String {
    let object = json!({
            "metadata": {"name": "gadgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "versions": versions,
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}},
            "status": {"storedVersions": ["v1"]}});
    let mut errors = FieldErrors::default();
    definition(&object, &mut errors);
    errors.aggregate()
}

fn version(name: &str, properties: &Value) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": properties}});
    json!({"name": name, "served": true, "storage": name == "v1", "schema": schema})
}

fn faults_of_change(old: &Value, new: &Value) -> String {
    let object = |versions: &Value| {
        json!({"metadata": {"name": "gadgets.example.com"},
                "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions, "names": {
                    "plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}},
                "status": {"storedVersions": ["v1"]}})
    };
    let mut errors = FieldErrors::default();
    definition_update(&object(new), &object(old), &mut errors);
    errors.aggregate()
}

/// Each fault may stay where it was, and may not come where there was none.
#[test]
fn rules_that_came_later_are_not_held_against_what_broke_them_before() {
    let with = |schema: Value, more: &str| {
        json!([version(
            "v1",
            &json!({"a": schema, "b": {"type": "string", "description": more}})
        )])
    };
    let sound = json!({"type": "string"});
    let later = [
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}),
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "nullable": true}}),
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
        json!({"type": "object", "properties": {"k": {"type": "string"}}, "default": {"unknown": 1}}),
    ];
    for schema in later {
        let (one, other) = (with(schema.clone(), "one"), with(schema.clone(), "other"));
        assert_ne!(faults_of(&one), "[]", "{schema}");
        assert_eq!(faults_of_change(&one, &other), "[]", "{schema}");
        assert_ne!(
            faults_of_change(&with(sound.clone(), "one"), &other),
            "[]",
            "{schema}"
        );
    }
    // What was never allowed is told all the same.
    let always = json!({"type": "array"});
    let (one, other) = (with(always.clone(), "one"), with(always, "other"));
    assert_ne!(faults_of_change(&one, &other), "[]");
}

#[test]
fn more_fields_to_select_by_than_there_may_be_can_stay() {
    let with = |count: usize, more: &str| {
        let names = (0..count).map(|number| format!("f{number}"));
        let properties: serde_json::Map<String, Value> = names
            .clone()
            .map(|name| (name, json!({"type": "string", "description": more})))
            .collect();
        let mut version = version("v1", &Value::Object(properties));
        version["selectableFields"] = names
            .map(|name| json!({"jsonPath": format!(".{name}")}))
            .collect();
        json!([version])
    };
    assert_eq!(faults_of(&with(8, "")), "[]");
    assert!(faults_of(&with(9, "")).contains("must have at most 8 items"));
    assert_eq!(faults_of_change(&with(9, "one"), &with(9, "other")), "[]");
    assert!(faults_of_change(&with(9, "one"), &with(10, "one")).contains("must have at most 8 items"));
}

#[test]
fn what_json_schema_has_and_definitions_may_not() {
    let at = "spec.validation.openAPIV3Schema";
    let table = [
        (
            json!({"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}),
            format!(
                "{at}.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            ),
        ),
        (
            json!({"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}),
            format!(
                "{at}.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
            ),
        ),
        (
            json!({"a": {"$ref": "#/definitions/x"}}),
            format!("{at}.properties[a].$ref: Forbidden: $ref is not supported"),
        ),
        (
            json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}),
            format!(
                "{at}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
            ),
        ),
        (
            json!({"a": {"type": "object", "properties": {"b": {"type": "string"}}, "anyOf": [{"type": "object"}]}}),
            format!("{at}.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"),
        ),
        (
            json!({"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}),
            "[]".to_owned(),
        ),
    ];
    for (properties, want) in table {
        assert_eq!(
            faults_of(&json!([version("v1", &properties)])),
            want,
            "{properties}"
        );
    }
}

#[test]
fn conversion_names_a_webhook_that_can_be_reached() {
    let faults = |conversion: Value| {
        let spec = json!({"conversion": conversion});
        let mut errors = FieldErrors::new();
        let options = Options {
            authorities: true,
            ..Options::NEW
        };
        conversion::validate(&spec, options, &Path::new("c"), &mut errors);
        errors.aggregate()
    };
    let webhook = |client: Value, versions: Value| json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": versions}});
    let url = json!({"url": "https://example.com/convert"});
    assert_eq!(faults(json!({"strategy": "None"})), "[]");
    assert_eq!(faults(webhook(url.clone(), json!(["v1"]))), "[]");
    assert_eq!(
        faults(webhook(url.clone(), json!(["v7"]))),
        "c.conversionReviewVersions: Invalid value: [\"v7\"]: must include at least one of v1, v1beta1"
    );
    assert_eq!(
        faults(webhook(json!({}), json!(["v1"]))),
        "c.webhookClientConfig: Required value: exactly one of url or service is required"
    );
    let mut unsigned = url;
    unsigned["caBundle"] = json!("bm9uZQ==");
    assert!(faults(webhook(unsigned, json!(["v1"]))).contains("unable to parse bytes as PEM block"));
}

#[test]
fn defaults_are_held_against_their_schemas() {
    let faults = |schema: Value| faults_of(&json!([version("v1", &json!({"a": schema}))]));
    let at = "spec.validation.openAPIV3Schema.properties[a].default";
    let table = [
        (json!({"type": "string", "default": "x"}), "[]".to_owned()),
        (
            json!({"type": "integer", "default": "x"}),
            format!("{at}: Invalid value: \"string\":  in body must be of type integer: \"string\""),
        ),
        (
            json!({"type": "string", "enum": ["a"], "default": "x"}),
            format!("{at}: Unsupported value: \"x\": supported values: \"a\""),
        ),
        (
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "default": {"c": 1}}),
            format!("{at}: Invalid value: {{\"c\":1}}: must not have unknown fields"),
        ),
    ];
    for (schema, want) in table {
        assert_eq!(faults(schema.clone()), want, "{schema}");
    }
}

#[test]
fn faults_of_what_all_versions_share_are_told_once_and_beside_them() {
    let sound = json!({"spec": {"type": "object"}});
    let fault = "properties[spec].type: Required value: must not be empty for specified object fields";
    let broken = json!({"spec": {}});
    let versions = |one: &Value, two: &Value| json!([version("v1", one), version("v2", two)]);
    assert_eq!(faults_of(&versions(&sound, &sound)), "[]");
    assert_eq!(
        faults_of(&versions(&broken, &broken)),
        format!("spec.validation.openAPIV3Schema.{fault}")
    );
    assert_eq!(
        faults_of(&versions(&sound, &broken)),
        format!("spec.versions[1].schema.openAPIV3Schema.{fault}")
    );
}
