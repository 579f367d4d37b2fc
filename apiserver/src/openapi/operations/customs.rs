//! The operations on custom resources. Upstream describes them with a builder of its own, in which some words and media types
//! differ from those of built-in resources.

use coracle_api::custom::Version;
use coracle_api::symbols::symbol;
use coracle_api::table::{self, Gvk};

use super::parameters::{DELETE, FORCE, PRETTY, SELECT, WATCH, WRITE};
use super::{Body, Model, Operation, Parameter, Path, camel, delete_options, meta, tag, upper_first};

const OBJECTS: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

/// The name of a kind's schema: `com.example.v1.Widget`.
pub(in crate::openapi) fn model_name(group: &str, version: &str, kind: &str) -> &'static str {
    let group: Vec<&str> = group.split('.').rev().collect();
    symbol(&format!("{}.{version}.{kind}", group.join(".")))
}

/// The paths of a custom resource in a version.
pub(in crate::openapi) fn paths(version: &Version, list_kind: &str) -> Vec<Path> {
    let resource = &version.resource;
    let (group, name) = (resource.group, resource.version);
    let model = |kind: &str| Model::Custom(model_name(group, name, kind));
    let described = Described {
        gvk: resource.gvk(),
        namespaced: resource.namespaced,
        object: model(resource.kind),
        list: model(list_kind),
    };
    let all = format!("/apis/{group}/{name}/{}", resource.resource);
    let root = if resource.namespaced {
        format!(
            "/apis/{group}/{name}/namespaces/{{namespace}}/{}",
            resource.resource
        )
    } else {
        all.clone()
    };
    let item = format!("{root}/{{name}}");
    let mut paths = vec![
        described.path(&root, "", &["list", "create", "deletecollection"]),
        described.path(&item, "", &["read", "replace", "delete", "patch"]),
    ];
    if resource.namespaced {
        let mut everywhere = described.path(&all, "", &["list"]);
        for operation in &mut everywhere.operations {
            operation.id = described.id("list", "", "") + "ForAllNamespaces";
        }
        paths.push(everywhere);
    }
    for sub in &version.subresources {
        paths.push(described.path(
            &format!("{item}/{}", sub.name),
            sub.name,
            &["read", "replace", "patch"],
        ));
    }
    for path in &mut paths {
        path.share();
    }
    paths
}

/// A custom resource of which operations are described.
struct Described {
    gvk: Gvk,
    namespaced: bool,
    object: Model,
    list: Model,
}

impl Described {
    fn path(&self, path: &str, sub: &str, verbs: &[&str]) -> Path {
        Path {
            path: path.to_owned(),
            parameters: Vec::new(),
            operations: verbs.iter().map(|verb| self.operation(verb, sub)).collect(),
        }
    }

    fn operation(&self, verb: &str, sub: &str) -> Operation {
        let object = self.shown(sub);
        let body = |ty| Some(Body { ty, required: true });
        let status = Model::Type(meta("Status"));
        match verb {
            "list" => Operation {
                response: Some(self.list),
                ..self.plain("get", "list", verb, sub, &[SELECT, WATCH, PRETTY])
            },
            "create" => Operation {
                body: body(object),
                codes: &[200, 201, 202],
                ..self.plain("post", "post", verb, sub, &[WRITE, PRETTY])
            },
            "deletecollection" => Operation {
                response: Some(status),
                ..self.plain("delete", "deletecollection", verb, sub, &[SELECT, WATCH, PRETTY])
            },
            "replace" => Operation {
                body: body(object),
                codes: &[200, 201],
                ..self.plain("put", "put", verb, sub, &[WRITE, PRETTY])
            },
            "delete" => Operation {
                body: Some(Body {
                    ty: Model::Type(delete_options()),
                    required: false,
                }),
                response: Some(status),
                codes: &[200, 202],
                ..self.plain("delete", "delete", verb, sub, &[DELETE, PRETTY])
            },
            "patch" => Operation {
                body: body(Model::Type(meta("Patch"))),
                consumes: PATCHES,
                ..self.plain("patch", "patch", verb, sub, &[WRITE, FORCE, PRETTY])
            },
            _ => self.plain(
                "get",
                "get",
                verb,
                sub,
                &[&[("resourceVersion", "string")], PRETTY],
            ),
        }
    }

    /// What a subresource takes and gives.
    fn shown(&self, sub: &str) -> Model {
        match table::by_gvk("autoscaling", "v1", "Scale") {
            Some(scale) if sub == "scale" => Model::Type(scale),
            _ => self.object,
        }
    }

    fn plain(
        &self,
        method: &'static str,
        action: &'static str,
        verb: &str,
        sub: &str,
        parameters: &[&[Parameter]],
    ) -> Operation {
        let mut parameters = parameters.concat();
        parameters.sort_unstable();
        Operation {
            method,
            id: self.id(verb, if self.namespaced { "Namespaced" } else { "" }, sub),
            tag: tag(self.gvk.group, Some(self.gvk.version)),
            description: self.description(verb, sub),
            about: Some((action, self.gvk)),
            body: None,
            response: Some(self.shown(sub)),
            codes: &[200],
            consumes: OBJECTS,
            produces: OBJECTS,
            parameters,
        }
    }

    fn id(&self, verb: &str, scope: &str, sub: &str) -> String {
        let Gvk { group, version, kind } = self.gvk;
        let (verb, infix) = match verb {
            "deletecollection" => ("delete", "Collection"),
            verb => (verb, ""),
        };
        let (group, version) = (camel(group), upper_first(version));
        format!("{verb}{group}{version}{infix}{scope}{kind}{}", upper_first(sub))
    }

    fn description(&self, verb: &str, sub: &str) -> String {
        let kind = self.gvk.kind;
        let of = if sub.is_empty() {
            String::new()
        } else {
            format!(" {sub} of")
        };
        match verb {
            "list" => format!("list objects of kind {kind}"),
            "create" | "delete" => format!("{verb} {}", super::resources::with_article(kind)),
            "deletecollection" => format!("delete collection of {kind}"),
            "patch" => format!("partially update{of} the specified {kind}"),
            verb => format!("{verb}{of} the specified {kind}"),
        }
    }
}
