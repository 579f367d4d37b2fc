//! What may be done at which path, before either OpenAPI writes it down: for every document the paths that it has.
//!
//! Names, words and parameters follow upstream's installer of API endpoints, so that generated clients are the same.

pub(super) mod customs;
mod parameters;
mod resources;
mod roots;

use std::collections::BTreeSet;

use coracle_api::resources::Resource;
use coracle_api::table::{self, Gvk, Type};
use serde_json::{Value, json};

pub(super) use self::parameters::about;

/// An operation at a path.
pub(super) struct Operation {
    /// The HTTP method in lower case.
    pub(super) method: &'static str,
    /// A name that no other operation has: `listCoreV1NamespacedPod`.
    pub(super) id: String,
    /// What generated clients group it with: `core_v1`.
    pub(super) tag: String,
    /// What it does.
    pub(super) description: String,
    /// `x-kubernetes-action` and the kind that it is about; nothing for what is about none.
    pub(super) about: Option<(&'static str, Gvk)>,
    /// The type of the body, where there is one.
    pub(super) body: Option<Body>,
    /// The type of the answer; a string where there is none.
    pub(super) response: Option<Model>,
    /// The codes of answers of that type.
    pub(super) codes: &'static [u16],
    /// The media types of the body.
    pub(super) consumes: &'static [&'static str],
    /// The media types of the answer.
    pub(super) produces: &'static [&'static str],
    /// Its query parameters.
    pub(super) parameters: Vec<Parameter>,
}

/// What is taken or given.
#[derive(Clone, Copy)]
pub(super) enum Model {
    /// A type of the table.
    Type(&'static Type),
    /// A custom resource, or a list of them, by the name of its schema.
    Custom(&'static str),
}

impl Model {
    /// The name of its schema.
    pub(super) fn name(self) -> &'static str {
        match self {
            Model::Type(ty) => ty.name,
            Model::Custom(name) => name,
        }
    }

    fn ty(self) -> Option<&'static Type> {
        match self {
            Model::Type(ty) => Some(ty),
            Model::Custom(_) => None,
        }
    }
}

/// The body of a request.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) ty: Model,
    pub(super) required: bool,
}

/// A query parameter: name and type.
pub(super) type Parameter = (&'static str, &'static str);

/// A path and what may be done there.
pub(super) struct Path {
    /// `/api/v1/namespaces/{namespace}/pods/{name}`.
    pub(super) path: String,
    /// The query parameters that all its operations have.
    pub(super) parameters: Vec<Parameter>,
    pub(super) operations: Vec<Operation>,
}

/// A parameter that is a part of a path.
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) description: String,
}

/// The media types in which objects are answered.
const OBJECTS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// The documents of OpenAPI 3 by their paths below `/openapi/v3/`, sorted.
pub(super) fn documents() -> BTreeSet<String> {
    let mut documents = roots::documents();
    documents.extend(resources::group_versions().map(|(group, version)| below(group, version)));
    documents
}

/// The paths that a document describes.
pub(super) fn paths(document: &str) -> Vec<Path> {
    let mut paths = roots::paths(document);
    paths.extend(resources::paths(document));
    in_order(paths)
}

/// The paths of a document about resources that the table does not have, each with the models of its objects and lists.
pub(super) fn paths_beside(document: &str, resources: &[(&'static Resource, Model, Model)]) -> Vec<Path> {
    let mut paths = roots::paths(document);
    for (resource, object, list) in resources {
        paths.extend(resources::paths_of(resource, *object, Some(*list)));
    }
    in_order(paths)
}

fn in_order(mut paths: Vec<Path>) -> Vec<Path> {
    for path in &mut paths {
        path.share();
    }
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    paths
}

/// The resources' types of a document; they are told even where no operation has them.
pub(super) fn types(document: &str) -> impl Iterator<Item = &'static Type> {
    resources::of(document).map(coracle_api::resources::Resource::ty)
}

/// The group and version that a document is about.
pub(super) fn group_version(document: &str) -> Option<(&'static str, &'static str)> {
    resources::group_versions().find(|(group, version)| below(group, version) == document)
}

/// `api/v1`, `apis/apps/v1`.
fn below(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// A type of meta/v1.
fn meta(kind: &str) -> &'static Type {
    table::by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")).expect("the table has meta/v1")
}

/// The type that tells what query parameters mean which options for deletion have as fields.
pub(super) fn delete_options() -> &'static Type {
    meta("DeleteOptions")
}

impl Operation {
    /// The types of what it takes and gives.
    pub(super) fn types(&self) -> impl Iterator<Item = &'static Type> {
        let body = self.body.map(|body| body.ty);
        body.into_iter().chain(self.response).filter_map(Model::ty)
    }

    /// The answers by code; `content` is what successful ones have beside their description.
    pub(super) fn responses(&self, content: impl Fn() -> Value) -> Value {
        let answers = self.codes.iter().map(|code| {
            let mut answer = content();
            answer["description"] = match code {
                201 => "Created",
                202 => "Accepted",
                _ => "OK",
            }
            .into();
            (code.to_string(), answer)
        });
        let refused = ("401".to_owned(), json!({"description": "Unauthorized"}));
        answers.chain([refused]).collect()
    }

    /// Adds the extensions that name its action and kind.
    pub(super) fn say_what_it_is_about(&self, operation: &mut Value) {
        if let Some((action, gvk)) = self.about {
            operation["x-kubernetes-action"] = action.into();
            operation["x-kubernetes-group-version-kind"] =
                json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
        }
    }
}

impl Path {
    /// Moves to the path what all its operations have.
    fn share(&mut self) {
        let (first, others) = match &self.operations[..] {
            [] => return,
            [first, others @ ..] => (first, others),
        };
        let shared = first.parameters.iter().copied();
        let mut shared: Vec<Parameter> = shared
            .filter(|parameter| others.iter().all(|other| other.parameters.contains(parameter)))
            .collect();
        for operation in &mut self.operations {
            operation
                .parameters
                .retain(|parameter| !shared.contains(parameter));
        }
        shared.sort_unstable();
        self.parameters = shared;
    }

    /// The parameters that are parts of the path.
    pub(super) fn places(&self) -> Vec<Place> {
        let kind = self.operations.iter().find_map(|operation| operation.about);
        let kind = kind.map_or("", |(_, gvk)| gvk.kind);
        let places = [
            ("name", format!("name of the {kind}")),
            (
                "namespace",
                "object name and auth scope, such as for teams and projects".to_owned(),
            ),
            ("path", "path to the resource".to_owned()),
        ];
        let places = places
            .into_iter()
            .filter(|(name, _)| self.path.contains(&format!("{{{name}}}")));
        places
            .map(|(name, description)| Place { name, description })
            .collect()
    }
}

/// A group in names of operations, first letter large, and in tags: `RbacAuthorization` of `rbac.authorization.k8s.io`.
fn camel(group: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    match group {
        "" => "Core".to_owned(),
        group => group.split('.').map(upper_first).collect(),
    }
}

fn upper_first(text: &str) -> String {
    change_first(text, |first| first.to_ascii_uppercase())
}

fn lower_first(text: &str) -> String {
    change_first(text, |first| first.to_ascii_lowercase())
}

fn change_first(text: &str, change: impl Fn(char) -> char) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(change);
    first.into_iter().chain(chars).collect()
}

/// The tag of a group, or of a version of it.
fn tag(group: &str, version: Option<&str>) -> String {
    let group = lower_first(&camel(group));
    version.map_or(group.clone(), |version| format!("{group}_{version}"))
}
