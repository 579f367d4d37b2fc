//! Values that may be absent: `optional.of(x)`, `object.?spec.orValue({})`.
//!
//! `or` and `orValue` look at their argument only when there is no value: the checker makes nodes of their own of them.

use super::ty::{A, Bool};
use super::{Eval, EvalError, Functions, Type, Value, no_such_overload};
use crate::cel::functions::cost;
use crate::cel::meter::Meter;

pub(super) fn declare(functions: &mut Functions) {
    let optional = Type::optional(A);
    let one = std::slice::from_ref(&optional);
    functions.global("optional.none", &[], optional.clone(), cost::one, |_, _| {
        Ok(Value::Optional(None))
    });
    functions.global("optional.of", &[A], optional.clone(), cost::one, |_, args| {
        first(args).map(Value::some)
    });
    functions.global(
        "optional.ofNonZeroValue",
        &[A],
        optional.clone(),
        cost::one,
        |_, args| {
            let value = first(args)?;
            Ok(if is_zero(&value) {
                Value::Optional(None)
            } else {
                Value::some(value)
            })
        },
    );
    functions.member("hasValue", one, Bool, cost::one, |_, args| match args {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => Err(no_such_overload("hasValue", args)),
    });
    functions.member("value", one, A, cost::one, |_, args| match args {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => Err(EvalError::new("optional.none() dereference")),
        _ => Err(no_such_overload("value", args)),
    });
    functions.member(
        "or",
        &[optional.clone(), optional.clone()],
        optional.clone(),
        cost::one,
        or,
    );
    functions.member("orValue", &[optional.clone(), A], A, cost::one, or);
    let list = Type::list(optional);
    functions.global(
        "optional.unwrap",
        std::slice::from_ref(&list),
        Type::list(A),
        cost::one,
        unwrap,
    );
    functions.member("unwrapOpt", &[list], Type::list(A), cost::one, unwrap);
}

fn first<'v>(args: &[Value<'v>]) -> Eval<'v> {
    args.first()
        .cloned()
        .ok_or_else(|| no_such_overload("optional.of", args))
}

fn or<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    Err(no_such_overload("or", args))
}

fn unwrap<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let [Value::List(list)] = args else {
        return Err(no_such_overload("optional.unwrap", args));
    };
    meter.allocate(crate::cel::eval::cells(list.len()))?;
    let mut items = Vec::new();
    for item in list.iter() {
        match item? {
            Value::Optional(value) => items.extend(value.map(|value| (*value).clone())),
            other => return Err(no_such_overload("optional.unwrap", &[other])),
        }
    }
    Ok(Value::list(items))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(nanos) => *nanos == 0,
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Object(object) => object.fields.is_empty(),
        Value::Timestamp(at) => at.is_first(),
        Value::Type(_) | Value::Opaque(_) | Value::Optional(Some(_)) => false,
    }
}
