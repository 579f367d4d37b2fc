//! What the type table says about how a place in an object is owned and merged.

use serde_json::Value;

use crate::object::Fields;
use crate::table::{Field, Item, ListType, Outer, Shape, Ty, Type};

/// How a value is owned: as a whole, or part by part.
#[derive(Clone, Copy)]
pub(super) enum Schema {
    /// As a whole: scalars, atomic lists, maps and structs, and values of any shape.
    Atomic,
    /// Field by field.
    Struct(&'static Type),
    /// Key by key; the schema of values is that of the type.
    Map(Ty),
    /// Value by value.
    Set,
    /// Item by item; an item is told by these fields of it.
    Keyed(&'static [&'static str], &'static Type),
}

impl Schema {
    /// The schema of a type that stands on its own.
    pub(super) fn of_type(ty: &'static Type) -> Schema {
        if ty.shape == Shape::Struct && !ty.atomic {
            Schema::Struct(ty)
        } else {
            Schema::Atomic
        }
    }

    fn of_field(field: &'static Field) -> Schema {
        if field.atomic {
            return Schema::Atomic;
        }
        match (field.ty.outer, field.ty.item, field.list_type) {
            (Outer::Value, Item::Type(ty), _) if field.granular => Schema::Struct(ty),
            (Outer::Value, Item::Type(ty), _) => Schema::of_type(ty),
            (Outer::List, Item::Type(ty), ListType::Map) => Schema::Keyed(field.list_map_keys, ty),
            (Outer::List, _, ListType::Set) => Schema::Set,
            (Outer::Map | Outer::MapOfLists, ..) => Schema::Map(field.ty.element()),
            _ => Schema::Atomic,
        }
    }

    /// The schema of a field or map entry; none when the type has no such field.
    pub(super) fn child(self, name: &str) -> Option<Schema> {
        match self {
            Schema::Struct(ty) => ty.field(name).map(Schema::of_field),
            Schema::Map(ty) => Some(match (ty.outer, ty.item) {
                (Outer::Value, Item::Type(inner)) => Schema::of_type(inner),
                _ => Schema::Atomic,
            }),
            _ => Some(Schema::Atomic),
        }
    }

    /// Whether the children of a place are fields of a struct, which are not owned apart from what is in them.
    pub(super) fn has_named_fields(self) -> bool {
        matches!(self, Schema::Struct(_))
    }

    /// The schema of a list's items.
    pub(super) fn item(self) -> Schema {
        match self {
            Schema::Keyed(_, ty) => Schema::of_type(ty),
            _ => Schema::Atomic,
        }
    }

    /// The path element of an item of a list that is owned item by item. Keys that are absent have their defaults.
    ///
    /// # Errors
    /// The name of a key that is absent and has no default.
    pub(super) fn element(self, item: &Value) -> Result<String, &'static str> {
        let Schema::Keyed(keys, ty) = self else {
            return Ok(format!("v:{item}"));
        };
        let mut parts = Vec::with_capacity(keys.len());
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        for key in keys {
            let default = || ty.field(key).and_then(Field::default_value).or_else(|| blank(ty));
            let value = item.field(key).cloned().or_else(default).ok_or(key)?;
            parts.push(format!("{}:{value}", Value::from(key)));
        }
        Ok(format!("k:{{{}}}", parts.join(",")))
    }
}

/// References within a namespace have a name even where none is given.
fn blank(ty: &Type) -> Option<Value> {
    (ty.name == "io.k8s.api.core.v1.LocalObjectReference").then(|| "".into())
}
