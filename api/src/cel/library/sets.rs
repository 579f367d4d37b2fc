//! Lists taken as sets: `sets.contains([1, 2], [2])`.

use super::ty::{self, A, Bool};
use super::{EvalError, Functions, Value, no_such_overload};
use crate::cel::equality::contains;
use crate::cel::functions::cost;
use crate::cel::meter::Meter;
use crate::cel::value::List;

pub(super) fn declare(functions: &mut Functions) {
    let two = [ty::list(A), ty::list(A)];
    functions.global("sets.contains", &two, Bool, cost::product, |meter, args| {
        let (all, some) = lists(args)?;
        Ok(Value::Bool(has_all(meter, all, some)?))
    });
    functions.global("sets.equivalent", &two, Bool, cost::product, |meter, args| {
        let (a, b) = lists(args)?;
        Ok(Value::Bool(has_all(meter, a, b)? && has_all(meter, b, a)?))
    });
    functions.global("sets.intersects", &two, Bool, cost::product, |meter, args| {
        let (a, b) = lists(args)?;
        for item in b.iter() {
            if contains(meter, a, &item?)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    });
}

fn lists<'a, 'v>(args: &'a [Value<'v>]) -> Result<(&'a List<'v>, &'a List<'v>), EvalError> {
    match args {
        [Value::List(a), Value::List(b)] => Ok((a, b)),
        _ => Err(no_such_overload("sets.contains", args)),
    }
}

fn has_all(meter: &Meter, all: &List<'_>, some: &List<'_>) -> Result<bool, EvalError> {
    for item in some.iter() {
        if !contains(meter, all, &item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}
