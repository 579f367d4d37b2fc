//! The documents of `metrics.k8s.io`: a group that is served here unless its APIService names a Service, and that the table
//! does not have, for kube-apiserver has it not either. They say what metrics-server says in its own, which the same
//! installer of API endpoints makes. What the fields are for is said in our words.

use coracle_api::resources::Resource;
use coracle_api::table::{self, Type};
use serde_json::{Map, Value, json};

use super::Opened;
use super::descriptions::Descriptions;
use super::operations::{self, Model, Path};
use super::schemas::{Dialect, Types, reach, reference, schemas};
use super::v2::path_item;
use crate::resource_metrics::{GROUP, VERSION};

/// Its documents below `/openapi/v3/`: of the group, and of its version.
pub(super) const DOCUMENTS: [&str; 2] = ["apis/metrics.k8s.io", "apis/metrics.k8s.io/v1beta1"];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const DURATION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Duration";
const OWN: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1.";

static NODES: Resource = resource("nodes", "NodeMetrics", false);
static PODS: Resource = resource("pods", "PodMetrics", true);

const fn resource(resource: &'static str, kind: &'static str, namespaced: bool) -> Resource {
    Resource {
        group: GROUP,
        version: VERSION,
        resource,
        singular: "",
        kind,
        namespaced,
        verbs: &["get", "list"],
        short_names: &[],
        categories: &[],
        subresources: &[],
        columns: &[],
    }
}

