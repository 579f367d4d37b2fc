//! The operations on served resources.

use coracle_api::resources::{self, Resource, Subresource};
use coracle_api::table::{self, Gvk, Type};

use super::parameters::{DELETE, FORCE, PRETTY, SELECT, WATCH, WRITE};
use super::{
    Body, Model, OBJECTS, Operation, Parameter, Path, below, camel, delete_options, meta, tag, upper_first,
};

/// What a patch may be written in.
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// The media types of lists, which may turn into watches.
const STREAMS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

const LOG: &[&str] = &[
    "text/plain",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

const ANYTHING: &[&str] = &["*/*"];

/// Every version of every group.
pub(super) fn group_versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let groups = resources::groups().into_iter();
    groups.flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)))
}

/// The resources that a document is about.
pub(super) fn of(document: &str) -> impl Iterator<Item = &'static Resource> {
    resources::all()
        .iter()
        .filter(move |resource| below(resource.group, resource.version) == document)
}

/// The paths of a document's resources.
pub(super) fn paths(document: &str) -> Vec<Path> {
    of(document)
        .flat_map(|resource| Described(resource).paths())
        .collect()
}

/// A resource of which operations are described.
struct Described(&'static Resource);

/// What tells one operation on a resource from others.
#[derive(Clone, Copy)]
struct Way<'w> {
    /// `Namespaced`, or nothing.
    scope: &'w str,
    /// The kind that is taken and given, and its type.
    gvk: Gvk,
    ty: Option<&'static Type>,
    /// The name of the subresource, or nothing.
    sub: &'w str,
}

impl Described {
    fn paths(&self) -> Vec<Path> {
        let resource = self.0;
        let (root, name) = (
            format!("/{}", below(resource.group, resource.version)),
            resource.resource,
        );
        let scope = if resource.namespaced { "Namespaced" } else { "" };
        let within = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let way = Way {
            scope,
            gvk: resource.gvk(),
            ty: Some(resource.ty()),
            sub: "",
        };
        let everywhere = Way { scope: "", ..way };
        let item = format!("{root}{within}/{name}/{{name}}");
        let mut paths = vec![
            path(
                format!("{root}{within}/{name}"),
                self.verbs(way, &["list", "create", "deletecollection"]),
            ),
            path(
                item.clone(),
                self.verbs(way, &["get", "update", "patch", "delete"]),
            ),
        ];
        if resource.namespaced {
            paths.push(path(format!("{root}/{name}"), self.verbs(everywhere, &["list"])));
        }
        if resource.has_verb("watch") {
            let watched = |below: &str, operation| path(format!("{root}/watch{below}"), vec![operation]);
            paths.push(watched(&format!("{within}/{name}"), self.watch_list(way)));
            paths.push(watched(&format!("{within}/{name}/{{name}}"), self.watch(way)));
            if resource.namespaced {
                paths.push(watched(&format!("/{name}"), self.watch_list(everywhere)));
            }
        }
        for sub in resource.subresources {
            paths.extend(self.below(&item, way, sub));
        }
        paths.retain(|path| !path.operations.is_empty());
        paths
    }

    fn below(&self, item: &str, way: Way<'_>, sub: &'static Subresource) -> Vec<Path> {
        let at = format!("{item}/{}", sub.name);
        let way = Way {
            gvk: sub.gvk,
            ty: table::by_gvk(sub.gvk.group, sub.gvk.version, sub.gvk.kind),
            sub: sub.name,
            ..way
        };
        if !sub.gvk.kind.ends_with("Options") {
            let verbs = sub.verbs.iter().filter_map(|verb| self.operation(way, verb));
            return vec![path(at, verbs.collect())];
        }
        if sub.gvk.kind.ends_with("ProxyOptions") {
            let methods = ["get", "put", "post", "delete", "options", "head", "patch"];
            let connect = |suffix| {
                methods
                    .iter()
                    .map(move |method| self.connect(way, method, suffix))
            };
            return vec![
                path(format!("{at}/{{path}}"), connect("WithPath").collect()),
                path(at, connect("").collect()),
            ];
        }
        vec![path(
            at,
            ["get", "post"]
                .iter()
                .map(|method| self.connect(way, method, ""))
                .collect(),
        )]
    }

    fn verbs(&self, way: Way<'_>, verbs: &[&str]) -> Vec<Operation> {
        let served = verbs.iter().filter(|verb| self.0.has_verb(verb));
        served.filter_map(|verb| self.operation(way, verb)).collect()
    }

    fn operation(&self, way: Way<'_>, verb: &str) -> Option<Operation> {
        Some(match verb {
            "list" => self.list(way),
            "create" => self.create(way),
            "deletecollection" => self.delete_collection(way),
            "get" => self.get(way),
            "update" => self.update(way),
            "patch" => self.patch(way),
            "delete" => self.delete(way),
            _ => return None,
        })
    }

    fn list(&self, way: Way<'_>) -> Operation {
        let words = if self.0.has_verb("watch") {
            "list or watch"
        } else {
            "list"
        };
        Operation {
            id: self.everywhere(way, self.id("list", "", way, "")),
            description: format!("{words} objects of kind {}", self.0.kind),
            response: self.0.list_type().map(Model::Type),
            produces: STREAMS,
            parameters: all(&[SELECT, WATCH, PRETTY]),
            ..self.plain("get", "list", way)
        }
    }

