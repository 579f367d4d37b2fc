//! Evaluation.
//!
//! It ends: every step is charged to a [`Meter`], and nothing that an expression makes is copied when it is passed on. Errors
//! are values to `&&`, `||` and macros, as CEL has it; running out of budget is not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::equality::equal;
use super::error::EvalError;
use super::functions::{Overload, no_such_overload, takes};
use super::meter::Meter;
use super::node::{Fold, Node, Step};
use super::program::{Activation, Program};
use super::value::{Key, List, Map, Object, Value};

type Result<'v> = std::result::Result<Value<'v>, EvalError>;

/// What values of this many cells take.
pub(super) fn cells(count: usize) -> usize {
    count * size_of::<Value<'_>>()
}

/// The variables of a policy: computed when they are first looked at, and once.
#[derive(Debug)]
pub(super) struct Memo<'v> {
    values: RefCell<Vec<Option<Result<'v>>>>,
    cost: std::cell::Cell<u64>,
}

impl<'v> Memo<'v> {
    /// Nothing computed yet.
    pub(super) fn new(count: usize) -> Self {
        Self {
            values: RefCell::new(vec![None; count]),
            cost: std::cell::Cell::new(0),
        }
    }

    /// What computing them has cost since this was last asked.
    pub(super) fn take_cost(&self) -> u64 {
        self.cost.take()
    }

    fn get(&self, index: usize, activation: &Activation<'v>) -> Result<'v> {
        if let Some(Some(known)) = self.values.borrow().get(index) {
            return known.clone();
        }
        let Some(variable) = activation.composed.get(index) else {
            return Err(EvalError::new("no such variable"));
        };
        let name = &variable.name;
        let value = match &variable.program {
            Err(error) => Err(EvalError::new(format!(
                "composited variable {name:?} fails to compile: {error}"
            ))),
            Ok(program) => {
                let (value, cost) = run(program, activation, super::meter::PER_CALL_LIMIT);
                self.cost.set(self.cost.get().saturating_add(cost));
                value.map_err(|error| {
                    EvalError::new(format!("composited variable {name:?} fails to evaluate: {error}"))
                })
            }
        };
        if let Some(place) = self.values.borrow_mut().get_mut(index) {
            *place = Some(value.clone());
        }
        value
    }
}

/// The value of a program, and what it cost.
pub(super) fn run<'v>(program: &Program, activation: &Activation<'v>, limit: u64) -> (Result<'v>, u64) {
    let meter = Meter::new(limit);
    let mut scope = Scope {
        activation,
        meter: &meter,
        locals: Vec::new(),
    };
    let value = scope.eval(&program.root);
    (value, meter.cost())
}

struct Scope<'e, 'v> {
    activation: &'e Activation<'v>,
    meter: &'e Meter,
    /// Variables of the macros around, innermost last; the result of one may be an error.
    locals: Vec<Result<'v>>,
}

