//! Macros over lists and maps: their types, and the form in which they are evaluated.

use cel::common::ast::{ComprehensionExpr, operators};

use super::check::{Checker, Typed, broken};
use super::macros::INSERT;
use super::node::{Fold, Node, Step};
use super::types::Type;

/// Checks a macro. Its result and its variables take three places after those of the macros around.
pub(super) fn fold(checker: &mut Checker<'_>, fold: &ComprehensionExpr) -> Typed {
    let (range, range_type) = checker.check(&fold.iter_range);
    let pairs = fold.iter_var2.is_some();
    let Some((first, second)) = variables(checker, &range_type, pairs) else {
        let shown = checker.shown_type(&range_type);
        checker.report(
            fold.iter_range.id,
            format!("expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"),
        );
        return broken();
    };
    let (init, accu) = checker.check(&fold.accu_init);
    let (place, known) = (checker.depth, checker.locals.len());
    checker.locals.push((fold.accu_var.clone(), accu.clone(), place));
    checker.locals.push((fold.iter_var.clone(), first, place + 1));
    if let Some(name) = &fold.iter_var2 {
        checker.locals.push((name.clone(), second, place + 2));
    }
    checker.depth = place + 3;
    let (condition, ty) = checker.check(&fold.loop_cond);
    expect(checker, fold.loop_cond.id, &Type::Bool, &ty);
    let (step, ty) = self::step(checker, fold, place);
    expect(checker, fold.loop_step.id, &accu, &ty);
    // The result does not see the variables, only what was made of them.
    checker.locals.truncate(known + 1);
    checker.depth = place + 1;
    let (result, ty) = checker.check(&fold.result);
    checker.locals.truncate(known);
    checker.depth = place;
    let node = Fold {
        range,
        pairs,
        init,
        condition,
        step,
        result,
    };
    (Node::Fold(Box::new(node)), checker.bindings.resolve(&ty, false))
}

/// The types of the variables of a macro over something of this type; none where it cannot be gone through.
fn variables(checker: &Checker<'_>, range: &Type, pairs: bool) -> Option<(Type, Type)> {
    Some(match (checker.bindings.resolve(range, false), pairs) {
        (Type::List(item), false) => ((*item).clone(), Type::Dyn),
        (Type::List(item), true) => (Type::Int, (*item).clone()),
        (Type::Map(key, value), _) => ((*key).clone(), (*value).clone()),
        (Type::Dyn | Type::Error | Type::Var(_), _) => (Type::Dyn, Type::Dyn),
        _ => return None,
    })
}

fn expect(checker: &mut Checker<'_>, id: u64, wanted: &Type, given: &Type) {
    if !checker.bindings.accepts(wanted, given) {
        let (wanted, given) = (checker.shown_type(wanted), checker.shown_type(given));
        checker.report(id, format!("expected type '{wanted}' but found '{given}'"));
    }
}

/// The step. One that only adds to its result is evaluated without looking at the result, so that it need not be copied.
fn step(checker: &mut Checker<'_>, fold: &ComprehensionExpr, place: usize) -> (Step, Type) {
    let (node, ty) = checker.check(&fold.loop_step);
    if !fold.accu_var.starts_with('@') {
        return (Step::Compute(node), ty);
    }
    let step = match node {
        Node::Conditional(guard, then, otherwise) if is_accu(&otherwise, place) => {
            match addition(*then, place) {
                Ok(Addition::Item(item)) => Step::Append {
                    guard: Some(*guard),
                    item,
                },
                Ok(Addition::Entry(key, value)) => Step::Insert {
                    guard: Some(*guard),
                    key,
                    value,
                },
                Err(then) => Step::Compute(Node::Conditional(guard, Box::new(then), otherwise)),
            }
        }
        node => match addition(node, place) {
            Ok(Addition::Item(item)) => Step::Append { guard: None, item },
            Ok(Addition::Entry(key, value)) => Step::Insert {
                guard: None,
                key,
                value,
            },
            Err(node) => Step::Compute(node),
        },
    };
    (step, ty)
}

/// What a step adds to the result, where it does nothing but add.
enum Addition {
    Item(Node),
    Entry(Node, Option<Node>),
}

fn is_accu(node: &Node, place: usize) -> bool {
    matches!(node, Node::Local(local) if *local == place)
}

/// What a node adds to the result in that place; the node again where it does something else.
fn addition(node: Node, place: usize) -> Result<Addition, Node> {
    let Node::Call {
        name,
        overloads,
        mut args,
    } = node
    else {
        return Err(node);
    };
    let from_accu = args.first().is_some_and(|first| is_accu(first, place));
    let one_item = matches!(args.get(1), Some(Node::List(items)) if items.len() == 1 && !items[0].1);
    if from_accu && name == operators::ADD && one_item {
        if let Some(Node::List(mut items)) = args.pop()
            && let Some((item, _)) = items.pop()
        {
            return Ok(Addition::Item(item));
        }
    } else if from_accu && name == INSERT {
        let last = args.pop();
        let first = if args.len() == 2 { args.pop() } else { None };
        match (first, last) {
            (Some(key), value) => return Ok(Addition::Entry(key, value)),
            (None, Some(map)) => return Ok(Addition::Entry(map, None)),
            (None, None) => {}
        }
    }
    Err(Node::Call {
        name,
        overloads,
        args,
    })
}