    fn watch_list(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.everywhere(way, self.id("watch", "", way, "List")),
            description: format!(
                "watch individual changes to a list of {}. deprecated: use the 'watch' parameter with a list operation \
                 instead.",
                self.0.kind
            ),
            response: Some(Model::Type(meta("WatchEvent"))),
            produces: STREAMS,
            parameters: all(&[SELECT, WATCH, PRETTY]),
            ..self.plain("get", "watchlist", way)
        }
    }

    fn watch(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("watch", "", way, ""),
            description: format!(
                "watch changes to an object of kind {}. deprecated: use the 'watch' parameter with a list operation \
                 instead, filtered to a single item with the 'fieldSelector' parameter.",
                self.0.kind
            ),
            about: Some(("watch", way.gvk)),
            ..self.watch_list(way)
        }
    }

    fn create(&self, way: Way<'_>) -> Operation {
        let what = with_article(self.0.kind);
        Operation {
            id: self.id("create", "", way, &upper_first(way.sub)),
            description: match way.sub {
                "" => format!("create {what}"),
                sub => format!("create {sub} of {what}"),
            },
            body: required(way.ty),
            codes: &[200, 201, 202],
            parameters: all(&[WRITE, PRETTY]),
            ..self.plain("post", "post", way)
        }
    }

    fn get(&self, way: Way<'_>) -> Operation {
        let is_log = way.sub == "log";
        Operation {
            id: self.id("read", "", way, &upper_first(way.sub)),
            description: self.specified("read", way),
            response: way.ty.filter(|_| !is_log).map(Model::Type),
            produces: if is_log { LOG } else { OBJECTS },
            ..self.plain("get", "get", way)
        }
    }

    fn update(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("replace", "", way, &upper_first(way.sub)),
            description: self.specified("replace", way),
            body: required(way.ty),
            codes: &[200, 201],
            parameters: all(&[WRITE, PRETTY]),
            ..self.plain("put", "put", way)
        }
    }

    fn patch(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("patch", "", way, &upper_first(way.sub)),
            description: self.specified("partially update", way),
            body: required(Some(meta("Patch"))),
            codes: &[200, 201],
            consumes: PATCH_TYPES,
            parameters: all(&[WRITE, FORCE, PRETTY]),
            ..self.plain("patch", "patch", way)
        }
    }

    fn delete(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("delete", "", way, ""),
            description: format!("delete {}", with_article(self.0.kind)),
            body: Some(Body {
                ty: Model::Type(delete_options()),
                required: false,
            }),
            response: Some(Model::Type(meta("Status"))),
            codes: &[200, 202],
            parameters: all(&[DELETE, PRETTY]),
            ..self.plain("delete", "delete", way)
        }
    }

    fn delete_collection(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("delete", "Collection", way, ""),
            description: format!("delete collection of {}", self.0.kind),
            about: Some(("deletecollection", way.gvk)),
            codes: &[200],
            parameters: all(&[DELETE, SELECT, PRETTY]),
            ..self.delete(way)
        }
    }

    fn connect(&self, way: Way<'_>, method: &'static str, suffix: &str) -> Operation {
        let (kind, sub) = (self.0.kind, way.sub);
        Operation {
            id: self.id(
                "connect",
                &upper_first(method),
                way,
                &format!("{}{suffix}", upper_first(sub)),
            ),
            description: format!("connect {} requests to {sub} of {kind}", method.to_uppercase()),
            response: None,
            produces: ANYTHING,
            parameters: Vec::new(),
            ..self.plain(method, "connect", way)
        }
    }

    /// What most operations have in common.
    fn plain(&self, method: &'static str, action: &'static str, way: Way<'_>) -> Operation {
        Operation {
            method,
            id: String::new(),
            tag: tag(self.0.group, Some(self.0.version)),
            description: String::new(),
            about: Some((action, way.gvk)),
            body: None,
            response: way.ty.map(Model::Type),
            codes: &[200],
            consumes: ANYTHING,
            produces: OBJECTS,
            parameters: PRETTY.to_vec(),
        }
    }

    fn specified(&self, verb: &str, way: Way<'_>) -> String {
        match way.sub {
            "" => format!("{verb} the specified {}", self.0.kind),
            sub => format!("{verb} {sub} of the specified {}", self.0.kind),
        }
    }

    fn id(&self, word: &str, infix: &str, way: Way<'_>, suffix: &str) -> String {
        let (group, version) = (camel(self.0.group), upper_first(self.0.version));
        format!(
            "{word}{group}{version}{infix}{}{}{suffix}",
            way.scope, self.0.kind
        )
    }

    /// The name of an operation on all namespaces, where there are any.
    fn everywhere(&self, way: Way<'_>, id: String) -> String {
        if self.0.namespaced && way.scope.is_empty() {
            id + "ForAllNamespaces"
        } else {
            id
        }
    }
}

fn path(path: String, operations: Vec<Operation>) -> Path {
    Path {
        path,
        parameters: Vec::new(),
        operations,
    }
}

fn all(parts: &[&[Parameter]]) -> Vec<Parameter> {
    let mut parameters = parts.concat();
    parameters.sort_unstable();
    parameters
}

fn required(ty: Option<&'static Type>) -> Option<Body> {
    ty.map(|ty| Body {
        ty: Model::Type(ty),
        required: true,
    })
}

/// The kind with the article that upstream puts before it; none before a plural.
pub(super) fn with_article(kind: &str) -> String {
    let is_plural = kind.ends_with('s') && !kind.ends_with("ss");
    match kind.chars().next().map(|first| first.to_ascii_lowercase()) {
        _ if is_plural => kind.to_owned(),
        Some('a' | 'e' | 'i' | 'o' | 'u') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
