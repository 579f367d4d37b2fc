//! Lists: Kubernetes' own functions and the lists extension.

use std::cmp::Ordering;

use super::ty::{self, A, Bool, Double, Duration, Int, ORDERED, Uint};
use super::{Eval, EvalError, Functions, Value, int, no_such_overload};
use crate::cel::equality::{compare, equal};
use crate::cel::eval::cells;
use crate::cel::functions::{Op, cost};
use crate::cel::macros::SORT;
use crate::cel::meter::Meter;
use crate::cel::value::List;
use crate::sort;

/// A range with more numbers is refused.
const RANGE_MAX: i64 = 1_000_000;

pub(super) fn declare(functions: &mut Functions) {
    for item in ORDERED {
        let list = ty::list(item.clone());
        let one = std::slice::from_ref(&list);
        functions.member("isSorted", one, Bool, cost::whole, is_sorted);
        functions.member("max", one, item.clone(), cost::whole, |_, args| {
            extreme(args, "max", Ordering::Greater)
        });
        functions.member("min", one, item.clone(), cost::whole, |_, args| {
            extreme(args, "min", Ordering::Less)
        });
        let compared = |args: &[Value<'_>], _: &Value<'_>| args.last().map_or(1, cost::self_compare);
        functions.member("sort", one, list.clone(), compared, |meter, args| match args {
            [list] => sorted(meter, list, list),
            _ => Err(no_such_overload("sort", args)),
        });
        functions.member(
            SORT,
            &[ty::list(A), list.clone()],
            ty::list(A),
            compared,
            |meter, args| match args {
                [list, keys] => sorted(meter, list, keys),
                _ => Err(no_such_overload(SORT, args)),
            },
        );
    }
    let sums: [(_, Op); 4] = [
        (Int, |meter, args| sum(meter, args, Value::Int(0))),
        (Uint, |meter, args| sum(meter, args, Value::Uint(0))),
        (Double, |meter, args| sum(meter, args, Value::Double(0.0))),
        (Duration, |meter, args| sum(meter, args, Value::Duration(0))),
    ];
    for (item, op) in sums {
        functions.member("sum", &[ty::list(item.clone())], item, cost::whole, op);
    }
    general(functions);
}

/// Functions of lists of anything.
fn general(functions: &mut Functions) {
    let list = ty::list(A);
    functions.member("indexOf", &[list.clone(), A], Int, cost::whole, |meter, args| {
        index_of(meter, args, false)
    });
    functions.member(
        "lastIndexOf",
        &[list.clone(), A],
        Int,
        cost::whole,
        |meter, args| index_of(meter, args, true),
    );
    functions.member(
        "slice",
        &[list.clone(), Int, Int],
        list.clone(),
        cost::new_list,
        slice,
    );
    functions.member(
        "flatten",
        &[ty::list(list.clone())],
        list.clone(),
        cost::new_list,
        flatten,
    );
    functions.member(
        "flatten",
        &[ty::list(ty::Dyn), Int],
        ty::list(ty::Dyn),
        cost::new_list,
        flatten,
    );
    functions.member(
        "reverse",
        std::slice::from_ref(&list),
        list.clone(),
        cost::new_list,
        reverse,
    );
    let compared = |args: &[Value<'_>], _: &Value<'_>| args.first().map_or(1, cost::self_compare);
    functions.member(
        "distinct",
        std::slice::from_ref(&list),
        list.clone(),
        compared,
        distinct,
    );
    functions.global("lists.range", &[Int], ty::list(Int), cost::new_list, range);
}

fn list<'a, 'v>(args: &'a [Value<'v>], name: &str) -> Result<&'a List<'v>, EvalError> {
    match args.first() {
        Some(Value::List(list)) => Ok(list),
        _ => Err(no_such_overload(name, args)),
    }
}

fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    compare(a, b).ok_or_else(|| EvalError::new("no such overload"))
}

fn is_sorted<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let mut last = None;
    for item in list(args, "isSorted")?.iter() {
        let item = item?;
        if let Some(last) = &last
            && order(last, &item)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        last = Some(item);
    }
    Ok(Value::Bool(true))
}

