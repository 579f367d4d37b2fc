//! `/openapi/v3`: an index, and a document per group version and for what is beside them.

use coracle_api::table;
use serde_json::{Map, Value, json};

use super::customs::CustomResource;
use super::descriptions::Descriptions;
use super::entries::Entries;
use super::figures;
use super::operations::{self, Operation, Path, delete_options};
use super::schemas::{Dialect, Types, reach, reference, schemas};

/// Whether there is a document at a path below `/openapi/v3/`.
pub(super) fn has_document(below: &str) -> bool {
    operations::documents().contains(below)
}

/// The index: where each document is, with the hash of its content.
pub(super) fn index(customs: impl Iterator<Item = String>, hash: impl Fn(&str) -> String) -> Value {
    let mut documents = operations::documents();
    documents.extend(customs);
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|place| {
            let url = url(&place, &hash(&place));
            (place, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// Where the document at a path below `/openapi/v3/` is found with the content of a hash.
pub(super) fn url(below: &str, hash: &str) -> String {
    format!("/openapi/v3/{below}?hash={hash}")
}

/// The document at a path below `/openapi/v3/`.
pub(super) fn document(below: &str, descriptions: &Descriptions) -> Value {
    let mut types = Types::new();
    let mut paths = Map::new();
    operations::types(below).for_each(|ty| reach(&mut types, ty));
    let of_figures = figures::DOCUMENTS.contains(&below);
    let told = if of_figures {
        figures::paths(below)
    } else {
        operations::paths(below)
    };
    let of_their_version = of_figures && below.matches('/').count() == 2;
    if of_their_version {
        figures::referred().for_each(|ty| reach(&mut types, ty));
    }
    for path in told {
        for operation in &path.operations {
            operation.types().for_each(|ty| reach(&mut types, ty));
        }
        paths.insert(path.path.clone(), path_item(&path, descriptions));
    }
    // Options are registered with core and with the group that takes them.
    let own = operations::group_version(below).filter(|version| *version != ("", "v1"));
    let versions: Vec<(&str, &str)> = [("", "v1")].into_iter().chain(own).collect();
    let mut schemas = schemas(&types, Dialect::V3, &versions, descriptions);
    if of_their_version {
        schemas.extend(figures::own_schemas(Dialect::V3, descriptions));
    }
    let mut components = json!({
        "securitySchemes": {"BearerToken": {
            "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
        }},
    });
    if !schemas.is_empty() {
        components["schemas"] = schemas.into();
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": table::kubernetes_version()},
        "paths": paths,
        "components": components,
    })
}

/// What a custom resource adds to the document of its group and version, but for types of the table.
pub(super) fn custom(custom: &CustomResource, descriptions: &Descriptions) -> Entries {
    let paths = operations::customs::paths(&custom.version, custom.list_kind);
    let paths = paths.iter();
    Entries {
        paths: paths
            .map(|path| (path.path.clone(), path_item(path, descriptions)))
            .collect(),
        schemas: custom.schemas(Dialect::V3, descriptions).into_iter().collect(),
    }
}

/// The types of the table that custom resources refer to; `scaled` where one of them has a scale.
pub(super) fn custom_types(scaled: bool, descriptions: &Descriptions) -> Map<String, Value> {
    let mut types = Types::new();
    for kind in ["ObjectMeta", "ListMeta", "Status", "Patch", "DeleteOptions"] {
        let ty = table::by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
        ty.into_iter().for_each(|ty| reach(&mut types, ty));
    }
    let scale = table::by_gvk("autoscaling", "v1", "Scale").filter(|_| scaled);
    scale.into_iter().for_each(|ty| reach(&mut types, ty));
    schemas(&types, Dialect::V3, &[("", "v1")], descriptions)
}

/// The document of custom resources without paths and schemas.
pub(super) fn custom_frame() -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
    })
}

fn path_item(path: &Path, descriptions: &Descriptions) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        item.insert(operation.method.to_owned(), describe(operation, descriptions));
    }
    let places = path.places().into_iter().map(|place| {
        let schema = json!({"type": "string", "uniqueItems": true});
        json!({"name": place.name, "in": "path", "required": true, "schema": schema, "description": place.description})
    });
    let shared = path
        .parameters
        .iter()
        .map(|parameter| query(*parameter, descriptions));
    let parameters: Vec<Value> = places.chain(shared).collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}

fn query((name, ty): operations::Parameter, descriptions: &Descriptions) -> Value {
    let mut parameter = json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}});
    let of_deletion = descriptions.of_field(delete_options(), name);
    if let Some(description) = of_deletion.or_else(|| operations::about(name)) {
        parameter["description"] = description.into();
    }
    parameter
}

fn describe(operation: &Operation, descriptions: &Descriptions) -> Value {
    let schema = operation.response.map_or_else(
        || json!({"type": "string"}),
        |ty| reference(ty.name(), Dialect::V3),
    );
    let content = content(operation.produces, &schema);
    let mut value = json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "responses": operation.responses(|| json!({"content": content})),
    });
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| query(*parameter, descriptions))
        .collect();
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        value["requestBody"] =
            json!({"content": self::content(operation.consumes, &reference(body.ty.name(), Dialect::V3))});
        if body.required {
            value["requestBody"]["required"] = true.into();
        }
    }
    operation.say_what_it_is_about(&mut value);
    value
}

fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": schema})))
        .collect()
}
