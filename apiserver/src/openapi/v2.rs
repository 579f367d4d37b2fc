//! `/openapi/v2`: one document with everything.

use coracle_api::{resources, table};
use serde_json::{Map, Value, json};

use super::customs::CustomResource;
use super::descriptions::Descriptions;
use super::entries::Entries;
use super::facts;
use super::operations::{self, Operation, Path, delete_options};
use super::schemas::{Dialect, Types, reach, reference, schemas};

/// What is built in.
pub(super) fn built_in(descriptions: &Descriptions) -> Entries {
    let mut types = Types::new();
    let mut paths = Map::new();
    for document in operations::documents() {
        operations::types(&document).for_each(|ty| reach(&mut types, ty));
        for path in operations::paths(&document) {
            for operation in &path.operations {
                operation.types().for_each(|ty| reach(&mut types, ty));
            }
            paths.insert(path.path.clone(), path_item(&path, descriptions));
        }
    }
    let groups = resources::groups().into_iter();
    let served =
        groups.flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)));
    let versions = facts::with_known(served);
    Entries {
        paths,
        schemas: schemas(&types, Dialect::V2, &versions, descriptions),
    }
}

/// What a custom resource adds. The types of the table that its operations have are those of built-in ones, too.
pub(super) fn custom(custom: &CustomResource, descriptions: &Descriptions) -> Entries {
    let paths = operations::customs::paths(&custom.version, custom.list_kind);
    let paths = paths.iter();
    Entries {
        paths: paths
            .map(|path| (path.path.clone(), path_item(path, descriptions)))
            .collect(),
        schemas: custom.schemas(Dialect::V2, descriptions).into_iter().collect(),
    }
}

/// The document without paths and definitions.
pub(super) fn frame() -> Value {
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": table::kubernetes_version()},
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// What may be done at a path.
pub(super) fn path_item(path: &Path, descriptions: &Descriptions) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        item.insert(operation.method.to_owned(), describe(operation, descriptions));
    }
    let places = path.places().into_iter().map(|place| {
        json!({"name": place.name, "in": "path", "required": true, "type": "string", "uniqueItems": true,
            "description": place.description})
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
    let mut parameter = json!({"name": name, "in": "query", "type": ty, "uniqueItems": true});
    let of_deletion = descriptions.of_field(delete_options(), name);
    if let Some(description) = of_deletion.or_else(|| operations::about(name)) {
        parameter["description"] = description.into();
    }
    parameter
}

fn describe(operation: &Operation, descriptions: &Descriptions) -> Value {
    let body = operation.body.iter().map(|body| {
        let mut parameter =
            json!({"name": "body", "in": "body", "schema": reference(body.ty.name(), Dialect::V2)});
        if body.required {
            parameter["required"] = true.into();
        }
        parameter
    });
    let queries = operation
        .parameters
        .iter()
        .map(|parameter| query(*parameter, descriptions));
    let parameters: Vec<Value> = body.chain(queries).collect();
    let schema = operation.response.map_or_else(
        || json!({"type": "string"}),
        |ty| reference(ty.name(), Dialect::V2),
    );
    let mut value = json!({
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "produces": operation.produces,
        "schemes": ["https"],
        "responses": operation.responses(|| json!({"schema": schema})),
    });
    if !operation.consumes.is_empty() {
        value["consumes"] = operation.consumes.into();
    }
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    operation.say_what_it_is_about(&mut value);
    value
}
