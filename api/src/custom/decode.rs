//! From bytes to a custom resource: read, coerced, pruned, filled in with its schema's defaults.

use serde_json::{Number, Value};

use crate::codec::body::{Body, MediaType, bad_version, unrecognized};
use crate::codec::{DecodeError, Decoded, FieldValidation};
use crate::object::Fields;
use crate::quote::quote;
use crate::resources::Resource;
use crate::schema::{Schema, defaults, embedded, prune};
use crate::status::ApiError;

/// Reads a body as an object of a custom resource.
///
/// Returns the object and the warnings to send with the answer. Every failure is a `BadRequest`.
pub fn decode(
    bytes: &[u8],
    media_type: MediaType,
    resource: &Resource,
    schema: &Schema,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let unknown = |error: &dyn std::fmt::Display| unrecognized(bytes, resource.kind, error);
    let body = Body::open(bytes, media_type).map_err(|error| unknown(&error))?;
    let (api_version, kind) = body.type_meta().map_err(|error| unknown(&error))?;
    let Some(parsed) = body.into_parsed() else {
        return Err(unknown(&DecodeError::NoProtobufPrefix));
    };
    if kind.is_empty() {
        let text = String::from_utf8_lossy(bytes);
        return Err(unknown(&format!("Object 'Kind' is missing in '{text}'")));
    }
    let version = api_version
        .split_once('/')
        .map_or(api_version.as_str(), |(_, v)| v);
    let cannot = |why: &dyn std::fmt::Display| {
        ApiError::bad_request(format!(
            "{kind} in version {} cannot be handled as a {}: {why}",
            quote(version),
            resource.kind
        ))
    };
    let mut value = parsed.value;
    let mut findings = parsed.duplicates;
    let is_own = kind == resource.kind && api_version == resource.api_version();
    let unknown_fields = coerce(&mut value, Some(schema).filter(|_| is_own)).map_err(|why| cannot(&why))?;
    findings.extend(unknown_fields);
    let decoded = Decoded { value, findings }.validated(validation);
    let (mut value, warnings) = decoded.map_err(|error| cannot(&error))?;
    if api_version != resource.api_version() {
        return Err(bad_version(&api_version, &resource.api_version()));
    }
    if is_own {
        defaults::fill(&mut value, schema);
    }
    Ok((value, warnings))
}

/// Makes an object of what a patch or an application left.
///
/// # Errors
/// What is of a wrong type, and unknown fields that are to be refused.
pub fn patched(
    mut value: Value,
    schema: &Schema,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), DecodeError> {
    let findings = coerce(&mut value, Some(schema)).map_err(DecodeError::Type)?;
    let (mut value, warnings) = Decoded { value, findings }.validated(validation)?;
    defaults::fill(&mut value, schema);
    Ok((value, warnings))
}

/// An object as it was stored, by the schema of the version it was stored in.
pub fn stored(value: &mut Value, schema: &Schema) {
    // What was stored before metadata was looked at stays as far as it is of use.
    let _ = coerce(value, Some(schema));
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.number("generation").unwrap_or_default() == 0
    {
        metadata.insert("generation".to_owned(), 1.into());
    }
    defaults::fill(value, schema);
}

/// An object as the store will give it back, which keeps it in a version of its own: it has what the schema of that version has,
/// and its defaults.
pub fn kept(value: &mut Value, storage: &Resource, schema: &Schema) {
    converted(value, storage, schema);
    stored(value, schema);
}

/// The same object in another version, which has its own schema. Nothing is converted but the version's name.
pub fn converted(value: &mut Value, to: &Resource, schema: &Schema) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), to.api_version().into());
    }
    let _ = coerce(value, Some(schema));
}

