//! Whether a value is as its schema wants it: every fault with its place, in the order and words of upstream's validator
//! (kube-openapi's, a descendant of go-openapi's), whose odd corners clients know.
//!
//! An update is ratcheted (KEP-4008): a part that breaks the rules and is as it was before is let through.

mod numbers;
mod types;

pub(crate) use self::types::type_fault;
use serde_json::{Map, Value};

use super::{Additional, Checks, Schema, formats};
use crate::quote::quote;
use crate::table::ListType;
use crate::validation::{BadValue, FieldErrors, Path};

/// The faults of a new value. `at` is where it stands in its object; the root is nowhere.
pub fn check(value: &Value, schema: &Schema, at: &Path<'_>, errors: &mut FieldErrors) {
    judged(value, schema, None, at, errors);
}

/// The faults of a value that takes the place of another.
pub fn check_update(value: &Value, old: &Value, schema: &Schema, at: &Path<'_>, errors: &mut FieldErrors) {
    judged(value, schema, Some(Before { value: old, schema }), at, errors);
}

fn judged(
    value: &Value,
    schema: &Schema,
    before: Option<Before<'_>>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    for fault in validate(value, schema, "", before).faults {
        fault.tell(at, errors);
    }
}

/// What stood in the place of a value before, and the schema by which its parts are found.
#[derive(Clone, Copy)]
struct Before<'a> {
    value: &'a Value,
    schema: &'a Schema,
}

impl<'a> Before<'a> {
    fn field(self, name: &str, at_root: bool) -> Option<Before<'a>> {
        if at_root && matches!(name, "apiVersion" | "kind") {
            return None;
        }
        Some(Before {
            value: self.value.get(name)?,
            schema: self.schema.field(name)?,
        })
    }

    /// Items are told apart in lists that are maps; in others none can be found again.
    fn item(self, item: &Value) -> Option<Before<'a>> {
        if self.schema.list.ty != ListType::Map {
            return None;
        }
        let keys = &self.schema.list.keys;
        let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
        Some(Before {
            value: self.value.as_array()?.iter().find(same)?,
            schema: self.schema.items.as_deref()?,
        })
    }
}

/// What came of judging a value.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    faults: Vec<Fault>,
    /// How much of the value was as wanted: it decides which of several alternatives is told about.
    matches: u32,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// Each message is told once.
    fn add(&mut self, fault: Fault) {
        if self.faults.iter().all(|other| other.message != fault.message) {
            self.faults.push(fault);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        for fault in other.faults {
            self.add(fault);
        }
    }
}

/// One fault.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where, from the validated value on; none for faults that name no place.
    at: Option<String>,
    message: String,
    what: What,
}

/// What kind of fault it is, with what its telling needs.
#[derive(Debug)]
pub(super) enum What {
    Required,
    NotOneOf(Value, Vec<String>),
    TooLong(usize),
    TooMany(usize, usize),
    Type(String),
    /// Anything else, with the value where it is told.
    Other(BadValue),
}

impl Fault {
    fn other(path: &str, value: impl Into<BadValue>, message: String) -> Self {
        Self {
            at: Some(path.to_owned()),
            message,
            what: What::Other(value.into()),
        }
    }

    /// A fault that upstream does not place.
    fn unplaced(message: String) -> Self {
        Self {
            at: None,
            message,
            what: What::Other("".into()),
        }
    }

    fn tell(self, at: &Path<'_>, errors: &mut FieldErrors) {
        let name = self.at.as_deref().unwrap_or_default();
        let name = name.strip_prefix('.').unwrap_or(name);
        let below = at.child(name);
        let at = if name.is_empty() { at } else { &below };
        match self.what {
            What::Required => errors.required(at, ""),
            What::NotOneOf(value, values) => errors.not_supported(at, &value, &values),
            What::TooLong(most) => errors.too_long(at, most),
            What::TooMany(found, most) => errors.too_many(at, found, most),
            What::Type(value) => errors.type_invalid(at, &value, self.message),
            What::Other(value) => errors.invalid(at, value, self.message),
        }
    }
}

/// Judges a value at a path from the root (which is empty).
fn validate(value: &Value, schema: &Schema, path: &str, before: Option<Before<'_>>) -> Outcome {
    let outcome = validate_plainly(value, schema, path, before);
    if !outcome.is_valid() && before.is_some_and(|before| before.value == value) {
        return Outcome {
            faults: Vec::new(),
            matches: outcome.matches,
        };
    }
    outcome
}

