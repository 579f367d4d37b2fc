//! `/openapi/v2`: one document with everything.

use coracle_api::resources;
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::operations::{self, Operation, PATCH_TYPES, Path, meta};
use super::schemas::{Dialect, Types, reach, reference, schemas};
use crate::version::GIT_VERSION;

const PRODUCES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// The document.
pub(super) fn document(descriptions: &Descriptions) -> Value {
    let mut types = Types::new();
    let mut paths = Map::new();
    for resource in resources::all() {
        reach(&mut types, resource.ty());
        for path in operations::paths(resource) {
            for operation in &path.operations {
                for ty in operation.body.into_iter().chain(operation.response) {
                    reach(&mut types, ty);
                }
            }
            paths.insert(path.path.clone(), path_item(&path));
        }
    }
    for kind in [
        "APIGroup",
        "APIGroupList",
        "APIResourceList",
        "APIVersions",
        "WatchEvent",
    ] {
        reach(&mut types, meta(kind));
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "definitions": schemas(&types, Dialect::V2, descriptions),
    })
}

fn path_item(path: &Path) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        item.insert(operation.method.to_owned(), describe(operation));
    }
    let names = ["name", "namespace"]
        .into_iter()
        .filter(|name| path.path.contains(&format!("{{{name}}}")));
    let parameters: Vec<Value> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "type": "string"}))
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}

fn describe(operation: &Operation) -> Value {
    let mut parameters = Vec::new();
    if let Some(ty) = operation.body {
        let required = operation.action != "delete" && operation.action != "deletecollection";
        let mut body = json!({"name": "body", "in": "body", "schema": reference(ty, Dialect::V2)});
        if required {
            body["required"] = true.into();
        }
        parameters.push(body);
    }
    for (name, ty) in operation.parameters {
        parameters.push(json!({"name": name, "in": "query", "type": ty}));
    }
    let answer = match operation.response {
        Some(ty) => reference(ty, Dialect::V2),
        None => json!({"type": "string"}),
    };
    let consumes: &[&str] = if operation.action == "patch" {
        &PATCH_TYPES
    } else {
        &["*/*"]
    };
    let gvk = operation.gvk;
    json!({
        "operationId": operation.id,
        "consumes": consumes,
        "produces": PRODUCES,
        "schemes": ["https"],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": answer}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    })
}
