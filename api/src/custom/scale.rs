//! `scale` of custom resources: where its numbers stand, and what is wrong with them.

use serde_json::{Map, Value, json};

use super::{Scale, Version};
use crate::validation::{FieldErrors, Path};

/// The names on a path in dots.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('.').unwrap_or(path).split('.')
}

/// The value at a path; none where something on the way is absent.
///
/// # Errors
/// Where something on the way is no object, in Go's words.
fn find<'v>(object: &'v Value, path: &str) -> Result<Option<&'v Value>, String> {
    let mut value = object;
    let mut way = String::new();
    for step in steps(path) {
        way.push('.');
        way.push_str(step);
        match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => match fields.get(step) {
                Some(below) => value = below,
                None => return Ok(None),
            },
            other => {
                let (shown, kind) = (printed(other), go_type(other));
                return Err(format!(
                    "{way} accessor error: {shown} is of the type {kind}, expected map[string]interface{{}}"
                ));
            }
        }
    }
    Ok(Some(value))
}

fn wrong_type(path: &str, value: &Value, wanted: &str) -> String {
    let way: String = steps(path).map(|step| format!(".{step}")).collect();
    let (shown, kind) = (printed(value), go_type(value));
    format!("{way} accessor error: {shown} is of the type {kind}, expected {wanted}")
}

/// A number of replicas; none where it is absent.
///
/// # Errors
/// Where something else stands there.
pub fn number(object: &Value, path: &str) -> Result<Option<i64>, String> {
    match find(object, path)? {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(wrong_type(path, value, "int64")),
        },
    }
}

/// A selector as text; empty where it is absent.
///
/// # Errors
/// Where something else stands there.
pub fn text<'v>(object: &'v Value, path: &str) -> Result<&'v str, String> {
    match find(object, path)? {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(value) => Err(wrong_type(path, value, "string")),
    }
}

/// Writes the number of replicas that is wanted.
///
/// # Errors
/// Where something on the way is no object.
pub fn set(object: &mut Value, path: &str, replicas: i64) -> Result<(), String> {
    let mut value = object;
    let names: Vec<&str> = steps(path).collect();
    let Some((last, way)) = names.split_last() else {
        return Ok(());
    };
    for step in way {
        let Value::Object(fields) = value else {
            return Err(format!(
                "value cannot be set because {step} is not a map[string]interface{{}}"
            ));
        };
        value = fields.entry(*step).or_insert_with(|| Value::Object(Map::new()));
    }
    match value {
        Value::Object(fields) => {
            fields.insert((*last).to_owned(), replicas.into());
            Ok(())
        }
        _ => Err(format!(
            "value cannot be set because {last} is not a map[string]interface{{}}"
        )),
    }
}

/// The scale of an object, and whether it says how many replicas are wanted.
///
/// # Errors
/// Where something else stands in the place of a number or selector.
pub fn of(object: &Value, scale: &Scale) -> Result<(Value, bool), String> {
    let wanted = number(object, &scale.spec)?;
    let there = number(object, &scale.status)?.unwrap_or_default();
    let selector = match &scale.selector {
        Some(path) => text(object, path)?,
        None => "",
    };
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut spec = Map::new();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != 0) {
        spec.insert("replicas".to_owned(), wanted.into());
    }
    let mut status = json!({"replicas": there});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let shown = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status});
    Ok((shown, wanted.is_some()))
}

fn replicas(object: &Value, path: &str, errors: &mut FieldErrors) {
    let at = Path::new(path);
    match number(object, path) {
        Err(why) => errors.invalid(&at, 0, why),
        Ok(Some(number)) if number < 0 => errors.invalid(&at, number, "should be a non-negative integer"),
        Ok(Some(number)) if number > i64::from(i32::MAX) => {
            let rule = format!("should be less than or equal to {}", i32::MAX);
            errors.invalid(&at, number, rule);
        }
        Ok(_) => {}
    }
}

/// What is wrong with the number of replicas that is wanted.
pub fn faults_of_spec(version: &Version, object: &Value, errors: &mut FieldErrors) {
    if let Some(scale) = &version.scale {
        replicas(object, &scale.spec, errors);
    }
}

/// What is wrong with the number of replicas that are there, or with the selector.
pub fn faults_of_status(version: &Version, object: &Value, errors: &mut FieldErrors) {
    let Some(scale) = &version.scale else { return };
    replicas(object, &scale.status, errors);
    if let Some(path) = &scale.selector
        && let Err(why) = text(object, path)
    {
        errors.invalid(&Path::new(path), "", why);
    }
}

/// A value as Go's `%v` prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(printed).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", printed(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// Go's name of the type that a JSON value has.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_stands_in_their_place() {
        let object = json!({"spec": {"replicas": 2, "text": "x"}, "list": []});
        assert_eq!(number(&object, ".spec.replicas"), Ok(Some(2)));
        assert_eq!(number(&object, ".spec.gone.more"), Ok(None));
        assert_eq!(
            number(&object, ".list.replicas").unwrap_err(),
            ".list.replicas accessor error: [] is of the type []interface {}, expected map[string]interface{}"
        );
        assert_eq!(
            number(&object, ".spec.text").unwrap_err(),
            ".spec.text accessor error: x is of the type string, expected int64"
        );
        let mut object = json!({});
        set(&mut object, ".spec.replicas", 3).unwrap();
        assert_eq!(object, json!({"spec": {"replicas": 3}}));
        assert!(set(&mut object, ".spec.replicas.more", 3).is_err());
    }

    #[test]
    fn a_scale_shows_what_its_paths_lead_to() {
        let scale = Scale {
            spec: ".spec.replicas".to_owned(),
            status: ".status.replicas".to_owned(),
            selector: Some(".status.selector".to_owned()),
        };
        let object = json!({"metadata": {"name": "a"}, "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "a=b"}});
        let (shown, found) = of(&object, &scale).unwrap();
        assert!(found);
        assert_eq!(
            shown,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a"}, "spec": {"replicas": 2},
                "status": {"replicas": 1, "selector": "a=b"}})
        );
        assert!(!of(&json!({"metadata": {}}), &scale).unwrap().1);
    }
}
