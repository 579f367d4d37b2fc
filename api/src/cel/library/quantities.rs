//! Quantities: `quantity('1Gi').isGreaterThan(quantity('500Mi'))`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ty::{Bool, Double, Int, QUANTITY, String};
use super::{Eval, EvalError, Functions, Value, no_such_overload, text};
use crate::cel::functions::{Op, cost};
use crate::cel::world::Opaque;
use crate::quantity::{Format, Quantity};

pub(super) fn declare(functions: &mut Functions) {
    functions.global("quantity", &[String], QUANTITY, cost::first, |_, args| {
        parse(text(args, 0)?)
            .map(made)
            .map_err(|error| EvalError::new(error.to_string()))
    });
    functions.global("isQuantity", &[String], Bool, cost::first, |_, args| {
        Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
    });
    functions.global("sign", &[QUANTITY], Int, cost::one, sign);
    functions.member("sign", &[QUANTITY], Int, cost::one, sign);
    functions.member("asApproximateFloat", &[QUANTITY], Double, cost::one, |_, args| {
        Ok(Value::Double(quantity(args, 0)?.as_f64()))
    });
    functions.member("isInteger", &[QUANTITY], Bool, cost::one, |_, args| {
        Ok(Value::Bool(whole(quantity(args, 0)?).is_some()))
    });
    functions.member("asInteger", &[QUANTITY], Int, cost::one, |_, args| {
        whole(quantity(args, 0)?)
            .map(Value::Int)
            .ok_or_else(|| EvalError::new("cannot convert value to integer"))
    });
    let two = [QUANTITY, QUANTITY];
    functions.member("isGreaterThan", &two, Bool, cost::one, |_, args| {
        Ok(Value::Bool(order(args)?.is_gt()))
    });
    functions.member("isLessThan", &two, Bool, cost::one, |_, args| {
        Ok(Value::Bool(order(args)?.is_lt()))
    });
    functions.member("compareTo", &two, Int, cost::one, |_, args| {
        Ok(Value::Int(order(args)? as i64))
    });
    let add: Op = |_, args| Ok(made(quantity(args, 0)?.plus(&other(args)?)));
    let sub: Op = |_, args| Ok(made(quantity(args, 0)?.minus(&other(args)?)));
    for (name, op) in [("add", add), ("sub", sub)] {
        functions.member(name, &two, QUANTITY, cost::one, op);
        functions.member(name, &[QUANTITY, Int], QUANTITY, cost::one, op);
    }
}

fn sign<'v>(_: &crate::cel::meter::Meter, args: &[Value<'v>]) -> Eval<'v> {
    Ok(Value::Int(quantity(args, 0)?.sign() as i64))
}

fn parse(text: &str) -> Result<Quantity, crate::quantity::QuantityError> {
    text.parse()
}

fn made<'v>(quantity: Quantity) -> Value<'v> {
    Value::Opaque(Opaque::Quantity(Arc::new(quantity)))
}

fn quantity<'a>(args: &'a [Value<'_>], index: usize) -> Result<&'a Quantity, EvalError> {
    match args.get(index) {
        Some(Value::Opaque(Opaque::Quantity(quantity))) => Ok(quantity),
        _ => Err(no_such_overload("quantity", args)),
    }
}

/// The second amount, which may be a whole number.
fn other(args: &[Value<'_>]) -> Result<Quantity, EvalError> {
    match args.get(1) {
        Some(Value::Int(number)) => Ok(Quantity::from_whole(*number, Format::DecimalExponent)),
        _ => quantity(args, 1).cloned(),
    }
}

fn order(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    Ok(quantity(args, 0)?.cmp(quantity(args, 1)?))
}

fn whole(quantity: &Quantity) -> Option<i64> {
    let number = quantity.value();
    let exact = quantity.is_multiple_of(0)
        && Quantity::from_whole(number, Format::DecimalSi)
            .cmp(quantity)
            .is_eq();
    exact.then_some(number)
}
