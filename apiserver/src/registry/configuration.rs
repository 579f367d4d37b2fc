//! The body of a server-side apply as an object: YAML, of which JSON is a part. Pure.

use coracle_api::codec::{FieldValidation, yaml};
use coracle_api::status::ApiError;
use serde_json::{Map, Value};

/// Reads a configuration; beside it what its sender is to be warned of.
pub(super) fn read(bytes: &[u8], validation: FieldValidation) -> Result<(Value, Vec<String>), ApiError> {
    let unreadable = |why: String| ApiError::bad_request(format!("error decoding YAML: {why}"));
    let parsed =
        yaml::parse(bytes).map_err(|error| unreadable(format!("error converting YAML to JSON: {error}")))?;
    let kind = match parsed.value {
        Value::Object(_) => "",
        Value::Null => return Ok((Value::Object(Map::new()), Vec::new())),
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    if !kind.is_empty() {
        return Err(unreadable(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type \
             map[string]interface {{}}"
        )));
    }
    let findings = parsed.duplicates.iter();
    let findings: Vec<String> = findings
        .map(|finding| format!("error converting YAML to JSON: {finding}"))
        .collect();
    match (validation, findings.first()) {
        (FieldValidation::Strict, Some(finding)) => Err(ApiError::bad_request(format!(
            "error strict decoding YAML: {finding}"
        ))),
        (FieldValidation::Ignore, _) => Ok((parsed.value, Vec::new())),
        (FieldValidation::Warn | FieldValidation::Strict, _) => Ok((parsed.value, findings)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TWICE: &str =
        "error converting YAML to JSON: yaml: unmarshal errors:\n  line 2: key \"a\" already set in map";

    #[test]
    fn keys_that_stand_twice() {
        let read = |validation| read(b"a: yes\na: 2\n", validation);
        let config = json!({"a": 2});
        assert_eq!(read(FieldValidation::Ignore), Ok((config.clone(), Vec::new())));
        assert_eq!(read(FieldValidation::Warn), Ok((config, vec![TWICE.to_owned()])));
        let error = read(FieldValidation::Strict).unwrap_err();
        assert_eq!(error.message(), format!("error strict decoding YAML: {TWICE}"));
    }

    #[test]
    fn what_is_no_configuration() {
        let table = [
            (
                "a: b: c",
                "error decoding YAML: error converting YAML to JSON: yaml: mapping values are not allowed in this context",
            ),
            (
                "- a",
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go \
                 value of type map[string]interface {}",
            ),
        ];
        for (text, message) in table {
            let error = read(text.as_bytes(), FieldValidation::Warn).unwrap_err();
            assert_eq!((error.code(), error.message()), (400, message));
        }
        assert_eq!(
            read(b"# nothing", FieldValidation::Warn),
            Ok((json!({}), Vec::new()))
        );
    }
}