/// Brings metadata into shape, at the root and in embedded resources, and takes away what the schema does not have.
/// Answers what was unknown, in upstream's wording.
///
/// # Errors
/// What is of a wrong type.
fn coerce(value: &mut Value, schema: Option<&Schema>) -> Result<Vec<String>, String> {
    numbers(value);
    let mut unknown: Vec<String> = Vec::new();
    if let Some(metadata) = value.get_mut("metadata") {
        let found = embedded::coerce_metadata(metadata)?;
        unknown.extend(found.into_iter().map(|path| format!("metadata.{path}")));
    }
    if let Some(schema) = schema {
        unknown.extend(prune::prune(value, schema));
        defaults::drop_nulls(value, Some(schema));
        unknown.extend(embedded::coerce(value, schema)?);
    }
    Ok(unknown
        .into_iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect())
}

/// Numbers as Go keeps them: a whole float is written without a fraction, and what no int64 holds is a float.
fn numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if !number.is_i64() => {
            let Some(float) = number.as_f64() else { return };
            #[allow(clippy::cast_possible_truncation, reason = "whole and within 53 bits")]
            let plain = if float.fract() == 0.0 && float.abs() < EXACT {
                Some(Number::from(float as i64))
            } else {
                Number::from_f64(float)
            };
            if let Some(plain) = plain {
                *number = plain;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(numbers),
        Value::Object(fields) => fields.values_mut().for_each(numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Definition;
    use super::*;

    fn read(body: Value, validation: FieldValidation) -> Result<(Value, Vec<String>), String> {
        let definition = json!({"spec": {"group": "example.com", "scope": "Namespaced", "versions": [{
                "name": "v1", "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer"}, "color": {"type": "string", "default": "green"}}}}}}}]},
            "status": {"acceptedNames": {"kind": "Widget", "plural": "widgets"}}});
        let version = Definition::read(&definition).versions.remove(0);
        let schema = Definition::schema(&definition, "v1");
        let bytes = body.to_string();
        let decoded = decode(
            bytes.as_bytes(),
            MediaType::Json,
            &version.resource,
            &schema,
            validation,
        );
        decoded.map_err(|error| error.message().to_owned())
    }

    fn widget(spec: Value) -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn the_store_keeps_what_its_version_has() {
        let definition = json!({"spec": {"group": "example.com", "scope": "Namespaced", "versions": [{
                "name": "v1", "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "size": {"type": "integer"}, "color": {"type": "string", "default": "green"}}}}}]},
            "status": {"acceptedNames": {"kind": "Widget", "plural": "widgets"}}});
        let storage = Definition::read(&definition).versions.remove(0);
        let mut sent = json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a"}, "size": 1, "free": 2});
        kept(
            &mut sent,
            &storage.resource,
            &Definition::schema(&definition, "v1"),
        );
        let want = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "generation": 1},
            "size": 1, "color": "green"});
        assert_eq!(sent, want);
    }

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let sent = widget(json!({"size": 1.0, "bogus": 1, "color": null}));
        let (object, warnings) = read(sent.clone(), FieldValidation::Warn).unwrap();
        assert_eq!(object["spec"], json!({"size": 1, "color": "green"}));
        assert_eq!(warnings, ["unknown field \"spec.bogus\""]);
        assert_eq!(
            read(sent, FieldValidation::Strict).unwrap_err(),
            "Widget in version \"v1\" cannot be handled as a Widget: strict decoding error: unknown field \"spec.bogus\""
        );
    }

    #[test]
    fn what_is_no_object_of_the_resource() {
        let table = [
            (
                json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": 5}}),
                "Widget in version \"v1\" cannot be handled as a Widget: json: cannot unmarshal number into Go struct field \
                 ObjectMeta.name of type string",
            ),
            (
                json!({"apiVersion": "example.com/v9", "kind": "Widget"}),
                "the API version in the data (example.com/v9) does not match the expected API version (example.com/v1)",
            ),
            (
                json!({"a": 1}),
                "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in '{\"a\":1}' \
                 ({\"a\":1})",
            ),
        ];
        for (body, message) in table {
            assert_eq!(read(body, FieldValidation::Warn).unwrap_err(), message);
        }
    }
}
