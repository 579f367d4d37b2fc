//! Objects as JSON in the order in which Go writes the fields of their types, for messages that show objects.
//!
//! Objects in memory have their fields sorted by name, and so have answers: clients do not care. A person who compares a message
//! with upstream's does.

use serde_json::Value;

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
            let of = |name: &str| field_type(ty, name);
            let mut names: Vec<&String> = fields.keys().collect();
            if !opened.is_object() {
                names.sort_by_key(|name| of(name).0);
            }
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                let below = opened.get(name).unwrap_or(&Value::Null);
                write(&fields[name], of(name).1, below, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, ty.map(|ty| ty.element()), &Value::Null, text);
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// Where a field stands among those of its struct, and what it holds. Keys of maps keep their order.
fn field_type(ty: Option<Ty>, name: &str) -> (usize, Option<Ty>) {
    let Some(ty) = ty else { return (0, None) };
    match (ty.outer, ty.item) {
        (Outer::Value, Item::Type(of)) if of.shape == Shape::Struct => {
            let at = match name {
                // Go's `TypeMeta` comes first, the kind before the version.
                "kind" if of.gvk.is_some() => 0,
                "apiVersion" if of.gvk.is_some() => 1,
                _ => of
                    .in_number_order()
                    .position(|field| field.name == name)
                    .map_or(usize::MAX, |at| at + 2),
            };
            (at, of.field(name).map(|field| field.ty))
        }
        (Outer::Map | Outer::MapOfLists, _) => (0, Some(ty.element())),
        _ => (0, None),
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
}
