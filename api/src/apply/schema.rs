//! What is known about how a place in an object is owned and merged: by the type table, or by a custom resource's schema.

use std::fmt::Write as _;

use serde_json::Value;

use crate::object::Fields;
use crate::quote::quote;
use crate::schema::{self, Additional, Kind, is_meta_field};
use crate::table::{self, Field, Item, ListType, Outer, Shape, Ty, Type};

/// How a value is owned: as a whole, or part by part.
#[derive(Clone, Copy)]
pub(super) enum Schema<'a> {
    /// As a whole: scalars, atomic lists, maps and structs, and values of any shape.
    Atomic,
    /// Field by field.
    Struct(&'static Type),
    /// Key by key; the schema of values is that of the type.
    Map(Ty),
    /// Value by value.
    Set,
    /// Item by item; an item is told by some fields of it.
    Keyed(Keyed<'a>),
    /// Field by field, as a custom resource's schema has them. The flag says that it has a resource's metadata too.
    Custom(&'a schema::Schema, bool),
    /// Nothing is said about it: maps are owned key by key, everything else as a whole.
    Deduced,
}

/// A list of which the items are told apart by fields of theirs.
#[derive(Clone, Copy)]
pub(super) enum Keyed<'a> {
    /// By these fields of a type.
    Type(&'static [&'static str], &'static Type),
    /// As the schema of the list says.
    Custom(&'a schema::Schema),
}

impl<'a> Schema<'a> {
    /// The schema of a type that stands on its own.
    pub(super) fn of_type(ty: &'static Type) -> Self {
        if ty.shape == Shape::Struct && !ty.atomic {
            Schema::Struct(ty)
        } else {
            Schema::Atomic
        }
    }

    /// The schema of a custom resource.
    pub(super) fn of_resource(schema: &'a schema::Schema) -> Self {
        Schema::Custom(schema, true)
    }

    fn of_node(node: &'a schema::Schema) -> Self {
        match (node.kind, node.list.ty) {
            (Some(Kind::Array), ListType::Set) => Schema::Set,
            (Some(Kind::Array), ListType::Map) => Schema::Keyed(Keyed::Custom(node)),
            (Some(Kind::Object), _) if node.atomic => Schema::Atomic,
            (Some(Kind::Object), _) => Schema::Custom(node, node.embedded),
            (None, _) if node.preserve && node.properties.is_empty() => Schema::Deduced,
            (None, _) if node.preserve => Schema::Custom(node, node.embedded),
            _ => Schema::Atomic,
        }
    }

    fn of_field(field: &'static Field) -> Self {
        if field.atomic {
            return Schema::Atomic;
        }
        match (field.ty.outer, field.ty.item, field.list_type) {
            (Outer::Value, Item::Type(ty), _) if field.granular => Schema::Struct(ty),
            (Outer::Value, Item::Type(ty), _) => Schema::of_type(ty),
            (Outer::List, Item::Type(ty), ListType::Map) => {
                Schema::Keyed(Keyed::Type(field.list_map_keys, ty))
            }
            (Outer::List, _, ListType::Set) => Schema::Set,
            (Outer::Map | Outer::MapOfLists, ..) => Schema::Map(field.ty.element()),
            _ => Schema::Atomic,
        }
    }

    /// The schema of a field or map entry; none when there is no such field.
    pub(super) fn child(self, name: &str) -> Option<Schema<'a>> {
        match self {
            Schema::Struct(ty) => ty.field(name).map(Schema::of_field),
            Schema::Map(ty) => Some(match (ty.outer, ty.item) {
                (Outer::Value, Item::Type(inner)) => Schema::of_type(inner),
                _ => Schema::Atomic,
            }),
            Schema::Custom(_, true) if is_meta_field(name) => Some(meta_field(name)),
            Schema::Custom(node, _) => match (node.field(name), &node.additional) {
                (Some(below), _) => Some(Schema::of_node(below)),
                (None, Additional::Allowed(true)) => Some(Schema::Deduced),
                (None, _) => node.preserve.then_some(Schema::Deduced),
            },
            Schema::Deduced => Some(Schema::Deduced),
            _ => Some(Schema::Atomic),
        }
    }

    /// Whether a child of a place is a field of a struct, which is not owned apart from what is in it.
    pub(super) fn names(self, child: &str) -> bool {
        match self {
            Schema::Struct(_) => true,
            Schema::Custom(node, resource) => {
                node.properties.contains_key(child) || resource && is_meta_field(child)
            }
            _ => false,
        }
    }

    /// Whether a value is owned field by field or key by key.
    pub(super) fn has_fields(self) -> bool {
        matches!(
            self,
            Schema::Struct(_) | Schema::Map(_) | Schema::Custom(..) | Schema::Deduced
        )
    }

    /// Whether a list is owned item by item.
    pub(super) fn has_items(self) -> bool {
        matches!(self, Schema::Set | Schema::Keyed(_))
    }

    /// The schema of a list's items.
    pub(super) fn item(self) -> Schema<'a> {
        match self {
            Schema::Keyed(Keyed::Type(_, ty)) => Schema::of_type(ty),
            Schema::Keyed(Keyed::Custom(node)) => {
                node.items.as_deref().map_or(Schema::Atomic, Schema::of_node)
            }
            _ => Schema::Atomic,
        }
    }

    /// The path element of an item of a list that is owned item by item. Keys that are absent have their defaults.
    ///
    /// # Errors
    /// Where every key is absent and none has a default.
    pub(super) fn element(self, item: &Value) -> Result<String, String> {
        let Schema::Keyed(keyed) = self else {
            return Ok(format!("v:{item}"));
        };
        let keys = keyed.of(item)?;
        let mut element = String::from("k:{");
        for (at, (key, value)) in keys.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let _ = write!(element, "{comma}{}:{value}", Value::from(*key));
        }
        element.push('}');
        Ok(element)
    }

    /// Whether an item of a list that is owned item by item has a path element.
    pub(super) fn is_told_apart(self, item: &Value) -> bool {
        match self {
            Schema::Keyed(keyed) => keyed
                .keys()
                .any(|key| item.has(key) || keyed.default(key).is_some()),
            _ => true,
        }
    }
}

