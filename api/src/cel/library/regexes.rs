//! Patterns: `matches`, `find`, `findAll`.

use super::ty::{self, Bool, Int, String};
use super::{Eval, EvalError, Functions, Value, int, text};
use crate::cel::eval::cells;
use crate::cel::functions::cost;
use crate::cel::meter::Meter;

pub(super) fn declare(functions: &mut Functions) {
    let two = [String, String];
    functions.member("matches", &two, Bool, cost::pattern, matches);
    functions.global("matches", &two, Bool, cost::pattern, matches);
    functions.member("find", &two, String, cost::pattern, |meter, args| {
        let (text, pattern) = (text(args, 0)?, text(args, 1)?);
        let pattern = meter.pattern(pattern).map_err(illegal)?;
        let found = pattern.find(text).map_or("", |found| found.as_str());
        meter.allocate(found.len())?;
        Ok(Value::text(found))
    });
    functions.member("findAll", &two, ty::list(String), cost::pattern, find_all);
    functions.member(
        "findAll",
        &[String, String, Int],
        ty::list(String),
        cost::pattern,
        find_all,
    );
}

fn illegal(error: EvalError) -> EvalError {
    match error {
        EvalError::Failed(why) => EvalError::new(format!("Illegal regex: {why}")),
        EvalError::TooCostly => EvalError::TooCostly,
    }
}

fn matches<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let pattern = meter.pattern(text(args, 1)?)?;
    Ok(Value::Bool(pattern.is_match(text(args, 0)?)))
}

fn find_all<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let pattern = meter.pattern(text(args, 1)?).map_err(illegal)?;
    let most = if args.len() > 2 { int(args, 2)? } else { -1 };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut all = Vec::new();
    for found in pattern.find_iter(text(args, 0)?).take(most) {
        meter.allocate(cells(1) + found.len() + 16)?;
        all.push(Value::text(found.as_str()));
    }
    Ok(Value::list(all))
}
