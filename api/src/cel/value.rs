//! The values of expressions.
//!
//! A value borrows the object it was taken from: fields and items of JSON become values when they are looked at, and what is
//! made during evaluation is shared, so that a copy of a value never copies what it holds.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};

use super::error::EvalError;
use super::moment::Moment;
use super::schema;
use super::types::Type;
use super::world::Opaque;

/// Text that is borrowed or shared.
#[derive(Clone, Debug)]
pub enum Text<'v> {
    /// Of the object or the expression.
    Borrowed(&'v str),
    /// Made during evaluation.
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// `null`.
    Null,
    /// A truth.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating number.
    Double(f64),
    /// Text.
    String(Text<'v>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A moment.
    Timestamp(Moment),
    /// A list.
    List(List<'v>),
    /// A map, or an object that was given.
    Map(Map<'v>),
    /// An object that an expression made.
    Object(Arc<Object<'v>>),
    /// Something or nothing.
    Optional(Option<Arc<Value<'v>>>),
    /// A type.
    Type(Type),
    /// One of Kubernetes' own.
    Opaque(Opaque<'v>),
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'v> {
    /// Of JSON, and its schema where there is one.
    Json(&'v [Json], Option<&'v Json>),
    /// Made during evaluation.
    Shared(Arc<Vec<Value<'v>>>),
}

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'v> {
    /// Of JSON, and its schema where there is one.
    Json(&'v JsonMap<String, Json>, Option<&'v Json>),
    /// Made during evaluation.
    Shared(Arc<BTreeMap<Key<'v>, Value<'v>>>),
}

/// An object that an expression made: `Object.spec{replicas: 1}`.
#[derive(Clone, Debug)]
pub struct Object<'v> {
    /// The name of its type.
    pub name: String,
    /// Those fields that were given.
    pub fields: BTreeMap<String, Value<'v>>,
}

/// A key of a map. Numbers that are equal are one key, whatever their type.
#[derive(Clone, Debug)]
pub enum Key<'v> {
    /// A truth.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// Text.
    String(Text<'v>),
}

impl Key<'_> {
    fn rank(&self) -> u8 {
        match self {
            Key::Bool(_) => 0,
            Key::Int(_) | Key::Uint(_) => 1,
            Key::String(_) => 2,
        }
    }

    fn number(&self) -> i128 {
        match self {
            Key::Int(number) => i128::from(*number),
            Key::Uint(number) => i128::from(*number),
            Key::Bool(truth) => i128::from(*truth),
            Key::String(_) => 0,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::String(a), Key::String(b)) => (**a).cmp(&**b),
            _ => (self.rank(), self.number()).cmp(&(other.rank(), other.number())),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl<'v> Key<'v> {
    /// The key that a value is; none where it cannot be one.
    pub fn of(value: &Value<'v>) -> Option<Key<'v>> {
        match value {
            Value::Bool(truth) => Some(Key::Bool(*truth)),
            Value::Int(number) => Some(Key::Int(*number)),
            Value::Uint(number) => Some(Key::Uint(*number)),
            Value::String(text) => Some(Key::String(text.clone())),
            _ => None,
        }
    }

    /// The key that a value is looked up by: a whole floating number finds the whole number.
    fn lookup(value: &Value<'v>) -> Option<Key<'v>> {
        match value {
            Value::Double(number) => whole(*number).map(Key::Int),
            other => Key::of(other),
        }
    }

    /// The whole number that a floating number is.
    pub(super) fn of_whole(value: &Value<'_>) -> Option<i64> {
        match value {
            Value::Double(number) => whole(*number),
            _ => None,
        }
    }

    /// The key as a value.
    pub fn value(&self) -> Value<'v> {
        match self {
            Key::Bool(truth) => Value::Bool(*truth),
            Key::Int(number) => Value::Int(*number),
            Key::Uint(number) => Value::Uint(*number),
            Key::String(text) => Value::String(text.clone()),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(number: f64) -> Option<i64> {
    let fits = number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0;
    fits.then_some(number as i64)
}

impl<'v> Value<'v> {
    /// Text made during evaluation.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Value::String(Text::Shared(text.into()))
    }

    /// A list made during evaluation.
    pub fn list(items: Vec<Value<'v>>) -> Self {
        Value::List(List::Shared(Arc::new(items)))
    }

    /// A map made during evaluation.
    pub fn map(entries: BTreeMap<Key<'v>, Value<'v>>) -> Self {
        Value::Map(Map::Shared(Arc::new(entries)))
    }

    /// Something that is there.
    pub fn some(value: Value<'v>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// JSON without a schema.
    pub fn json(json: &'v Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => {
                if let Some(number) = number.as_i64() {
                    Value::Int(number)
                } else {
                    Value::Double(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Json::String(text) => Value::String(Text::Borrowed(text)),
            Json::Array(items) => Value::List(List::Json(items, None)),
            Json::Object(fields) => Value::Map(Map::Json(fields, None)),
        }
    }

    /// The type it has at run time, without parameters that are not known.
    pub fn type_of(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Duration(_) => Type::Duration,
            Value::Timestamp(_) => Type::Timestamp,
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Object(object) => Type::Object(Arc::new(super::objects::Made(object.name.clone()))),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Type(_) => Type::Type(None),
            Value::Opaque(opaque) => Type::Opaque(opaque.type_name()),
        }
    }

    /// The text, of text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number that sizes of it are counted by when costs are told: characters, bytes, items; 1 for what has no size.
    pub fn size(&self) -> u64 {
        match self {
            Value::String(text) => text.chars().count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Optional(Some(value)) => value.size(),
            Value::Opaque(opaque) => opaque.size(),
            _ => 1,
        }
    }
}

impl<'v> List<'v> {
    /// How many items it has.
    pub fn len(&self) -> usize {
        match self {
            List::Json(items, _) => items.len(),
            List::Shared(items) => items.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An item.
    ///
    /// # Errors
    /// That the item is not as its schema says.
    pub fn get(&self, index: usize) -> Result<Option<Value<'v>>, EvalError> {
        match self {
            List::Json(items, schema) => items
                .get(index)
                .map(|item| schema::value(item, schema.and_then(|of| of.get("items"))))
                .transpose(),
            List::Shared(items) => Ok(items.get(index).cloned()),
        }
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'v>, EvalError>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index).transpose())
    }
}

impl<'v> Map<'v> {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(fields, _) => fields.len(),
            Map::Shared(entries) => entries.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field, by the name that expressions give it.
    ///
    /// # Errors
    /// That the value is not as its schema says.
    pub fn field(&self, name: &str) -> Result<Option<Value<'v>>, EvalError> {
        match self {
            Map::Json(fields, of) => {
                let name = of.map_or(std::borrow::Cow::Borrowed(name), |of| {
                    schema::field_name(of, name)
                });
                fields
                    .get(name.as_ref())
                    .map(|value| schema::value(value, of.and_then(|of| schema::of_field(of, &name))))
                    .transpose()
            }
            Map::Shared(entries) => Ok(entries.get(&Key::String(Text::Borrowed(name))).cloned()),
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// That the value is not as its schema says.
    pub fn get(&self, key: &Value<'v>) -> Result<Option<Value<'v>>, EvalError> {
        match (self, Key::lookup(key)) {
            (Map::Json(..), Some(Key::String(name))) => self.field(&name),
            (Map::Shared(entries), Some(key)) => Ok(entries.get(&key).cloned()),
            _ => Ok(None),
        }
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<Key<'v>> {
        match self {
            Map::Json(fields, of) => {
                let name = |name: &'v String| match of {
                    Some(of) => schema::escaped_name(of, name),
                    None => Text::Borrowed(name),
                };
                fields.keys().map(|key| Key::String(name(key))).collect()
            }
            Map::Shared(entries) => entries.keys().cloned().collect(),
        }
    }

    /// All entries.
    ///
    /// # Errors
    /// That a value is not as its schema says.
    pub fn entries(&self) -> Result<Vec<(Key<'v>, Value<'v>)>, EvalError> {
        match self {
            Map::Json(..) => self
                .keys()
                .into_iter()
                .map(|key| {
                    let value = self.get(&key.value())?.unwrap_or(Value::Null);
                    Ok((key, value))
                })
                .collect(),
            Map::Shared(entries) => Ok(entries
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()),
        }
    }
}
