//! Custom resources in the documents: their schemas as clients are to see them.

use std::sync::Arc;

use coracle_api::custom::Version;
use coracle_api::object::Fields as _;
use coracle_api::table::{self, Type};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::operations::customs::model_name;
use super::schemas::{Dialect, reference};

/// A custom resource in a version that is served.
#[derive(Clone)]
pub struct CustomResource {
    /// The facts.
    pub version: Arc<Version>,
    /// The kind of a list.
    pub list_kind: &'static str,
    /// Changes whenever the description would.
    pub mark: [u8; 32],
    /// Reads the JSON of its schema: large ones are in memory only while a document is made.
    pub schema: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl std::fmt::Debug for CustomResource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "CustomResource({})", self.version.resource.resource)
    }
}

impl CustomResource {
    /// The path of its document below `/openapi/v3/`.
    pub(super) fn document(&self) -> String {
        format!("apis/{}", self.version.resource.api_version())
    }

    /// The schemas of its objects and of lists of them, by name.
    pub(super) fn schemas(&self, dialect: Dialect, descriptions: &Descriptions) -> [(String, Value); 2] {
        let resource = &self.version.resource;
        let name = |kind: &str| model_name(resource.group, resource.version, kind).to_owned();
        [
            (name(resource.kind), self.object(dialect, descriptions)),
            (name(self.list_kind), self.list(dialect, descriptions)),
        ]
    }

    fn object(&self, dialect: Dialect, descriptions: &Descriptions) -> Value {
        let mut schema = (self.schema)();
        let unknown_fields = schema.flag("x-kubernetes-preserve-unknown-fields");
        if !schema.is_object() || dialect == Dialect::V2 && unknown_fields {
            schema = json!({"type": "object"});
        } else {
            adapt(&mut schema, dialect);
            embed(&mut schema, dialect, descriptions);
            add_meta(
                &mut schema,
                meta("ObjectMeta"),
                "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
                dialect,
                descriptions,
            );
        }
        self.extend(&mut schema, self.version.resource.kind);
        schema
    }

    fn list(&self, dialect: Dialect, descriptions: &Descriptions) -> Value {
        let resource = &self.version.resource;
        let of = model_name(resource.group, resource.version, resource.kind);
        let mut schema = json!({
            "type": "object",
            "description": format!("{} is a list of {}", self.list_kind, resource.kind),
            "required": ["items"],
            "properties": {"items": {
                "type": "array",
                "description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", resource.resource),
                "items": reference(of, dialect),
            }},
        });
        add_meta(
            &mut schema,
            meta("ListMeta"),
            "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
            dialect,
            descriptions,
        );
        self.extend(&mut schema, self.list_kind);
        schema
    }

    fn extend(&self, schema: &mut Value, kind: &str) {
        let resource = &self.version.resource;
        let gvk = json!({"group": resource.group, "version": resource.version, "kind": kind});
        schema["x-kubernetes-group-version-kind"] = json!([gvk]);
        let fields: Vec<Value> = self
            .version
            .selectable
            .iter()
            .map(|field| json!({"fieldPath": field.name}))
            .collect();
        if !fields.is_empty() {
            schema["x-kubernetes-selectable-fields"] = fields.into();
        }
    }
}

fn meta(kind: &str) -> &'static Type {
    table::by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")).expect("the table has meta/v1")
}

/// Adds apiVersion, kind and metadata.
fn add_meta(
    schema: &mut Value,
    ty: &'static Type,
    about: &str,
    dialect: Dialect,
    descriptions: &Descriptions,
) {
    let reference = reference(ty.name, dialect);
    let mut metadata = match dialect {
        Dialect::V2 => reference,
        Dialect::V3 => json!({"allOf": [reference]}),
    };
    metadata["description"] = about.into();
    // Every kind describes these two alike.
    let any = table::by_gvk("", "v1", "ConfigMap");
    let text = |field: &str| {
        let description = any.and_then(|ty| descriptions.of_field(ty, field));
        json!({"type": "string", "description": description.unwrap_or_default()})
    };
    let Some(properties) = properties(schema) else {
        return;
    };
    properties.insert("metadata".to_owned(), metadata);
    for field in ["apiVersion", "kind"] {
        properties.insert(field.to_owned(), text(field));
    }
}