/// A type of the group.
struct Described {
    name: &'static str,
    about: &'static str,
    /// Whether it stands alone, with kind and apiVersion.
    is_kind: bool,
    /// All that have to be there, in Go's order.
    required: &'static [&'static str],
    fields: &'static [(&'static str, Holds, &'static str)],
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    /// A type of meta/v1: an object, which is there even if it is empty.
    Object(&'static str),
    /// A type of meta/v1 that is written as text.
    Written(&'static str),
    /// Amounts by the name of what is used.
    Amounts,
    /// A list of another type of the group.
    Items(&'static str),
    /// The same, which is replaced as a whole.
    Whole(&'static str),
}

const TIMESTAMP: (&str, Holds, &str) = (
    "timestamp",
    Holds::Written("Time"),
    "When the window ended in which the usage was measured.",
);
const WINDOW: (&str, Holds, &str) = (
    "window",
    Holds::Written("Duration"),
    "How long the window was in which the usage was measured.",
);
const METADATA: (&str, Holds, &str) = (
    "metadata",
    Holds::Object("ObjectMeta"),
    "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
);
const LIST_METADATA: (&str, Holds, &str) = (
    "metadata",
    Holds::Object("ListMeta"),
    "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
);
const USAGE: (&str, Holds, &str) = (
    "usage",
    Holds::Amounts,
    "How much is used of what. For memory that is the working set.",
);

const TYPES: [Described; 5] = [
    Described {
        name: "ContainerMetrics",
        about: "ContainerMetrics tells what a container uses.",
        is_kind: false,
        required: &["name", "usage"],
        fields: &[
            (
                "name",
                Holds::Text,
                "The container's name, as in the pod's spec.containers.",
            ),
            USAGE,
        ],
    },
    Described {
        name: "NodeMetrics",
        about: "NodeMetrics tells what a node uses.",
        is_kind: true,
        required: &["timestamp", "window", "usage"],
        fields: &[METADATA, TIMESTAMP, USAGE, WINDOW],
    },
    Described {
        name: "NodeMetricsList",
        about: "NodeMetricsList is a list of NodeMetrics.",
        is_kind: true,
        required: &["items"],
        fields: &[
            (
                "items",
                Holds::Items("NodeMetrics"),
                "The metrics of the nodes, each once.",
            ),
            LIST_METADATA,
        ],
    },
    Described {
        name: "PodMetrics",
        about: "PodMetrics tells what a pod uses.",
        is_kind: true,
        required: &["timestamp", "window", "containers"],
        fields: &[
            (
                "containers",
                Holds::Whole("ContainerMetrics"),
                "What the pod's containers use, all measured in the same window.",
            ),
            METADATA,
            TIMESTAMP,
            WINDOW,
        ],
    },
    Described {
        name: "PodMetricsList",
        about: "PodMetricsList is a list of PodMetrics.",
        is_kind: true,
        required: &["items"],
        fields: &[
            (
                "items",
                Holds::Items("PodMetrics"),
                "The metrics of the pods, each once.",
            ),
            LIST_METADATA,
        ],
    },
];

/// The paths of one of its documents.
pub(super) fn paths(document: &str) -> Vec<Path> {
    let resources = if document == DOCUMENTS[1] {
        vec![
            (
                &NODES,
                Model::Custom("io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics"),
                Model::Custom("io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetricsList"),
            ),
            (
                &PODS,
                Model::Custom("io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics"),
                Model::Custom("io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetricsList"),
            ),
        ]
    } else {
        Vec::new()
    };
    operations::paths_beside(document, &resources)
}

/// The types of the table that its own refer to.
pub(super) fn referred() -> impl Iterator<Item = &'static Type> {
    let meta = ["ObjectMeta", "ListMeta", "Time"].map(|kind| format!("{META}{kind}"));
    let names = meta.into_iter().chain([QUANTITY.to_owned()]);
    names.filter_map(|name| table::by_name(&name))
}

/// Its own types by name.
pub(super) fn own_schemas(dialect: Dialect, descriptions: &Descriptions) -> Map<String, Value> {
    let own = TYPES.iter().map(|ty| {
        let schema = schema(ty, dialect, descriptions);
        (format!("{OWN}{}", ty.name), schema)
    });
    let duration = json!({
        "type": "string",
        "description": "Duration is a span of time as Go writes it, such as 1m30s.",
    });
    own.chain([(DURATION.to_owned(), duration)]).collect()
}

/// What it adds to OpenAPI 2, as another server would say it.
pub(super) fn part(descriptions: &Opened) -> Value {
    let descriptions = descriptions.get();
    let mut types = Types::new();
    referred().for_each(|ty| reach(&mut types, ty));
    let mut items = Map::new();
    for path in DOCUMENTS.iter().flat_map(|document| paths(document)) {
        for operation in &path.operations {
            operation.types().for_each(|ty| reach(&mut types, ty));
        }
        items.insert(path.path.clone(), path_item(&path, descriptions));
    }
    let mut definitions = schemas(&types, Dialect::V2, &[], descriptions);
    definitions.extend(own_schemas(Dialect::V2, descriptions));
    json!({"paths": items, "definitions": definitions})
}

fn schema(ty: &Described, dialect: Dialect, descriptions: &Descriptions) -> Value {
    let mut properties: Map<String, Value> = ty
        .fields
        .iter()
        .map(|(name, holds, about)| ((*name).to_owned(), property(*holds, about, dialect)))
        .collect();
    if ty.is_kind {
        // Every kind describes these two alike.
        let any = table::by_gvk("", "v1", "ConfigMap");
        for name in ["apiVersion", "kind"] {
            let about = any.and_then(|ty| descriptions.of_field(ty, name));
            let text = json!({"type": "string", "description": about.unwrap_or_default()});
            properties.insert(name.to_owned(), text);
        }
    }
    let mut schema = json!({
        "type": "object", "description": ty.about, "properties": properties, "required": ty.required,
    });
    if ty.is_kind {
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": GROUP, "version": VERSION, "kind": ty.name}]);
    }
    schema
}

fn property(holds: Holds, about: &str, dialect: Dialect) -> Value {
    let is_v3 = dialect == Dialect::V3;
    let alone = |name: &str| {
        let to = reference(name, dialect);
        if is_v3 { json!({"allOf": [to]}) } else { to }
    };
    let object = |name: &str| {
        let mut schema = alone(name);
        if is_v3 {
            schema["default"] = json!({});
        }
        schema
    };
    let list = |name: &str| json!({"type": "array", "items": object(&format!("{OWN}{name}"))});
    let mut schema = match holds {
        Holds::Text if is_v3 => json!({"type": "string", "default": ""}),
        Holds::Text => json!({"type": "string"}),
        Holds::Object(kind) => object(&format!("{META}{kind}")),
        Holds::Written(kind) => alone(&format!("{META}{kind}")),
        Holds::Amounts => json!({"type": "object", "additionalProperties": reference(QUANTITY, dialect)}),
        Holds::Items(name) => list(name),
        Holds::Whole(name) => {
            let mut schema = list(name);
            schema["x-kubernetes-list-type"] = "atomic".into();
            schema
        }
    };
    schema["description"] = about.into();
    schema
}
