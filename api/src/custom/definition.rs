//! The facts of a definition.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::conditions::{self, ESTABLISHED, NAMES_ACCEPTED, TERMINATING};
use super::conversion::Conversion;
use crate::jsonpath::JsonPath;
use crate::object::Fields;
use crate::resources::{Resource, Subresource};
use crate::schema::Schema;
use crate::symbols::symbol;
use crate::table::Gvk;

/// What may be done with objects of custom resources, in the order in which upstream tells it.
const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];
/// The same, while the definition is on its way out.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
const PART_VERBS: &[&str] = &["get", "patch", "update"];

/// What a definition says, with the names that were accepted.
#[derive(Debug)]
pub struct Definition {
    /// Its name, `widgets.example.com`.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The group of its resource.
    pub group: &'static str,
    /// The plural name that was asked for, which with the group is the definition's name.
    pub plural: &'static str,
    /// The kind of lists.
    pub list_kind: &'static str,
    /// The versions, in the order in which they are written.
    pub versions: Vec<Arc<Version>>,
    /// Whether its names have been accepted, or were so once.
    pub is_named: bool,
    /// `Established`.
    pub is_established: bool,
    /// `Terminating`.
    pub is_terminating: bool,
    /// The webhook that converts its versions; none where they differ in nothing but their names.
    pub conversion: Option<Conversion>,
}

/// One version of a definition.
#[derive(Debug)]
pub struct Version {
    /// The facts of its resource as far as built-in ones have them; what is a list of its own stands beside them.
    pub resource: Resource,
    /// Abbreviations.
    pub short_names: Vec<&'static str>,
    /// The groups of resources it belongs to.
    pub categories: Vec<&'static str>,
    /// `status` and `scale`, as far as there are.
    pub subresources: Vec<Subresource>,
    /// The verbs that discovery tells; while the definition is on its way out these are fewer than are served.
    pub told_verbs: &'static [&'static str],
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// What everybody who uses it is told, where it is deprecated.
    pub warning: Option<String>,
    /// Whether the status is a subresource.
    pub has_status: bool,
    /// Where the numbers of replicas stand, where there is `scale`.
    pub scale: Option<Scale>,
    /// The columns of tables, after the name.
    pub columns: Vec<Column>,
    /// What field selectors may name.
    pub selectable: Vec<SelectableField>,
}

/// Where `scale` finds what it shows: names on the way, from the object down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// `specReplicasPath`, as written.
    pub spec: String,
    /// `statusReplicasPath`, as written.
    pub status: String,
    /// `labelSelectorPath`, as written.
    pub selector: Option<String>,
}

/// A column of tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub ty: String,
    /// The format; may be empty.
    pub format: String,
    /// What it shows.
    pub description: String,
    /// 0 for columns that always show.
    pub priority: i64,
    /// Where its value stands; none where the path cannot be read.
    pub path: Option<JsonPath>,
}

/// A field that selectors may name.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectableField {
    /// `spec.color`.
    pub name: &'static str,
    /// Where it stands.
    pub path: Option<JsonPath>,
}

impl Definition {
    /// Reads a definition, as it is stored.
    pub fn read(object: &Value) -> Self {
        let (spec, status) = (&object["spec"], &object["status"]);
        let terminating = conditions::is_true(object, TERMINATING);
        let facts = Facts {
            spec,
            names: &status["acceptedNames"],
            told_verbs: if terminating { TERMINATING_VERBS } else { VERBS },
        };
        Self {
            name: object["metadata"].text("name").to_owned(),
            uid: object["metadata"].text("uid").to_owned(),
            group: symbol(spec.text("group")),
            plural: symbol(spec["names"].text("plural")),
            list_kind: symbol(facts.names.text("listKind")),
            versions: spec
                .items("versions")
                .iter()
                .map(|version| Arc::new(facts.version(version)))
                .collect(),
            is_named: conditions::is_true(object, NAMES_ACCEPTED) || conditions::is_true(object, ESTABLISHED),
            is_established: conditions::is_true(object, ESTABLISHED),
            is_terminating: terminating,
            conversion: Conversion::read(spec),
        }
    }

