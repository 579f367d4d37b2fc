//! The operations on served resources.

use coracle_api::resources::{self, Resource, Subresource};
use coracle_api::table::{self, Gvk};

use super::parameters::{DELETE, FORCE, LOGS, PRETTY, SELECT, WATCH, WRITE, of_options};
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
        .flat_map(|resource| {
            let list = resource.list_type().map(Model::Type);
            paths_of(resource, Model::Type(resource.ty()), list)
        })
        .collect()
}

/// The paths of one resource, whose objects and lists have these models.
pub(super) fn paths_of(resource: &'static Resource, object: Model, list: Option<Model>) -> Vec<Path> {
    let described = Described {
        resource,
        object,
        list,
    };
    described.paths()
}

/// A resource of which operations are described.
struct Described {
    resource: &'static Resource,
    object: Model,
    list: Option<Model>,
}

/// What tells one operation on a resource from others.
#[derive(Clone, Copy)]
struct Way<'w> {
    /// `Namespaced`, or nothing.
    scope: &'w str,
    /// The kind that is taken and given, and its type.
    gvk: Gvk,
    ty: Option<Model>,
    /// The name of the subresource, or nothing.
    sub: &'w str,
}

impl Described {
    fn paths(&self) -> Vec<Path> {
        let resource = self.resource;
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
            ty: Some(self.object),
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
            ty: table::by_gvk(sub.gvk.group, sub.gvk.version, sub.gvk.kind).map(Model::Type),
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
        let served = verbs.iter().filter(|verb| self.resource.has_verb(verb));
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
        let words = if self.resource.has_verb("watch") {
            "list or watch"
        } else {
            "list"
        };
        Operation {
            id: self.everywhere(way, self.id("list", "", way, "")),
            description: format!("{words} objects of kind {}", self.resource.kind),
            response: self.list,
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
                self.resource.kind
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
                self.resource.kind
            ),
            about: Some(("watch", way.gvk)),
            ..self.watch_list(way)
        }
    }

    fn create(&self, way: Way<'_>) -> Operation {
        let what = with_article(self.resource.kind);
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
            response: way.ty.filter(|_| !is_log),
            produces: if is_log { LOG } else { OBJECTS },
            parameters: all(&[if is_log { LOGS } else { &[] }, PRETTY]),
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
            body: required(Some(Model::Type(meta("Patch")))),
            codes: &[200, 201],
            consumes: PATCH_TYPES,
            parameters: all(&[WRITE, FORCE, PRETTY]),
            ..self.plain("patch", "patch", way)
        }
    }

    fn delete(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("delete", "", way, ""),
            description: format!("delete {}", with_article(self.resource.kind)),
            body: Some(Body {
                ty: Model::Type(delete_options()),
                required: false,
            }),
            response: if answers_with_deleted(self.resource) {
                way.ty
            } else {
                Some(Model::Type(meta("Status")))
            },
            codes: &[200, 202],
            parameters: all(&[DELETE, PRETTY]),
            ..self.plain("delete", "delete", way)
        }
    }

    fn delete_collection(&self, way: Way<'_>) -> Operation {
        Operation {
            id: self.id("delete", "Collection", way, ""),
            description: format!("delete collection of {}", self.resource.kind),
            about: Some(("deletecollection", way.gvk)),
            response: Some(Model::Type(meta("Status"))),
            codes: &[200],
            parameters: all(&[DELETE, SELECT, PRETTY]),
            ..self.delete(way)
        }
    }

    fn connect(&self, way: Way<'_>, method: &'static str, suffix: &str) -> Operation {
        let (kind, sub) = (self.resource.kind, way.sub);
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
            parameters: of_options(way.gvk.kind).to_vec(),
            ..self.plain(method, "connect", way)
        }
    }

    /// What most operations have in common.
    fn plain(&self, method: &'static str, action: &'static str, way: Way<'_>) -> Operation {
        Operation {
            method,
            id: String::new(),
            tag: tag(self.resource.group, Some(self.resource.version)),
            description: String::new(),
            about: Some((action, way.gvk)),
            body: None,
            response: way.ty,
            codes: &[200],
            consumes: ANYTHING,
            produces: OBJECTS,
            parameters: PRETTY.to_vec(),
        }
    }

    fn specified(&self, verb: &str, way: Way<'_>) -> String {
        match way.sub {
            "" => format!("{verb} the specified {}", self.resource.kind),
            sub => format!("{verb} {sub} of the specified {}", self.resource.kind),
        }
    }

    fn id(&self, word: &str, infix: &str, way: Way<'_>, suffix: &str) -> String {
        let (group, version) = (camel(self.resource.group), upper_first(self.resource.version));
        format!(
            "{word}{group}{version}{infix}{}{}{suffix}",
            way.scope, self.resource.kind
        )
    }

    /// The name of an operation on all namespaces, where there are any.
    fn everywhere(&self, way: Way<'_>, id: String) -> String {
        if self.resource.namespaced && way.scope.is_empty() {
            id + "ForAllNamespaces"
        } else {
            id
        }
    }
}

/// Whether what was deleted is told to be the answer. Upstream asks the resource's storage, of which some that answer so do
/// not say it.
fn answers_with_deleted(resource: &Resource) -> bool {
    match resource.group {
        "" => matches!(
            resource.resource,
            "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ),
        "storage.k8s.io" => resource.resource != "csistoragecapacities",
        group => group == "resource.k8s.io",
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

fn required(ty: Option<Model>) -> Option<Body> {
    ty.map(|ty| Body { ty, required: true })
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