fn properties(schema: &mut Value) -> Option<&mut Map<String, Value>> {
    let fields = schema.as_object_mut()?;
    let properties = fields.entry("properties").or_insert_with(|| json!({}));
    properties.as_object_mut()
}

/// Calls back for every schema below one, however deep, and at last for the schema itself.
fn visit(schema: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(|below| visit(below, act));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(name).filter(|below| below.is_object()) {
            visit(below, act);
        }
    }
    act(schema);
}

/// Adds what every embedded resource has.
fn embed(schema: &mut Value, dialect: Dialect, descriptions: &Descriptions) {
    visit(schema, &mut |schema| {
        let unknown_fields = schema.flag("x-kubernetes-preserve-unknown-fields");
        if !schema.flag("x-kubernetes-embedded-resource") || dialect == Dialect::V2 && unknown_fields {
            return;
        }
        let about = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
        add_meta(schema, meta("ObjectMeta"), about, dialect, descriptions);
        let mut required = schema.items("required").to_vec();
        for field in ["kind", "apiVersion"] {
            if !required.contains(&field.into()) {
                required.push(field.into());
            }
        }
        schema["required"] = required.into();
    });
}

fn adapt(schema: &mut Value, dialect: Dialect) {
    visit(schema, &mut |schema| match dialect {
        Dialect::V3 => unfold(schema),
        Dialect::V2 => simplify(schema),
    });
}

/// Says in plain terms that a value is an integer or a string.
fn unfold(schema: &mut Value) {
    if !schema.flag("x-kubernetes-int-or-string") {
        return;
    }
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    if !schema.has("anyOf") {
        schema["anyOf"] = either;
    } else if schema["anyOf"] != either && schema["allOf"][0]["anyOf"] != either {
        let mut all = vec![json!({"anyOf": either})];
        all.extend_from_slice(schema.items("allOf"));
        schema["allOf"] = all.into();
    }
}

/// Leaves out what OpenAPI 2 has no words for, and what older clients stumble over.
fn simplify(schema: &mut Value) {
    let nullable: Vec<Value> = schema
        .entries("properties")
        .filter(|(_, below)| below.get("nullable_").is_some())
        .map(|(name, _)| name.into())
        .collect();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for below in properties.values_mut().filter_map(Value::as_object_mut) {
            below.remove("nullable_");
        }
    }
    let element_is_nullable = schema["additionalProperties"].has("nullable_");
    if let Some(below) = schema
        .get_mut("additionalProperties")
        .and_then(Value::as_object_mut)
    {
        below.remove("nullable_");
    }
    if let Some(below) = schema.get_mut("items").and_then(Value::as_object_mut) {
        below.remove("nullable_");
    }
    let (is_nullable, preserve) = (
        schema.flag("nullable"),
        schema.flag("x-kubernetes-preserve-unknown-fields"),
    );
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    for name in ["allOf", "anyOf", "oneOf", "not", "default", "nullable"] {
        fields.remove(name);
    }
    if is_nullable || preserve {
        fields.remove("items");
        fields.remove("properties");
    }
    let kind = fields.text("type").to_owned();
    if is_nullable || kind == "array" && !fields.has("items") || preserve && kind == "object" {
        fields.remove("type");
    }
    if is_nullable {
        // For the schema above, which looks at this after.
        fields.insert("nullable_".to_owned(), true.into());
    }
    let required: Vec<Value> = fields
        .items("required")
        .iter()
        .filter(|name| !nullable.contains(name) && !element_is_nullable)
        .cloned()
        .collect();
    if required.is_empty() {
        fields.remove("required");
    } else {
        fields.insert("required".to_owned(), required.into());
    }
}
