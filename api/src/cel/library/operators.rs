//! Arithmetic, comparisons, `in` and `size`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ty::{self, A, B, Bool, Bytes, Double, Duration, Int, ORDERED, String, Timestamp, Uint};
use super::{Eval, EvalError, Functions, Type, Value, no_such_overload};
use crate::cel::equality::{self, compare, contains};
use crate::cel::eval::cells;
use crate::cel::functions::{Op, cost};
use crate::cel::macros::INSERT;
use crate::cel::meter::Meter;
use crate::cel::moment::Moment;
use crate::cel::value::{Key, List};

pub(super) fn declare(functions: &mut Functions) {
    for (name, op) in [("_-_", subtract as Op), ("_*_", multiply), ("_/_", divide)] {
        for number in [Int, Uint, Double] {
            functions.global(name, &[number.clone(), number.clone()], number, cost::one, op);
        }
    }
    for number in [Int, Uint] {
        functions.global(
            "_%_",
            &[number.clone(), number.clone()],
            number,
            cost::one,
            remainder,
        );
    }
    for number in [Int, Double] {
        functions.global(
            "-_",
            std::slice::from_ref(&number),
            number.clone(),
            cost::one,
            negate,
        );
    }
    for number in [Int, Uint, Double, Duration] {
        functions.global("_+_", &[number.clone(), number.clone()], number, cost::one, add);
    }
    for text in [String, Bytes] {
        functions.global("_+_", &[text.clone(), text.clone()], text, cost::both, add);
    }
    let lists = ty::list(A);
    functions.global(
        "_+_",
        &[lists.clone(), lists.clone()],
        lists.clone(),
        cost::one,
        add,
    );
    functions.global("_+_", &[Timestamp, Duration], Timestamp, cost::one, add);
    functions.global("_+_", &[Duration, Timestamp], Timestamp, cost::one, add);
    functions.global("_-_", &[Timestamp, Timestamp], Duration, cost::one, subtract);
    functions.global("_-_", &[Timestamp, Duration], Timestamp, cost::one, subtract);
    functions.global("_-_", &[Duration, Duration], Duration, cost::one, subtract);
    comparisons(functions);
    functions.global("!_", &[Bool], Bool, cost::one, not);
    let map = Type::map(A, B);
    functions.global("@in", &[A, lists], Bool, cost::items, is_in);
    functions.global("@in", &[A, map.clone()], Bool, cost::one, is_in);
    for sized in [String, Bytes, ty::list(A), map.clone()] {
        functions.global("size", std::slice::from_ref(&sized), Int, cost::one, size);
        functions.member("size", &[sized], Int, cost::one, size);
    }
    functions.global(INSERT, &[map.clone(), A, B], map.clone(), cost::one, insert);
    functions.global(INSERT, &[map.clone(), map.clone()], map, cost::one, insert);
}

fn comparisons(functions: &mut Functions) {
    let numbers = [Int, Uint, Double];
    for (name, op) in [
        ("_<_", less as Op),
        ("_<=_", less_or_equal),
        ("_>_", greater),
        ("_>=_", greater_or_equal),
    ] {
        for ordered in ORDERED {
            let cost = if matches!(ordered, String | Bytes) {
                cost::shorter
            } else {
                cost::one
            };
            functions.global(name, &[ordered.clone(), ordered], Bool, cost, op);
        }
        for a in &numbers {
            for b in numbers.iter().filter(|b| *b != a) {
                functions.global(name, &[a.clone(), b.clone()], Bool, cost::one, op);
            }
        }
    }
}

fn overflow(kind: &str) -> EvalError {
    EvalError::new(format!("{kind} overflow"))
}

/// A moment so much later.
fn shifted<'v>(at: Moment, nanos: i128) -> Eval<'v> {
    Moment::of_nanos(at.nanos() + nanos)
        .map(Value::Timestamp)
        .ok_or_else(|| overflow("timestamp"))
}

fn add<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [Value::Int(a), Value::Int(b)] => a
            .checked_add(*b)
            .map(Value::Int)
            .ok_or_else(|| overflow("integer")),
        [Value::Uint(a), Value::Uint(b)] => a
            .checked_add(*b)
            .map(Value::Uint)
            .ok_or_else(|| overflow("unsigned integer")),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a + b)),
        [Value::Duration(a), Value::Duration(b)] => a
            .checked_add(*b)
            .map(Value::Duration)
            .ok_or_else(|| overflow("duration")),
        [Value::Timestamp(at), Value::Duration(nanos)] | [Value::Duration(nanos), Value::Timestamp(at)] => {
            shifted(*at, i128::from(*nanos))
        }
        [Value::String(a), Value::String(b)] => {
            meter.allocate(a.len() + b.len())?;
            Ok(Value::text([&**a, &**b].concat()))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            meter.allocate(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        [Value::List(a), Value::List(b)] => joined(meter, a, b),
        _ => Err(no_such_overload("_+_", args)),
    }
}

