//! Whether a configuration that is applied is of its type at all: every fault at once, as upstream's typed values tell them.
//! Pure.
//!
//! Only shapes are looked at here, what a value may be is for validation to say. `null` fits everywhere.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema::Keyed;
use crate::patch::printed;
use crate::table::{Field, Item, ListType, Outer, Shape, Ty, Type};

/// Checks a configuration against its type.
///
/// # Errors
/// Every fault with its path; where there are several, in a list.
pub(super) fn check(config: &Value, ty: &'static Type) -> Result<(), String> {
    let mut faults = Faults {
        path: String::new(),
        found: Vec::new(),
    };
    faults.of_type(config, ty);
    match &faults.found[..] {
        [] => Ok(()),
        [fault] => Err(fault.clone()),
        several => Err(format!("errors:\n  {}", several.join("\n  "))),
    }
}

struct Faults {
    path: String,
    found: Vec<String>,
}

impl Faults {
    fn add(&mut self, fault: &str) {
        self.found.push(format!("{}: {fault}", self.path));
    }

    fn below(&mut self, element: &str, act: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(element);
        act(self);
        self.path.truncate(length);
    }

    fn of_type(&mut self, value: &Value, ty: &'static Type) {
        match ty.shape {
            Shape::Struct => {}
            Shape::Time | Shape::MicroTime => return self.of_any_scalar(value),
            _ => return,
        }
        let fields = match value {
            Value::Null => return,
            Value::Object(fields) => fields,
            other => return self.add(&format!("expected map, got &{{{}}}", printed(other))),
        };
        for (name, value) in fields {
            let field = ty.field(name);
            self.below(&format!(".{name}"), |faults| match field {
                None => faults.add("field not declared in schema"),
                Some(field) => faults.of_field(value, field),
            });
            // Upstream goes on with no other field then; which it has looked at before is left to chance.
            if field.is_none() {
                return;
            }
        }
    }

    fn of_field(&mut self, value: &Value, field: &'static Field) {
        match field.ty.outer {
            Outer::Value => self.of_item(value, field.ty.item),
            Outer::List => self.of_list(value, field.ty.item, Some(field)),
            Outer::Map | Outer::MapOfLists => self.of_map(value, field.ty),
        }
    }

    fn of_item(&mut self, value: &Value, item: Item) {
        match (item, value) {
            (_, Value::Null)
            | (Item::String | Item::Bytes, Value::String(_))
            | (Item::Bool, Value::Bool(_))
            | (Item::Int32 | Item::Int64 | Item::Double, Value::Number(_)) => {}
            (Item::Type(ty), value) => self.of_type(value, ty),
            (Item::String | Item::Bytes, other) => self.add(&format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                with_types(other)
            )),
            (Item::Bool, other) => self.add(&format!("expected boolean, got &{{{}}}", printed(other))),
            (Item::Int32 | Item::Int64 | Item::Double, other) => self.add(&format!(
                "expected numeric (int or float), got {}",
                go_type(other)
            )),
        }
    }

    fn of_any_scalar(&mut self, value: &Value) {
        if value.is_object() || value.is_array() {
            self.add(&format!("expected any scalar, got &{{{}}}", printed(value)));
        }
    }

    fn of_map(&mut self, value: &Value, ty: Ty) {
        let entries = match value {
            Value::Null => return,
            Value::Object(entries) => entries,
            other => return self.add(&format!("expected map, got &{{{}}}", printed(other))),
        };
        for (key, value) in entries {
            self.below(&format!(".{key}"), |faults| match ty.outer {
                Outer::MapOfLists => faults.of_list(value, ty.item, None),
                _ => faults.of_item(value, ty.item),
            });
        }
    }

    fn of_list(&mut self, value: &Value, item: Item, field: Option<&'static Field>) {
        let items = match value {
            Value::Null => return,
            Value::Array(items) => items,
            // Bytes in a list, and lists that protobuf wraps, are lists all the same.
            other => return self.add(&format!("expected list, got &{{{}}}", printed(other))),
        };
        let keyed = field.filter(|field| matches!(field.list_type, ListType::Map | ListType::Set));
        let mut seen = BTreeSet::new();
        for (index, value) in items.iter().enumerate() {
            let element = match keyed.map(|field| element(value, field)) {
                None => format!("[{index}]"),
                Some(Ok(element)) => element,
                Some(Err(why)) => return self.add(&format!("element {index}: {why}")),
            };
            if keyed.is_some() && !seen.insert(element.clone()) {
                self.add(&format!("duplicate entries for key {element}"));
            }
            self.below(&element, |faults| faults.of_item(value, item));
        }
    }
}

