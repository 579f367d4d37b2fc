//! Types as JSON schemas, in the dialects of OpenAPI 2 and 3.

use std::borrow::Cow;
use std::collections::BTreeMap;

use coracle_api::quote::quote;
use coracle_api::table::{Field, Item, ListType, Omit, Outer, Shape, Type};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::facts;

/// Which OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Definitions; a reference may have siblings.
    V2,
    /// Components; a reference stands alone, so that what is said beside it needs an `allOf`.
    V3,
}

/// Types by name.
pub(super) type Types = BTreeMap<&'static str, &'static Type>;

/// Adds a type and all that its fields refer to.
pub(super) fn reach(types: &mut Types, ty: &'static Type) {
    if types.insert(ty.name, ty).is_some() {
        return;
    }
    for ty in ty.fields.iter().filter_map(|field| field.ty.type_of_item()) {
        reach(types, ty);
    }
}

/// The schemas of types by their names; `versions` are the groups and versions in which options may be sent.
pub(super) fn schemas(
    types: &Types,
    dialect: Dialect,
    versions: &[(&str, &str)],
    descriptions: &Descriptions,
) -> Map<String, Value> {
    let schema = |ty: &'static Type| {
        let mut schema = schema(ty, dialect, descriptions);
        let kinds = kinds(ty, versions);
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        schema
    };
    types
        .iter()
        .map(|(name, ty)| ((*name).to_owned(), schema(ty)))
        .collect()
}

/// A reference to a schema by its name.
pub(super) fn reference(name: &str, dialect: Dialect) -> Value {
    let place = match dialect {
        Dialect::V2 => "definitions",
        Dialect::V3 => "components/schemas",
    };
    json!({"$ref": format!("#/{place}/{name}")})
}

fn schema(ty: &'static Type, dialect: Dialect, descriptions: &Descriptions) -> Value {
    let mut schema = match (ty.shape, dialect) {
        (Shape::Struct, _) => object(ty, dialect, descriptions),
        (Shape::Time | Shape::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (Shape::Quantity, Dialect::V2) => json!({"type": "string"}),
        (Shape::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Shape::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (Shape::IntOrString, Dialect::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        (Shape::Raw | Shape::FieldsV1, _) => json!({"type": "object"}),
        (Shape::Json | Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, _) => json!({}),
    };
    let description = descriptions.of_type(ty).map(Cow::Borrowed);
    describe(&mut schema, description.or_else(|| about_list(ty, "")));
    schema
}

/// A description with the values that there are, as upstream adds them; what each is for is not known here.
fn with_values<'t>(text: Cow<'t, str>, values: &[&str]) -> Cow<'t, str> {
    if values.is_empty() {
        return text;
    }
    let lines = values.iter().map(|value| format!("\n - `{}`", quote(value)));
    let lines: String = lines.collect();
    format!("{text}\n\nPossible enum values:{lines}").into()
}

/// Takes away what puts a reference beside other words, where there are none.
fn stand_alone(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut().filter(|fields| fields.len() == 1) else {
        return;
    };
    if let Some(Value::Array(mut all)) = fields.remove("allOf") {
        *schema = all.pop().unwrap_or_default();
    }
}

/// What a list of a kind, or a field of it, is for: the descriptions have one text for all lists.
fn about_list(ty: &Type, field: &str) -> Option<Cow<'static, str>> {
    const METADATA: &str = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    let listed = ty.gvk.and(ty.field("items"))?.ty.type_of_item()?;
    let kind = listed.short_name();
    match field {
        "" => Some(format!("{} is a list of objects of kind {kind}.", ty.short_name()).into()),
        "items" => Some(format!("The objects of kind {kind}.").into()),
        "metadata" => Some(METADATA.into()),
        _ => None,
    }
}

fn describe(schema: &mut Value, description: Option<Cow<'_, str>>) {
    if let Some(description) = description {
        schema["description"] = description.into_owned().into();
    }
}