    /// The version in which objects are stored.
    pub fn storage(&self) -> Option<&Arc<Version>> {
        self.versions.iter().find(|version| version.storage)
    }

    /// The schema of a version, read from the definition itself.
    pub fn schema(object: &Value, version: &str) -> Schema {
        let versions = object["spec"].items("versions");
        let found = versions.iter().find(|other| other.text("name") == version);
        let json = found.map(|version| &version["schema"]["openAPIV3Schema"]);
        json.map(Schema::served).unwrap_or_default()
    }
}

impl Version {
    /// The subresource of a name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// What all versions of a definition have in common.
struct Facts<'a> {
    spec: &'a Value,
    names: &'a Value,
    told_verbs: &'static [&'static str],
}

impl Facts<'_> {
    fn version(&self, version: &Value) -> Version {
        let (spec, names) = (self.spec, self.names);
        let gvk = Gvk {
            group: symbol(spec.text("group")),
            version: symbol(version.text("name")),
            kind: symbol(names.text("kind")),
        };
        let parts = &version["subresources"];
        let scale = parts.field("scale").map(|scale| Scale {
            spec: scale.text("specReplicasPath").to_owned(),
            status: scale.text("statusReplicasPath").to_owned(),
            selector: scale
                .field("labelSelectorPath")
                .and_then(Value::as_str)
                .map(str::to_owned),
        });
        let has_status = parts.has("status");
        let symbols = |name: &str| {
            let texts = names.items(name).iter().filter_map(Value::as_str);
            texts.map(symbol).collect::<Vec<_>>()
        };
        Version {
            resource: Resource {
                group: gvk.group,
                version: gvk.version,
                resource: symbol(names.text("plural")),
                singular: symbol(names.text("singular")),
                kind: gvk.kind,
                namespaced: spec.text("scope") == "Namespaced",
                verbs: VERBS,
                short_names: &[],
                categories: &[],
                subresources: &[],
                columns: &[],
            },
            told_verbs: self.told_verbs,
            short_names: symbols("shortNames"),
            categories: symbols("categories"),
            subresources: subresources(gvk, has_status, scale.is_some()),
            served: version.flag("served"),
            storage: version.flag("storage"),
            warning: version.flag("deprecated").then(|| self.warning(version)),
            has_status,
            scale,
            columns: columns(version),
            selectable: version.items("selectableFields").iter().map(selectable).collect(),
        }
    }

    /// What users of a deprecated version are told.
    fn warning(&self, version: &Value) -> String {
        if let Some(Value::String(own)) = version.field("deprecationWarning") {
            return own.clone();
        }
        let (group, kind) = (self.spec.text("group"), self.spec["names"].text("kind"));
        let name = version.text("name");
        let newer = self.spec.items("versions").iter().filter(|other| {
            other.flag("served")
                && !other.flag("deprecated")
                && kube_aware(name, other.text("name")) == Ordering::Less
        });
        let newest = newer
            .map(|other| other.text("name"))
            .max_by(|a, b| kube_aware(a, b));
        match newest {
            Some(newest) => {
                format!("{group}/{name} {kind} is deprecated; use {group}/{newest} {kind}")
            }
            None => format!("{group}/{name} {kind} is deprecated"),
        }
    }
}

fn subresources(gvk: Gvk, has_status: bool, has_scale: bool) -> Vec<Subresource> {
    let scale = Gvk {
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
    };
    let parts = [("status", gvk, has_status), ("scale", scale, has_scale)];
    let parts = parts.into_iter().filter(|(_, _, there)| *there);
    parts
        .map(|(name, gvk, _)| Subresource {
            name,
            gvk,
            verbs: PART_VERBS,
        })
        .collect()
}

