//! What expressions are made of: CEL's types, and those that Kubernetes adds.

use std::fmt;
use std::sync::Arc;

/// An object type: the fields that may be selected on a value of it.
///
/// Implemented by whatever describes objects: schemas of custom resources, the type table, the types of a request.
pub trait ObjectType: Send + Sync + fmt::Debug {
    /// How messages name it. Two types of one name are one type.
    fn name(&self) -> &str;

    /// The type of a field, by the name that expressions give it; absent where there is no such field.
    fn field(&self, name: &str) -> Option<Type>;
}

/// The type of an expression.
#[derive(Clone, Debug)]
pub enum Type {
    /// Not known before evaluation.
    Dyn,
    /// Something that could not be checked; said once, then taken for anything.
    Error,
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A signed number of 64 bits.
    Int,
    /// An unsigned number of 64 bits.
    Uint,
    /// A floating number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A length of time.
    Duration,
    /// A list of values of one type.
    List(Arc<Type>),
    /// A map from keys to values.
    Map(Arc<Type>, Arc<Type>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// A type as a value; of what, where it is known.
    Type(Option<Arc<Type>>),
    /// One of Kubernetes' own values, by its name: `net.IP`, `kubernetes.Quantity`.
    Opaque(&'static str),
    /// An object with fields.
    Object(Arc<dyn ObjectType>),
    /// A parameter of a function's declaration.
    Param(u8),
    /// A parameter of one call, to be found out.
    Var(usize),
}

impl Type {
    /// A list of `item`.
    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(item))
    }

    /// A map of `key` to `value`.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    /// `item`, or nothing.
    pub fn optional(item: Type) -> Type {
        Type::Optional(Arc::new(item))
    }

    /// The name of the type without its parameters, as `type(x)` and run-time errors give it.
    pub fn bare_name(&self) -> &str {
        match self {
            Type::Dyn | Type::Param(_) | Type::Var(_) => "dyn",
            Type::Error => "*error*",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(..) => "map",
            Type::Optional(_) => "optional_type",
            Type::Type(_) => "type",
            Type::Opaque(name) => name,
            Type::Object(object) => object.name(),
        }
    }

    /// Whether nothing about values of it is known.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// Whether `null` may stand for a value of it.
    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Type::Null
                | Type::Opaque(_)
                | Type::Object(_)
                | Type::Timestamp
                | Type::Duration
                | Type::Optional(_)
        )
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a == b,
            (Type::Map(a, b), Type::Map(c, d)) => a == c && b == d,
            (Type::Param(a), Type::Param(b)) => a == b,
            (Type::Var(a), Type::Var(b)) => a == b,
            (Type::Type(a), Type::Type(b)) => a == b,
            (Type::Object(a), Type::Object(b)) => a.name() == b.name(),
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other)
                    && !matches!(
                        self,
                        Type::List(_) | Type::Optional(_) | Type::Map(..) | Type::Type(_) | Type::Object(_)
                    )
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Error => f.write_str("!error!"),
            Type::List(item) => write!(f, "list({item})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Optional(item) => write!(f, "optional_type({item})"),
            Type::Type(Some(of)) => write!(f, "type({of})"),
            Type::Param(number) => write!(f, "{}", char::from(b'A' + number % 26)),
            Type::Var(number) => write!(f, "_var{number}"),
            other => f.write_str(other.bare_name()),
        }
    }
}

/// What has been found out about the parameters of calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    found: Vec<Option<Type>>,
}

impl Bindings {
    /// A parameter of which nothing is known yet.
    pub(super) fn fresh(&mut self) -> Type {
        self.found.push(None);
        Type::Var(self.found.len() - 1)
    }

