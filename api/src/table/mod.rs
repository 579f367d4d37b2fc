//! The type table: what Kubernetes 1.36 says about each of its API types, once.
//!
//! The facts stand in `generated`, which `cargo xtask generate` writes; nothing in there is edited by hand. Everything is
//! `const` data, so that nothing has to be read or built at start. Codecs, patches, server-side apply, defaulting and the
//! OpenAPI documents are all driven by [`Type`] and [`Field`].
//!
//! Always holds: the fields of a type are sorted by their JSON names; `by_number` lists them in protobuf order; a type
//! that is referred to is in [`all`].

mod build;
#[rustfmt::skip]
mod generated;

use std::cmp::Ordering;

/// An API type: a message in protobuf, an object (mostly) in JSON, a definition in OpenAPI.
#[derive(Debug)]
pub struct Type {
    /// The name of its OpenAPI definition, `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// The full name of its protobuf message, `k8s.io.api.core.v1.Pod`; empty where it has none.
    pub message: &'static str,
    /// Set for types that can stand alone, with `apiVersion` and `kind`.
    pub gvk: Option<Gvk>,
    /// How it looks in JSON, where that is not simply its fields.
    pub shape: Shape,
    /// Its fields, sorted by JSON name; fields of inlined structs included.
    pub fields: &'static [Field],
    /// The places in `fields` of those that protobuf has, in the order of the numbers on the way to them.
    pub by_number: &'static [u16],
    /// Whether server-side apply owns it as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Groups of fields of which one at most may be set (`x-kubernetes-unions`).
    pub unions: &'static [Union],
}

/// Group, version and kind. The group is empty for core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gvk {
    /// The API group.
    pub group: &'static str,
    /// The version within the group.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
}

/// The JSON form of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// An object with the type's fields.
    Struct,
    /// A string in RFC 3339, whole seconds (`metav1.Time`).
    Time,
    /// A string in RFC 3339 with six digits of a second (`metav1.MicroTime`).
    MicroTime,
    /// A quantity: a string, read from a number too.
    Quantity,
    /// An int32 or a string.
    IntOrString,
    /// Any object, kept as it is (`runtime.RawExtension`).
    Raw,
    /// The set of fields that a manager owns, an object kept as it is (`metav1.FieldsV1`).
    FieldsV1,
    /// Any JSON value (`apiextensions.JSON`).
    Json,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of strings.
    SchemaOrStrings,
}

/// A field of a type.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The JSON name.
    pub name: &'static str,
    /// What it holds.
    pub ty: Ty,
    /// The protobuf number; 0 for a field that protobuf does not have (`apiVersion`, `kind`).
    pub number: u32,
    /// The numbers of the embedded messages that wrap the field in protobuf, outermost first; JSON has it inline.
    pub inside: &'static [u32],
    /// Protobuf wraps the list in a message with the one field `items`.
    pub wrapped: bool,
    /// Must be there, by OpenAPI.
    pub required: bool,
    /// Absence differs from the zero value: a pointer in Go. Protobuf writes all other scalars and messages always.
    pub pointer: bool,
    /// When JSON leaves it out.
    pub omit: Omit,
    /// The default by OpenAPI as JSON text; [`Field::default_value`] parses it.
    pub default: Option<&'static str>,
    /// The values that it may take, sorted; empty where any will do.
    pub enum_values: &'static [&'static str],
    /// How server-side apply merges a list (`x-kubernetes-list-type`).
    pub list_type: ListType,
    /// The keys of a list of type map (`x-kubernetes-list-map-keys`).
    pub list_map_keys: &'static [&'static str],
    /// Whether server-side apply owns a map or object as a whole at this field (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// Whether it owns an object field by field at this field, although the object's type is atomic elsewhere.
    pub granular: bool,
    /// How a strategic merge patch treats it.
    pub patch_strategy: PatchStrategy,
    /// The key by which a strategic merge patch matches items; empty where there is none.
    pub patch_merge_key: &'static str,
    /// Go's name of the type, where [`Field::go_type`] cannot derive it.
    pub go: &'static str,
    /// The names of the Go structs it is embedded by, with dots between; decoding errors name them.
    pub go_at: &'static str,
}

/// When Go's JSON encoder leaves a field out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Omit {
    /// Never: an absent list or map is written as `null`, a scalar as its zero value.
    Never,
    /// `omitempty`: empty strings, lists, maps, zero numbers, false, nil. A struct that is no pointer always stays.
    Empty,
    /// `omitzero`: as `Empty`, and structs that are zero as well.
    Zero,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListType {
    /// Nothing is said, or it is no list: as atomic.
    Unset,
    /// Replaced as a whole.
    Atomic,
    /// Unique scalars.
    Set,
    /// Items told apart by `list_map_keys`.
    Map,
}

