//! Values that upstream keeps as the bytes in which they were sent: fields of the type `runtime.RawExtension`.
//!
//! Nobody but their writers knows what they mean, and so upstream never reads them: a ControllerRevision's `data` is stored, compared
//! and answered as it was sent, with its order of keys, its spelling of numbers and, in the store, its white space. An
//! object's `Value` has such a field in one of two forms. Where the text is what Go would write of the value it is the value,
//! and most are. Where it is not it is a *kept text*: a map of one odd key, with the text. Kept texts compare as bytes do,
//! and go to the store and back as they are.
//!
//! Whoever looks into such a field, or shows it, opens it first ([`open`], [`opened`], [`json()`]); whoever may have
//! changed an object that was opened puts the texts back ([`Texts::put_back`]), which comes to nothing where the value is
//! another by then. Types without such fields are told by [`reaches`], and nothing here looks at their objects.
//!
//! The texts are found by `spans` and not by serde_json's `RawValue`: the feature that has it makes one key an odd one in
//! whatever is read as a `Value` anywhere in the process, and any client may send that key.

mod spans;
mod written;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

pub use self::written::json;
use super::body::MediaType;
use super::{DecodeError, json, protobuf};
use crate::table::{self, Field, Item, Outer, Shape, Type};

/// The key of a kept text. A value that happens to have this form is kept as a text itself.
const KEPT: &str = "\0raw";

/// How a kept text begins where an object with it is written as it is.
const KEPT_WRITTEN: &[u8] = br#"{"\u0000raw":"#;

/// The names of the types that have such a field, in themselves or in what they hold.
static REACHING: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let mut found: HashSet<&'static str> = HashSet::new();
    let types = || table::all().iter().copied();
    found.extend(types().filter(|ty| ty.shape == Shape::Raw).map(|ty| ty.name));
    loop {
        let holds = |ty: &&'static Type| {
            let mut inner = ty.fields.iter().filter_map(|field| field.ty.type_of_item());
            inner.any(|inner| found.contains(inner.name))
        };
        let more: Vec<&str> = types()
            .filter(|ty| !found.contains(ty.name))
            .filter(holds)
            .map(|ty| ty.name)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
});

/// Whether values of a type may have fields that are kept as they were sent.
pub fn reaches(ty: &'static Type) -> bool {
    REACHING.contains(ty.name)
}

/// Texts that were taken out of an object, each with its place as a JSON pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(Vec<(String, String)>);

impl Texts {
    /// The texts of a body that was read as an object of a type. YAML has none: it is made JSON before upstream reads it.
    pub fn sent(body: &[u8], media_type: MediaType, ty: &'static Type) -> Self {
        let mut texts = Self::default();
        if !reaches(ty) {
            return texts;
        }
        match media_type {
            MediaType::Yaml => {}
            MediaType::Json => {
                if let Ok(text) = std::str::from_utf8(body) {
                    texts.collect(text, ty, &mut String::new());
                }
            }
            MediaType::Protobuf => {
                if let Ok(mut object) = protobuf::decode_keeping(body) {
                    texts = open(&mut object, ty);
                }
            }
        }
        texts
    }

    /// Finds the texts in that of a value of a type.
    fn collect(&mut self, text: &str, ty: &'static Type, at: &mut String) {
        match ty.shape {
            Shape::Raw => self.0.push((at.clone(), text.to_owned())),
            Shape::Struct => {
                let fields = spans::members(text);
                for (field, inner) in reaching(ty) {
                    if let Some(value) = fields.get(field.name) {
                        below(at, field.name, |at| self.collect_field(value, field, inner, at));
                    }
                }
            }
            _ => {}
        }
    }

    fn collect_field(&mut self, value: &str, field: &Field, inner: &'static Type, at: &mut String) {
        match field.ty.outer {
            Outer::Value => self.collect(value, inner, at),
            Outer::List => {
                for (index, item) in spans::items(value).into_iter().enumerate() {
                    below(at, &index.to_string(), |at| self.collect(item, inner, at));
                }
            }
            Outer::Map => {
                for (key, entry) in spans::members(value) {
                    below(at, &key, |at| self.collect(entry, inner, at));
                }
            }
            Outer::MapOfLists => {}
        }
    }

    /// The same without white space, and with what means something in HTML escaped: as Go writes what it keeps.
    #[must_use]
    pub fn compacted(self) -> Self {
        let texts = self.0.into_iter();
        Self(texts.map(|(at, text)| (at, compact(&text))).collect())
    }

    /// Puts the texts back into the object, each where the value that it says still stands in its place.
    pub fn put_back(self, object: &mut Value, ty: &'static Type) {
        if self.0.is_empty() {
            return;
        }
        let texts: BTreeMap<String, String> = self.0.into_iter().collect();
        each(object, ty, &mut String::new(), &mut |at, place| {
            let Some(text) = texts.get(at) else { return };
            let Some(sent) = json::parse_quietly(text.as_bytes()) else {
                return;
            };
            if peeled(place).as_deref() == Some(&sent.value) {
                *place = kept(text, sent.value);
            }
        });
    }
}

/// Reads the text of such a field.
///
/// # Errors
/// Where it is not JSON.
pub(super) fn read(text: &[u8]) -> Result<Value, DecodeError> {
    let value = json::parse(text)?.value;
    let text = std::str::from_utf8(text).map_err(|error| DecodeError::Json(error.to_string()))?;
    Ok(kept(text, value))
}

/// The bytes of such a field in the store and in protobuf.
pub(super) fn written(value: &Value) -> Vec<u8> {
    match text_of(value) {
        Some(text) => text.as_bytes().to_vec(),
        None => canonical(value).into_bytes(),
    }
}