    /// A declared type with a parameter of its own for each of the declaration's.
    pub(super) fn instance(&mut self, declared: &Type, params: &mut Vec<Option<Type>>) -> Type {
        match declared {
            Type::Param(number) => {
                let number = usize::from(*number);
                if params.len() <= number {
                    params.resize(number + 1, None);
                }
                if params[number].is_none() {
                    params[number] = Some(self.fresh());
                }
                params[number].clone().unwrap_or(Type::Dyn)
            }
            Type::List(item) => Type::list(self.instance(item, params)),
            Type::Optional(item) => Type::optional(self.instance(item, params)),
            Type::Map(key, value) => {
                let key = self.instance(key, params);
                Type::map(key, self.instance(value, params))
            }
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.instance(of, params)))),
            other => other.clone(),
        }
    }

    /// The type with all that is known put in; what is not known becomes `dyn` when `last`.
    pub(super) fn resolve(&self, ty: &Type, last: bool) -> Type {
        match ty {
            Type::Var(number) => match self.found.get(*number) {
                Some(Some(found)) => self.resolve(found, last),
                _ if last => Type::Dyn,
                _ => ty.clone(),
            },
            Type::List(item) => Type::list(self.resolve(item, last)),
            Type::Optional(item) => Type::optional(self.resolve(item, last)),
            Type::Map(key, value) => Type::map(self.resolve(key, last), self.resolve(value, last)),
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.resolve(of, last)))),
            other => other.clone(),
        }
    }

    fn mentions(&self, number: usize, ty: &Type) -> bool {
        match ty {
            Type::Var(other) => {
                *other == number
                    || matches!(self.found.get(*other), Some(Some(found)) if self.mentions(number, found))
            }
            Type::List(item) | Type::Optional(item) | Type::Type(Some(item)) => self.mentions(number, item),
            Type::Map(key, value) => self.mentions(number, key) || self.mentions(number, value),
            _ => false,
        }
    }

    /// Whether a value of `given` may stand where `wanted` is, finding out parameters on the way. Parameters found on the way
    /// to a refusal stay; the caller keeps a copy.
    pub(super) fn accepts(&mut self, wanted: &Type, given: &Type) -> bool {
        match (wanted, given) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(number), other) | (other, Type::Var(number)) => {
                self.bind(*number, other, wanted, given)
            }
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (other, Type::Null) | (Type::Null, other) => other.is_nullable(),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.accepts(a, b),
            (Type::Map(a, b), Type::Map(c, d)) => self.accepts(a, c) && self.accepts(b, d),
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    fn bind(&mut self, number: usize, other: &Type, wanted: &Type, given: &Type) -> bool {
        if let Some(Some(found)) = self.found.get(number).cloned() {
            let is_wanted = matches!(wanted, Type::Var(n) if *n == number);
            let fits = if is_wanted {
                self.accepts(&found, given)
            } else {
                self.accepts(wanted, &found)
            };
            // `null` first and an object later: the object says more.
            if fits && matches!(found, Type::Null) && !matches!(other, Type::Null) {
                self.found[number] = Some(other.clone());
            }
            return fits;
        }
        if self.mentions(number, other) {
            return false;
        }
        if let Some(place) = self.found.get_mut(number) {
            *place = Some(other.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_out() {
        let mut bindings = Bindings::default();
        let mut params = Vec::new();
        let list = bindings.instance(&Type::list(Type::Param(0)), &mut params);
        let item = bindings.instance(&Type::Param(0), &mut params);
        assert!(bindings.accepts(&list, &Type::list(Type::Int)));
        assert!(bindings.accepts(&item, &Type::Int));
        assert!(!bindings.accepts(&item, &Type::String));
        assert_eq!(bindings.resolve(&item, true), Type::Int);
    }

    #[test]
    fn types_are_written_as_messages_name_them() {
        let of = Type::map(Type::String, Type::list(Type::optional(Type::Timestamp)));
        assert_eq!(of.to_string(), "map(string, list(optional_type(timestamp)))");
        assert_eq!(Type::Null.to_string(), "null");
        assert_eq!(Type::Timestamp.bare_name(), "google.protobuf.Timestamp");
    }
}