fn extreme<'v>(args: &[Value<'v>], name: &str, wanted: Ordering) -> Eval<'v> {
    let mut best: Option<Value<'v>> = None;
    for item in list(args, name)?.iter() {
        let item = item?;
        let better = match &best {
            Some(best) => order(&item, best)? == wanted,
            None => true,
        };
        if better {
            best = Some(item);
        }
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn sum<'v>(_: &Meter, args: &[Value<'v>], zero: Value<'v>) -> Eval<'v> {
    let mut total = zero;
    let overflow = || EvalError::new("integer overflow");
    for item in list(args, "sum")?.iter() {
        total = match (total, item?) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(b).ok_or_else(overflow)?),
            (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_add(b).ok_or_else(overflow)?),
            (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
            (Value::Duration(a), Value::Duration(b)) => {
                Value::Duration(a.checked_add(b).ok_or_else(overflow)?)
            }
            _ => return Err(EvalError::new("no such overload")),
        };
    }
    Ok(total)
}

fn index_of<'v>(meter: &Meter, args: &[Value<'v>], last: bool) -> Eval<'v> {
    let (list, Some(wanted)) = (list(args, "indexOf")?, args.get(1)) else {
        return Err(no_such_overload("indexOf", args));
    };
    let mut found = -1;
    for (place, item) in list.iter().enumerate() {
        if equal(meter, &item?, wanted)? {
            found = i64::try_from(place).unwrap_or(i64::MAX);
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

fn slice<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let list = list(args, "slice")?;
    let (start, end) = (int(args, 1)?, int(args, 2)?);
    let refuse = |why: &str| Err(EvalError::new(format!("cannot slice({start}, {end}), {why}")));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return refuse("negative indexes not supported");
    };
    if from > to {
        return refuse("start index must be less than or equal to end index");
    }
    if to > list.len() {
        return refuse(&format!("list is length {}", list.len()));
    }
    meter.allocate(cells(to - from))?;
    let items = (from..to).filter_map(|place| list.get(place).transpose());
    Ok(Value::list(items.collect::<Result<_, _>>()?))
}

fn flatten<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut flat = Vec::new();
    flatten_into(meter, list(args, "flatten")?, depth, &mut flat)?;
    Ok(Value::list(flat))
}

fn flatten_into<'v>(
    meter: &Meter,
    list: &List<'v>,
    depth: i64,
    flat: &mut Vec<Value<'v>>,
) -> Result<(), EvalError> {
    for item in list.iter() {
        match item? {
            Value::List(inner) if depth > 0 => flatten_into(meter, &inner, depth - 1, flat)?,
            item => {
                meter.allocate(cells(1))?;
                flat.push(item);
            }
        }
    }
    Ok(())
}

fn reverse<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let list = list(args, "reverse")?;
    meter.allocate(cells(list.len()))?;
    let mut items = list.iter().collect::<Result<Vec<_>, _>>()?;
    items.reverse();
    Ok(Value::list(items))
}

fn distinct<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let mut unique: Vec<Value<'v>> = Vec::new();
    for item in list(args, "distinct")?.iter() {
        let item = item?;
        let mut known = false;
        for other in &unique {
            if equal(meter, other, &item)? {
                known = true;
                break;
            }
        }
        if !known {
            meter.allocate(cells(1))?;
            unique.push(item);
        }
    }
    Ok(Value::list(unique))
}

fn sorted<'v>(meter: &Meter, list: &Value<'v>, keys: &Value<'v>) -> Eval<'v> {
    let (Value::List(list), Value::List(keys)) = (list, keys) else {
        return Err(EvalError::new("no such overload"));
    };
    if list.len() != keys.len() {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        )));
    }
    meter.allocate(2 * cells(list.len()))?;
    let mut pairs = Vec::with_capacity(list.len());
    for (key, item) in keys.iter().zip(list.iter()) {
        pairs.push((key?, item?));
    }
    if let Some((first, _)) = pairs.first() {
        let ty = first.type_of();
        if compare(first, first).is_none() {
            return Err(EvalError::new("list elements must be comparable"));
        }
        if pairs.iter().any(|(key, _)| key.type_of() != ty) {
            return Err(EvalError::new("list elements must have the same type"));
        }
    }
    // A number that is none stands in no order to others; cel-go leaves it wherever it comes to stand.
    sort::tolerant(&mut pairs, &|(a, _), (b, _)| {
        compare(a, b).unwrap_or(Ordering::Equal)
    });
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn range<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let end = int(args, 0)?.max(0);
    if end > RANGE_MAX {
        return Err(EvalError::TooCostly);
    }
    meter.allocate(cells(usize::try_from(end).unwrap_or(usize::MAX)))?;
    Ok(Value::list((0..end).map(Value::Int).collect()))
}
