//! Taking away what a schema does not have.

use serde_json::Value;

use super::{Additional, Schema, is_meta_field};

/// Takes away the fields that the schema does not have, and says which, each by its path (`spec.a[0].b`), sorted.
///
/// `value` is a resource: its apiVersion, kind and metadata stay whatever the schema says.
pub fn prune(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruning = Pruning {
        path: String::new(),
        unknown: Vec::new(),
    };
    let how = How {
        resource: true,
        preserve: schema.preserve,
    };
    pruning.value(value, Some(schema), how);
    pruning.unknown.sort();
    pruning.unknown
}

/// Whether pruning would leave a value as it is. It is no resource, unless its schema says so.
pub(crate) fn keeps(value: &Value, schema: &Schema) -> bool {
    let mut pruning = Pruning {
        path: String::new(),
        unknown: Vec::new(),
    };
    let mut pruned = value.clone();
    pruning.below(&mut pruned, Some(schema));
    pruned == *value
}

struct Pruning {
    path: String,
    unknown: Vec<String>,
}

/// What stays of a value without being described.
#[derive(Clone, Copy)]
struct How {
    /// What every resource has.
    resource: bool,
    /// Everything.
    preserve: bool,
}

impl Pruning {
    fn value(&mut self, value: &mut Value, schema: Option<&Schema>, how: How) {
        match value {
            Value::Object(fields) => {
                let mut gone = Vec::new();
                for (name, value) in fields.iter_mut() {
                    if how.resource && is_meta_field(name) {
                        continue;
                    }
                    match below(schema, name) {
                        Below::Known(below) => self.at_key(name, |pruning| pruning.below(value, below)),
                        Below::Unknown if how.preserve => {}
                        Below::Unknown => gone.push(name.clone()),
                    }
                }
                for name in gone {
                    fields.remove(&name);
                    if !is_meta_field(&name) || !self.path.is_empty() {
                        self.at_key(&name, |pruning| pruning.unknown.push(pruning.path.clone()));
                    }
                }
            }
            Value::Array(items) => self.items(items, schema.and_then(|schema| schema.items.as_deref()), how),
            _ => {}
        }
    }

    fn items(&mut self, items: &mut [Value], schema: Option<&Schema>, how: How) {
        if how.preserve && schema.is_none() {
            return;
        }
        let preserve = how.preserve || schema.is_some_and(|schema| schema.preserve);
        let resource = schema.is_some_and(|schema| schema.embedded);
        for (index, item) in items.iter_mut().enumerate() {
            self.at(&format!("[{index}]"), |pruning| {
                pruning.value(item, schema, How { resource, preserve });
            });
        }
    }

    fn below(&mut self, value: &mut Value, schema: Option<&Schema>) {
        let how = How {
            resource: schema.is_some_and(|schema| schema.embedded),
            preserve: schema.is_some_and(|schema| schema.preserve),
        };
        self.value(value, schema, how);
    }

    fn at_key(&mut self, name: &str, act: impl FnOnce(&mut Self)) {
        if self.path.is_empty() {
            self.at(name, act);
        } else {
            self.at(&format!(".{name}"), act);
        }
    }

    fn at(&mut self, step: &str, act: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        act(self);
        self.path.truncate(length);
    }
}

enum Below<'s> {
    /// The field is known, by this schema or by none.
    Known(Option<&'s Schema>),
    Unknown,
}

fn below<'s>(schema: Option<&'s Schema>, name: &str) -> Below<'s> {
    let Some(schema) = schema else {
        return Below::Unknown;
    };
    match (schema.properties.get(name), &schema.additional) {
        (Some(below), _) => Below::Known(Some(below)),
        (None, Additional::Schema(below)) => Below::Known(Some(below)),
        (None, Additional::Allowed(_)) => Below::Known(None),
        (None, Additional::Unsaid) => Below::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_described_goes_and_is_named() {
        let schema = Schema::read(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {}}}},
                "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {"known": {"type": "object"}}},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
            }},
        }}));
        let mut object = json!({
            "apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x"}, "bogus": 1,
            "spec": {
                "b": 1, "list": [{"a": "x"}, {"b": 1}], "map": {"k": {"a": 1, "b": 2}},
                "raw": {"any": {"thing": 1}, "known": {"gone": 1}},
                "pod": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}, "status": {}},
            },
        });
        let unknown = prune(&mut object, &schema);
        assert_eq!(
            unknown,
            [
                "bogus",
                "spec.b",
                "spec.list[1].b",
                "spec.map.k.b",
                "spec.pod.status",
                "spec.raw.known.gone"
            ]
        );
        assert_eq!(
            object,
            json!({
                "apiVersion": "a/v1", "kind": "A", "metadata": {"name": "x"},
                "spec": {
                    "list": [{"a": "x"}, {}], "map": {"k": {"a": 1}},
                    "raw": {"any": {"thing": 1}, "known": {}},
                    "pod": {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"x": 1}},
                },
            })
        );
        assert!(prune(&mut object, &schema).is_empty());
    }
}