impl<'v> Scope<'_, 'v> {
    fn eval(&mut self, node: &Node) -> Result<'v> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Variable(_) | Node::Composed(_) | Node::Local(_) => self.name(node),
            Node::Select {
                operand,
                field,
                test,
                optional,
            } => {
                let operand = self.eval(operand)?;
                self.meter.charge(u64::from(!test))?;
                select(&operand, field, *test, *optional)
            }
            Node::Index {
                operand,
                key,
                optional,
            } => {
                let operand = self.eval(operand)?;
                let key = self.eval(key)?;
                self.meter.charge(1)?;
                index(&operand, &key, *optional)
            }
            Node::And(a, b) => self.logic(a, b, false),
            Node::Or(a, b) => self.logic(a, b, true),
            Node::Equal(a, b, wanted) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                self.meter.charge(super::equality::cost(&a, &b))?;
                Ok(Value::Bool(equal(self.meter, &a, &b)? == *wanted))
            }
            Node::Conditional(condition, then, otherwise) => match self.eval(condition)? {
                Value::Bool(true) => self.eval(then),
                Value::Bool(false) => self.eval(otherwise),
                _ => Err(EvalError::new("no such overload")),
            },
            Node::NotStrictlyFalse(operand) => {
                let value = self.eval(operand);
                self.meter.charge(1)?;
                match value {
                    Err(EvalError::TooCostly) => Err(EvalError::TooCostly),
                    Ok(Value::Bool(false)) => Ok(Value::Bool(false)),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Node::OrElse(optional, other, unwrap) => match self.eval(optional)? {
                Value::Optional(Some(value)) if *unwrap => Ok((*value).clone()),
                Value::Optional(None) => self.eval(other),
                there @ Value::Optional(Some(_)) => Ok(there),
                other => Err(no_such_overload("orValue", &[other])),
            },
            Node::Call {
                name,
                overloads,
                args,
            } => self.call(name, overloads, args),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Object(name, fields) => self.object(name, fields),
            Node::Fold(fold) => self.fold(fold),
        }
    }

    fn name(&self, node: &Node) -> Result<'v> {
        let missing = || Err(EvalError::new("no such attribute(s)"));
        match node {
            Node::Variable(index) => {
                self.meter.charge(1)?;
                match self.activation.values.get(*index) {
                    Some(Some(value)) => Ok(value.clone()),
                    _ => missing(),
                }
            }
            Node::Composed(index) => {
                self.meter.charge(2)?;
                self.activation.memo.get(*index, self.activation)
            }
            Node::Local(index) => {
                self.meter.charge(1)?;
                self.locals.get(*index).cloned().unwrap_or_else(missing)
            }
            _ => missing(),
        }
    }

    /// Calls the first overload that takes the arguments.
    fn call(&mut self, name: &str, overloads: &[&Overload], args: &[Node]) -> Result<'v> {
        let args = args
            .iter()
            .map(|arg| self.eval(arg))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let fitting = overloads
            .iter()
            .find(|overload| overload.args.iter().zip(&args).all(|(ty, arg)| takes(ty, arg)));
        let Some(overload) = fitting else {
            return Err(no_such_overload(name, &args));
        };
        let result = (overload.op)(self.meter, &args)?;
        self.meter.charge((overload.cost)(&args, &result))?;
        Ok(result)
    }

    /// `&&` where `decisive` is false, `||` where it is true: either side can decide, whatever the other is.
    fn logic(&mut self, a: &Node, b: &Node, decisive: bool) -> Result<'v> {
        let left = self.eval(a);
        if matches!(left, Err(EvalError::TooCostly))
            || matches!(left, Ok(Value::Bool(truth)) if truth == decisive)
        {
            return left;
        }
        let right = self.eval(b);
        match (left, right) {
            (_, Err(EvalError::TooCostly)) => Err(EvalError::TooCostly),
            (_, Ok(Value::Bool(truth))) if truth == decisive => Ok(Value::Bool(decisive)),
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decisive)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Err(EvalError::new("no such overload")),
        }
    }

    fn list(&mut self, items: &[(Node, bool)]) -> Result<'v> {
        self.meter.allocate(cells(items.len()))?;
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.eval(item)?, optional) {
                (Value::Optional(value), true) => values.extend(value.map(|value| (*value).clone())),
                (value, _) => values.push(value),
            }
        }
        self.meter.charge(10)?;
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> Result<'v> {
        self.meter.allocate(2 * cells(entries.len()))?;
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let key = Key::of(&key).ok_or_else(|| {
                EvalError::new(format!("unsupported key type: {}", key.type_of().bare_name()))
            })?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (value, _) => value,
            };
            if map.contains_key(&key) {
                return Err(EvalError::new("Failed with repeated key"));
            }
            map.insert(key, value);
        }
        self.meter.charge(30)?;
        Ok(Value::map(map))
    }

    fn object(&mut self, name: &str, fields: &[(Box<str>, Node, bool)]) -> Result<'v> {
        self.meter.allocate(2 * cells(fields.len()))?;
        let mut made = BTreeMap::new();
        for (field, value, optional) in fields {
            match (self.eval(value)?, optional) {
                (Value::Optional(value), true) => {
                    made.extend(value.map(|value| (field.to_string(), (*value).clone())));
                }
                (value, _) => {
                    made.insert(field.to_string(), value);
                }
            }
        }
        self.meter.charge(40)?;
        Ok(Value::Object(Arc::new(Object {
            name: name.to_owned(),
            fields: made,
        })))
    }

    /// Goes through a list or map with its variables in the three places after those of the macros around.
    fn fold(&mut self, fold: &Fold) -> Result<'v> {
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init)?;
        let depth = self.locals.len();
        self.locals.push(Ok(init));
        let done = self.steps(fold, &range, depth);
        self.locals.truncate(depth + 1);
        let result = match done {
            Ok(()) => self.eval(&fold.result),
            Err(error) => Err(error),
        };
        self.locals.truncate(depth);
        result
    }

    fn steps(&mut self, fold: &Fold, range: &Value<'v>, depth: usize) -> std::result::Result<(), EvalError> {
        let keys = match range {
            Value::Map(map) => map.keys(),
            Value::List(_) => Vec::new(),
            other => {
                let name = other.type_of();
                return Err(EvalError::new(format!(
                    "got '{}', expected iterable type",
                    name.bare_name()
                )));
            }
        };
        self.meter.allocate(cells(keys.len()))?;
        for place in 0..range_length(range) {
            self.meter.work(1)?;
            if !matches!(self.eval(&fold.condition)?, Value::Bool(true)) {
                break;
            }
            self.locals.truncate(depth + 1);
            let (first, second) = pair(range, &keys, place, fold.pairs);
            self.locals.push(first);
            self.locals.push(second);
            self.step(&fold.step, depth)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, depth: usize) -> std::result::Result<(), EvalError> {
        match step {
            Step::Compute(step) => {
                let value = self.eval(step);
                if matches!(value, Err(EvalError::TooCostly)) {
                    return Err(EvalError::TooCostly);
                }
                self.locals[depth] = value;
            }
            Step::Append { guard, item } => {
                if self.holds(guard.as_ref())? {
                    let item = self.eval(item)?;
                    self.meter.charge(12)?;
                    self.meter.allocate(cells(1))?;
                    if let Ok(Value::List(List::Shared(list))) = &mut self.locals[depth] {
                        Arc::make_mut(list).push(item);
                    }
                } else {
                    self.meter.charge(1)?;
                }
            }
            Step::Insert { guard, key, value } => {
                if self.holds(guard.as_ref())? {
                    let entries = self.entries(key, value.as_ref())?;
                    self.meter.charge(2)?;
                    self.meter.allocate(2 * cells(entries.len()))?;
                    for (key, value) in entries {
                        if let Ok(Value::Map(Map::Shared(map))) = &mut self.locals[depth]
                            && Arc::make_mut(map).insert(key.clone(), value).is_some()
                        {
                            let key = super::library::strings::shown(&key.value());
                            return Err(EvalError::new(format!("insert failed: key {key} already exists")));
                        }
                    }
                } else {
                    self.meter.charge(1)?;
                }
            }
        }
        Ok(())
    }

    fn entries(
        &mut self,
        key: &Node,
        value: Option<&Node>,
    ) -> std::result::Result<Vec<(Key<'v>, Value<'v>)>, EvalError> {
        let key = self.eval(key)?;
        match value {
            Some(value) => {
                let value = self.eval(value)?;
                let key = Key::of(&key).ok_or_else(|| EvalError::new("unsupported key type"))?;
                Ok(vec![(key, value)])
            }
            None => match key {
                Value::Map(map) => map.entries(),
                other => Err(no_such_overload("cel.@mapInsert", &[other])),
            },
        }
    }

    fn holds(&mut self, guard: Option<&Node>) -> std::result::Result<bool, EvalError> {
        let Some(guard) = guard else { return Ok(true) };
        match self.eval(guard)? {
            Value::Bool(truth) => Ok(truth),
            _ => Err(EvalError::new("no such overload")),
        }
    }
}

