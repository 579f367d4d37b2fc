//! Writes the table of served resources, with the columns of their tables.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::facts::{Column, Facts, Resource};
use super::{HEADER, quoted_all};

/// The file of the table by path.
pub(super) fn files(facts: &Facts) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut text = format!(
        "{HEADER}\nuse super::build::*;\nuse super::Resource;\n\n\
         pub(super) static RESOURCES: &[Resource] = &[\n"
    );
    for resource in &facts.resources {
        write_resource(&mut text, facts, resource);
    }
    text.push_str("];\n");
    Ok(BTreeMap::from([(
        PathBuf::from("api/src/resources/generated/mod.rs"),
        text,
    )]))
}

fn write_resource(text: &mut String, facts: &Facts, resource: &Resource) {
    let (group, version, name) = (&resource.group, &resource.version, &resource.resource);
    let kind = &resource.response_kind.kind;
    let _ = writeln!(text, "    Resource {{");
    if !resource.verbs.is_empty() {
        let _ = writeln!(text, "        verbs: {},", quoted_all(&resource.verbs));
    }
    if !resource.short_names.is_empty() {
        let _ = writeln!(
            text,
            "        short_names: {},",
            quoted_all(&resource.short_names)
        );
    }
    if !resource.categories.is_empty() {
        let _ = writeln!(text, "        categories: {},", quoted_all(&resource.categories));
    }
    if !resource.subresources.is_empty() {
        text.push_str("        subresources: &[\n");
        for sub in &resource.subresources {
            let of = &sub.response_kind;
            // The facts leave the group version out where it is the resource's own.
            let (group, version) = if of.version.is_empty() {
                (group, version)
            } else {
                (&of.group, &of.version)
            };
            let _ = writeln!(
                text,
                "            sub({:?}, {group:?}, {version:?}, {:?}, {}),",
                sub.subresource,
                of.kind,
                quoted_all(&sub.verbs)
            );
        }
        text.push_str("        ],\n");
    }
    let key = format!("{group}/{version}/{name}");
    if let Some(columns) = facts.columns.get(&key) {
        text.push_str("        columns: &[\n");
        for column in columns {
            let _ = writeln!(text, "            {},", column_line(column));
        }
        text.push_str("        ],\n");
    }
    let namespaced = resource.scope == "Namespaced";
    let _ = writeln!(
        text,
        "        ..resource({group:?}, {version:?}, {name:?}, {:?}, {kind:?}, {namespaced})\n    }},",
        resource.singular_resource
    );
}

fn column_line(column: &Column) -> String {
    let mut line = format!("column({:?}, {:?})", column.name, column.ty);
    if !column.format.is_empty() {
        let _ = write!(line, ".format({:?})", column.format);
    }
    if column.priority != 0 {
        let _ = write!(line, ".priority({})", column.priority);
    }
    line
}
