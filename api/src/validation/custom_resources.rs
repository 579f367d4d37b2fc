//! Definitions of custom resources: their names and versions, and that their schemas are structural.
//!
//! Rules in CEL have to compile, and to cost no more than they may.

mod conversion;
mod options;
mod rules;
mod schema;
mod structural;
mod words;

use serde_json::Value;

use self::options::Options;
use self::schema::{Case, validation};
use super::field::{BadValue, FieldErrors, Path};
use super::meta::immutable;
use crate::custom::approval;
use crate::names;
use crate::object::{Fields, same};

/// How many fields a version's objects may be selected by.
const SELECTABLE_MAX: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];

pub(super) fn definition(object: &Value, errors: &mut FieldErrors) {
    let spec = &object["spec"];
    let required = format!("{}.{}", spec["names"].text("plural"), spec.text("group"));
    let at = Path::new("metadata");
    for field in ["generateName", "name"] {
        let name = object["metadata"].text(field);
        if !name.is_empty() && name != required {
            let rule = r#"must be spec.names.plural+"."+spec.group"#;
            errors.invalid(&at.child(field), name, rule);
        }
    }
    self::spec(spec, Options::NEW, None, &Path::new("spec"), errors);
    accepted_names(object, errors);
    stored_versions(object, errors);
    approval::faults(object, None, errors);
    unknown_fields(object, None, errors);
}

pub(super) fn definition_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec");
    let names = at.child("names");
    let options = Options::of_change(old);
    spec(&new["spec"], options, Some(&old["spec"]), &at, errors);
    let (new_spec, old_spec) = (&new["spec"], &old["spec"]);
    let established =
        |condition: &Value| condition.text("type") == "Established" && condition.text("status") == "True";
    if old["status"].items("conditions").iter().any(established) {
        immutable(
            new_spec.field("scope"),
            old_spec.field("scope"),
            &at.child("scope"),
            errors,
        );
        let (new, old) = (&new_spec["names"], &old_spec["names"]);
        immutable(new.field("kind"), old.field("kind"), &names.child("kind"), errors);
    }
    immutable(
        new_spec.field("group"),
        old_spec.field("group"),
        &at.child("group"),
        errors,
    );
    let (new_names, old_names) = (&new_spec["names"], &old_spec["names"]);
    immutable(
        new_names.field("plural"),
        old_names.field("plural"),
        &names.child("plural"),
        errors,
    );
    accepted_names(new, errors);
    stored_versions(new, errors);
    approval::faults(new, Some(old), errors);
    unknown_fields(new, Some(old), errors);
}

fn accepted_names(object: &Value, errors: &mut FieldErrors) {
    let status = Path::new("status");
    names(
        &object["status"]["acceptedNames"],
        &status.child("acceptedNames"),
        errors,
    );
}

/// Pruning may be switched off by schemas only, but where it was off as a whole before.
fn unknown_fields(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    const FIELD: &str = "preserveUnknownFields";
    if new["spec"].flag(FIELD) && !old.is_some_and(|old| old["spec"].flag(FIELD)) {
        let rule = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&Path::new("spec").child(FIELD), true, rule);
    }
}

