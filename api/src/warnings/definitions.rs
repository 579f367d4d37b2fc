//! Definitions of custom resources, and custom resources themselves.

use serde_json::Value;

use super::Warnings;
use crate::names;
use crate::object::Fields;
use crate::quote::quote;
use crate::schema::formats;
use crate::validation::Path;

/// Finalizers that need no domain.
const STANDARD: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];
/// Where a schema has others: one, a list of them, or by names.
const SINGLE: [&str; 4] = ["items", "not", "additionalProperties", "additionalItems"];
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const MAPS: [&str; 4] = ["properties", "patternProperties", "definitions", "dependencies"];

/// Formats that nothing is judged by, unless they stood there before.
pub(super) fn formats(new: &Value, old: Option<&Value>, found: &mut Warnings) {
    let before = old.map(unknown_formats).unwrap_or_default();
    for format in unknown_formats(new) {
        if !before.contains(&format) {
            found.add(format!("unrecognized format {}", quote(format)));
        }
    }
}

fn unknown_formats(definition: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for version in definition["spec"].items("versions") {
        collect(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn collect<'v>(schema: &'v Value, found: &mut Vec<&'v str>) {
    let format = schema.text("format");
    if !format.is_empty() && !formats::is_known(format, schema.text("type")) {
        found.push(format);
    }
    for name in SINGLE {
        match schema.field(name) {
            Some(Value::Array(several)) => several.iter().for_each(|below| collect(below, found)),
            Some(below) => collect(below, found),
            None => {}
        }
    }
    for below in LISTS.iter().flat_map(|name| schema.items(name)) {
        collect(below, found);
    }
    for (_, below) in MAPS.iter().flat_map(|name| schema.entries(name)) {
        collect(below, found);
    }
}

/// New finalizers that others might call theirs, too.
pub(super) fn finalizers(new: &Value, old: Option<&Value>, found: &mut Warnings) {
    let listed = |object: &Value| object["metadata"].items("finalizers").to_vec();
    let before = old.map(listed).unwrap_or_default();
    let mut added = listed(new);
    added.retain(|finalizer| !before.contains(finalizer));
    let mut added: Vec<&str> = added.iter().filter_map(Value::as_str).collect();
    added.sort_unstable();
    let at = Path::new("metadata.finalizers");
    for finalizer in added {
        let name = quote(finalizer);
        for fault in names::qualified_name(finalizer) {
            found.at(&at, format_args!("{name}: {fault}"));
        }
        if finalizer.contains('/') || STANDARD.contains(&finalizer) {
            continue;
        }
        let path = if finalizer.contains('.') {
            " including a path (/)"
        } else {
            ""
        };
        found.at(
            &at,
            format_args!(
                "{name}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(schema: Value) -> Value {
        json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}})
    }

    #[test]
    fn formats_that_nothing_is_judged_by_are_told() {
        let of = |new: &Value, old: Option<&Value>| {
            let mut found = Warnings::default();
            formats(new, old, &mut found);
            found.0
        };
        let old = definition(json!({"type": "object", "properties": {
            "a": {"type": "string", "format": "k8s-short-name"},
            "b": {"type": "string", "format": "colour"},
            "c": {"type": "integer", "format": "int64"},
            "d": {"type": "array", "items": {"type": "integer", "format": "int128"}},
            "e": {"type": "object", "format": "uuid"},
        }}));
        let want = ["colour", "int128", "uuid"].map(|format| format!("unrecognized format {format:?}"));
        assert_eq!(of(&old, None), want);
        let mut new = old.clone();
        new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["f"] =
            json!({"anyOf": [{"format": "smell"}]});
        assert_eq!(of(&new, Some(&old)), ["unrecognized format \"smell\""]);
    }

    #[test]
    fn finalizers_without_a_domain_are_told() {
        let object = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
        let mut found = Warnings::default();
        let old = object(&["mine"]);
        let new = object(&["mine", "yours", "orphan", "a.example.com", "example.com/a"]);
        finalizers(&new, Some(&old), &mut found);
        let rest = "to avoid accidental conflicts with other finalizer writers";
        assert_eq!(
            found.0,
            [
                format!(
                    "metadata.finalizers: \"a.example.com\": prefer a domain-qualified finalizer name including a path (/) {rest}"
                ),
                format!("metadata.finalizers: \"yours\": prefer a domain-qualified finalizer name {rest}"),
            ]
        );
    }
}
