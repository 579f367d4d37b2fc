//! Whether two objects of a type say the same, as upstream's `Semantic.DeepEqual` has it: an empty list or map is none, but a
//! struct with nothing in it is one all the same.

use serde_json::Value;

use super::conform::schema_type;
use super::raw;
use crate::object::Fields;
use crate::table::{self, Field, Item, Outer, Shape, Ty, Type};

/// Whether two values of a type are equal; absent and null are the same.
pub fn equal(a: Option<&Value>, b: Option<&Value>, ty: &'static Type) -> bool {
    let (a, b) = (present(a), present(b));
    match ty.shape {
        Shape::Struct => of_struct(a, b, ty),
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => match (a, b) {
            (Some(Value::Object(_)), Some(Value::Object(_))) => of_struct(a, b, schema_type()),
            (a, b) => a == b,
        },
        Shape::Raw => a == b || a.zip(b).is_some_and(|(a, b)| raw::same(a, b)),
        _ => a == b,
    }
}

/// As [`equal`], for the values of a field.
pub fn equal_field(a: Option<&Value>, b: Option<&Value>, field: &'static Field) -> bool {
    of_field(present(a), present(b), field)
}

/// As [`equal`], for a type by its name in the table.
pub fn equal_named(a: Option<&Value>, b: Option<&Value>, name: &str) -> bool {
    match table::by_name(name) {
        Some(ty) => equal(a, b, ty),
        None => a == b,
    }
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn of_struct(a: Option<&Value>, b: Option<&Value>, ty: &'static Type) -> bool {
    if a == b {
        return true;
    }
    ty.fields
        .iter()
        .all(|field| match (value_in(a, field), value_in(b, field)) {
            (None, None) => true,
            (a, b) => of_field(a, b, field),
        })
}

fn value_in<'v>(value: Option<&'v Value>, field: &Field) -> Option<&'v Value> {
    value.and_then(|value| value.field(field.name))
}

fn of_field(a: Option<&Value>, b: Option<&Value>, field: &'static Field) -> bool {
    if field.ty.outer == Outer::Value {
        return match field.ty.item {
            Item::Type(_) if field.pointer && a.is_some() != b.is_some() => false,
            Item::Type(ty) => equal(a, b, ty),
            _ if field.pointer => a == b,
            // Zero is what stands for none.
            _ => a == b || is_zero(a) && is_zero(b),
        };
    }
    of_container(a, b, field.ty)
}

fn is_zero(value: Option<&Value>) -> bool {
    value.is_none_or(crate::object::is_zero)
}

fn of_container(a: Option<&Value>, b: Option<&Value>, ty: Ty) -> bool {
    let item = |a: Option<&Value>, b: Option<&Value>| match (ty.outer, ty.item) {
        (Outer::MapOfLists, _) => a == b,
        (_, Item::Type(inner)) => equal(a, b, inner),
        _ => a == b,
    };
    match (a, b) {
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| item(Some(a), Some(b)))
        }
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.contains_key(key) && item(Some(value), b.get(key)))
        }
        (a, b) => is_zero(a) && is_zero(b),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_struct_is_one_and_an_empty_list_is_none() {
        let ty = table::by_gvk("apps", "v1", "Deployment").unwrap();
        let with = |pod: Value| json!({"spec": {"template": {"spec": pod}}});
        let none = with(json!({"containers": [{"name": "c"}]}));
        let table = [
            (
                json!({"containers": [{"name": "c"}], "volumes": [], "nodeSelector": {}}),
                true,
            ),
            (
                json!({"containers": [{"name": "c", "env": []}], "affinity": null}),
                true,
            ),
            (json!({"containers": [{"name": "c", "resources": {}}]}), true),
            (
                json!({"containers": [{"name": "c", "resources": {"limits": {}}}]}),
                true,
            ),
            (json!({"containers": [{"name": "c"}], "affinity": {}}), false),
            (json!({"containers": [{"name": "c", "lifecycle": {}}]}), false),
            (json!({"containers": [{"name": "d"}]}), false),
        ];
        for (pod, same) in table {
            let other = with(pod);
            assert_eq!(equal(Some(&none), Some(&other), ty), same, "{other}");
            assert_eq!(equal(Some(&other), Some(&none), ty), same, "{other}");
        }
    }
}
