//! `/openapi/v3`: an index, and a document per group version.

use coracle_api::resources::{self, Resource};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::operations::{self, Operation, PATCH_TYPES, Path, meta};
use super::schemas::{Dialect, Types, reach, reference, schemas};
use crate::version::GIT_VERSION;

const ANSWERS: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// The paths of all documents below `/openapi/v3/`.
fn places() -> impl Iterator<Item = String> {
    resources::groups().into_iter().flat_map(|(group, versions)| {
        versions.into_iter().map(move |version| match group {
            "" => format!("api/{version}"),
            group => format!("apis/{group}/{version}"),
        })
    })
}

/// Whether there is a document at a path below `/openapi/v3/`.
pub(super) fn has_document(below: &str) -> bool {
    places().any(|place| place == below)
}

/// The index: where each document is, with the hash of its content.
pub(super) fn index(hash: impl Fn(&str) -> String) -> Value {
    let paths: Map<String, Value> = places()
        .map(|place| {
            let url = format!("/openapi/v3/{place}?hash={}", hash(&place));
            (place, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// The document at a path below `/openapi/v3/`.
pub(super) fn document(below: &str, descriptions: &Descriptions) -> Value {
    let api_version = below
        .strip_prefix("apis/")
        .or_else(|| below.strip_prefix("api/"))
        .unwrap_or(below);
    let mut types = Types::new();
    let mut paths = Map::new();
    let of_version = |resource: &&Resource| resource.api_version() == api_version;
    for resource in resources::all().iter().filter(of_version) {
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
    for kind in ["APIResourceList", "WatchEvent"] {
        reach(&mut types, meta(kind));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "components": {"schemas": schemas(&types, Dialect::V3, descriptions)},
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
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}

fn describe(operation: &Operation) -> Value {
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|(name, ty)| json!({"name": name, "in": "query", "schema": {"type": ty}}))
        .collect();
    let answer = match operation.response {
        Some(ty) => reference(ty, Dialect::V3),
        None => json!({"type": "string"}),
    };
    let gvk = operation.gvk;
    let mut value = json!({
        "operationId": operation.id,
        "responses": {
            "200": {"description": "OK", "content": content(&ANSWERS, &answer)},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    });
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    if let Some(ty) = operation.body {
        let types: &[&str] = if operation.action == "patch" {
            &PATCH_TYPES
        } else {
            &["*/*"]
        };
        value["requestBody"] = json!({"content": content(types, &reference(ty, Dialect::V3))});
    }
    value
}

fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": schema})))
        .collect()
}
