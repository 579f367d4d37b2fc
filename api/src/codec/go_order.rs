//! Objects as JSON in the order in which Go writes the fields of their types, for messages that show objects.
//!
//! Objects in memory have their fields sorted by name, and so have answers: clients do not care. A person who compares a message
//! with upstream's does.

mod moved;

use serde_json::Value;

use self::moved::MOVED;
use super::conform::schema_type;
use super::json::html_escaped;
use crate::table::{Item, Outer, Shape, Ty, Type};

/// An object of a type. Where `opened` is an object, Go has read the value as a map and written it again, sorted by name; so it
/// is with what a patch has gone through.
pub fn json(value: &Value, ty: &'static Type, opened: &Value) -> String {
    let ty = Ty {
        outer: Outer::Value,
        item: Item::Type(ty),
    };
    let mut text = String::new();
    write(value, Some(ty), opened, &mut text);
    text
}

fn write(value: &Value, ty: Option<Ty>, opened: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let of = ty.and_then(|ty| struct_of(ty, value));
            let mut names: Vec<&String> = fields.keys().collect();
            if let Some(of) = of.filter(|_| !opened.is_object()) {
                let order = declared(of);
                names.sort_by_key(|name| place(of, &order, name));
            }
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&escaped(&Value::from(name.as_str())));
                text.push(':');
                let below = opened.get(name).unwrap_or(&Value::Null);
                write(&fields[name], within(ty, of, name), below, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                // A list that was sent has taken the place of the one before, and Go has read all that is in it.
                let below = opened.get(index).unwrap_or(&Value::Null);
                write(item, ty.map(element), below, text);
            }
            text.push(']');
        }
        other => text.push_str(&escaped(other)),
    }
}

/// A scalar in JSON, as Go writes it.
fn escaped(value: &Value) -> String {
    html_escaped(&value.to_string()).into_owned()
}

/// The struct that a value of this type is, if it is one. Keys of maps have no order of their own. What may be a schema or
/// something else is a schema where it is an object.
fn struct_of(ty: Ty, value: &Value) -> Option<&'static Type> {
    match (ty.outer, ty.item) {
        (Outer::Value, Item::Type(of)) => match of.shape {
            Shape::Struct => Some(of),
            Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings if value.is_object() => {
                Some(schema_type())
            }
            _ => None,
        },
        _ => None,
    }
}

/// The fields of a struct in the order in which Go declares them.
pub(super) fn declared(of: &'static Type) -> Vec<&'static str> {
    let mut order: Vec<&str> = of.in_number_order().map(|field| field.name).collect();
    let moves = MOVED.iter().find(|(name, _)| *name == of.name);
    for (field, after) in moves.into_iter().flat_map(|(_, moves)| *moves) {
        order.retain(|name| name != field);
        let at = order.iter().position(|name| name == after).map_or(0, |at| at + 1);
        order.insert(at, field);
    }
    order
}

/// The type of the items of a list: of a list of schemas that one schema may stand for, too.
fn element(ty: Ty) -> Ty {
    match (ty.outer, ty.item) {
        (Outer::Value, Item::Type(of)) if of.shape == Shape::SchemaOrArray => Ty {
            outer: Outer::Value,
            item: Item::Type(schema_type()),
        },
        _ => ty.element(),
    }
}

fn place(of: &'static Type, order: &[&str], name: &str) -> usize {
    match name {
        // Go's `TypeMeta` comes first, the kind before the version.
        "kind" if of.gvk.is_some() => 0,
        "apiVersion" if of.gvk.is_some() => 1,
        _ => order
            .iter()
            .position(|field| *field == name)
            .map_or(usize::MAX, |at| at + 2),
    }
}

/// The type of what stands under a name, in a map or in a struct.
fn within(ty: Option<Ty>, of: Option<&'static Type>, name: &str) -> Option<Ty> {
    let ty = ty?;
    match (of, ty.outer) {
        (Some(of), _) => of.field(name).map(|field| field.ty),
        (None, Outer::Map | Outer::MapOfLists) => Some(ty.element()),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table;

    #[test]
    fn fields_stand_as_in_go_and_as_a_patch_left_them() {
        let pod = table::by_api_version("v1", "Pod").unwrap();
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"b": "1", "a": "2"}, "uid": "u",
            "name": "x"}, "spec": {"containers": [{"image": "i", "name": "c"}]}});
        assert_eq!(
            json(&object, pod, &Value::Null),
            "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\",\"uid\":\"u\",\"labels\":{\"a\":\"2\",\
             \"b\":\"1\"}},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"
        );
        assert_eq!(
            json(&object, pod, &json!({"metadata": {"uid": "u"}})),
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"labels\":{\"a\":\"2\",\"b\":\"1\"},\"name\":\"x\",\
             \"uid\":\"u\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}"
        );
    }

    #[test]
    fn fields_stand_where_go_declares_them() {
        for (name, moves) in MOVED {
            let ty = table::by_name(name).unwrap();
            let order = declared(ty);
            assert_eq!(order.len(), ty.in_number_order().count(), "{name}");
            for (field, after) in *moves {
                assert!(ty.field(field).is_some(), "{name} {field}");
                assert!(after.is_empty() || ty.field(after).is_some(), "{name} {after}");
            }
        }
        let container = declared(table::by_name("io.k8s.api.core.v1.Container").unwrap());
        let at = |name: &str| container.iter().position(|field| *field == name).unwrap();
        assert_eq!(at("terminationMessagePolicy"), at("terminationMessagePath") + 1);
        assert_eq!(at("imagePullPolicy"), at("terminationMessagePolicy") + 1);
        assert_eq!(at("envFrom"), at("ports") + 1);
    }

    #[test]
    fn schemas_within_schemas_have_an_order_too() {
        let crd = table::by_api_version("apiextensions.k8s.io/v1", "CustomResourceDefinition").unwrap();
        let inner = json!({"properties": {"b": {"default": 1, "type": "integer"}, "a": {"type": "string"}}, "type": "object"});
        let schema = json!({"items": inner, "type": "array", "additionalProperties": inner});
        let object = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        let inner =
            r#"{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer","default":1}}}"#;
        assert_eq!(
            json(&object, crd, &Value::Null),
            format!(
                r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{{"type":"array","items":{inner},"additionalProperties":{inner}}}}}}}]}}}}"#
            )
        );
    }

    #[test]
    fn what_was_sent_in_a_list_was_read_and_sorted() {
        let role = table::by_api_version("rbac.authorization.k8s.io/v1", "Role").unwrap();
        let rules = json!([{"nonResourceURLs": ["/x"], "verbs": ["get"]}]);
        let object = json!({"rules": rules});
        assert_eq!(
            json(&object, role, &object),
            "{\"rules\":[{\"nonResourceURLs\":[\"/x\"],\"verbs\":[\"get\"]}]}"
        );
        assert_eq!(
            json(&object, role, &json!({"kind": "Other"})),
            "{\"rules\":[{\"verbs\":[\"get\"],\"nonResourceURLs\":[\"/x\"]}]}"
        );
    }
}
