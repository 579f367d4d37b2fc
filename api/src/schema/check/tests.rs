use serde_json::json;

use super::*;

fn spec(properties: Value) -> Schema {
    Schema::read(&json!({"type": "object", "properties": {"spec": properties}}))
}

fn faults(schema: &Schema, value: Value) -> String {
    let mut errors = FieldErrors::new();
    check(&json!({"spec": value}), schema, &Path::ROOT, &mut errors);
    errors.aggregate()
}

/// The faults of one value by one schema.
fn of(schema: Value, value: Value) -> String {
    faults(&spec(schema), value)
}

#[test]
fn types_in_upstreams_words() {
    let kind = |kind: &str| json!({"type": kind});
    let table = [
        (
            kind("integer"),
            json!("x"),
            r#"spec: Invalid value: "string": spec in body must be of type integer: "string""#,
        ),
        (
            kind("string"),
            json!(5),
            r#"spec: Invalid value: "integer": spec in body must be of type string: "integer""#,
        ),
        (
            kind("string"),
            Value::Null,
            r#"spec: Invalid value: "null": spec in body must be of type string: "null""#,
        ),
        (
            kind("boolean"),
            json!([]),
            r#"spec: Invalid value: "array": spec in body must be of type boolean: "array""#,
        ),
        (kind("integer"), json!(1.0), "[]"),
        (kind("number"), json!(1), "[]"),
        (
            kind("integer"),
            json!(1.5),
            r#"[spec: Invalid value: "number": spec in body must be of type integer: "number", <nil>: Invalid value: "": Checked value must be of type integer (default format) in spec]"#,
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"spec: Invalid value: "boolean": spec in body must be of type integer,string: "boolean""#,
        ),
        (json!({"type": "string", "nullable": true}), Value::Null, "[]"),
        (
            json!({"type": "string", "format": "date-time"}),
            json!(""),
            r#"spec: Invalid value: "": spec in body must be of type date-time: """#,
        ),
        // A list passes where a text of some format is wanted.
        (json!({"type": "string", "format": "date"}), json!([]), "[]"),
    ];
    for (schema, value, want) in table {
        assert_eq!(of(schema.clone(), value.clone()), want, "{schema} {value}");
    }
}

#[test]
fn limits_of_numbers() {
    let table = [
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec: Invalid value: 0: spec in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 5, "exclusiveMaximum": true}),
            json!(5),
            "spec: Invalid value: 5: spec in body should be less than 5",
        ),
        (
            json!({"type": "integer", "multipleOf": 3}),
            json!(4),
            "spec: Invalid value: 4: spec in body should be a multiple of 3",
        ),
        (
            json!({"type": "number", "maximum": 1.5}),
            json!(1.6),
            "spec: Invalid value: 1.6: spec in body should be less than or equal to 1.5",
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(4_294_967_296_i64),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec",
        ),
    ];
    for (schema, value, want) in table {
        assert_eq!(of(schema.clone(), value.clone()), want, "{schema} {value}");
    }
}

#[test]
fn limits_of_texts_lists_and_objects() {
    let table = [
        (
            json!({"type": "string", "maxLength": 1}),
            json!("ab"),
            "spec: Too long: may not be more than 1 byte",
        ),
        (
            json!({"type": "string", "minLength": 3}),
            json!("ab"),
            "spec: Invalid value: \"ab\": spec in body should be at least 3 chars long",
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!("A"),
            "spec: Invalid value: \"A\": spec in body should match '^[a-z]+$'",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            "spec: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "maxProperties": 0, "additionalProperties": true}),
            json!({"a": 1}),
            "spec: Too many: 1: must have at most 0 items",
        ),
        (
            json!({"type": "object", "required": ["a"]}),
            json!({}),
            "spec.a: Required value",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"x": "y"}),
            r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#,
        ),
    ];
    for (schema, value, want) in table {
        assert_eq!(of(schema.clone(), value.clone()), want, "{schema} {value}");
    }
}

#[test]
fn alternatives_in_upstreams_words() {
    let a = json!({"required": ["a"]});
    let b = json!({"required": ["b"], "properties": {"b": {"minimum": 1}}});
    let schema = |name: &str, parts: Value| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, name: parts});
    let table = [
        (
            schema("anyOf", json!([a, b])),
            json!({}),
            r#"[<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf), spec.a: Required value]"#,
        ),
        (schema("anyOf", json!([a, b])), json!({"b": 1}), "[]"),
        (
            schema("oneOf", json!([a, b])),
            json!({"a": 1, "b": 1}),
            r#"<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
        (
            schema("oneOf", json!([a, b])),
            json!({}),
            r#"[<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid, spec.a: Required value]"#,
        ),
        (
            schema("allOf", json!([a, b])),
            json!({"a": 1}),
            r#"[spec.b: Required value, <nil>: Invalid value: "": "spec" must validate all the schemas (allOf)]"#,
        ),
        (
            schema("not", a.clone()),
            json!({"a": 1}),
            r#"<nil>: Invalid value: "": "spec" must not validate the schema (not)"#,
        ),
    ];
    for (schema, value, want) in table {
        assert_eq!(of(schema.clone(), value.clone()), want, "{schema} {value}");
    }
}

#[test]
fn what_was_wrong_before_may_stay_wrong() {
    let schema = spec(json!({"type": "object", "properties": {
        "n": {"type": "integer", "maximum": 1},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 1}}}},
        "list": {"type": "array", "items": {"type": "integer", "maximum": 1}},
    }}));
    let update = |old: Value, new: Value| {
        let (old, new) = (json!({"spec": old}), json!({"spec": new}));
        let mut errors = FieldErrors::new();
        check_update(&new, &old, &schema, &Path::ROOT, &mut errors);
        errors.iter().map(|error| error.field.clone()).collect::<Vec<_>>()
    };
    assert!(update(json!({"n": 5}), json!({"n": 5, "list": []})).is_empty());
    assert_eq!(update(json!({"n": 5}), json!({"n": 6})), ["spec.n"]);
    let item = |k: &str, v: i64| json!({"k": k, "v": v});
    assert!(
        update(
            json!({"map": [item("a", 5)]}),
            json!({"map": [item("b", 1), item("a", 5)]})
        )
        .is_empty()
    );
    assert_eq!(
        update(
            json!({"map": [item("a", 5)]}),
            json!({"map": [item("b", 5), item("a", 5)]})
        ),
        ["spec.map[0].v"]
    );
    assert_eq!(
        update(json!({"list": [5]}), json!({"list": [5, 1]})),
        ["spec.list[0]"]
    );
}
