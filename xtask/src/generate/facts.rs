//! The facts as they are read, and the few things added to them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// What the folder of facts says.
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) types: BTreeMap<String, Type>,
    pub(super) resources: Vec<Resource>,
    pub(super) columns: BTreeMap<String, Vec<Column>>,
    pub(super) go: GoTypes,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TypesFile {
    version: String,
    types: BTreeMap<String, Type>,
    other_messages: BTreeMap<String, BTreeMap<String, Message>>,
}

#[derive(Clone, Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Type {
    pub(super) gvk: Option<Gvk>,
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) fields: BTreeMap<String, Field>,
    pub(super) map_type: Option<String>,
    #[serde(rename = "type")]
    pub(super) ty: Option<String>,
    #[serde(default)]
    pub(super) unions: Vec<Union>,
}

#[derive(Clone, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gvk {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Union {
    #[serde(default)]
    pub(super) discriminator: String,
    #[serde(rename = "fields-to-discriminateBy")]
    pub(super) fields: BTreeMap<String, String>,
}

/// A field of a type that OpenAPI describes.
#[derive(Clone, Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Field {
    #[serde(rename = "type")]
    pub(super) ty: String,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) number: u32,
    pub(super) proto: Option<String>,
    #[serde(rename = "message")]
    _message: Option<String>,
    #[serde(rename = "value")]
    _value: Option<String>,
    #[serde(default)]
    pub(super) repeated: bool,
    #[serde(default)]
    pub(super) inside: Vec<u32>,
    pub(super) default: Option<serde_json::Value>,
    #[serde(default, rename = "enum")]
    pub(super) enum_values: Vec<String>,
    pub(super) list_type: Option<String>,
    #[serde(default)]
    pub(super) list_map_keys: Vec<String>,
    pub(super) map_type: Option<String>,
    pub(super) patch_strategy: Option<String>,
    #[serde(default)]
    pub(super) patch_merge_key: String,
}

/// A field of a protobuf message that OpenAPI does not describe.
#[derive(Deserialize)]
struct Message {
    number: u32,
    proto: String,
    message: Option<String>,
    #[serde(default)]
    repeated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) resource: String,
    pub(super) response_kind: Gvk,
    pub(super) scope: String,
    pub(super) singular_resource: String,
    pub(super) verbs: Vec<String>,
    #[serde(default)]
    pub(super) short_names: Vec<String>,
    #[serde(default)]
    pub(super) categories: Vec<String>,
    #[serde(default)]
    pub(super) subresources: Vec<Subresource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Subresource {
    pub(super) subresource: String,
    pub(super) response_kind: Gvk,
    pub(super) verbs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: String,
    #[serde(default)]
    pub(super) format: String,
    #[serde(default)]
    pub(super) priority: i32,
}

/// What Go's struct tags say: by type and field.
pub(super) type GoTypes = BTreeMap<String, BTreeMap<String, GoField>>;

#[derive(Clone, Default)]
pub(super) struct GoField {
    pub(super) pointer: bool,
    pub(super) omit_empty: bool,
    pub(super) omit_zero: bool,
    pub(super) ty: String,
    pub(super) at: String,
}

/// Messages that clients send or ask for and that OpenAPI has no definition of; the kind of those that stand alone.
const BEYOND_OPENAPI: &[(&str, &str)] = &[
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
        "meta.k8s.io/v1",
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadataList",
        "meta.k8s.io/v1",
    ),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.CreateOptions", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.GetOptions", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.ListOptions", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.PatchOptions", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.UpdateOptions", ""),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionKind", ""),
    (
        "io.k8s.api.apidiscovery.v2.APIGroupDiscovery",
        "apidiscovery.k8s.io/v2",
    ),
    (
        "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList",
        "apidiscovery.k8s.io/v2",
    ),
    ("io.k8s.api.apidiscovery.v2.APIResourceDiscovery", ""),
    ("io.k8s.api.apidiscovery.v2.APISubresourceDiscovery", ""),
    ("io.k8s.api.apidiscovery.v2.APIVersionDiscovery", ""),
];