/// The same without letting through what is as it was: alternatives are judged so.
fn validate_plainly(value: &Value, schema: &Schema, path: &str, before: Option<Before<'_>>) -> Outcome {
    let none = Checks::default();
    let checks = schema.checks.as_deref().unwrap_or(&none);
    let mut outcome = Outcome::default();
    if value.is_null() {
        outcome.merge(types::null(schema, path));
        outcome.merge(one_of_values(value, checks, path).unwrap_or_default());
        return outcome;
    }
    let mut count = |part: Option<Outcome>| {
        outcome.merge(part.unwrap_or_default());
        outcome.matches += 1;
    };
    if types::applies(schema, checks) {
        count(Some(types::check(value, schema, checks, path)));
    }
    count(Some(alternatives(value, checks, path, before)));
    match value {
        Value::String(text) => {
            count(text_limits(text, checks, path));
            if let Some(format) = &checks.format
                && !matches!(format.as_str(), "int32" | "int64" | "float" | "double")
            {
                count(text_format(text, format, path));
            }
        }
        Value::Number(_) => count(Some(numbers::check(value, schema, checks, path))),
        Value::Array(items) => count(Some(list(items, schema, checks, path, before))),
        _ => {}
    }
    count(one_of_values(value, checks, path));
    if let Value::Object(fields) = value {
        count(Some(object(fields, schema, checks, path, before)));
    }
    outcome.matches += 1;
    outcome
}

fn one_of_values(value: &Value, checks: &Checks, path: &str) -> Option<Outcome> {
    let same = |other: &Value| {
        let (a, b) = (value.as_f64(), other.as_f64());
        other == value && !value.is_null() || a.is_some() && a == b
    };
    if checks.values.is_empty() || checks.values.iter().any(same) {
        return None;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values: Vec<String> = checks.values.iter().map(text).collect();
    let message = format!("{path} in body should be one of [{}]", values.join(" "));
    Some(failed(Fault {
        at: Some(path.to_owned()),
        message,
        what: What::NotOneOf(value.clone(), values),
    }))
}

fn failed(fault: Fault) -> Outcome {
    Outcome {
        faults: vec![fault],
        matches: 0,
    }
}

fn text_limits(text: &str, checks: &Checks, path: &str) -> Option<Outcome> {
    let length = || text.chars().count();
    if let Some(most) = checks.max_length.filter(|most| length() > *most) {
        return Some(failed(Fault {
            at: Some(path.to_owned()),
            message: format!("{path} in body should be at most {most} chars long"),
            what: What::TooLong(most),
        }));
    }
    if let Some(least) = checks.min_length.filter(|least| length() < *least) {
        let message = format!("{path} in body should be at least {least} chars long");
        return Some(failed(Fault::other(path, text, message)));
    }
    let pattern = checks.pattern.as_ref()?;
    let shown = match pattern.matches(text) {
        Ok(true) => return None,
        Ok(false) => pattern.text().to_owned(),
        Err(why) => format!("{}, but pattern is invalid: {why}", pattern.text()),
    };
    let message = format!("{path} in body should match '{shown}'");
    Some(failed(Fault::other(path, text, message)))
}

fn text_format(text: &str, format: &str, path: &str) -> Option<Outcome> {
    (!formats::matches(format, text)).then(|| failed(types::fault(path, format, text)))
}

fn list(
    items: &[Value],
    schema: &Schema,
    checks: &Checks,
    path: &str,
    before: Option<Before<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(below) = schema.items.as_deref() {
        for (index, item) in items.iter().enumerate() {
            let before = before.and_then(|before| before.item(item));
            outcome.merge(validate(item, below, &format!("{path}[{index}]"), before));
        }
    }
    let size = items.len();
    if let Some(least) = checks.min_items.filter(|least| size < *least) {
        let message = format!("{path} in body should have at least {least} items");
        outcome.add(Fault::other(path, number(size), message));
    }
    if let Some(most) = checks.max_items.filter(|most| size > *most) {
        outcome.add(Fault {
            at: Some(path.to_owned()),
            message: format!("{path} in body should have at most {most} items"),
            what: What::TooMany(size, most),
        });
    }
    if checks.unique_items && (1..size).any(|at| items[..at].contains(&items[at])) {
        let message = format!("{path} in body shouldn't contain duplicates");
        outcome.add(Fault::other(path, "", message));
    }
    outcome.matches += 1;
    outcome
}

fn number(size: usize) -> BadValue {
    BadValue::rendered(size.to_string())
}

fn object(
    fields: &Map<String, Value>,
    schema: &Schema,
    checks: &Checks,
    path: &str,
    before: Option<Before<'_>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let size = fields.len();
    if let Some(least) = checks.min_properties.filter(|least| size < *least) {
        let message = format!("{path} in body should have at least {least} properties");
        outcome.add(Fault::other(path, number(size), message));
    }
    if let Some(most) = checks.max_properties.filter(|most| size > *most) {
        outcome.add(Fault {
            at: Some(path.to_owned()),
            message: format!("{path} in body should have at most {most} properties"),
            what: What::TooMany(size, most),
        });
    }
    let before_of = |name: &str| before.and_then(|before| before.field(name, path.is_empty()));
    for (name, value) in fields
        .iter()
        .filter(|(name, _)| !schema.properties.contains_key(*name))
    {
        match &schema.additional {
            Additional::Allowed(false) => {
                let message = format!("{path}.{name} in body is a forbidden property");
                outcome.add(Fault::other(path, name, message));
            }
            Additional::Schema(below) => {
                outcome.merge(validate(value, below, &format!("{path}.{name}"), before_of(name)));
            }
            Additional::Allowed(true) | Additional::Unsaid => {}
        }
    }
    for (name, below) in &schema.properties {
        if let Some(value) = fields.get(name) {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            outcome.merge(validate(value, below, &path, before_of(name)));
        }
    }
    for name in checks.required.iter().filter(|name| !fields.contains_key(*name)) {
        let path = format!("{path}.{name}");
        outcome.add(Fault {
            message: format!("{path} in body is required"),
            at: Some(path),
            what: What::Required,
        });
    }
    outcome
}

/// `anyOf`, `oneOf`, `allOf` and `not`.
fn alternatives(value: &Value, checks: &Checks, path: &str, before: Option<Before<'_>>) -> Outcome {
    let mut outcome = Outcome::default();
    let judge = |schema: &Schema| validate_plainly(value, schema, path, before);
    if !checks.any_of.is_empty() {
        any_of(checks.any_of.iter().map(judge), path, &mut outcome);
    }
    if !checks.one_of.is_empty() {
        one_of(checks.one_of.iter().map(judge), path, &mut outcome);
    }
    if !checks.all_of.is_empty() {
        let mut valid = 0;
        for part in checks.all_of.iter().map(judge) {
            valid += usize::from(part.is_valid());
            outcome.merge(part);
        }
        if valid != checks.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            let path = quote(path);
            outcome.add(Fault::unplaced(format!(
                "{path} must validate all the schemas (allOf){none}"
            )));
        }
    }
    if checks.not.as_ref().is_some_and(|schema| judge(schema).is_valid()) {
        let path = quote(path);
        outcome.add(Fault::unplaced(format!(
            "{path} must not validate the schema (not)"
        )));
    }
    outcome.matches += 1;
    outcome
}

