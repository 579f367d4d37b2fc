//! Fields of which a JSON text speaks twice, as Go's decoder takes them: into the same struct one after the other.
//!
//! What the second says wins, but where it says nothing the first stays: structs and maps in them are filled on, field by field
//! and key by key. Lists, and whatever decodes itself, are replaced.

use serde_json::{Map, Value};

use super::path::{At, Step};
use crate::table::{Field, Item, Outer, Shape, Type};

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    Key(String),
    Index(usize),
}

/// A value that another one of the same key came after.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Overlaid {
    way: Vec<Turn>,
    earlier: Value,
}

/// Of what kind the value at a place is, as far as it matters here.
#[derive(Clone, Copy)]
enum Place {
    Struct(&'static Type),
    Map(&'static Field),
    List(&'static Field),
    Other,
}

impl Place {
    fn of_field(field: &'static Field) -> Self {
        match field.ty.outer {
            Outer::Value => Self::of_item(field.ty.item),
            Outer::List => Self::List(field),
            Outer::Map => Self::Map(field),
            Outer::MapOfLists => Self::Other,
        }
    }

    fn of_item(item: Item) -> Self {
        match item {
            Item::Type(ty) if ty.shape == Shape::Struct => Self::Struct(ty),
            _ => Self::Other,
        }
    }
}

impl Overlaid {
    /// Notes a value that stood at a key below a place.
    pub(super) fn new(parent: Option<&At<'_>>, key: &str, earlier: Value) -> Self {
        let mut way = vec![Turn::Key(key.to_owned())];
        let mut at = parent;
        while let Some(place) = at {
            way.push(match place.step {
                Step::Key(key) => Turn::Key(key.to_owned()),
                Step::Index(index) => Turn::Index(index),
                Step::Field(_, field) => Turn::Key(field.name.to_owned()),
            });
            at = place.parent;
        }
        way.reverse();
        Self { way, earlier }
    }

    /// Lays the earlier value below the one that is there, in an object of this type.
    pub(super) fn restore(self, object: &mut Value, ty: &'static Type) {
        let (mut place, mut value) = (Place::Struct(ty), object);
        let last = self.way.len() - 1;
        for (index, turn) in self.way.into_iter().enumerate() {
            // An entry of a map is a new value each time.
            let anew = matches!(place, Place::Map(_));
            let below = match (turn, place) {
                (Turn::Key(key), Place::Struct(ty)) => {
                    ty.field(&key).map(Place::of_field).zip(value.get_mut(&key))
                }
                (Turn::Key(key), Place::Map(field)) => {
                    Some(Place::of_item(field.ty.item)).zip(value.get_mut(&key))
                }
                (Turn::Index(index), Place::List(field)) => {
                    Some(Place::of_item(field.ty.item)).zip(value.get_mut(index))
                }
                _ => None,
            };
            let Some((kind, found)) = below else { return };
            if index == last && anew {
                return;
            }
            (place, value) = (kind, found);
        }
        lay_below(self.earlier, value, place);
    }
}

fn lay_below(earlier: Value, later: &mut Value, place: Place) {
    let (Value::Object(earlier), Value::Object(later)) = (earlier, later) else {
        return;
    };
    match place {
        Place::Struct(ty) => lay_fields_below(earlier, later, ty),
        Place::Map(_) => {
            for (key, value) in earlier {
                later.entry(key).or_insert(value);
            }
        }
        Place::List(_) | Place::Other => {}
    }
}

fn lay_fields_below(earlier: Map<String, Value>, later: &mut Map<String, Value>, ty: &'static Type) {
    for (name, value) in earlier {
        match (later.get_mut(&name), ty.field(&name)) {
            (Some(there), Some(field)) => lay_below(value, there, Place::of_field(field)),
            (Some(_), None) => {}
            (None, _) => {
                later.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::codec::json::decode;
    use crate::table;

    #[test]
    fn what_is_said_later_wins_and_the_rest_stays() {
        let ty = table::by_gvk("apps", "v1", "Deployment").unwrap();
        let table = [
            (
                r#"{"metadata": {"labels": {"a": "b", "a": "c"}, "labels": {"app": "web"}}}"#,
                json!({"metadata": {"labels": {"a": "c", "app": "web"}}}),
            ),
            (
                r#"{"metadata": {"name": "x", "finalizers": ["a/b"]}, "metadata": {"name": "y", "finalizers": []}}"#,
                json!({"metadata": {"name": "y", "finalizers": []}}),
            ),
            (
                r#"{"spec": {"template": {"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}},
                    "resources": {"limits": {"memory": "1"}}}]}}}}"#,
                json!({"cpu": "1", "memory": "1"}),
            ),
        ];
        for (text, want) in table {
            let value = decode(text.as_bytes(), ty).unwrap().value;
            let found = match value.pointer("/spec/template/spec/containers/0/resources/limits") {
                Some(limits) => limits.clone(),
                None => json!({"metadata": value["metadata"]}),
            };
            assert_eq!(found, want, "{text}");
        }
    }
}
