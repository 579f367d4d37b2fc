//! Named formats: `!format.dns1123Label().validate('A').hasValue()`.

use super::ty::{self, FORMAT, String};
use super::urls::Url;
use super::{Functions, Type, Value, no_such_overload, text};
use crate::cel::functions::{Op, cost};
use crate::cel::world::Opaque;
use crate::names;
use crate::schema::formats::matches;

/// A format with a name.
#[derive(Debug)]
pub struct NamedFormat {
    /// The name by which formats are told apart.
    pub name: &'static str,
    /// What is wrong with a text.
    check: fn(&str) -> Vec<std::string::String>,
    /// How long a pattern for it would be, which its cost is counted by.
    pattern: u64,
}

const fn of(name: &'static str, check: fn(&str) -> Vec<std::string::String>, pattern: u64) -> NamedFormat {
    NamedFormat { name, check, pattern }
}

macro_rules! formats {
    ($($name:literal: $format:expr;)*) => {
        /// By the names of the functions that give them.
        static FORMATS: &[(&str, NamedFormat)] = &[$(($name, $format)),*];

        /// A function of no arguments for each.
        const FUNCTIONS: &[(&str, Op)] = &[$((concat!("format.", $name), |_, _| Ok(found($name)))),*];
    };
}

formats! {
    "dns1123Label": of("DNS1123Label", names::dns1123_label, 30);
    "dns1123Subdomain": of("DNS1123Subdomain", names::dns1123_subdomain, 60);
    "dns1035Label": of("DNS1035Label", names::dns1035_label, 30);
    "qualifiedName": of("QualifiedName", names::qualified_name, 60);
    "dns1123LabelPrefix": of("DNS1123LabelPrefix", |text| names::dns1123_label(&masked(text)), 30);
    "dns1123SubdomainPrefix": of("DNS1123SubdomainPrefix", |text| names::dns1123_subdomain(&masked(text)), 60);
    "dns1035LabelPrefix": of("DNS1035LabelPrefix", |text| names::dns1035_label(&masked(text)), 30);
    "labelValue": of("LabelValue", names::label_value, 40);
    "uri": of("URI", |text| Url::parse(text).err().into_iter().collect(), 1103);
    "uuid": of("uuid", |text| unless(matches("uuid", text), "does not match the UUID format"), 85);
    "byte": of("byte", |text| unless(matches("byte", text), "invalid base64"), 84);
    "date": of("date", |text| unless(matches("date", text), "invalid date"), 109);
    "datetime": of("datetime", |text| unless(matches("datetime", text), "invalid datetime"), 109);
}

pub(super) fn declare(functions: &mut Functions) {
    for (name, op) in FUNCTIONS {
        functions.global(name, &[], FORMAT, cost::one, *op);
    }
    functions.global(
        "format.named",
        &[String],
        Type::optional(FORMAT),
        cost::one,
        |_, args| {
            let name = text(args, 0)?;
            Ok(match FORMATS.iter().any(|(known, _)| *known == name) {
                true => Value::some(found(name)),
                false => Value::Optional(None),
            })
        },
    );
    let faults = Type::optional(ty::list(String));
    let held = |args: &[Value<'_>], _: &Value<'_>| match args {
        [Value::Opaque(Opaque::Format(format)), text] => cost::known_pattern(text.size(), format.pattern),
        _ => 1,
    };
    functions.member("validate", &[FORMAT, String], faults, held, |_, args| {
        let Some(Value::Opaque(Opaque::Format(format))) = args.first() else {
            return Err(no_such_overload("validate", args));
        };
        let faults = (format.check)(text(args, 1)?);
        Ok(if faults.is_empty() {
            Value::Optional(None)
        } else {
            Value::some(Value::list(faults.into_iter().map(Value::text).collect()))
        })
    });
}

fn found<'v>(name: &str) -> Value<'v> {
    let format = FORMATS.iter().find(|(known, _)| *known == name);
    format.map_or(Value::Null, |(_, format)| Value::Opaque(Opaque::Format(format)))
}

/// A prefix as if it did not end in a dash, since something follows.
fn masked(text: &str) -> std::string::String {
    match text.strip_suffix('-') {
        Some(start) if !start.is_empty() => format!("{start}a"),
        _ => text.to_owned(),
    }
}

fn unless(fine: bool, fault: &str) -> Vec<std::string::String> {
    if fine { Vec::new() } else { vec![fault.to_owned()] }
}
