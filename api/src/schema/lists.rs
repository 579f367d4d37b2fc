//! Lists that are sets or maps: no item may stand in them twice.

use serde_json::{Map, Value};

use super::Schema;
use crate::table::ListType;
use crate::validation::{FieldErrors, Path};

/// The items that stand twice in an object's lists of type `set` and `map`, in upstream's words.
pub fn duplicates(value: &Value, schema: &Schema, at: &Path<'_>, errors: &mut FieldErrors) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if schema.properties.contains_key(name) {
                    continue;
                }
                if let Some(below) = schema.field(name) {
                    duplicates(value, below, &at.key(name), errors);
                }
            }
            for (name, value) in fields {
                if let Some(below) = schema.properties.get(name) {
                    duplicates(value, below, &at.child(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list.ty {
                ListType::Set => {
                    for index in repeated(items) {
                        errors.duplicate(&at.index(index), &items[index]);
                    }
                }
                ListType::Map => by_keys(items, &schema.list.keys, at, errors),
                ListType::Atomic | ListType::Unset => {}
            }
            if let Some(below) = schema.items.as_deref() {
                for (index, item) in items.iter().enumerate() {
                    duplicates(item, below, &at.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn by_keys(items: &[Value], keys: &[String], at: &Path<'_>, errors: &mut FieldErrors) {
    let odd = items.iter().position(|item| !item.is_object() && !item.is_null());
    if let Some(index) = odd {
        let rule = "must be an object for an array of list-type map";
        errors.invalid(&at.index(index), &items[index], rule);
        return;
    }
    let named: Vec<Value> = items.iter().map(|item| keys_of(item, keys)).collect();
    for index in repeated(&named) {
        errors.duplicate(&at.index(index), &named[index]);
    }
}

/// The keys of an item, as far as it has them.
fn keys_of(item: &Value, keys: &[String]) -> Value {
    let named = keys
        .iter()
        .filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(named.collect::<Map<_, _>>())
}

/// Where values stand for the second time; a third is not told.
fn repeated(items: &[Value]) -> Vec<usize> {
    let mut counts: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut out = Vec::new();
    if items.len() < 2 {
        return out;
    }
    for (index, item) in items.iter().enumerate() {
        let count = counts.entry(item.to_string()).or_default();
        *count += 1;
        if *count == 2 {
            out.push(index);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_twice() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                "items": {"type": "object", "properties": {"n": {"type": "string"}}}},
        }}));
        let faults = |value: Value| {
            let mut errors = FieldErrors::new();
            duplicates(&value, &schema, &Path::ROOT, &mut errors);
            errors.aggregate()
        };
        assert_eq!(
            faults(json!({"set": ["a", "b", "a", "a"]})),
            "set[2]: Duplicate value: \"a\""
        );
        assert_eq!(
            faults(json!({"map": [{"n": "x", "v": 1}, {"n": "x"}]})),
            "map[1]: Duplicate value: {\"n\":\"x\"}"
        );
        assert_eq!(
            faults(json!({"map": [{"n": "x"}, []]})),
            "map[1]: Invalid value: []: must be an object for an array of list-type map"
        );
        assert_eq!(faults(json!({"set": ["a"], "map": [null, {"n": "x"}]})), "[]");
    }
}
