//! Macros beyond those that the parser has: those with two variables, `sortBy` and `cel.bind`.

use cel::ParseError;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators,
};
use cel::parser::{Macro, MacroExprHelper};

/// The name of the result inside of a macro, which no expression can write.
pub(super) const RESULT: &str = "@result";
/// Puts an entry, or all entries of a map, into a map.
pub(super) const INSERT: &str = "cel.@mapInsert";
/// Sorts a list by a list of keys.
pub(super) const SORT: &str = "@sortByAssociatedKeys";
const SORT_INPUT: &str = "@__sortBy_input__";

type Expansion = Result<Option<IdedExpr>, ParseError>;
type Args<'a> = &'a mut Vec<IdedExpr>;

/// All of them.
pub(super) fn all() -> Vec<Macro> {
    let mut all = vec![
        Macro::receiver("sortBy", 2, |make, target, args| {
            sort_by(make, target.take(), args)
        }),
        Macro::receiver("bind", 3, bind),
    ];
    for name in ["all", "exists", "existsOne", "exists_one"] {
        all.push(Macro::receiver(name, 3, move |make, target, args| {
            quantifier(make, name, target.take(), args)
        }));
    }
    for name in ["transformList", "transformMap", "transformMapEntry"] {
        for count in [3, 4] {
            all.push(Macro::receiver(name, count, move |make, target, args| {
                transform(make, name, target.take(), args)
            }));
        }
    }
    all
}

fn ident(make: &mut MacroExprHelper<'_>, name: &str) -> IdedExpr {
    make.next_expr(Expr::Ident(name.to_owned()))
}

fn boolean(make: &mut MacroExprHelper<'_>, truth: bool) -> IdedExpr {
    make.next_expr(Expr::Literal(LiteralValue::Boolean(truth.into())))
}

fn int(make: &mut MacroExprHelper<'_>, number: i64) -> IdedExpr {
    make.next_expr(Expr::Literal(LiteralValue::Int(number.into())))
}

fn list(make: &mut MacroExprHelper<'_>, items: Vec<IdedExpr>) -> IdedExpr {
    make.next_expr(Expr::List(ListExpr::new(items)))
}

fn call(make: &mut MacroExprHelper<'_>, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    make.next_expr(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    }))
}

fn method(make: &mut MacroExprHelper<'_>, target: IdedExpr, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    make.next_expr(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: Some(Box::new(target)),
        args,
    }))
}

/// The arguments, of which the parser has made sure that there are so many.
fn parts<const N: usize>(args: Args<'_>) -> [IdedExpr; N] {
    let mut args = std::mem::take(args).into_iter();
    std::array::from_fn(|_| args.next().unwrap_or_default())
}

/// The name that an argument is.
fn variable(make: &MacroExprHelper<'_>, arg: &IdedExpr) -> Result<String, ParseError> {
    match &arg.expr {
        Expr::Ident(name) if !name.starts_with(['.', '@']) => Ok(name.clone()),
        _ => Err(make.new_error(arg.id, "argument must be a simple name")),
    }
}

/// `name` stands for `value` in `body`.
fn let_in(make: &mut MacroExprHelper<'_>, name: &str, value: IdedExpr, body: IdedExpr) -> IdedExpr {
    let iter_range = list(make, Vec::new());
    let loop_cond = boolean(make, false);
    let loop_step = ident(make, name);
    make.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range,
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        accu_init: value,
        loop_cond,
        loop_step,
        result: body,
    })))
}

/// `cel.bind(name, value, body)`.
fn bind(make: &mut MacroExprHelper<'_>, target: &mut Option<IdedExpr>, args: Args<'_>) -> Expansion {
    if !matches!(target.as_ref().map(|target| &target.expr), Some(Expr::Ident(name)) if name == "cel") {
        return Ok(None);
    }
    let [name, value, body] = parts(args);
    let name = variable(make, &name)?;
    Ok(Some(let_in(make, &name, value, body)))
}

