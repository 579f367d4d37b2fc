//! All functions that expressions may call: one table for the checker, the evaluator and the cost.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::error::EvalError;
use super::library;
use super::meter::Meter;
use super::types::Type;
use super::value::Value;

/// What a function does.
pub(super) type Op = for<'v> fn(&Meter, &[Value<'v>]) -> Result<Value<'v>, EvalError>;

/// What a call costs, by its arguments and its result.
pub(super) type Cost = fn(&[Value<'_>], &Value<'_>) -> u64;

/// A function for arguments of certain types.
#[derive(Debug)]
pub(super) struct Overload {
    /// Whether it is called as `x.f()`; its first argument is then the receiver.
    pub member: bool,
    /// The types of its arguments.
    pub args: Vec<Type>,
    /// The type of its result.
    pub result: Type,
    /// What it costs.
    pub cost: Cost,
    /// What it does.
    pub op: Op,
}

/// The functions by name.
#[derive(Debug, Default)]
pub(super) struct Functions {
    by_name: HashMap<&'static str, Vec<Overload>>,
}

impl Functions {
    /// Declares `name(args)`.
    pub(super) fn global(&mut self, name: &'static str, args: &[Type], result: Type, cost: Cost, op: Op) {
        self.add(name, false, args, result, cost, op);
    }

    /// Declares `args[0].name(args[1..])`.
    pub(super) fn member(&mut self, name: &'static str, args: &[Type], result: Type, cost: Cost, op: Op) {
        self.add(name, true, args, result, cost, op);
    }

    fn add(&mut self, name: &'static str, member: bool, args: &[Type], result: Type, cost: Cost, op: Op) {
        self.by_name.entry(name).or_default().push(Overload {
            member,
            args: args.to_vec(),
            result,
            cost,
            op,
        });
    }

    /// The overloads of a name; none where nothing is called so.
    pub(super) fn find(&self, name: &str) -> Option<(&'static str, &[Overload])> {
        let (name, overloads) = self.by_name.get_key_value(name)?;
        Some((name, overloads))
    }
}

/// The one table.
pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut functions = Functions::default();
    library::declare(&mut functions);
    functions
});

/// Whether a value may be given where a type is declared; parameters take anything.
pub(super) fn takes(wanted: &Type, value: &Value<'_>) -> bool {
    match (wanted, value) {
        (Type::Dyn | Type::Error | Type::Param(_) | Type::Var(_), _)
        | (Type::Bool, Value::Bool(_))
        | (Type::Int, Value::Int(_))
        | (Type::Uint, Value::Uint(_))
        | (Type::Double, Value::Double(_))
        | (Type::String, Value::String(_))
        | (Type::Bytes, Value::Bytes(_))
        | (Type::Null, Value::Null)
        | (Type::Timestamp, Value::Timestamp(_))
        | (Type::Duration, Value::Duration(_))
        | (Type::Map(..), Value::Map(_))
        | (Type::Optional(_), Value::Optional(_))
        | (Type::Type(_), Value::Type(_))
        | (Type::Object(_), Value::Object(_)) => true,
        // By its first item a list of numbers is told from one of text.
        (Type::List(item), Value::List(list)) => match list.get(0) {
            Ok(Some(first)) => takes(item, &first),
            _ => true,
        },
        (Type::Opaque(name), Value::Opaque(opaque)) => opaque.type_name() == *name,
        _ => false,
    }
}

