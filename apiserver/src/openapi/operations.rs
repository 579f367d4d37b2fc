//! What may be done at which path: the operations on the served resources, before either OpenAPI writes them down.

use coracle_api::resources::Resource;
use coracle_api::table::{self, Gvk, Type};

/// An operation at a path.
pub(super) struct Operation {
    /// The HTTP method in lower case.
    pub(super) method: &'static str,
    /// A name that no other operation has: `listCoreV1NamespacedPod`.
    pub(super) id: String,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// The kind that it is about.
    pub(super) gvk: Gvk,
    /// The type of the body, where there is one.
    pub(super) body: Option<&'static Type>,
    /// The type of the answer; a string where there is none.
    pub(super) response: Option<&'static Type>,
    /// Its query parameters.
    pub(super) parameters: &'static [Parameter],
}

/// A query parameter: name and type.
pub(super) type Parameter = (&'static str, &'static str);

/// A path and what may be done there.
pub(super) struct Path {
    /// `/api/v1/namespaces/{namespace}/pods/{name}`.
    pub(super) path: String,
    pub(super) operations: Vec<Operation>,
}

/// What a patch may be written in.
pub(super) const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

const WRITE: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];

const PATCH: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
];

const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// A type of meta/v1.
pub(super) fn meta(kind: &str) -> &'static Type {
    table::by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")).expect("the table has meta/v1")
}

/// The paths of a resource.
pub(super) fn paths(resource: &Resource) -> Vec<Path> {
    let prefix = if resource.group.is_empty() {
        "/api"
    } else {
        "/apis"
    };
    let root = format!("{prefix}/{}", resource.api_version());
    let name = resource.resource;
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let collection = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{name}")
    } else {
        format!("{root}/{name}")
    };
    let item = format!("{collection}/{{name}}");
    let mut paths = vec![
        Path {
            path: collection,
            operations: verbs(resource, scope, &["list", "create", "deletecollection"]),
        },
        Path {
            path: item.clone(),
            operations: verbs(resource, scope, &["get", "update", "patch", "delete"]),
        },
    ];
    if resource.namespaced && resource.has_verb("list") {
        let mut operations = verbs(resource, "", &["list"]);
        for operation in &mut operations {
            operation.id.push_str("ForAllNamespaces");
        }
        paths.push(Path {
            path: format!("{root}/{name}"),
            operations,
        });
    }
    for sub in resource.subresources {
        let connects = sub.gvk.kind.ends_with("Options");
        let ty = table::by_gvk(sub.gvk.group, sub.gvk.version, sub.gvk.kind);
        let operations = sub
            .verbs
            .iter()
            .filter_map(|verb| {
                let mut operation = operation(resource, scope, verb, sub.gvk, ty)?;
                operation.id.push_str(&upper_first(sub.name));
                if connects {
                    operation.action = "connect";
                    operation.body = None;
                    operation.response = None;
                    operation.parameters = &[];
                    operation.id = format!("connect{}{}", upper_first(operation.method), operation.id);
                }
                Some(operation)
            })
            .collect();
        paths.push(Path {
            path: format!("{item}/{}", sub.name),
            operations,
        });
    }
    paths.retain(|path| !path.operations.is_empty());
    paths
}

fn verbs(resource: &Resource, scope: &str, verbs: &[&'static str]) -> Vec<Operation> {
    let served = verbs.iter().filter(|verb| resource.has_verb(verb));
    served
        .filter_map(|verb| operation(resource, scope, verb, resource.gvk(), Some(resource.ty())))
        .collect()
}

fn operation(
    resource: &Resource,
    scope: &str,
    verb: &str,
    gvk: Gvk,
    ty: Option<&'static Type>,
) -> Option<Operation> {
    let status = Some(meta("Status"));
    let options = Some(meta("DeleteOptions"));
    let (method, action, word, body, response, parameters): (_, _, _, _, _, &'static [Parameter]) = match verb
    {
        "list" => ("get", "list", "list", None, resource.list_type(), LIST),
        "create" => ("post", "post", "create", ty, ty, WRITE),
        "deletecollection" => (
            "delete",
            "deletecollection",
            "deleteCollection",
            options,
            status,
            DELETE,
        ),
        "get" => ("get", "get", "read", None, ty, &[]),
        "update" => ("put", "put", "replace", ty, ty, WRITE),
        "patch" => ("patch", "patch", "patch", Some(meta("Patch")), ty, PATCH),
        "delete" => ("delete", "delete", "delete", options, status, DELETE),
        _ => return None,
    };
    let group = if resource.group.is_empty() {
        "core"
    } else {
        resource.group
    };
    let group = upper_first(group.split('.').next().unwrap_or_default());
    let version = upper_first(resource.version);
    let id = format!("{word}{group}{version}{scope}{}", resource.kind);
    Some(Operation {
        method,
        id,
        action,
        gvk,
        body,
        response,
        parameters,
    })
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(chars)
        .collect()
}