/// What Go has in a field that has to be there, which upstream publishes as its default.
fn zero(field: &Field) -> Option<Value> {
    match field.ty.item {
        _ if !field.required => None,
        Item::String => Some("".into()),
        Item::Int32 | Item::Int64 => Some(0.into()),
        _ => None,
    }
}

/// References within a namespace have a name even where none is given.
fn blank(ty: &Type) -> Option<Value> {
    (ty.name == "io.k8s.api.core.v1.LocalObjectReference").then(|| "".into())
}

impl<'a> Keyed<'a> {
    fn keys(self) -> impl Iterator<Item = &'a str> {
        let (of_type, of_custom) = match self {
            Keyed::Type(keys, _) => (Some(keys), None),
            Keyed::Custom(node) => (None, Some(&node.list.keys)),
        };
        let of_type = of_type.into_iter().flatten().copied();
        of_type.chain(of_custom.into_iter().flatten().map(String::as_str))
    }

    /// The keys of an item by which it is told from others, sorted; those that it lacks and that have no default are left out.
    ///
    /// # Errors
    /// Where nothing is left.
    pub(super) fn of(self, item: &Value) -> Result<Vec<(&'a str, Value)>, String> {
        let mut values: Vec<(&str, Value)> = self
            .keys()
            .filter_map(|key| Some((key, item.field(key).cloned().or_else(|| self.default(key))?)))
            .collect();
        values.sort_unstable_by_key(|(key, _)| *key);
        if values.is_empty() {
            let named: Vec<String> = self.keys().map(quote).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
                 values for any key fields)",
                named.join(" ")
            ));
        }
        Ok(values)
    }

    fn default(self, key: &str) -> Option<Value> {
        match self {
            Keyed::Type(_, ty) => {
                let field = ty.field(key);
                let set = field.and_then(Field::default_value);
                set.or_else(|| field.and_then(zero)).or_else(|| blank(ty))
            }
            Keyed::Custom(node) => node.items.as_deref()?.properties.get(key)?.default.clone(),
        }
    }
}

fn meta_field(name: &str) -> Schema<'static> {
    let ty = table::by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    match ty.filter(|_| name == "metadata") {
        Some(ty) => Schema::of_type(ty),
        None => Schema::Atomic,
    }
}
