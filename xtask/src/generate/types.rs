//! Writes the table of types: a Rust file per API version, with a static per type and a line per field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::facts::{Facts, Field, GoField, Type};
use super::{HEADER, quoted, quoted_all};

/// Kinds that upstream registers in every group version; their types are meta/v1's.
const IN_EVERY_GROUP: &[&str] = &[
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "UpdateOptions",
    "WatchEvent",
];

/// The files of the table by path.
pub(super) fn files(facts: &Facts) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for (name, ty) in &facts.types {
        let text = modules.entry(module(name)).or_default();
        write_type(text, facts, name, ty).with_context(|| format!("type {name}"))?;
    }
    let mut files = BTreeMap::new();
    files.insert(path("mod"), index(facts, modules.keys()));
    for (module, body) in modules {
        let mut uses = BTreeSet::new();
        for other in facts.types.keys().map(|name| self::module(name)) {
            if other != module && body.contains(&format!("{other}::")) {
                uses.insert(other);
            }
        }
        let uses: Vec<String> = uses.into_iter().collect();
        let mut text = format!("{HEADER}\nuse super::super::build::*;\nuse super::super::*;\n");
        if !uses.is_empty() {
            let _ = writeln!(text, "use super::{{{}}};", uses.join(", "));
        }
        text.push_str(&body);
        files.insert(path(&module), text);
    }
    Ok(files)
}

fn path(module: &str) -> PathBuf {
    PathBuf::from(format!("api/src/table/generated/{module}.rs"))
}

/// `core_v1` for `io.k8s.api.core.v1.Pod`, `intstr` for `io.k8s.apimachinery.pkg.util.intstr.IntOrString`.
fn module(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let (last, before) = (parts[parts.len() - 2], parts[parts.len() - 3]);
    let is_version = last.starts_with('v') && last[1..].starts_with(|c: char| c.is_ascii_digit());
    if is_version {
        format!("{before}_{last}")
    } else {
        last.to_owned()
    }
}

/// `core_v1::Pod`, or `Pod` from within its own module.
fn reference(name: &str, from: &str) -> String {
    let module = module(name);
    let short = name.rsplit('.').next().unwrap_or(name);
    if module == from {
        short.to_owned()
    } else {
        format!("{module}::{short}")
    }
}

fn index<'a>(facts: &Facts, modules: impl Iterator<Item = &'a String>) -> String {
    let mut text = format!(
        "{HEADER}\n#![allow(non_upper_case_globals, reason = \"statics are named as the types they describe\")]\n\n\
         use super::Type;\n\n"
    );
    for module in modules {
        let _ = writeln!(text, "mod {module};");
    }
    let _ = writeln!(
        text,
        "\npub(super) static VERSION: &str = {};",
        quoted(&facts.version)
    );
    let kinds: Vec<String> = IN_EVERY_GROUP.iter().map(|kind| quoted(kind)).collect();
    let _ = writeln!(
        text,
        "pub(super) static IN_EVERY_GROUP: &[&str] = &[{}];",
        kinds.join(", ")
    );
    text.push_str("\npub(super) static ALL: &[&Type] = &[\n");
    for name in facts.types.keys() {
        let _ = writeln!(text, "    &{},", reference(name, ""));
    }
    text.push_str("];\n\npub(super) static BY_GVK: &[&Type] = &[\n");
    let by_gvk: BTreeMap<_, _> = facts
        .types
        .iter()
        .filter_map(|(name, ty)| Some((ty.gvk.as_ref()?, name)))
        .collect();
    for name in by_gvk.values() {
        let _ = writeln!(text, "    &{},", reference(name, ""));
    }
    text.push_str("];\n");
    text
}

fn write_type(text: &mut String, facts: &Facts, name: &str, ty: &Type) -> anyhow::Result<()> {
    let short = name.rsplit('.').next().unwrap_or(name);
    let message = ty.message.as_deref().unwrap_or_default();
    let _ = writeln!(text, "\npub(super) static {short}: Type = Type {{");
    if !ty.fields.is_empty() {
        text.push_str("    fields: &[\n");
        let no_facts = BTreeMap::new();
        let go = facts.go.get(name).unwrap_or(&no_facts);
        for (field_name, field) in &ty.fields {
            let go = go
                .get(field_name)
                .with_context(|| format!("Go says nothing of {field_name}"))?;
            let line = field_line(&module(name), field_name, field, go)
                .with_context(|| format!("field {field_name}"))?;
            let _ = writeln!(text, "        {line},");
        }
        text.push_str("    ],\n");
        let _ = writeln!(text, "    by_number: &{:?},", number_order(ty));
    }
    if !ty.unions.is_empty() {
        text.push_str("    unions: &[\n");
        for union in &ty.unions {
            let fields: Vec<String> = union
                .fields
                .iter()
                .map(|(field, value)| format!("({field:?}, {value:?})"))
                .collect();
            let discriminator = quoted(&union.discriminator);
            let fields = fields.join(", ");
            let _ = writeln!(
                text,
                "        Union {{ discriminator: {discriminator}, fields: &[{fields}] }},"
            );
        }
        text.push_str("    ],\n");
    }
    let _ = write!(text, "    ..ty({name:?}, {message:?})");
    if let Some(gvk) = &ty.gvk {
        let _ = write!(text, ".gvk({:?}, {:?}, {:?})", gvk.group, gvk.version, gvk.kind);
    }
    if let Some(shape) = shape(short, ty)? {
        let _ = write!(text, ".shape(Shape::{shape})");
    }
    if ty.map_type.as_deref() == Some("atomic") {
        text.push_str(".atomic()");
    }
    text.push_str("\n};\n");
    Ok(())
}