fn range_length(range: &Value<'_>) -> usize {
    match range {
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => 0,
    }
}

/// The variables of a macro at a place: item and nothing, place and item, key and nothing, or key and value.
fn pair<'v>(range: &Value<'v>, keys: &[Key<'v>], place: usize, pairs: bool) -> (Result<'v>, Result<'v>) {
    let missing = || Err(EvalError::new("index out of bounds"));
    match range {
        Value::List(list) => {
            let item = list.get(place).and_then(|item| item.map_or_else(missing, Ok));
            if pairs {
                (Ok(Value::Int(i64::try_from(place).unwrap_or(i64::MAX))), item)
            } else {
                (item, Ok(Value::Null))
            }
        }
        Value::Map(map) => {
            let key = keys.get(place).map_or_else(missing, |key| Ok(key.value()));
            let value = match (&key, pairs) {
                (Ok(key), true) => map.get(key).and_then(|value| value.map_or_else(missing, Ok)),
                _ => Ok(Value::Null),
            };
            (key, value)
        }
        _ => (missing(), missing()),
    }
}

fn found<'v>(value: Option<Value<'v>>, optional: bool, missing: impl FnOnce() -> EvalError) -> Result<'v> {
    match (value, optional) {
        (Some(value), true) => Ok(Value::some(value)),
        (None, true) => Ok(Value::Optional(None)),
        (Some(value), false) => Ok(value),
        (None, false) => Err(missing()),
    }
}

