//! `metadata` of every kind, and the options of requests (apimachinery's `api/validation` and `meta/v1/validation`).

use serde_json::Value;

use super::NameRule;
use super::field::BadValue;
use super::field::{FieldErrors, Path};
use super::internal::{self, Shape, shown_pointer, shown_selector};
use crate::names;
use crate::object::{Fields, same};
use crate::quote::quote;

/// The most bytes of all annotations together, keys and values.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;
const MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;
const IMMUTABLE: &str = "field is immutable";

/// Checks the metadata of a new object: name, namespace, and what [`object_meta_update`] checks as well.
pub fn object_meta(
    meta: &Value,
    namespaced: bool,
    name_rule: NameRule,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let (name, prefix) = (meta.text("name"), meta.text("generateName"));
    if !prefix.is_empty() {
        faults(
            &at.child("generateName"),
            prefix,
            name_rule(&without_last_dash(prefix)),
            errors,
        );
    }
    if name.is_empty() {
        errors.required(&at.child("name"), "name or generateName is required");
    } else {
        faults(&at.child("name"), name, name_rule(name), errors);
    }
    namespace(meta.text("namespace"), namespaced, &at.child("namespace"), errors);
    non_negative(meta.number("generation"), &at.child("generation"), errors);
    free_metadata(meta, at, errors);
    finalizers(meta, &at.child("finalizers"), errors);
}

fn namespace(namespace: &str, namespaced: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    match (namespaced, namespace) {
        (true, "") => errors.required(at, ""),
        (true, namespace) => faults(at, namespace, names::dns1123_label(namespace), errors),
        (false, "") => {}
        (false, _) => errors.forbidden(at, "not allowed on this type"),
    }
}

/// Upstream checks the beginning of a generated name as if a letter followed a dash at its end.
fn without_last_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if rest.len() > 1 => {
            let mut kept: String = rest.into();
            kept.pop();
            kept + "a"
        }
        Some("") | None => prefix.to_owned(),
        Some(_) => "a".to_owned(),
    }
}

/// Checks the metadata of an update: what may never change has not, the rest is well-formed.
pub fn object_meta_update(new: &Value, old: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if old.has("deletionTimestamp") {
        no_new_finalizers(new, old, &at.child("finalizers"), errors);
    }
    if new.text("resourceVersion").is_empty() {
        errors.invalid(
            &at.child("resourceVersion"),
            "",
            "must be specified for an update",
        );
    }
    let (generation, before) = (new.number("generation"), old.number("generation"));
    if generation.unwrap_or_default() < before.unwrap_or_default() {
        errors.invalid(
            &at.child("generation"),
            generation.unwrap_or_default(),
            "must not be decremented",
        );
    }
    for name in ["name", "namespace", "uid"] {
        if new.text(name) != old.text(name) {
            errors.invalid(&at.child(name), new.text(name), IMMUTABLE);
        }
    }
    for name in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        immutable(new.field(name), old.field(name), &at.child(name), errors);
    }
    free_metadata(new, at, errors);
}

/// Checks the metadata of an update as upstream does for every kind, before the kind itself is asked: against what new metadata
/// have to be, whatever the kind's names are, and against the old.
pub fn object_meta_change(
    new: &Value,
    old: &Value,
    namespaced: bool,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    object_meta(new, namespaced, names::path_segment, at, errors);
    object_meta_update(new, old, at, errors);
}

fn free_metadata(meta: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    labels(meta, "labels", at, errors);
    annotations(meta, at, errors);
    owner_references(meta, &at.child("ownerReferences"), errors);
    managed_fields(meta, &at.child("managedFields"), errors);
}

/// Reports each message of a check about `value`.
pub(crate) fn faults(at: &Path<'_>, value: &str, messages: Vec<String>, errors: &mut FieldErrors) {
    for message in messages {
        errors.invalid(at, value, message);
    }
}

/// The value must be what it was.
pub(crate) fn immutable(new: Option<&Value>, old: Option<&Value>, at: &Path<'_>, errors: &mut FieldErrors) {
    if !same(new, old) {
        errors.invalid(at, new.unwrap_or(&Value::Null), IMMUTABLE);
    }
}

/// As [`immutable`], for text, which upstream shows empty when it is absent.
pub(crate) fn immutable_text(
    new: Option<&Value>,
    old: Option<&Value>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    if !same(new, old) {
        errors.invalid(at, new.and_then(Value::as_str).unwrap_or_default(), IMMUTABLE);
    }
}