fn columns(version: &Value) -> Vec<Column> {
    let written = version.items("additionalPrinterColumns");
    let mut columns: Vec<Column> = written
        .iter()
        .map(|column| {
            let path = column.text("jsonPath");
            let description = match column.text("description") {
                "" => format!("Custom resource definition column (in JSONPath format): {path}"),
                own => own.to_owned(),
            };
            Column {
                name: column.text("name").to_owned(),
                ty: column.text("type").to_owned(),
                format: column.text("format").to_owned(),
                description,
                priority: column.number("priority").unwrap_or_default(),
                path: JsonPath::parse(path).ok(),
            }
        })
        .collect();
    if columns.is_empty() {
        columns.push(Column {
            name: "Age".to_owned(),
            ty: "date".to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            path: JsonPath::parse(".metadata.creationTimestamp").ok(),
        });
    }
    // As upstream, which shows none after one that it cannot read.
    let readable = columns.iter().take_while(|column| column.path.is_some()).count();
    columns.truncate(readable);
    columns
}

fn selectable(field: &Value) -> SelectableField {
    let path = field.text("jsonPath");
    SelectableField {
        name: symbol(path.strip_prefix('.').unwrap_or(path)),
        path: JsonPath::parse(path).ok(),
    }
}

impl SelectableField {
    /// The value in an object as a selector sees it; empty where there is none.
    pub fn value(&self, object: &Value) -> String {
        let found = self.path.as_ref().map(|path| path.find(object));
        match found.as_deref() {
            Some([Value::String(text)]) => text.clone(),
            Some([Value::Null]) | None => String::new(),
            Some([value]) => value.to_string(),
            Some(_) => String::new(),
        }
    }
}

/// The order of versions by age and maturity (`v1beta1` < `v1` < `v2`); other names come before, in the order of letters
/// turned round.
pub fn kube_aware(a: &str, b: &str) -> Ordering {
    match (parts(a), parts(b)) {
        _ if a == b => Ordering::Equal,
        (None, None) => b.cmp(a),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => a.cmp(&b),
    }
}

/// Maturity, major and minor number.
fn parts(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit());
    let (major, rest) = rest.split_at(digits.unwrap_or(rest.len()));
    let major = major.parse().ok()?;
    let (maturity, minor) = match rest {
        "" => return Some((2, major, 0)),
        rest if rest.starts_with("beta") => (1, &rest[4..]),
        rest => (0, rest.strip_prefix("alpha")?),
    };
    let plain = minor.bytes().all(|byte| byte.is_ascii_digit());
    Some((maturity, major, minor.parse().ok().filter(|_| plain)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_in_their_order() {
        let mut versions = [
            "v1", "foo1", "v10", "v2beta1", "v1alpha2", "v2", "foo10", "v1beta2",
        ];
        versions.sort_by(|a, b| kube_aware(b, a));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha2", "foo1", "foo10"
            ]
        );
    }

    #[test]
    fn facts_of_a_definition() {
        let object = json!({
            "metadata": {"name": "widgets.example.com", "uid": "u"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [
                    {"name": "v1beta1", "served": true, "deprecated": true},
                    {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                     "selectableFields": [{"jsonPath": ".spec.color"}],
                     "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]}]},
            "status": {"acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                "shortNames": ["wd"]}, "conditions": [{"type": "Established", "status": "True"}]},
        });
        let definition = Definition::read(&object);
        assert!(definition.is_established && definition.is_named && !definition.is_terminating);
        let old = &definition.versions[0];
        assert_eq!(
            old.warning.as_deref(),
            Some("example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget")
        );
        assert_eq!(old.columns[0].name, "Age");
        let stored = definition.storage().unwrap();
        assert_eq!(stored.resource.api_version(), "example.com/v1");
        assert_eq!(stored.short_names, ["wd"]);
        assert_eq!(stored.subresource("scale").unwrap().gvk.kind, "Scale");
        assert_eq!(
            stored.selectable[0].value(&json!({"spec": {"color": "red"}})),
            "red"
        );
        assert_eq!(
            stored.columns[0]
                .path
                .as_ref()
                .unwrap()
                .find(&json!({"spec": {"size": 1}}))[0],
            1
        );
    }
}
