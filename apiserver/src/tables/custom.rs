//! The columns that a definition gives its objects.

use coracle_api::custom::{Column, Version};
use coracle_api::object::Fields;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{described, show};

/// What the columns are: the name, and those of the definition.
pub(super) fn columns(version: &Version) -> Vec<Value> {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "description": described::common("Name"), "priority": 0,
    });
    let own = version.columns.iter().map(|column| {
        json!({
            "name": column.name, "type": column.ty, "format": column.format, "description": description(column),
            "priority": column.priority,
        })
    });
    std::iter::once(name).chain(own).collect()
}

/// A definition says something of each column that it has; of the age, which there is without it, the API does.
fn description(column: &Column) -> &str {
    match column.description.as_str() {
        "" => described::common(&column.name),
        own => own,
    }
}

/// The cells of an object in the version whose columns are shown.
pub(super) fn cells(version: &Version, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = Value::from(object["metadata"].text("name"));
    let own = version.columns.iter().map(|column| cell(column, object, now));
    std::iter::once(name).chain(own).collect()
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let found = column.path.as_ref().map(|path| path.find(object));
    let Some(&value) = found.as_deref().and_then(<[_]>::first) else {
        return Value::Null;
    };
    match (column.ty.as_str(), value) {
        ("string", value) => printed(value).into(),
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            #[allow(clippy::cast_possible_truncation, reason = "Go cuts a float off likewise")]
            (None, Some(number)) => (number as i64).into(),
            (None, None) => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(_) => show::since(text, now).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// A value as upstream's printer of JSON paths writes it: text as it is, anything else as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => Value::Object(sorted(fields)).to_string(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

fn sorted(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| (name.clone(), fields[name].clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use coracle_api::custom::Definition;

    use super::*;

    #[test]
    fn cells_by_type() {
        let column = |name: &str, ty: &str, path: &str| json!({"name": name, "type": ty, "jsonPath": path});
        let definition = json!({"spec": {"versions": [{"name": "v1", "storage": true, "additionalPrinterColumns": [
            column("Size", "integer", ".spec.size"), column("Text", "string", ".spec.list"),
            column("When", "date", ".spec.when"), column("Gone", "string", ".spec.gone"),
            column("Wrong", "boolean", ".spec.size"),
        ]}]}});
        let version = Definition::read(&definition).versions.remove(0);
        let object = json!({"metadata": {"name": "a"}, "spec": {"size": 7, "list": ["x"], "when": "1970-01-01T00:00:00Z"}});
        let now = "1970-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(
            cells(&version, &object, now),
            [
                json!("a"),
                json!(7),
                json!("[\"x\"]"),
                json!("60s"),
                Value::Null,
                Value::Null
            ]
        );
        assert_eq!(columns(&version).len(), 6);
    }
}
