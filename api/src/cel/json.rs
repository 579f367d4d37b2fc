//! Values as JSON, for what mutations make.

use base64::Engine;
use serde_json::{Map as JsonMap, Value as Json};

use super::error::EvalError;
use super::library::time;
use super::value::{Key, Value};

/// A value as JSON.
///
/// # Errors
/// It is, or holds, something that JSON has no form for.
pub fn to_json(value: &Value<'_>) -> Result<Json, EvalError> {
    Ok(match value {
        Value::Null | Value::Optional(None) => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Double(number) => serde_json::Number::from_f64(*number)
            .map(Json::Number)
            .ok_or_else(|| EvalError::new("numbers that are not finite have no form in JSON"))?,
        Value::String(text) => Json::String(text.to_string()),
        Value::Bytes(bytes) => Json::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Value::Duration(nanos) => Json::String(time::shown(*nanos)),
        Value::Timestamp(moment) => Json::String(moment.to_string()),
        Value::List(list) => Json::Array(
            list.iter()
                .map(|item| to_json(&item?))
                .collect::<Result<_, _>>()?,
        ),
        Value::Map(map) => {
            let mut fields = JsonMap::new();
            for (key, value) in map.entries()? {
                let Key::String(name) = &key else {
                    return Err(EvalError::new("keys of maps have to be strings in JSON"));
                };
                fields.insert(name.to_string(), to_json(&value)?);
            }
            Json::Object(fields)
        }
        Value::Object(object) => {
            let mut fields = JsonMap::new();
            for (name, value) in &object.fields {
                fields.insert(super::escape::unescape(name).into_owned(), to_json(value)?);
            }
            Json::Object(fields)
        }
        Value::Optional(Some(value)) => to_json(value)?,
        Value::Type(ty) => return Err(EvalError::new(format!("type {ty} has no form in JSON"))),
        Value::Opaque(opaque) => {
            let name = opaque.type_name();
            return Err(EvalError::new(format!("values of {name} have no form in JSON")));
        }
    })
}
