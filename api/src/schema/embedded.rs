//! Resources inside of resources (`x-kubernetes-embedded-resource`): their metadata is that of every object.

use serde_json::Value;

use super::Schema;
use crate::codec::conform::conform;
use crate::names;
use crate::object::Fields;
use crate::table::{self, Type};
use crate::validation::{self, FieldErrors, Path};

/// The type of every object's metadata.
pub(crate) fn object_meta() -> &'static Type {
    table::by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("the table has meta/v1")
}

/// Brings metadata into its canonical shape; answers the paths of its unknown fields, relative to it.
///
/// # Errors
/// What of it is of a wrong type, in Go's words.
pub(crate) fn coerce_metadata(metadata: &mut Value) -> Result<Vec<String>, String> {
    let findings = conform(metadata, object_meta()).map_err(|error| error.to_string())?;
    let path = |finding: String| {
        let path = finding
            .strip_prefix("unknown field \"")
            .and_then(|rest| rest.strip_suffix('"'));
        path.map_or(finding.clone(), str::to_owned)
    };
    Ok(findings.into_iter().map(path).collect())
}

/// Brings the metadata of every embedded resource into shape; answers the paths of unknown fields.
///
/// # Errors
/// What is of a wrong type, as a fault with its place.
pub fn coerce(value: &mut Value, schema: &Schema) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    coerce_at(value, schema, &Path::ROOT, &mut unknown)?;
    unknown.sort();
    Ok(unknown)
}

fn coerce_at(
    value: &mut Value,
    schema: &Schema,
    at: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let here = at.child(name);
                match name.as_str() {
                    "apiVersion" | "kind" if schema.embedded && !value.is_string() => {
                        return Err(fault(&here, value, "must be a string"));
                    }
                    "metadata" if schema.embedded => {
                        let before = value.clone();
                        let found = coerce_metadata(value).map_err(|why| fault(&here, &before, &why))?;
                        unknown.extend(found.into_iter().map(|path| format!("{here}.{path}")));
                    }
                    _ => {}
                }
                if let Some(below) = schema.properties.get(name) {
                    coerce_at(value, below, &here, unknown)?;
                } else if let Some(below) = schema.field(name) {
                    coerce_at(value, below, &at.key(name), unknown)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else {
                return Ok(());
            };
            for (index, item) in items.iter_mut().enumerate() {
                coerce_at(item, below, &at.index(index), unknown)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn fault(at: &Path<'_>, value: &Value, why: &str) -> String {
    let mut errors = FieldErrors::new();
    errors.invalid(at, value, why);
    errors.aggregate()
}

/// The faults of embedded resources: each names its version and kind, and its metadata is in order.
pub fn faults(value: &Value, schema: &Schema, at: &Path<'_>, errors: &mut FieldErrors) {
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                resource(value, at, errors);
            }
            for (name, value) in fields {
                if let Some(below) = schema.properties.get(name) {
                    faults(value, below, &at.child(name), errors);
                } else if let Some(below) = schema.field(name) {
                    faults(value, below, &at.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                faults(item, below, &at.index(index), errors);
            }
        }
        _ => {}
    }
}

fn resource(value: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (api_version, kind) = (at.child("apiVersion"), at.child("kind"));
    for (name, place) in [("apiVersion", &api_version), ("kind", &kind)] {
        if value.get(name).is_none() {
            errors.required(place, "");
        }
    }
    match value.get("apiVersion") {
        None => {}
        Some(Value::String(text)) if text.is_empty() => {
            errors.invalid(&api_version, text, "must not be empty");
        }
        Some(Value::String(text)) if text.split('/').count() > 2 => {
            errors.invalid(
                &api_version,
                text,
                format!("unexpected GroupVersion string: {text}"),
            );
        }
        Some(Value::String(_)) => {}
        Some(other) => errors.invalid(&api_version, other, "must be a string"),
    }
    match value.get("kind") {
        None => {}
        Some(Value::String(text)) if text.is_empty() => errors.invalid(&kind, text, "must not be empty"),
        Some(Value::String(text)) => {
            let wrong = names::dns1035_label(&text.to_lowercase());
            if !wrong.is_empty() {
                let rule = format!(
                    "may have mixed case, but should otherwise match: {}",
                    wrong.join(",")
                );
                errors.invalid(&kind, text, rule);
            }
        }
        Some(other) => errors.invalid(&kind, other, "must be a string"),
    }
    if let Some(metadata) = value.get("metadata") {
        let mut metadata = metadata.clone();
        if let Some(fields) = metadata.as_object_mut()
            && fields.text("name").is_empty()
        {
            // A resource inside of another need not have a name.
            fields.insert("name".into(), "fakename".into());
        }
        let namespaced = !metadata.text("namespace").is_empty();
        let place = at.child("metadata");
        validation::meta::object_meta(&metadata, namespaced, names::path_segment, &place, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::read(&json!({"type": "object", "properties": {"pod": {
            "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}))
    }

    #[test]
    fn metadata_is_that_of_every_object() {
        let mut object = json!({"pod": {"metadata": {"name": "x", "labels": {}, "bogus": 1}}});
        assert_eq!(coerce(&mut object, &schema()).unwrap(), ["pod.metadata.bogus"]);
        assert_eq!(object, json!({"pod": {"metadata": {"name": "x"}}}));
        let mut wrong = json!({"pod": {"metadata": {"name": 5}}});
        assert_eq!(
            coerce(&mut wrong, &schema()).unwrap_err(),
            "pod.metadata: Invalid value: {\"name\":5}: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"
        );
    }

    #[test]
    fn version_and_kind_must_be_named() {
        let faults_of = |value: Value| {
            let mut errors = FieldErrors::new();
            faults(&value, &schema(), &Path::ROOT, &mut errors);
            errors.aggregate()
        };
        assert_eq!(
            faults_of(json!({"pod": {}})),
            "[pod.apiVersion: Required value, pod.kind: Required value]"
        );
        assert_eq!(
            faults_of(json!({"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {}}})),
            "[]"
        );
        assert_eq!(
            faults_of(json!({"pod": {"apiVersion": "a/b/c", "kind": "Pod"}})),
            "pod.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"
        );
    }
}