/// `x-kubernetes-patch-strategy`; a field may both merge and retain keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct PatchStrategy {
    /// Lists are merged by `patch_merge_key`, or as sets of scalars.
    pub merge: bool,
    /// Keys that the patch does not name are cleared (`retainKeys`).
    pub retain_keys: bool,
    /// The patch's object takes the place of what is there, as it stands (`replace`).
    pub replace: bool,
}

/// What a field holds: an item, bare or in a container.
#[derive(Clone, Copy, Debug)]
pub struct Ty {
    /// The container.
    pub outer: Outer,
    /// What is in it.
    pub item: Item,
}

/// The container around a field's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outer {
    /// None: one value.
    Value,
    /// A list.
    List,
    /// A map with string keys.
    Map,
    /// A map with string keys to lists.
    MapOfLists,
}

/// What a value is in the end.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// Text.
    String,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Double,
    /// True or false.
    Bool,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A value of another type.
    Type(&'static Type),
}

/// Fields of which one at most may be set.
#[derive(Debug)]
pub struct Union {
    /// The field that says which is set; empty where there is none.
    pub discriminator: &'static str,
    /// Field names, and the value of the discriminator that stands for each.
    pub fields: &'static [(&'static str, &'static str)],
}

/// Every type, sorted by name.
pub fn all() -> &'static [&'static Type] {
    generated::ALL
}

/// The version of Kubernetes that the facts were taken from.
pub fn kubernetes_version() -> &'static str {
    generated::VERSION
}

/// The type with an OpenAPI name, `io.k8s.api.core.v1.Pod`.
pub fn by_name(name: &str) -> Option<&'static Type> {
    let at = generated::ALL.binary_search_by(|ty| ty.name.cmp(name)).ok()?;
    Some(generated::ALL[at])
}

/// The type of a group, version and kind.
///
/// `DeleteOptions`, the other options and `WatchEvent` are registered in every group version, as upstream has it.
pub fn by_gvk(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let order = |ty: &&Type| -> Ordering {
        let Some(gvk) = ty.gvk else { return Ordering::Less };
        (gvk.group, gvk.version, gvk.kind).cmp(&(group, version, kind))
    };
    match generated::BY_GVK.binary_search_by(order) {
        Ok(at) => Some(generated::BY_GVK[at]),
        Err(_) if generated::IN_EVERY_GROUP.contains(&kind) => {
            by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
        }
        Err(_) => None,
    }
}

/// The type of an `apiVersion` (`v1`, `apps/v1`) and kind.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    by_gvk(group, version, kind)
}

impl Gvk {
    /// `v1` for core, `group/version` otherwise.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl Type {
    /// The field with a JSON name; names are matched by case.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let at = self.fields.binary_search_by(|field| field.name.cmp(name)).ok()?;
        Some(&self.fields[at])
    }

    /// The fields that protobuf has, in protobuf order.
    pub fn in_number_order(&self) -> impl Iterator<Item = &'static Field> {
        let fields = self.fields;
        self.by_number.iter().map(move |at| &fields[usize::from(*at)])
    }

    /// The last part of the name, `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The name as Go prints it, `v1.Pod`.
    pub fn go_name(&self) -> &'static str {
        let start = self.name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        &self.name[start..]
    }
}

impl Field {
    /// The default, parsed.
    pub fn default_value(&self) -> Option<serde_json::Value> {
        self.default.and_then(|text| serde_json::from_str(text).ok())
    }

    /// The numbers on the way from the message to the field, its own last.
    pub fn path(&self) -> impl Iterator<Item = u32> {
        self.inside.iter().copied().chain(std::iter::once(self.number))
    }

    /// Go's name of the field's type, as decoding errors print it: `[]v1.Container`, `map[string]string`, `int32`.
    pub fn go_type(&self) -> String {
        if self.go.is_empty() {
            self.ty.go_type()
        } else {
            self.go.to_owned()
        }
    }
}

impl Ty {
    /// The type of what a list or map of this type holds; itself for a bare value.
    pub fn element(&self) -> Ty {
        let outer = if self.outer == Outer::MapOfLists {
            Outer::List
        } else {
            Outer::Value
        };
        Ty {
            outer,
            item: self.item,
        }
    }

    /// The type that a bare value, or the values in a container, have; none for scalars.
    pub fn type_of_item(&self) -> Option<&'static Type> {
        if let Item::Type(ty) = self.item {
            Some(ty)
        } else {
            None
        }
    }

    /// Go's name of the type where no alias stands for it.
    pub fn go_type(&self) -> String {
        let item = match self.item {
            Item::String => "string",
            Item::Int32 => "int32",
            Item::Int64 => "int64",
            Item::Double => "float64",
            Item::Bool => "bool",
            Item::Bytes => "[]uint8",
            Item::Type(ty) => ty.go_name(),
        };
        let outer = match self.outer {
            Outer::Value => "",
            Outer::List => "[]",
            Outer::Map => "map[string]",
            Outer::MapOfLists => "map[string][]",
        };
        format!("{outer}{item}")
    }
}

#[cfg(test)]
mod tests;
