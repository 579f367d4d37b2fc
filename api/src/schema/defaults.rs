//! Filling in what an object leaves out, and dropping nulls that stand for nothing.

use serde_json::{Map, Value};

use super::{Additional, Schema};

/// Fills in the defaults of the schema: where a field is absent, or null and may not be.
pub fn fill(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(fields) => {
            for (name, below) in &schema.properties {
                if let Some(default) = &below.default
                    && (!fields.contains_key(name) || is_wrong_null(&fields[name], below))
                {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in fields.iter_mut() {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(below), _) => fill(value, below),
                    (None, Additional::Schema(below)) => fill_element(value, below),
                    (None, _) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(below) = schema.items.as_deref() else {
                return;
            };
            for item in items {
                fill_element(item, below);
            }
        }
        _ => {}
    }
}

fn fill_element(value: &mut Value, schema: &Schema) {
    if let Some(default) = schema.default.as_ref().filter(|_| is_wrong_null(value, schema)) {
        *value = default.clone();
    }
    fill(value, schema);
}

fn is_wrong_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

/// Drops nulls of fields that may not be null and have no default; those with a default are left to [`fill`].
pub fn drop_nulls(value: &mut Value, schema: Option<&Schema>) {
    match value {
        Value::Object(fields) => {
            let below = |name: &str| schema.and_then(|schema| schema.field(name));
            fields.retain(|name, value| {
                !below(name).is_some_and(|below| is_wrong_null(value, below) && below.default.is_none())
            });
            for (name, value) in fields.iter_mut() {
                drop_nulls(value, below(name));
            }
        }
        Value::Array(items) => {
            let below = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| drop_nulls(item, below));
        }
        _ => {}
    }
}

impl Schema {
    /// Prunes the defaults themselves, as upstream does before it serves by a schema.
    pub(super) fn prune_defaults(&mut self) {
        let below = self.properties.values_mut().chain(self.items.as_deref_mut());
        below.for_each(Schema::prune_defaults);
        if let Additional::Schema(below) = &mut self.additional {
            below.prune_defaults();
        }
        if let Some(mut default) = self.default.take() {
            if default.is_object() || default.is_array() {
                // Wrapped, because pruning is of what stands in a field.
                let mut wrapper = Value::Object(Map::from_iter([(String::new(), default)]));
                let mut parent = Schema::default();
                parent.properties.insert(String::new(), std::mem::take(self));
                super::prune::prune(&mut wrapper, &parent);
                *self = parent.properties.remove("").unwrap_or_default();
                default = wrapper[""].take();
            }
            self.default = Some(default);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_go_down_and_nulls_go_away() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "x"},
            "b": {"type": "object", "default": {}, "properties": {"c": {"type": "integer", "default": 1}}},
            "d": {"type": "object", "properties": {"e": {"type": "boolean", "default": true}}},
            "list": {"type": "array", "items": {"type": "object", "default": {"n": 0}, "properties": {"n": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string", "default": "m"}},
            "null": {"type": "string", "nullable": true, "default": "never"},
            "gone": {"type": "string"},
        }}));
        let mut object = json!({"a": null, "list": [null, {}], "map": {"k": null}, "null": null, "gone": null, "free": null});
        drop_nulls(&mut object, Some(&schema));
        fill(&mut object, &schema);
        let want = json!({
            "a": "x", "b": {"c": 1}, "list": [{"n": 0}, {}], "map": {"k": "m"}, "null": null, "free": null,
        });
        assert_eq!(object, want);
        fill(&mut object, &schema);
        assert_eq!(object, want);
    }

    #[test]
    fn defaults_are_pruned_themselves() {
        let mut schema = Schema::read(&json!({"type": "object", "properties": {
            "a": {"type": "object", "default": {"known": 1, "unknown": 2}, "properties": {"known": {"type": "integer"}}},
        }}));
        schema.prune_defaults();
        assert_eq!(schema.properties["a"].default, Some(json!({"known": 1})));
    }
}