/// That no overload takes these arguments.
pub(super) fn no_such_overload(name: &str, args: &[Value<'_>]) -> EvalError {
    let types: Vec<String> = args
        .iter()
        .map(|arg| arg.type_of().bare_name().to_owned())
        .collect();
    EvalError::new(format!("no such overload: {name}({})", types.join(", ")))
}

/// What calls cost.
pub(super) mod cost {
    use super::Value;

    /// What it costs to look at each character of a text.
    const TRAVERSAL: f64 = 0.1;
    const PATTERN: f64 = 0.25;

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "as upstream computes it"
    )]
    fn scaled(size: u64, factor: f64) -> u64 {
        (size as f64 * factor).ceil() as u64
    }

    fn size(args: &[Value<'_>], index: usize) -> u64 {
        args.get(index).map_or(1, Value::size)
    }

    /// Most calls.
    pub(in super::super) fn one(_: &[Value<'_>], _: &Value<'_>) -> u64 {
        1
    }

    /// One look at the first argument.
    pub(in super::super) fn first(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        scaled(size(args, 0), TRAVERSAL)
    }

    /// A look at the first argument and a result of about its size.
    pub(in super::super) fn first_twice(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        scaled(size(args, 0), 2.0 * TRAVERSAL)
    }

    /// A result that is put together.
    pub(in super::super) fn result_twice(_: &[Value<'_>], result: &Value<'_>) -> u64 {
        scaled(result.size(), 2.0 * TRAVERSAL)
    }

    /// Both arguments copied.
    pub(in super::super) fn both(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        scaled(size(args, 0).saturating_add(size(args, 1)), TRAVERSAL)
    }

    /// As far as the shorter goes.
    pub(in super::super) fn shorter(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        scaled(size(args, 0).min(size(args, 1)), TRAVERSAL)
    }

    /// A text searched for another.
    pub(in super::super) fn search(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        scaled(size(args, 0), TRAVERSAL).saturating_mul(scaled(size(args, 1), TRAVERSAL))
    }

    /// A text held against a pattern.
    pub(in super::super) fn pattern(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        scaled(size(args, 0) + 1, TRAVERSAL).saturating_mul(scaled(size(args, 1), PATTERN))
    }

    /// A text held against a pattern of a known length.
    pub(in super::super) fn known_pattern(text: u64, length: u64) -> u64 {
        scaled(text + 1, TRAVERSAL).saturating_mul(scaled(length, PATTERN))
    }

    /// Every item of a list.
    pub(in super::super) fn items(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        size(args, 1)
    }

    /// All that the first argument holds.
    pub(in super::super) fn whole(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        args.first().map_or(1, tree)
    }

    fn tree(value: &Value<'_>) -> u64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "as upstream computes it"
        )]
        let floor = |length: usize| (length as f64 * TRAVERSAL) as u64;
        match value {
            Value::String(text) => floor(text.len()),
            Value::Bytes(bytes) => floor(bytes.len()),
            Value::List(list) => list.iter().map(|item| item.map_or(1, |item| tree(&item))).sum(),
            Value::Map(map) => map.entries().map_or(1, |entries| {
                entries
                    .iter()
                    .map(|(key, value)| tree(&key.value()) + tree(value))
                    .sum()
            }),
            _ => 1,
        }
    }

    /// A new list as long as the result.
    pub(in super::super) fn new_list(_: &[Value<'_>], result: &Value<'_>) -> u64 {
        result.size().saturating_add(11)
    }

    /// A list whose items are held against one another.
    pub(in super::super) fn self_compare(list: &Value<'_>) -> u64 {
        let size = list.size();
        let texts = match list {
            Value::List(list) => matches!(list.get(0), Ok(Some(Value::String(_) | Value::Bytes(_)))),
            _ => false,
        };
        let factor = if texts { 2.0 + TRAVERSAL } else { 2.0 };
        scaled(size.saturating_mul(size), factor).saturating_add(11)
    }

    /// The items of both lists held against one another.
    pub(in super::super) fn product(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        size(args, 0).saturating_mul(size(args, 1)).saturating_add(1)
    }

    /// An authorizer asked.
    pub(in super::super) fn check(_: &[Value<'_>], _: &Value<'_>) -> u64 {
        350_000
    }

    /// A selector read.
    pub(in super::super) fn selector(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        let length = size(args, 1);
        10 + scaled(length, TRAVERSAL) + scaled(scaled(length, 0.5), 50.0)
    }

    /// A block of addresses held against an address.
    pub(in super::super) fn block(args: &[Value<'_>], _: &Value<'_>) -> u64 {
        let own = scaled(size(args, 0) * 2, TRAVERSAL);
        match args.get(1) {
            Some(Value::String(_)) => own + scaled(size(args, 1), TRAVERSAL),
            _ => own,
        }
    }

    /// A block of addresses held against a block.
    pub(in super::super) fn blocks(args: &[Value<'_>], result: &Value<'_>) -> u64 {
        block(args, result) + scaled(size(args, 0), TRAVERSAL) + 1
    }
}