fn object(ty: &'static Type, dialect: Dialect, descriptions: &Descriptions) -> Value {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    let properties: Map<String, Value> = ty
        .fields
        .iter()
        .map(|field| {
            let mut schema = property(ty, field, dialect);
            let description = descriptions.of_field(ty, field.name).map(Cow::Borrowed);
            let description = description
                .or_else(|| about_list(ty, field.name))
                .or_else(|| facts::about(ty.name, field.name).map(Cow::Borrowed));
            let description = description.map(|text| with_values(text, field.enum_values));
            describe(&mut schema, description);
            stand_alone(&mut schema);
            (field.name.to_owned(), schema)
        })
        .collect();
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> = ty
        .in_number_order()
        .chain(ty.fields.iter().filter(|field| field.number == 0))
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if ty.atomic {
        schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if !ty.unions.is_empty() {
        let unions = ty.unions.iter().map(|union| {
            let fields: Map<String, Value> = union
                .fields
                .iter()
                .map(|(field, value)| ((*field).to_owned(), (*value).into()))
                .collect();
            let mut schema = json!({"fields-to-discriminateBy": fields});
            if !union.discriminator.is_empty() {
                schema["discriminator"] = union.discriminator.into();
            }
            schema
        });
        schema.insert("x-kubernetes-unions".to_owned(), unions.collect());
    }
    Value::Object(schema)
}

/// The kinds that a type stands for; `DeleteOptions` and `WatchEvent` do in every version.
fn kinds(ty: &Type, versions: &[(&str, &str)]) -> Vec<Value> {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    match (ty.gvk, ty.name) {
        (Some(gvk), _) => vec![kind(gvk.group, gvk.version, gvk.kind)],
        (
            None,
            "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
            | "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent",
        ) => versions
            .iter()
            .map(|(group, version)| kind(group, version, ty.short_name()))
            .collect(),
        (None, _) => Vec::new(),
    }
}

fn property(ty: &Type, field: &Field, dialect: Dialect) -> Value {
    let mut element = element(field, dialect);
    let values = facts::values_of_items(ty.name, field.name);
    if !values.is_empty() {
        element["enum"] = values.into();
    }
    let mut schema = match field.ty.outer {
        Outer::Value => item(field, dialect),
        Outer::List => json!({"type": "array", "items": element}),
        Outer::Map => json!({"type": "object", "additionalProperties": element}),
        Outer::MapOfLists => {
            json!({"type": "object", "additionalProperties": {"type": "array", "items": element}})
        }
    };
    let mut say = |name: &str, value: Value| schema[name] = value;
    if dialect == Dialect::V3
        && let Some(default) = default(ty, field)
    {
        say("default", default);
    }
    match field.list_type {
        ListType::Unset => {}
        ListType::Atomic => say("x-kubernetes-list-type", "atomic".into()),
        ListType::Set => say("x-kubernetes-list-type", "set".into()),
        ListType::Map => {
            say("x-kubernetes-list-type", "map".into());
            say("x-kubernetes-list-map-keys", field.list_map_keys.into());
        }
    }
    if field.atomic {
        say("x-kubernetes-map-type", "atomic".into());
    } else if field.granular {
        say("x-kubernetes-map-type", "granular".into());
    }
    let strategy = field.patch_strategy;
    let strategies = [
        (strategy.merge, "merge"),
        (strategy.retain_keys, "retainKeys"),
        (strategy.replace, "replace"),
    ];
    let strategies: Vec<&str> = strategies
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| name)
        .collect();
    if !strategies.is_empty() {
        say("x-kubernetes-patch-strategy", strategies.join(",").into());
    }
    if !field.patch_merge_key.is_empty() {
        say("x-kubernetes-patch-merge-key", field.patch_merge_key.into());
    }
    schema
}

/// The default of a field, which version 2 does not tell: its own, or zero where Go has nothing else for a field that is
/// always there.
fn default(ty: &Type, field: &Field) -> Option<Value> {
    let always = !field.pointer && field.omit == Omit::Never && field.ty.outer == Outer::Value
        || facts::is_zero_by_default(ty.name, field.name);
    field
        .default_value()
        .or_else(|| always.then(|| zero(field.ty.item)).flatten())
}

fn zero(item: Item) -> Option<Value> {
    match item {
        Item::String => Some("".into()),
        Item::Int32 | Item::Int64 | Item::Double => Some(0.into()),
        Item::Bool => Some(false.into()),
        Item::Bytes | Item::Type(_) => None,
    }
}

/// A bare value of a field.
fn item(field: &Field, dialect: Dialect) -> Value {
    let Item::Type(ty) = field.ty.item else {
        return scalar(field);
    };
    let reference = reference(ty.name, dialect);
    if dialect == Dialect::V2 {
        return reference;
    }
    let mut schema = json!({"allOf": [reference]});
    if !field.pointer && ty.shape == Shape::Struct {
        schema["default"] = json!({});
    }
    schema
}

/// What a field's container holds.
fn element(field: &Field, dialect: Dialect) -> Value {
    let Item::Type(ty) = field.ty.item else {
        let mut schema = scalar(field);
        if dialect == Dialect::V3
            && let Some(zero) = zero(field.ty.item)
        {
            schema["default"] = zero;
        }
        return schema;
    };
    match dialect {
        Dialect::V2 => reference(ty.name, dialect),
        Dialect::V3 if ty.shape == Shape::Struct => {
            json!({"allOf": [reference(ty.name, dialect)], "default": {}})
        }
        Dialect::V3 => reference(ty.name, dialect),
    }
}

fn scalar(field: &Field) -> Value {
    let mut schema = match field.ty.item {
        Item::String | Item::Type(_) => json!({"type": "string"}),
        Item::Int32 => json!({"type": "integer", "format": "int32"}),
        Item::Int64 => json!({"type": "integer", "format": "int64"}),
        Item::Double => json!({"type": "number", "format": "double"}),
        Item::Bool => json!({"type": "boolean"}),
        Item::Bytes => json!({"type": "string", "format": "byte"}),
    };
    if !field.enum_values.is_empty() {
        schema["enum"] = field.enum_values.into();
    }
    schema
}