fn spec(spec: &Value, options: Options, old: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    let group = spec.text("group");
    if group.is_empty() {
        errors.required(&at.child("group"), "");
    } else {
        let wrong = names::dns1123_subdomain(group);
        if !wrong.is_empty() {
            errors.invalid(&at.child("group"), group, wrong.join(","));
        } else if !group.contains('.') {
            errors.invalid(
                &at.child("group"),
                group,
                "should be a domain with at least one dot",
            );
        }
    }
    match spec.text("scope") {
        "" => errors.required(&at.child("scope"), ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported(&at.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    let options = options.with(spec);
    if spec.flag("preserveUnknownFields") && options::has_defaults(spec) {
        let rule = "must be false in order to use defaults in the schema";
        errors.invalid(&at.child("preserveUnknownFields"), true, rule);
    }
    versions(spec, options, old, at, errors);
    for name in ["plural", "singular", "kind", "listKind"] {
        if spec["names"].text(name).is_empty() {
            errors.required(&at.child("names").child(name), "");
        }
    }
    self::names(&spec["names"], &at.child("names"), errors);
    // Upstream keeps what is the same in all versions once, beside them, and says so in the paths of faults.
    let versions = spec.items("versions");
    let Some(first) = versions.first() else { return };
    if shared(versions, "schema") {
        let case = Case {
            options,
            unchanged: is_unchanged(first, old),
            has_status: versions
                .iter()
                .any(|version| version["subresources"].has("status")),
        };
        validation(&first["schema"], &at.child("validation"), case, errors);
    }
    if shared(versions, "subresources") {
        subresources(&first["subresources"], &at.child("subresources"), errors);
    }
    if shared(versions, "additionalPrinterColumns") {
        columns(first, at, errors);
    }
    if shared(versions, "selectableFields") && !first.items("selectableFields").is_empty() {
        if first.has("schema") {
            selectable_fields(first, old, at, errors);
        } else {
            errors.invalid(
                &at.child("selectableFields"),
                "",
                "may only be set when validations.schema is included",
            );
        }
    }
    conversion::validate(spec, options, &at.child("conversion"), errors);
}

fn shared(versions: &[Value], name: &str) -> bool {
    versions
        .iter()
        .all(|version| same(version.get(name), versions[0].get(name)))
}

/// Whether a version has the schema that it had.
fn is_unchanged(version: &Value, old: Option<&Value>) -> bool {
    let mut before = old.map_or(&[][..], |old| old.items("versions")).iter();
    before.any(|other| other["name"] == version["name"] && same(other.get("schema"), version.get("schema")))
}

fn versions(spec: &Value, options: Options, old: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("versions");
    let versions = spec.items("versions");
    for (index, version) in versions.iter().enumerate() {
        if version["schema"].has("openAPIV3Schema") {
            continue;
        }
        let at = list.index(index);
        let at = at.child("schema");
        if options.schemas {
            errors.required(&at.child("openAPIV3Schema"), "");
        } else if version.flag("served") && !spec.flag("preserveUnknownFields") {
            let why = "because otherwise all fields are pruned";
            errors.required(&at.child("openAPIV3Schema"), why);
        }
    }
    for (index, version) in versions.iter().enumerate() {
        let (at, name) = (list.index(index), version.text("name"));
        let wrong = names::dns1035_label(name);
        if !wrong.is_empty() {
            errors.invalid(&at.child("name"), name, wrong.join(","));
        }
        deprecation_warning(version, &at.child("deprecationWarning"), errors);
        if !shared(versions, "schema") {
            let case = Case {
                options,
                unchanged: is_unchanged(version, old),
                has_status: version["subresources"].has("status"),
            };
            validation(&version["schema"], &at.child("schema"), case, errors);
        }
        if !shared(versions, "subresources") {
            subresources(&version["subresources"], &at.child("subresources"), errors);
        }
        if !shared(versions, "additionalPrinterColumns") {
            columns(version, &at, errors);
        }
        if !shared(versions, "selectableFields") {
            if version["schema"].has("openAPIV3Schema") {
                selectable_fields(version, old, &at, errors);
            } else if version.count("selectableFields") > 0 {
                let rule = "may only be set when `version.schema.openAPIV3Schema` is not included";
                errors.invalid(&at.child("selectableFields"), "", rule);
            }
        }
    }
    let shown = || match spec.get("versions") {
        Some(Value::Array(none)) if none.is_empty() => BadValue::rendered("[]"),
        _ => BadValue::rendered(internal(versions)),
    };
    let earlier = |index: usize| versions[..index].iter().map(|version| version.text("name"));
    let twice = |(index, version): (usize, &Value)| earlier(index).any(|name| name == version.text("name"));
    if versions.iter().enumerate().any(twice) {
        errors.invalid(&list, shown(), "must contain unique version names");
    }
    if versions.iter().filter(|version| version.flag("storage")).count() != 1 {
        let rule = "must have exactly one version marked as storage version";
        errors.invalid(&list, shown(), rule);
    }
    // Of a field that was there before there were several versions, and that upstream still has, the first version's name.
    let first = versions.first().map_or("", |version| version.text("name"));
    let wrong = names::dns1035_label(first);
    if !first.is_empty() && !wrong.is_empty() {
        errors.invalid(&at.child("version"), first, wrong.join(","));
    }
}

/// Versions as upstream shows its own form of them, in which what is the same in all of them is left out.
fn internal(versions: &[Value]) -> String {
    let part = |version: &Value, name: &str| {
        let shown = version.field(name).filter(|_| !shared(versions, name));
        shown.unwrap_or(&Value::Null).to_string()
    };
    let show = |version: &Value| {
        format!(
            r#"{{"Name":{},"Served":{},"Storage":{},"Deprecated":{},"DeprecationWarning":{},"Schema":{},"Subresources":{},"AdditionalPrinterColumns":{},"SelectableFields":{}}}"#,
            Value::from(version.text("name")),
            version.flag("served"),
            version.flag("storage"),
            version.flag("deprecated"),
            version.field("deprecationWarning").unwrap_or(&Value::Null),
            part(version, "schema"),
            part(version, "subresources"),
            part(version, "additionalPrinterColumns"),
            part(version, "selectableFields"),
        )
    };
    if versions.is_empty() {
        return "null".to_owned();
    }
    format!("[{}]", versions.iter().map(show).collect::<Vec<_>>().join(","))
}

fn deprecation_warning(version: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(Value::String(warning)) = version.field("deprecationWarning") else {
        return;
    };
    if !version.flag("deprecated") {
        errors.invalid(at, warning, "can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        errors.invalid(at, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(at, warning, "must not be an empty string");
    }
    let unprintable = |letter: char| letter.is_control() || letter.is_whitespace() && letter != ' ';
    if let Some(index) = warning.find(unprintable) {
        let rule = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        );
        errors.invalid(at, warning, rule);
    }
}

fn names(names: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["plural", "singular"] {
        let text = names.text(name);
        let wrong = names::dns1035_label(text);
        if !text.is_empty() && !wrong.is_empty() {
            errors.invalid(&at.child(name), text, wrong.join(","));
        }
    }
    for name in ["kind", "listKind"] {
        let text = names.text(name);
        let wrong = names::dns1035_label(&text.to_lowercase());
        if !text.is_empty() && !wrong.is_empty() {
            let rule = format!(
                "may have mixed case, but should otherwise match: {}",
                wrong.join(",")
            );
            errors.invalid(&at.child(name), text, rule);
        }
    }
    labels(names, "shortNames", at, errors);
    let kind = names.text("kind");
    if !kind.is_empty() && kind == names.text("listKind") {
        errors.invalid(
            &at.child("listKind"),
            kind,
            "kind and listKind may not be the same",
        );
    }
    labels(names, "categories", at, errors);
}

fn labels(names: &Value, name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child(name);
    for (index, label) in names.items(name).iter().enumerate() {
        let text = label.as_str().unwrap_or_default();
        let wrong = names::dns1035_label(text);
        if !wrong.is_empty() {
            errors.invalid(&list.index(index), text, wrong.join(","));
        }
    }
}

fn stored_versions(object: &Value, errors: &mut FieldErrors) {
    let status = Path::new("status");
    let at = status.child("storedVersions");
    let stored = object["status"].items("storedVersions");
    if stored.is_empty() {
        errors.invalid(
            &at,
            BadValue::rendered("null"),
            "must have at least one stored version",
        );
        return;
    }
    let versions = object["spec"].items("versions");
    for (index, version) in versions.iter().enumerate() {
        // Each stands for one version, even where several have its name.
        let is_taken = versions[..index]
            .iter()
            .any(|other| other["name"] == version["name"]);
        if version.flag("storage") && (is_taken || !stored.contains(&version["name"])) {
            let rule = format!("must have the storage version {}", version.text("name"));
            errors.invalid(&at, &object["status"]["storedVersions"], rule);
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let text = name.as_str().unwrap_or_default();
            let rule = format!(
                "missing from spec.versions; {text} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {text} and removes {text} from status.storedVersions"
            );
            errors.invalid(&at.index(index), text, rule);
        }
    }
}

fn columns(version: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("additionalPrinterColumns");
    for (index, column) in version.items("additionalPrinterColumns").iter().enumerate() {
        let at = list.index(index);
        if column.text("name").is_empty() {
            errors.required(&at.child("name"), "");
        }
        let of_types = || format!("must be one of {}", COLUMN_TYPES.join(","));
        match column.text("type") {
            "" => errors.required(&at.child("type"), of_types()),
            known if COLUMN_TYPES.contains(&known) => {}
            other => errors.invalid(&at.child("type"), other, of_types()),
        }
        let format = column.text("format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let rule = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.invalid(&at.child("format"), format, rule);
        }
        match column.text("jsonPath") {
            "" => errors.required(&at.child("JSONPath"), ""),
            path => _ = simple_path(path, &at.child("JSONPath"), errors),
        }
    }
}

/// Whether a path starts as one in dot notation does.
fn simple_path(path: &str, at: &Path<'_>, errors: &mut FieldErrors) -> bool {
    let simple = path.starts_with('.');
    if !simple {
        errors.invalid(at, path, "must be a simple json path starting with .");
    }
    simple
}

fn subresources(subresources: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(scale) = subresources.field("scale") else {
        return;
    };
    let at = at.child("scale");
    for (name, root, rule) in [
        ("specReplicasPath", ".spec.", "should be a json path under .spec"),
        (
            "statusReplicasPath",
            ".status.",
            "should be a json path under .status",
        ),
    ] {
        match scale.text(name) {
            "" => errors.required(&at.child(name), ""),
            path => {
                if simple_path(path, &at.child(name), errors) && !path.starts_with(root) {
                    errors.invalid(&at.child(name), path, rule);
                }
            }
        }
    }
    let path = scale.text("labelSelectorPath");
    let under = |root: &str| path.starts_with(root);
    if !path.is_empty()
        && simple_path(path, &at.child("labelSelectorPath"), errors)
        && !under(".spec.")
        && !under(".status.")
    {
        let rule = "should be a json path under either .spec or .status";
        errors.invalid(&at.child("labelSelectorPath"), path, rule);
    }
}

fn selectable_fields(version: &Value, old: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    let list = at.child("selectableFields");
    let fields = version.items("selectableFields");
    for (index, field) in fields.iter().enumerate() {
        let (item, path) = (list.index(index), field.text("jsonPath"));
        let at = item.child("jsonPath");
        if path.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if path.starts_with(".metadata.") {
            errors.invalid(&at, path, "must not point to fields in metadata");
            continue;
        }
        // Quoted names and the like are left to the reader of paths.
        if path.contains(['[', '\'', '"']) {
            continue;
        }
        let mut steps = path.trim_start_matches('.').split('.');
        let schema = &version["schema"]["openAPIV3Schema"];
        match steps.try_fold(schema, |schema, name| schema.field("properties")?.field(name)) {
            None => errors.invalid(&at, path, "is an invalid path: does not refer to a valid field"),
            Some(schema) if !matches!(schema.text("type"), "string" | "boolean" | "integer") => errors.invalid(
                &at,
                path,
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            ),
            Some(_) if fields[..index].iter().any(|other| other.text("jsonPath") == path) => {
                errors.duplicate(&at, path);
            }
            Some(_) => {}
        }
    }
    let kept = options::had_too_many_fields(version, old, SELECTABLE_MAX);
    if fields.len() > SELECTABLE_MAX && !kept {
        errors.too_many(&list, fields.len(), SELECTABLE_MAX);
    }
}

#[cfg(test)]
mod tests;