/// What a message shows of a value that is a kept text.
pub(crate) fn shown(value: &Value) -> Option<String> {
    text_of(value).map(compact)
}

/// The value that such a field has, whatever its form.
pub fn peel(value: &Value) -> Cow<'_, Value> {
    peeled(value).unwrap_or(Cow::Borrowed(value))
}

/// Whether two such fields say the same, byte for byte but for what means something in HTML: Go writes `<` as an escape
/// and others do not. Upstream tells these apart, too, and so refuses to patch the labels of what such a client has made;
/// here clients that are not written in Go, of which the controllers are, are not to suffer for that.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| {
        text_of(value).map_or_else(|| canonical(value), |text| json::html_escaped(text).into_owned())
    };
    a == b || text(a) == text(b)
}

/// How many bytes such a field has.
pub(crate) fn len(value: &Value) -> usize {
    text_of(value).map_or_else(|| canonical(value).len(), str::len)
}

/// Takes the texts out of an object and leaves their values.
pub fn open(object: &mut Value, ty: &'static Type) -> Texts {
    let mut texts = Vec::new();
    if !reaches(ty) {
        return Texts::default();
    }
    each(object, ty, &mut String::new(), &mut |at, place| {
        if let Some(text) = text_of(place).map(str::to_owned) {
            *place = peel(place).into_owned();
            texts.push((at.to_owned(), text));
        }
    });
    Texts(texts)
}

/// An object with the values of its texts.
pub fn opened<'a>(object: &'a Value, ty: &'static Type) -> Cow<'a, Value> {
    if !reaches(ty) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    open(&mut object, ty);
    Cow::Owned(object)
}

/// Makes values that happen to look like a kept text such texts: for objects that have none, before they get any.
pub fn shield(object: &mut Value, ty: &'static Type) {
    if !reaches(ty) {
        return;
    }
    each(object, ty, &mut String::new(), &mut |_, place| {
        if text_of(place).is_some() {
            *place = of_text(&canonical(place));
        }
    });
}

/// Whether there is a kept text in an object that was written as it is.
pub fn is_kept_in(json: &[u8]) -> bool {
    json.windows(KEPT_WRITTEN.len())
        .any(|window| window == KEPT_WRITTEN)
}

/// The form of a value that was sent as this text.
fn kept(text: &str, value: Value) -> Value {
    if canonical(&value) == text && text_of(&value).is_none() {
        value
    } else {
        of_text(text)
    }
}

fn of_text(text: &str) -> Value {
    Value::Object(Map::from_iter([(KEPT.to_owned(), Value::from(text))]))
}

/// The text where a value is one. What is no JSON is none, wherever it came from: nothing else gets out by this way.
fn text_of(value: &Value) -> Option<&str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    let text = fields.get(KEPT)?.as_str()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(text)
}

/// The value of a kept text, and of anything else itself; none where that text is nested too deep to be read.
fn peeled(value: &Value) -> Option<Cow<'_, Value>> {
    match text_of(value) {
        Some(text) => json::parse_quietly(text.as_bytes()).map(|parsed| Cow::Owned(parsed.value)),
        None => Some(Cow::Borrowed(value)),
    }
}

/// What Go writes of a value.
fn canonical(value: &Value) -> String {
    compact(&value.to_string())
}

/// JSON as Go's encoder hands it on: without white space between tokens, and with `<`, `>`, `&` and the two line ends of
/// JavaScript escaped.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut within, mut after_backslash) = (false, false);
    for letter in text.chars() {
        match letter {
            ' ' | '\t' | '\n' | '\r' if !within => continue,
            '"' if !after_backslash => within = !within,
            _ => {}
        }
        after_backslash = within && letter == '\\' && !after_backslash;
        out.push(letter);
    }
    json::html_escaped(&out).into_owned()
}

/// The type of what a field holds, where there are such fields in that.
fn inner_of(field: &Field) -> Option<&'static Type> {
    match field.ty.item {
        Item::Type(inner) if reaches(inner) => Some(inner),
        _ => None,
    }
}

/// The fields of a type in which there are such fields, with the types of what they hold.
fn reaching(ty: &'static Type) -> impl Iterator<Item = (&'static Field, &'static Type)> {
    ty.fields
        .iter()
        .filter_map(|field| Some((field, inner_of(field)?)))
}

/// Calls back with every such field of a value that is there, and its place.
fn each(value: &mut Value, ty: &'static Type, at: &mut String, act: &mut dyn FnMut(&str, &mut Value)) {
    match (ty.shape, value) {
        (Shape::Raw, value) => act(at, value),
        (Shape::Struct, Value::Object(map)) => {
            for (field, inner) in reaching(ty) {
                let Some(value) = map.get_mut(field.name) else {
                    continue;
                };
                below(at, field.name, |at| each_of_field(value, field, inner, at, act));
            }
        }
        _ => {}
    }
}

fn each_of_field(
    value: &mut Value,
    field: &Field,
    inner: &'static Type,
    at: &mut String,
    act: &mut dyn FnMut(&str, &mut Value),
) {
    match (field.ty.outer, value) {
        (Outer::Value, value) => each(value, inner, at, act),
        (Outer::List, Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                below(at, &index.to_string(), |at| each(item, inner, at, act));
            }
        }
        (Outer::Map, Value::Object(entries)) => {
            for (key, entry) in entries {
                below(at, key, |at| each(entry, inner, at, act));
            }
        }
        _ => {}
    }
}

/// Lengthens a place by a step for a while.
fn below(at: &mut String, step: &str, act: impl FnOnce(&mut String)) {
    let length = at.len();
    at.push('/');
    at.push_str(&step.replace('~', "~0").replace('/', "~1"));
    act(at);
    at.truncate(length);
}

#[cfg(test)]
mod tests;