fn select<'v>(operand: &Value<'v>, field: &str, test: bool, optional: bool) -> Result<'v> {
    let value = match operand {
        Value::Map(map) => map.field(field)?,
        Value::Object(object) => object.fields.get(field).cloned(),
        Value::Optional(None) if test => return Ok(Value::Bool(false)),
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => {
            let has_fields = matches!(**inner, Value::Map(_) | Value::Object(_) | Value::Optional(_));
            if !has_fields && !optional {
                return Err(EvalError::new(format!("no such key: {field}")));
            }
            return select(inner, field, test, true);
        }
        _ => None,
    };
    if test {
        return Ok(Value::Bool(value.is_some()));
    }
    found(value, optional, || {
        EvalError::new(format!("no such key: {field}"))
    })
}

fn index<'v>(operand: &Value<'v>, key: &Value<'v>, optional: bool) -> Result<'v> {
    let shown = || super::library::strings::shown(key);
    match operand {
        Value::List(list) => {
            let place = match key {
                Value::Int(place) => Some(*place),
                Value::Uint(place) => i64::try_from(*place).ok(),
                Value::Double(_) => match Key::of_whole(key) {
                    Some(place) => Some(place),
                    None => return Err(EvalError::new(format!("unsupported index value {}", shown()))),
                },
                other => {
                    let ty = other.type_of();
                    return Err(EvalError::new(format!(
                        "unsupported index type '{}' in list",
                        ty.bare_name()
                    )));
                }
            };
            let item = match place.and_then(|place| usize::try_from(place).ok()) {
                Some(place) => list.get(place)?,
                None => None,
            };
            found(item, optional, || {
                EvalError::new(format!("index out of bounds: {}", shown()))
            })
        }
        Value::Map(map) => found(map.get(key)?, optional, || {
            EvalError::new(format!("no such key: {}", shown()))
        }),
        Value::Object(object) => {
            let value = key.as_str().and_then(|name| object.fields.get(name)).cloned();
            found(value, optional, || {
                EvalError::new(format!("no such key: {}", shown()))
            })
        }
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => index(inner, key, true),
        Value::Null if optional => Ok(Value::Optional(None)),
        _ => Err(EvalError::new(format!("no such key: {}", shown()))),
    }
}