/// As [`immutable`], for a struct that upstream shows in a form of its own.
pub(super) fn immutable_struct(
    new: Option<&Value>,
    old: Option<&Value>,
    shape: Shape,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    // A struct with nothing in it is another than none.
    if new.is_some() != old.is_some() || !same(new, old) {
        errors.invalid(at, shown_pointer(new, shape), IMMUTABLE);
    }
}

/// As [`immutable`], for a label selector.
pub(super) fn immutable_selector(
    new: Option<&Value>,
    old: Option<&Value>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    if !same(new, old) {
        let shown = new.map_or_else(|| BadValue::from(&Value::Null), shown_selector);
        errors.invalid(at, shown, IMMUTABLE);
    }
}

/// A number that may be absent must not be below zero.
pub(crate) fn non_negative(number: Option<i64>, at: &Path<'_>, errors: &mut FieldErrors) {
    if let Some(number) = number.filter(|&number| number < 0) {
        errors.invalid(at, number, "must be greater than or equal to 0");
    }
}

/// Keys and values of the map `name` are those of labels.
pub(crate) fn labels(object: &Value, name: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child(name);
    for (key, value) in object.entries(name) {
        let value = value.as_str().unwrap_or_default();
        faults(&at, key, names::qualified_name(key), errors);
        faults(&at, value, names::label_value(value), errors);
    }
}

/// The keys of annotations, and their size all together.
pub(crate) fn annotations(object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("annotations");
    let mut size = 0;
    for (key, value) in object.entries("annotations") {
        faults(&at, key, names::qualified_name(&key.to_lowercase()), errors);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(&at, ANNOTATIONS_MAX);
    }
}

fn owner_references(meta: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut controller = None;
    for owner in meta.items("ownerReferences") {
        let (api_version, kind, name) = (owner.text("apiVersion"), owner.text("kind"), owner.text("name"));
        if api_version.is_empty() || api_version.matches('/').count() > 1 {
            errors.invalid(&at.child("apiVersion"), api_version, "version must not be empty");
        }
        for (field, value) in [("kind", kind), ("name", name), ("uid", owner.text("uid"))] {
            if value.is_empty() {
                errors.invalid(&at.child(field), value, "must not be empty");
            }
        }
        if (api_version, kind) == ("v1", "Event") {
            let owner = internal::shown(owner, internal::OWNER);
            errors.invalid(at, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.flag("controller") {
            let this = format!("{kind}/{name}");
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let rule = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    let all = internal::shown_list(meta.items("ownerReferences"), internal::OWNER);
                    errors.invalid(at, all, rule);
                }
            }
        }
    }
}

/// Finalizers are qualified, except for upstream's own: most kinds ask for that, too.
pub(super) fn kube_finalizers(meta: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("finalizers");
    let all = meta.items("finalizers").iter().filter_map(Value::as_str);
    for (index, finalizer) in all.enumerate() {
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            let rule = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&at.index(index), finalizer, rule);
        }
    }
}

fn finalizers(meta: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let all: Vec<&str> = meta
        .items("finalizers")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for finalizer in &all {
        faults(at, finalizer, names::qualified_name(finalizer), errors);
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let rule = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(at, &meta["finalizers"], rule);
    }
}

fn no_new_finalizers(new: &Value, old: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let before = old.items("finalizers");
    let added = new
        .items("finalizers")
        .iter()
        .filter(|finalizer| !before.contains(finalizer));
    let mut added: Vec<String> = added.filter_map(Value::as_str).map(quote).collect();
    added.sort();
    if !added.is_empty() {
        let list = added.join(", ");
        let rule = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
        );
        errors.forbidden(at, rule);
    }
}

fn managed_fields(meta: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, entry) in meta.items("managedFields").iter().enumerate() {
        let at = at.index(index);
        if !matches!(entry.text("operation"), "Apply" | "Update") {
            errors.invalid(
                &at.child("operation"),
                entry.text("operation"),
                "must be `Apply` or `Update`",
            );
        }
        if !matches!(entry.text("fieldsType"), "" | "FieldsV1") {
            errors.invalid(
                &at.child("fieldsType"),
                entry.text("fieldsType"),
                "must be `FieldsV1`",
            );
        }
        field_manager(entry.text("manager"), &at.child("manager"), errors);
        if entry.text("subresource").len() > SUBRESOURCE_MAX {
            errors.too_long(&at.child("subresource"), SUBRESOURCE_MAX);
        }
    }
}