/// Two lists one after the other; of a set what is new in the other, and of a list of type map with what the other has instead.
fn joined<'v>(meter: &Meter, a: &List<'v>, b: &List<'v>) -> Eval<'v> {
    meter.allocate(cells(a.len() + b.len()))?;
    let mut items = a.iter().collect::<Result<Vec<_>, _>>()?;
    let (list_type, keys) = equality::list_type(a);
    for item in b.iter() {
        let item = item?;
        match list_type {
            "set" if contains(meter, a, &item)? => continue,
            "map" => {
                let mut place = None;
                for (index, known) in items.iter().enumerate() {
                    if equality::same_key(meter, known, &item, &keys)? {
                        place = Some(index);
                        break;
                    }
                }
                match place {
                    Some(index) => items[index] = item,
                    None => items.push(item),
                }
                continue;
            }
            _ => {}
        }
        items.push(item);
    }
    Ok(Value::List(List::Shared(Arc::new(items))))
}

fn subtract<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [Value::Int(a), Value::Int(b)] => a
            .checked_sub(*b)
            .map(Value::Int)
            .ok_or_else(|| overflow("integer")),
        [Value::Uint(a), Value::Uint(b)] => a
            .checked_sub(*b)
            .map(Value::Uint)
            .ok_or_else(|| overflow("unsigned integer")),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a - b)),
        [Value::Duration(a), Value::Duration(b)] => a
            .checked_sub(*b)
            .map(Value::Duration)
            .ok_or_else(|| overflow("duration")),
        [Value::Timestamp(at), Value::Duration(nanos)] => shifted(*at, -i128::from(*nanos)),
        [Value::Timestamp(a), Value::Timestamp(b)] => i64::try_from(a.nanos() - b.nanos())
            .map(Value::Duration)
            .map_err(|_| overflow("duration")),
        _ => Err(no_such_overload("_-_", args)),
    }
}

fn multiply<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [Value::Int(a), Value::Int(b)] => a
            .checked_mul(*b)
            .map(Value::Int)
            .ok_or_else(|| overflow("integer")),
        [Value::Uint(a), Value::Uint(b)] => a
            .checked_mul(*b)
            .map(Value::Uint)
            .ok_or_else(|| overflow("unsigned integer")),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a * b)),
        _ => Err(no_such_overload("_*_", args)),
    }
}

fn divide<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let zero = || EvalError::new("division by zero");
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(zero()),
        [Value::Int(a), Value::Int(b)] => a
            .checked_div(*b)
            .map(Value::Int)
            .ok_or_else(|| overflow("integer")),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a / b)),
        [Value::Double(a), Value::Double(b)] => Ok(Value::Double(a / b)),
        _ => Err(no_such_overload("_/_", args)),
    }
}

fn remainder<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let zero = || EvalError::new("modulus by zero");
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => Err(zero()),
        [Value::Int(a), Value::Int(b)] => a
            .checked_rem(*b)
            .map(Value::Int)
            .ok_or_else(|| overflow("integer")),
        [Value::Uint(a), Value::Uint(b)] => Ok(Value::Uint(a % b)),
        _ => Err(no_such_overload("_%_", args)),
    }
}

fn negate<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [Value::Int(a)] => a.checked_neg().map(Value::Int).ok_or_else(|| overflow("integer")),
        [Value::Double(a)] => Ok(Value::Double(-a)),
        _ => Err(no_such_overload("-_", args)),
    }
}

fn not<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [Value::Bool(truth)] => Ok(Value::Bool(!truth)),
        _ => Err(no_such_overload("!_", args)),
    }
}

fn ordered<'v>(name: &str, args: &[Value<'v>], holds: impl Fn(Ordering) -> bool) -> Eval<'v> {
    let [a, b] = args else {
        return Err(no_such_overload(name, args));
    };
    let not_a_number = |value: &Value<'_>| matches!(value, Value::Double(number) if number.is_nan());
    if not_a_number(a) || not_a_number(b) {
        return Ok(Value::Bool(false));
    }
    compare(a, b)
        .map(|order| Value::Bool(holds(order)))
        .ok_or_else(|| no_such_overload(name, args))
}

fn less<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    ordered("_<_", args, Ordering::is_lt)
}

fn less_or_equal<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    ordered("_<=_", args, Ordering::is_le)
}

fn greater<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    ordered("_>_", args, Ordering::is_gt)
}

fn greater_or_equal<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    ordered("_>=_", args, Ordering::is_ge)
}

fn is_in<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [item, Value::List(list)] => contains(meter, list, item).map(Value::Bool),
        [key, Value::Map(map)] => Ok(Value::Bool(map.get(key)?.is_some())),
        _ => Err(no_such_overload("@in", args)),
    }
}

fn size<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [sized @ (Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_))] => {
            Ok(Value::Int(i64::try_from(sized.size()).unwrap_or(i64::MAX)))
        }
        _ => Err(no_such_overload("size", args)),
    }
}

/// What the macros of maps do where they cannot do it in place.
fn insert<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let Some(Value::Map(map)) = args.first() else {
        return Err(no_such_overload(INSERT, args));
    };
    let added = match args {
        [_, Value::Map(other)] => other.entries()?,
        [_, key, value] => {
            let key = Key::of(key).ok_or_else(|| no_such_overload(INSERT, args))?;
            vec![(key, value.clone())]
        }
        _ => return Err(no_such_overload(INSERT, args)),
    };
    meter.allocate(2 * cells(map.len() + added.len()))?;
    let mut entries: std::collections::BTreeMap<_, _> = map.entries()?.into_iter().collect();
    for (key, value) in added {
        if entries.insert(key.clone(), value).is_some() {
            let key = super::strings::shown(&key.value());
            return Err(EvalError::new(format!("insert failed: key {key} already exists")));
        }
    }
    Ok(Value::map(entries))
}
