//! Whether a custom resource is in order: its metadata, its schema, what its subresources need, and its rules; in upstream's
//! order.

use serde_json::Value;

use super::{Version, scale};
use crate::names;
use crate::object::Fields;
use crate::schema::{Schema, check, embedded, lists, rules};
use crate::validation::{FieldErrors, Path, meta};

/// The faults of a new object.
pub fn create(version: &Version, schema: &Schema, object: &Value) -> FieldErrors {
    let mut errors = type_meta(version, object);
    if errors.is_empty() {
        let at = Path::new("metadata");
        let namespaced = version.resource.namespaced;
        meta::object_meta(
            &object["metadata"],
            namespaced,
            names::dns1123_subdomain,
            &at,
            &mut errors,
        );
        check::check(object, schema, &Path::ROOT, &mut errors);
        scale::faults_of_spec(version, object, &mut errors);
        scale::faults_of_status(version, object, &mut errors);
    }
    embedded::faults(object, schema, &Path::ROOT, &mut errors);
    lists::duplicates(object, schema, &Path::ROOT, &mut errors);
    rules::evaluate(object, None, schema, &mut errors);
    errors
}

/// The faults of an update.
pub fn update(version: &Version, schema: &Schema, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = changed_metadata(version, new, old);
    let unlike = type_meta(version, new);
    if unlike.is_empty() {
        let at = Path::new("metadata");
        meta::object_meta_update(&new["metadata"], &old["metadata"], &at, &mut errors);
        check::check_update(new, old, schema, &Path::ROOT, &mut errors);
        scale::faults_of_spec(version, new, &mut errors);
        scale::faults_of_status(version, new, &mut errors);
    }
    errors.extend(unlike);
    embedded::faults(new, schema, &Path::ROOT, &mut errors);
    new_duplicates(schema, new, old, &mut errors);
    rules::evaluate(new, Some(old), schema, &mut errors);
    errors
}

/// The faults of an update through `/status`, which is held against the schema of the status alone.
pub fn update_status(version: &Version, schema: &Schema, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = changed_metadata(version, new, old);
    let unlike = type_meta(version, new);
    if unlike.is_empty() {
        let at = Path::new("metadata");
        meta::object_meta_update(&new["metadata"], &old["metadata"], &at, &mut errors);
        if let (Some(status), Some(below)) = (new.get("status"), schema.properties.get("status")) {
            let at = Path::new("status");
            match old.get("status") {
                Some(old) => check::check_update(status, old, below, &at, &mut errors),
                None => check::check(status, below, &at, &mut errors),
            }
        }
        scale::faults_of_status(version, new, &mut errors);
    }
    errors.extend(unlike);
    embedded::faults(new, schema, &Path::ROOT, &mut errors);
    new_duplicates(schema, new, old, &mut errors);
    rules::evaluate(new, Some(old), schema, &mut errors);
    errors
}

/// What the metadata of every kind's updates have to pass, before the kind's own rules look at them again.
fn changed_metadata(version: &Version, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (new, old, at) = (&new["metadata"], &old["metadata"], Path::new("metadata"));
    meta::object_meta_change(new, old, version.resource.namespaced, &at, &mut errors);
    errors
}

/// Items that stand twice, unless some did already.
fn new_duplicates(schema: &Schema, new: &Value, old: &Value, errors: &mut FieldErrors) {
    let mut before = FieldErrors::new();
    lists::duplicates(old, schema, &Path::ROOT, &mut before);
    if before.is_empty() {
        lists::duplicates(new, schema, &Path::ROOT, errors);
    }
}

fn type_meta(version: &Version, object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let resource = &version.resource;
    let (kind, api_version) = (object.text("kind"), object.text("apiVersion"));
    if kind != resource.kind {
        let rule = format!("must be {}", resource.kind);
        errors.invalid(&Path::new("kind"), kind, rule);
    }
    if api_version != resource.api_version() {
        let rule = format!("must be {}", resource.api_version());
        errors.invalid(&Path::new("apiVersion"), api_version, rule);
    }
    errors
}