/// The places of the fields that protobuf has, by the numbers on the way to them.
fn number_order(ty: &Type) -> Vec<usize> {
    let mut order: Vec<(Vec<u32>, usize)> = Vec::new();
    for (at, field) in ty.fields.values().enumerate() {
        if field.number != 0 {
            let path = field.inside.iter().copied().chain([field.number]).collect();
            order.push((path, at));
        }
    }
    order.sort();
    order.into_iter().map(|(_, at)| at).collect()
}

fn shape(short: &str, ty: &Type) -> anyhow::Result<Option<&'static str>> {
    if !ty.fields.is_empty() {
        return Ok(None);
    }
    Ok(Some(match (short, ty.ty.as_deref()) {
        ("Time", _) => "Time",
        ("MicroTime", _) => "MicroTime",
        ("Quantity", _) => "Quantity",
        ("IntOrString", _) => "IntOrString",
        ("FieldsV1", _) => "FieldsV1",
        ("RawExtension", _) => "Raw",
        ("JSON", _) => "Json",
        ("JSONSchemaPropsOrArray", _) => "SchemaOrArray",
        ("JSONSchemaPropsOrBool", _) => "SchemaOrBool",
        ("JSONSchemaPropsOrStringArray", _) => "SchemaOrStrings",
        (_, Some("object")) => return Ok(None),
        _ => bail!("a type without fields whose JSON form is not known"),
    }))
}

fn field_line(module: &str, name: &str, field: &Field, go: &GoField) -> anyhow::Result<String> {
    let (ty, go_type) = field_type(module, &field.ty)?;
    let mut line = format!("f({name:?}, {}, {ty})", field.number);
    if !field.inside.is_empty() {
        let _ = write!(line, ".inside(&{:?})", field.inside);
    }
    if field.proto.as_deref() == Some("message") && !field.repeated && field.ty.starts_with('[') {
        line.push_str(".wrapped()");
    }
    if field.required {
        line.push_str(".required()");
    }
    if go.pointer {
        line.push_str(".ptr()");
    }
    match (go.omit_empty, go.omit_zero) {
        (_, true) => line.push_str(".omit_zero()"),
        (false, false) => line.push_str(".keep()"),
        (true, false) => {}
    }
    if let Some(default) = &field.default {
        let _ = write!(line, ".default({:?})", default.to_string());
    }
    if !field.enum_values.is_empty() {
        let _ = write!(line, ".one_of({})", quoted_all(&field.enum_values));
    }
    write_merge_facts(&mut line, field)?;
    if go.ty != go_type {
        let _ = write!(line, ".go({:?})", go.ty);
    }
    if !go.at.is_empty() && field.number != 0 {
        let _ = write!(line, ".at({:?})", go.at);
    }
    Ok(line)
}

fn write_merge_facts(line: &mut String, field: &Field) -> anyhow::Result<()> {
    match field.list_type.as_deref() {
        Some("atomic") => line.push_str(".list_atomic()"),
        Some("set") => line.push_str(".list_set()"),
        Some("map") => {
            let _ = write!(line, ".list_map({})", quoted_all(&field.list_map_keys));
        }
        None => {}
        Some(other) => bail!("list type {other}"),
    }
    match field.map_type.as_deref() {
        Some("atomic") => line.push_str(".atomic()"),
        Some("granular") => line.push_str(".granular()"),
        None => {}
        Some(other) => bail!("map type {other}"),
    }
    for strategy in field
        .patch_strategy
        .iter()
        .flat_map(|strategies| strategies.split(','))
    {
        match strategy {
            "merge" => {
                let _ = write!(line, ".merge({:?})", field.patch_merge_key);
            }
            "retainKeys" => line.push_str(".retain_keys()"),
            "replace" => line.push_str(".replace()"),
            other => bail!("patch strategy {other}"),
        }
    }
    Ok(())
}

/// The expression for a type as the facts write it (`[string]`, `{io.k8s…Quantity}`, `integer:int32`), and Go's name of
/// it.
fn field_type(module: &str, text: &str) -> anyhow::Result<(String, String)> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let (inner, go) = field_type(module, inner)?;
        return Ok((format!("list({inner})"), format!("[]{go}")));
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let (inner, go) = field_type(module, inner)?;
        return Ok((format!("map({inner})"), format!("map[string]{go}")));
    }
    let (item, go) = match text {
        "string" => ("STR", "string"),
        "string:byte" => ("BYTES", "[]uint8"),
        "integer:int32" => ("I32", "int32"),
        "integer:int64" => ("I64", "int64"),
        "number:double" => ("F64", "float64"),
        "boolean" => ("BOOL", "bool"),
        name if name.starts_with("io.k8s.") => {
            let parts: Vec<&str> = name.split('.').collect();
            let go = parts[parts.len() - 2..].join(".");
            return Ok((format!("r(&{})", reference(name, module)), go));
        }
        other => bail!("type {other}"),
    };
    Ok((item.to_owned(), go.to_owned()))
}