/// The name of a field manager: short and printable.
pub fn field_manager(manager: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if manager.len() > MANAGER_MAX {
        errors.too_long(at, MANAGER_MAX);
    }
    for (position, c) in manager
        .char_indices()
        .filter(|(_, c)| c.is_control() || c.is_whitespace() && *c != ' ')
    {
        let rule = format!(
            "invalid character U+{:04X} (at position {position})",
            u32::from(c)
        );
        errors.invalid(at, manager, rule);
    }
}

/// The parameter `dryRun`: nothing but `All`.
pub fn dry_run(values: &[&str], errors: &mut FieldErrors) {
    if values.iter().any(|value| *value != "All") {
        let shown = Value::from(values.to_vec());
        errors.not_supported(&Path::new("dryRun"), &shown, &["All"]);
    }
}

/// The parameter `fieldValidation`.
pub fn field_validation(value: &str, errors: &mut FieldErrors) {
    if !matches!(value, "" | "Ignore" | "Warn" | "Strict") {
        errors.not_supported(
            &Path::new("fieldValidation"),
            value,
            &["", "Ignore", "Strict", "Warn"],
        );
    }
}

/// The parameters of a deletion (`metav1.DeleteOptions`).
pub fn delete_options(options: &Value, errors: &mut FieldErrors) {
    let at = Path::new("propagationPolicy");
    if let Some(policy) = options.field("propagationPolicy") {
        if options.has("orphanDependents") {
            errors.invalid(
                &at,
                policy,
                "orphanDependents and deletionPropagation cannot be both set",
            );
        }
        if !matches!(policy.as_str(), Some("Foreground" | "Background" | "Orphan")) {
            errors.not_supported(&at, policy, &["Foreground", "Background", "Orphan", "nil"]);
        }
    }
    let dry: Vec<&str> = options
        .items("dryRun")
        .iter()
        .map(|value| value.as_str().unwrap_or_default())
        .collect();
    dry_run(&dry, errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(meta: Value) -> Vec<String> {
        let mut errors = FieldErrors::new();
        object_meta(
            &meta,
            true,
            names::dns1123_subdomain,
            &Path::new("metadata"),
            &mut errors,
        );
        errors.iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn finalizers_are_qualified() {
        let mut errors = FieldErrors::new();
        let meta = json!({"finalizers": ["orphan", "example.com/a", "a"]});
        kube_finalizers(&meta, &Path::new("metadata"), &mut errors);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors.0[0].field, "metadata.finalizers[2]");
    }

    #[test]
    fn metadata_of_a_new_object() {
        let cases = [
            (json!({"name": "a", "namespace": "n"}), vec![]),
            (json!({"namespace": "n"}), vec!["metadata.name"]),
            (
                json!({"name": "A", "namespace": "N"}),
                vec!["metadata.name", "metadata.namespace"],
            ),
            (
                json!({"name": "a", "namespace": "n", "labels": {"-": "ok", "ok": "-"}}),
                vec!["metadata.labels"; 2],
            ),
            (
                json!({"name": "a", "namespace": "n", "annotations": {"A/b": "any thing"}}),
                vec![],
            ),
            (
                json!({"name": "a", "namespace": "n", "finalizers": ["bad name"]}),
                vec!["metadata.finalizers"],
            ),
            (
                json!({"name": "a-x", "generateName": "a-", "namespace": "n"}),
                vec![],
            ),
            (
                json!({"name": "a", "namespace": "n", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                vec!["metadata.ownerReferences.uid"],
            ),
        ];
        for (meta, want) in cases {
            assert_eq!(checked(meta.clone()), want, "{meta}");
        }
    }

    #[test]
    fn what_never_changes() {
        let old = json!({"name": "a", "uid": "u", "creationTimestamp": "t", "resourceVersion": "1"});
        let mut new = old.clone();
        let changed = |new: &Value| {
            let mut errors = FieldErrors::new();
            object_meta_update(new, &old, &Path::new("metadata"), &mut errors);
            errors.iter().map(|error| error.field.clone()).collect::<Vec<_>>()
        };
        assert!(changed(&new).is_empty());
        new["uid"] = json!("v");
        new["creationTimestamp"] = json!("s");
        new["resourceVersion"] = json!("");
        assert_eq!(
            changed(&new),
            [
                "metadata.resourceVersion",
                "metadata.uid",
                "metadata.creationTimestamp"
            ]
        );
    }
}
