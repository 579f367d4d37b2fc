//! Object types that are not schemas: those of the type table, those of requests, and those that expressions make.

use std::sync::Arc;

use super::types::{ObjectType, Type};
use crate::table::{self, Item, Outer, Shape, Ty};

/// An object type with listed fields.
#[derive(Debug)]
pub struct Listed {
    name: String,
    fields: Vec<(String, Type)>,
}

impl Listed {
    /// An object type of this name with these fields.
    pub fn object(name: &str, fields: &[(&str, Type)]) -> Type {
        let fields = fields
            .iter()
            .map(|(name, ty)| ((*name).to_owned(), ty.clone()))
            .collect();
        Type::Object(Arc::new(Listed {
            name: name.to_owned(),
            fields,
        }))
    }
}

impl ObjectType for Listed {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        let (_, ty) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(ty.clone())
    }
}

/// An object that an expression makes, whose fields are not checked: `Object.spec`.
#[derive(Debug)]
pub(super) struct Made(pub String);

impl ObjectType for Made {
    fn name(&self) -> &str {
        &self.0
    }

    fn field(&self, _name: &str) -> Option<Type> {
        Some(Type::Dyn)
    }
}

/// The name of the type of one operation of a JSON patch.
pub const JSON_PATCH: &str = "JSONPatch";

/// The type that a struct literal makes, where mutations may be written.
pub(super) fn patch_type(name: &str) -> Option<Type> {
    if name == JSON_PATCH {
        let text = Type::String;
        return Some(Listed::object(
            JSON_PATCH,
            &[
                ("op", text.clone()),
                ("path", text.clone()),
                ("from", text),
                ("value", Type::Dyn),
            ],
        ));
    }
    (name == "Object" || name.starts_with("Object.")).then(|| Type::Object(Arc::new(Made(name.to_owned()))))
}

/// A type of the type table.
#[derive(Debug)]
struct OfTable(&'static table::Type);

impl ObjectType for OfTable {
    fn name(&self) -> &str {
        self.0.name
    }

    fn field(&self, name: &str) -> Option<Type> {
        let property = super::escape::unescape(name);
        let field = self.0.field(&property)?;
        Some(of_ty(&field.ty))
    }
}

fn of_ty(ty: &Ty) -> Type {
    let item = match ty.item {
        Item::Bool => Type::Bool,
        Item::Int32 | Item::Int64 => Type::Int,
        Item::Double => Type::Double,
        Item::String => Type::String,
        Item::Bytes => Type::Bytes,
        Item::Type(of) => of_table(of),
    };
    match ty.outer {
        Outer::Value => item,
        Outer::List => Type::list(item),
        Outer::Map => Type::map(Type::String, item),
        Outer::MapOfLists => Type::map(Type::String, Type::list(item)),
    }
}

/// The type of objects of a type of the table, for checking only: in evaluation they are maps.
pub fn of_table(of: &'static table::Type) -> Type {
    match of.shape {
        Shape::Struct => Type::Object(Arc::new(OfTable(of))),
        Shape::Time | Shape::MicroTime => Type::Timestamp,
        Shape::Quantity => Type::String,
        _ => Type::Dyn,
    }
}

/// The type of `request`.
pub(super) fn admission_request() -> Type {
    let text = || Type::String;
    let kind = |name: &str, last: &str| {
        Listed::object(name, &[("group", text()), ("version", text()), (last, text())])
    };
    let gvk = || kind("kubernetes.GroupVersionKind", "kind");
    let gvr = || kind("kubernetes.GroupVersionResource", "resource");
    let texts = || Type::list(Type::String);
    let user = Listed::object(
        "kubernetes.UserInfo",
        &[
            ("username", text()),
            ("uid", text()),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    Listed::object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", gvk()),
            ("resource", gvr()),
            ("subResource", text()),
            ("requestKind", gvk()),
            ("requestResource", gvr()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// The type of `namespaceObject`.
pub(super) fn namespace() -> Type {
    let text = || Type::String;
    let texts = || Type::list(Type::String);
    let named = || Type::map(Type::String, Type::String);
    let condition = Listed::object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", Type::Timestamp),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let metadata = Listed::object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", named()),
            ("annotations", named()),
            ("UID", text()),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    let spec = Listed::object("kubernetes.NamespaceSpec", &[("finalizers", texts())]);
    let status = Listed::object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", text())],
    );
    Listed::object(
        "kubernetes.Namespace",
        &[("metadata", metadata), ("spec", spec), ("status", status)],
    )
}