/// How upstream names an item of a list that is owned item by item: `[name="a",port=80]`, `[="a"]`.
fn element(value: &Value, field: &'static Field) -> Result<String, String> {
    let Item::Type(ty) = field.ty.item else {
        return Ok(format!("[={value}]"));
    };
    if field.list_type == ListType::Set {
        return Ok(format!("[={value}]"));
    }
    if !value.is_object() {
        return Err("associative list with keys may not have non-map elements".to_owned());
    }
    let keys = Keyed::Type(field.list_map_keys, ty).of(value)?;
    let parts = keys.iter().map(|(key, value)| format!("{key}={value}"));
    Ok(format!("[{}]", parts.collect::<Vec<_>>().join(",")))
}

/// As Go's `%#v` prints it.
fn with_types(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(with_types).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(fields) => {
            let pairs = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", crate::quote::quote(name), with_types(value)));
            format!(
                "map[string]interface {{}}{{{}}}",
                pairs.collect::<Vec<_>>().join(", ")
            )
        }
        Value::String(text) => crate::quote::quote(text),
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table;

    fn faults(kind: (&str, &str), spec: &Value) -> String {
        let ty = table::by_api_version(kind.0, kind.1).unwrap();
        check(spec, ty).err().unwrap_or_default()
    }

    #[test]
    fn faults_in_upstream_s_words() {
        let service = ("v1", "Service");
        for (config, want) in [
            (
                json!({"spec": {"ports": [{"port": 80, "targetPort": "web"}]}}),
                "",
            ),
            (json!({"spec": null, "metadata": {"creationTimestamp": null}}), ""),
            (json!({"metadata": "x"}), ".metadata: expected map, got &{x}"),
            (
                json!({"spec": {"ports": {}}}),
                ".spec.ports: expected list, got &{map[]}",
            ),
            (
                json!({"spec": {"type": {"a": 1}}}),
                ".spec.type: expected string, got &value.valueUnstructured{Value:map[string]interface {}{\"a\":1}}",
            ),
            (
                json!({"spec": {"healthCheckNodePort": {"a": 1}}}),
                ".spec.healthCheckNodePort: expected numeric (int or float), got map[string]interface {}",
            ),
            (
                json!({"spec": {"publishNotReadyAddresses": "x"}}),
                ".spec.publishNotReadyAddresses: expected boolean, got &{x}",
            ),
            (
                json!({"spec": {"ports": ["a"]}}),
                ".spec.ports: element 0: associative list with keys may not have non-map elements",
            ),
            (
                json!({"spec": {"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}}),
                ".spec.ports: duplicate entries for key [port=1,protocol=\"TCP\"]",
            ),
            (
                json!({"bogus": 1, "spec": {"x": 2}}),
                ".bogus: field not declared in schema",
            ),
            (
                json!({"metadata": {"x": 1}, "spec": {"y": 2}}),
                "errors:\n  .metadata.x: field not declared in schema\n  .spec.y: field not declared in schema",
            ),
        ] {
            assert_eq!(faults(service, &config), want, "{config}");
        }
        assert_eq!(
            faults(("v1", "Event"), &json!({"firstTimestamp": {"a": 1}})),
            ".firstTimestamp: expected any scalar, got &{map[a:1]}"
        );
        // What a quantity or a number of either sort may be, no schema says.
        assert_eq!(
            faults(
                service,
                &json!({"spec": {"ports": [{"port": 80, "targetPort": {"a": 1}}]}})
            ),
            ""
        );
        // A key that is required is empty where it is not given.
        assert_eq!(
            faults(("v1", "Pod"), &json!({"spec": {"containers": [{"bogus": 1}]}})),
            ".spec.containers[name=\"\"].bogus: field not declared in schema"
        );
        let schema = ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema");
        assert_eq!(
            faults(schema, &json!({"status": {"conditions": [{}]}})),
            ".status.conditions: element 0: associative list with keys has an element that omits all key fields \
             [\"type\"] (and doesn't have default values for any key fields)"
        );
    }
}
