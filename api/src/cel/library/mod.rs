//! The functions that expressions may call, a file for each library.

mod addresses;
mod authorizer;
mod conversions;
pub(super) mod format;
pub(super) mod formats;
mod lists;
mod operators;
mod optionals;
mod patches;
mod quantities;
mod regexes;
pub(super) mod semver;
mod sets;
pub(super) mod strings;
pub(crate) mod time;
pub(crate) mod urls;

use super::error::EvalError;
use super::functions::{Functions, no_such_overload};
use super::moment::Moment;
use super::node::Node;
use super::types::Type;
use super::value::Value;
use crate::cel::world;

/// Declares all of them.
pub(super) fn declare(functions: &mut Functions) {
    operators::declare(functions);
    conversions::declare(functions);
    time::declare(functions);
    strings::declare(functions);
    lists::declare(functions);
    sets::declare(functions);
    optionals::declare(functions);
    regexes::declare(functions);
    urls::declare(functions);
    addresses::declare(functions);
    quantities::declare(functions);
    semver::declare(functions);
    formats::declare(functions);
    authorizer::declare(functions);
    patches::declare(functions);
}

/// Types that declarations are written with.
mod ty {
    pub(super) use super::Type;
    pub(super) use super::Type::{Bool, Bytes, Double, Duration, Dyn, Int, String, Timestamp, Uint};
    use super::world;

    pub(super) const A: Type = Type::Param(0);
    pub(super) const B: Type = Type::Param(1);
    pub(super) const IP: Type = Type::Opaque(world::IP);
    pub(super) const CIDR: Type = Type::Opaque(world::CIDR);
    pub(super) const URL: Type = Type::Opaque(world::URL);
    pub(super) const QUANTITY: Type = Type::Opaque(world::QUANTITY);
    pub(super) const SEMVER: Type = Type::Opaque(world::SEMVER);
    pub(super) const FORMAT: Type = Type::Opaque(world::FORMAT);
    pub(super) const AUTHORIZER: Type = Type::Opaque(world::AUTHORIZER);
    pub(super) const PATH_CHECK: Type = Type::Opaque(world::PATH_CHECK);
    pub(super) const GROUP_CHECK: Type = Type::Opaque(world::GROUP_CHECK);
    pub(super) const RESOURCE_CHECK: Type = Type::Opaque(world::RESOURCE_CHECK);
    pub(super) const DECISION: Type = Type::Opaque(world::DECISION);

    pub(super) fn list(item: Type) -> Type {
        Type::list(item)
    }

    /// The types whose values have an order.
    pub(super) const ORDERED: [Type; 8] = [Int, Uint, Double, Bool, Duration, Timestamp, String, Bytes];
}

type Eval<'v> = Result<Value<'v>, EvalError>;

/// The text that an argument is.
fn text<'a>(args: &'a [Value<'_>], index: usize) -> Result<&'a str, EvalError> {
    args.get(index)
        .and_then(Value::as_str)
        .ok_or_else(|| no_such_overload("string", args))
}

/// The number that an argument is.
fn int(args: &[Value<'_>], index: usize) -> Result<i64, EvalError> {
    match args.get(index) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(no_such_overload("int", args)),
    }
}

/// What is wrong with a literal argument.
pub(super) struct LiteralFault {
    /// Which argument, the receiver not counted.
    pub arg: usize,
    /// What is wrong.
    pub message: String,
}

/// Patterns, moments and lengths of time that are written out are read when an expression is compiled.
pub(super) fn literal_fault(name: &str, args: &[Node]) -> Option<LiteralFault> {
    let literal = |index: usize| match args.get(index) {
        Some(Node::Literal(value)) => value.as_str(),
        _ => None,
    };
    let fault = |arg: usize, message: String| Some(LiteralFault { arg, message });
    match name {
        "matches" => {
            let error = super::meter::compile(literal(1)?).err()?;
            fault(args.len() - 2, format!("invalid matches argument: {error}"))
        }
        "duration" if time::duration(literal(0)?).is_none() => {
            fault(0, "invalid duration argument".to_owned())
        }
        "timestamp" if Moment::parse(literal(0)?).is_none() => {
            fault(0, "invalid timestamp argument".to_owned())
        }
        _ => None,
    }
}
