//! Reading dynamic objects as Go reads its structs: a field that is absent or null is its zero value.

use serde_json::{Map, Value};

/// Fields of a dynamic object by JSON name. On anything but an object, every field is absent.
pub trait Fields {
    /// The field, unless it is absent or null.
    fn field(&self, name: &str) -> Option<&Value>;

    /// Whether the field is there and not null: a pointer that is set.
    fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// Text, or nothing.
    fn text(&self, name: &str) -> &str {
        self.field(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number that may be absent.
    fn number(&self, name: &str) -> Option<i64> {
        self.field(name).and_then(Value::as_i64)
    }

    /// A flag, false when absent.
    fn flag(&self, name: &str) -> bool {
        self.field(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A list, empty when absent.
    fn items(&self, name: &str) -> &[Value] {
        self.field(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The entries of a map or object, none when absent.
    fn entries(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.field(name)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// How many items or entries a list or map has.
    fn count(&self, name: &str) -> usize {
        match self.field(name) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        }
    }
}

impl Fields for Value {
    fn field(&self, name: &str) -> Option<&Value> {
        self.get(name).filter(|value| !value.is_null())
    }
}

impl Fields for Map<String, Value> {
    fn field(&self, name: &str) -> Option<&Value> {
        self.get(name).filter(|value| !value.is_null())
    }
}

/// Sets a field that is absent or null.
pub fn set_if_absent(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if !object.has(name) {
        object.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that has its zero value: absent, null, empty text, an empty list or map, or 0.
pub fn set_if_empty(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if object.field(name).is_none_or(is_zero) {
        object.insert(name.to_owned(), value.into());
    }
}

/// Whether a value is what Go calls the zero value of its type, empty lists and maps included.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The object in a field, made when it is absent; none when something else stands there.
pub fn object_in<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    if !object.has(name) {
        object.insert(name.to_owned(), Value::Object(Map::new()));
    }
    object.get_mut(name).and_then(Value::as_object_mut)
}

/// The objects in a list field.
pub fn objects_in<'a>(
    object: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = object.get_mut(name).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Whether two values are equal when absent, null and empty are all the same (upstream's semantic `DeepEqual`).
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.iter().all(|(name, value)| same(Some(value), b.get(name)))
                && b.iter()
                    .all(|(name, value)| a.contains_key(name) || is_nothing(value))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(a), Some(b)) => a == b || is_nothing(a) && is_nothing(b),
        (Some(only), None) | (None, Some(only)) => is_nothing(only),
        (None, None) => true,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_null_and_empty_are_the_same() {
        let pairs = [
            (json!({}), json!({"a": null, "b": {}, "c": []}), true),
            (json!({"a": {"b": []}}), json!({}), true),
            (json!({"a": 0}), json!({}), false),
            (json!({"a": ""}), json!({"a": null}), false),
            (json!([{}]), json!([{"x": null}]), true),
            (json!([1]), json!([]), false),
        ];
        for (a, b, want) in pairs {
            assert_eq!(same(Some(&a), Some(&b)), want, "{a} {b}");
            assert_eq!(same(Some(&b), Some(&a)), want, "{b} {a}");
        }
    }

    #[test]
    fn fields_of_anything_can_be_asked_for() {
        let object = json!({"text": "x", "none": null, "list": [1], "map": {"a": 1}});
        assert_eq!(
            (object.text("text"), object.text("none"), object.text("gone")),
            ("x", "", "")
        );
        assert_eq!(
            (object.count("list"), object.count("map"), object.count("text")),
            (1, 1, 0)
        );
        assert!(!object.has("none") && !Value::Null.has("x"));
    }
}