/// The alternative that fits best, where none fits.
fn better(best: Option<Outcome>, other: Outcome) -> Option<Outcome> {
    match best {
        Some(best) if other.matches <= best.matches => Some(best),
        _ => Some(other),
    }
}

fn any_of(parts: impl Iterator<Item = Outcome>, path: &str, outcome: &mut Outcome) {
    let mut best = None;
    for part in parts {
        if part.is_valid() {
            outcome.merge(part);
            return;
        }
        best = better(best, part);
    }
    let path = quote(path);
    outcome.add(Fault::unplaced(format!(
        "{path} must validate at least one schema (anyOf)"
    )));
    outcome.merge(best.unwrap_or_default());
}

fn one_of(parts: impl Iterator<Item = Outcome>, path: &str, outcome: &mut Outcome) {
    let (mut valid, mut first, mut best) = (0, None, None);
    for part in parts {
        if part.is_valid() {
            valid += 1;
            first.get_or_insert(part);
        } else if valid == 0 {
            best = better(best, part);
        }
    }
    if valid == 1 {
        outcome.merge(first.unwrap_or_default());
        return;
    }
    let found = if valid == 0 {
        "Found none valid".to_owned()
    } else {
        format!("Found {valid} valid alternatives")
    };
    let path = quote(path);
    outcome.add(Fault::unplaced(format!(
        "{path} must validate one and only one schema (oneOf). {found}"
    )));
    if valid == 0 {
        outcome.merge(best.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