impl Facts {
    /// Reads the folder of facts and the file of what Go says.
    pub(super) fn read(folder: &Path, go: &Path) -> anyhow::Result<Facts> {
        let file: TypesFile = json(&folder.join("types.json"))?;
        let go = go_types(&text(go)?)?;
        let mut types = file.types;
        for (name, api_version) in BEYOND_OPENAPI {
            let message = name.replacen("io.k8s.", "k8s.io.", 1);
            let fields = file
                .other_messages
                .get(&message)
                .with_context(|| format!("no message {message}"))?;
            types.insert(
                (*name).to_owned(),
                beyond_openapi(name, api_version, message, fields, &go),
            );
        }
        Ok(Facts {
            version: file.version,
            types,
            resources: json(&folder.join("resources.json"))?,
            columns: json(&folder.join("printer-columns.json"))?,
            go,
        })
    }
}

/// Whether OpenAPI has no definition of a type.
pub(super) fn is_beyond_openapi(name: &str) -> bool {
    BEYOND_OPENAPI.iter().any(|(beyond, _)| *beyond == name)
}

/// A type made from its protobuf message alone.
fn beyond_openapi(
    name: &str,
    api_version: &str,
    message: String,
    fields: &BTreeMap<String, Message>,
    go: &GoTypes,
) -> Type {
    let mut ty = Type {
        message: Some(message),
        ..Type::default()
    };
    if let Some((group, version)) = api_version.split_once('/') {
        let kind = name.rsplit('.').next().unwrap_or_default().to_owned();
        ty.gvk = Some(Gvk {
            group: group.to_owned(),
            version: version.to_owned(),
            kind,
        });
    }
    for field in go.get(name).into_iter().flat_map(BTreeMap::keys) {
        if !fields.contains_key(field) {
            ty.fields.insert(
                field.clone(),
                Field {
                    ty: "string".to_owned(),
                    ..Field::default()
                },
            );
        }
    }
    for (field, fact) in fields {
        let item = match (fact.proto.as_str(), &fact.message) {
            ("message", Some(message)) => message.replacen("k8s.io.", "io.k8s.", 1),
            ("int32", _) => "integer:int32".to_owned(),
            ("int64", _) => "integer:int64".to_owned(),
            ("bool", _) => "boolean".to_owned(),
            _ => "string".to_owned(),
        };
        let field_type = if fact.repeated { format!("[{item}]") } else { item };
        let made = Field {
            ty: field_type,
            number: fact.number,
            proto: Some(fact.proto.clone()),
            repeated: fact.repeated,
            ..Field::default()
        };
        ty.fields.insert(field.clone(), made);
    }
    ty
}

/// Parses the lines that the program in `facts/go-types` prints.
fn go_types(text: &str) -> anyhow::Result<GoTypes> {
    let mut types = GoTypes::new();
    let mut current = String::new();
    for line in text.lines() {
        let Some(field) = line.strip_prefix(' ') else {
            current = line.to_owned();
            types.insert(current.clone(), BTreeMap::new());
            continue;
        };
        let parts: Vec<&str> = field.split(' ').collect();
        let (name, flags, ty, at) = match parts[..] {
            [name, flags, ty] => (name, flags, ty, ""),
            [name, flags, ty, at] => (name, flags, ty, at),
            _ => bail!("cannot read the line {line:?} about {current}"),
        };
        let field = GoField {
            pointer: flags.contains('p'),
            omit_empty: flags.contains('o'),
            omit_zero: flags.contains('z'),
            ty: ty.to_owned(),
            at: at.to_owned(),
        };
        types
            .entry(current.clone())
            .or_default()
            .insert(name.to_owned(), field);
    }
    Ok(types)
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    serde_json::from_str(&text(path)?).with_context(|| format!("cannot understand {}", path.display()))
}
