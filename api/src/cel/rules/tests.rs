//! Rules, held against values and against schemas.

use serde_json::json;

use super::*;

fn validate(schema: &Json, value: &Json, old: Option<&Json>) -> (Vec<String>, Vec<String>) {
    let rules = Rules::compile(schema, true).expect("there are rules");
    let (mut errors, mut warnings) = (FieldErrors::new(), Vec::new());
    rules.validate(value, old, &mut errors, &mut warnings);
    (errors.iter().map(ToString::to_string).collect(), warnings)
}

fn schema(rules: &Json) -> Json {
    json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": rules,
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "cannot be changed"}]},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer",
                    "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}}}}}}}})
}

#[test]
fn rules_are_held_against_values() {
    let schema = schema(&json!([
        {"rule": "self.min <= self.max", "messageExpression": "'min is ' + string(self.min)"},
        {"rule": "self.min > 0", "fieldPath": ".min", "reason": "FieldValueForbidden", "message": "must be there"},
        {"rule": "self.max < 100"}]));
    let (errors, _) = validate(&schema, &json!({"spec": {"min": 3, "max": 2}}), None);
    assert_eq!(errors, ["spec: Invalid value: min is 3"]);
    let (errors, _) = validate(&schema, &json!({"spec": {"min": 0, "max": 100}}), None);
    assert_eq!(
        errors,
        [
            "spec.min: Forbidden: must be there",
            "spec: Invalid value: failed rule: self.max < 100"
        ]
    );
    let (errors, _) = validate(&schema, &json!({"spec": {"min": 1}}), None);
    assert_eq!(
        errors,
        [
            "spec: Invalid value: \"object\": no such key: max evaluating rule: self.min <= self.max",
            "spec: Invalid value: \"object\": no such key: max evaluating rule: self.max < 100"
        ]
    );
}

#[test]
fn old_values_are_looked_at_where_there_are_any() {
    let schema = schema(&json!([]));
    let old = json!({"spec": {"name": "a", "parts": [{"k": "x", "v": 2}, {"k": "y", "v": 5}]}});
    let new = json!({"spec": {"name": "b", "parts": [{"k": "y", "v": 4}, {"k": "z", "v": 0}]}});
    assert_eq!(validate(&schema, &new, None).0, [""; 0]);
    let (errors, _) = validate(&schema, &new, Some(&old));
    assert_eq!(
        errors,
        [
            "spec.name: Invalid value: \"b\": cannot be changed",
            "spec.parts[0].v: Invalid value: 4: failed rule: self >= oldSelf"
        ]
    );
}

#[test]
fn what_did_not_change_is_let_be() {
    let schema = schema(&json!([{"rule": "self.min > 5"},
        {"rule": "!oldSelf.hasValue() || self.min == oldSelf.value().min", "optionalOldSelf": true}]));
    let value = json!({"spec": {"min": 1}});
    let (errors, warnings) = validate(&schema, &value, Some(&value));
    assert_eq!(errors, [""; 0]);
    assert_eq!(warnings.len(), 1);
    let (errors, _) = validate(&schema, &json!({"spec": {"min": 7}}), Some(&value));
    assert_eq!(errors.len(), 1);
}

#[test]
fn faults_of_rules_are_told() {
    let of = schema(&json!([{"rule": "self.size > 1"}, {"rule": "self.min"},
        {"rule": "true", "messageExpression": "1"}]));
    let spec = &of["properties"]["spec"];
    let judged = Rules::judge(spec, false, &Sizes::of(spec, false).unwrap());
    let mut told = Vec::new();
    for (index, judged) in judged.iter().flatten().enumerate() {
        told.extend(
            judged
                .rule
                .as_ref()
                .err()
                .map(|why| format!("{index} rule: {why}")),
        );
        let message = judged.message.as_ref().and_then(|message| message.as_ref().err());
        told.extend(message.map(|why| format!("{index} messageExpression: {why}")));
    }
    assert_eq!(
        told,
        [
            "0 rule: compilation failed: ERROR: <input>:1:5: undefined field 'size'\n | self.size > 1\n | ....^",
            "1 rule: cel expression must evaluate to a bool",
            "2 messageExpression: messageExpression must evaluate to a string"
        ]
    );
}