/// `x.sortBy(name, key)`.
fn sort_by(make: &mut MacroExprHelper<'_>, target: Option<IdedExpr>, args: Args<'_>) -> Expansion {
    let (Some(target), [name, key]) = (target, parts(args)) else {
        return Ok(None);
    };
    let fits = matches!(
        target.expr,
        Expr::List(_) | Expr::Select(_) | Expr::Ident(_) | Expr::Comprehension(_) | Expr::Call(_)
    );
    if !fits {
        let rule =
            "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err(make.new_error(target.id, rule));
    }
    let name = variable(make, &name)?;
    let input = ident(make, SORT_INPUT);
    let item = list(make, vec![key]);
    let (result, accu) = (ident(make, RESULT), ident(make, RESULT));
    let step = call(make, operators::ADD, vec![accu, item]);
    let (init, always) = (list(make, Vec::new()), boolean(make, true));
    let keys = make.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: input,
        iter_var: name,
        iter_var2: None,
        accu_var: RESULT.to_owned(),
        accu_init: init,
        loop_cond: always,
        loop_step: step,
        result,
    })));
    let input = ident(make, SORT_INPUT);
    let sorted = method(make, input, SORT, vec![keys]);
    Ok(Some(let_in(make, SORT_INPUT, target, sorted)))
}

fn two_variables(
    make: &MacroExprHelper<'_>,
    first: &IdedExpr,
    second: &IdedExpr,
) -> Result<(String, String), ParseError> {
    let (a, b) = (variable(make, first)?, variable(make, second)?);
    if a == b {
        return Err(make.new_error(second.id, format!("duplicate variable name: {a}")));
    }
    Ok((a, b))
}

/// `x.all(k, v, body)` and its kin.
fn quantifier(
    make: &mut MacroExprHelper<'_>,
    name: &str,
    target: Option<IdedExpr>,
    args: Args<'_>,
) -> Expansion {
    let (Some(target), [first, second, body]) = (target, parts(args)) else {
        return Ok(None);
    };
    let (iter_var, second) = two_variables(make, &first, &second)?;
    let accu = ident(make, RESULT);
    let end = ident(make, RESULT);
    let (accu_init, loop_cond, loop_step, result) = match name {
        "all" => {
            let go_on = call(make, operators::NOT_STRICTLY_FALSE, vec![accu]);
            let accu = ident(make, RESULT);
            let step = call(make, operators::LOGICAL_AND, vec![accu, body]);
            (boolean(make, true), go_on, step, end)
        }
        "exists" => {
            let not = call(make, operators::LOGICAL_NOT, vec![accu]);
            let go_on = call(make, operators::NOT_STRICTLY_FALSE, vec![not]);
            let accu = ident(make, RESULT);
            let step = call(make, operators::LOGICAL_OR, vec![accu, body]);
            (boolean(make, false), go_on, step, end)
        }
        _ => {
            let one = int(make, 1);
            let more = call(make, operators::ADD, vec![accu, one]);
            let same = ident(make, RESULT);
            let step = call(make, operators::CONDITIONAL, vec![body, more, same]);
            let one = int(make, 1);
            let is_one = call(make, operators::EQUALS, vec![end, one]);
            (int(make, 0), boolean(make, true), step, is_one)
        }
    };
    Ok(Some(make.next_expr(Expr::Comprehension(Box::new(
        ComprehensionExpr {
            iter_range: target,
            iter_var,
            iter_var2: Some(second),
            accu_var: RESULT.to_owned(),
            accu_init,
            loop_cond,
            loop_step,
            result,
        },
    )))))
}

/// `x.transformList(k, v, filter, body)` and its kin.
fn transform(
    make: &mut MacroExprHelper<'_>,
    name: &str,
    target: Option<IdedExpr>,
    args: Args<'_>,
) -> Expansion {
    let mut args = std::mem::take(args);
    let (Some(target), Some(body)) = (target, args.pop()) else {
        return Ok(None);
    };
    let filter = if args.len() > 2 { args.pop() } else { None };
    let [first, second] = parts(&mut args);
    let (iter_var, second) = two_variables(make, &first, &second)?;
    let accu = ident(make, RESULT);
    let mut loop_step = match name {
        "transformList" => {
            let item = list(make, vec![body]);
            call(make, operators::ADD, vec![accu, item])
        }
        "transformMap" => {
            let key = ident(make, &iter_var);
            call(make, INSERT, vec![accu, key, body])
        }
        _ => call(make, INSERT, vec![accu, body]),
    };
    if let Some(filter) = filter {
        let same = ident(make, RESULT);
        loop_step = call(make, operators::CONDITIONAL, vec![filter, loop_step, same]);
    }
    let accu_init = if name == "transformList" {
        list(make, Vec::new())
    } else {
        make.next_expr(Expr::Map(MapExpr::default()))
    };
    let (loop_cond, result) = (boolean(make, true), ident(make, RESULT));
    Ok(Some(make.next_expr(Expr::Comprehension(Box::new(
        ComprehensionExpr {
            iter_range: target,
            iter_var,
            iter_var2: Some(second),
            accu_var: RESULT.to_owned(),
            accu_init,
            loop_cond,
            loop_step,
            result,
        },
    )))))
}
