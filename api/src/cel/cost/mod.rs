//! What an expression may cost at most, estimated before there are values: from the tree, its types, and how large values can
//! get.
//!
//! As cel-go's `checker.Cost` and Kubernetes' estimator for its own functions have it, for their limits decide which rules a
//! definition may have. Each part of a tree has an [`Estimate`]; only the upper bounds of costs are needed, and both bounds of
//! sizes.

mod calls;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use self::calls::equality;
use super::check::Facts;
use super::macros::RESULT;
use super::sizes::Sizes;
use super::types::Type;

const TRAVERSAL: f64 = 0.1;
const PATTERN: f64 = 0.25;
const LIST: u64 = 10;
const MAP: u64 = 30;
const OBJECT: u64 = 40;

/// From how much to how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    min: u64,
    max: u64,
}

impl Range {
    const UNKNOWN: Self = Self {
        min: 0,
        max: u64::MAX,
    };
    const ONE: Self = Self::exactly(1);

    const fn exactly(size: u64) -> Self {
        Self { min: size, max: size }
    }

    fn up_to(max: u64) -> Self {
        Self { min: 0, max }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// What it costs at most to look at all of it.
    fn by(self, factor: f64) -> u64 {
        by(self.max, factor)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "as upstream computes it; a cast does not overflow"
)]
fn by(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// Where a value comes from, as far as its size is known by that.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// It is computed. What is selected in it counts as if it were selected at the root, as upstream's paths have it.
    Nowhere,
    /// From a part of the object.
    At(&'a Sizes),
    /// The keys of a map.
    Keys,
    /// From something that the schema does not describe.
    Lost,
}

/// The sizes of what is in a list or map, where they are known.
#[derive(Clone, Copy, Debug)]
struct Entries {
    is_list: bool,
    keys: Range,
    values: Range,
}

impl Entries {
    fn union(self, other: Self) -> Self {
        Self {
            is_list: self.is_list,
            keys: self.keys.union(other.keys),
            values: self.values.union(other.values),
        }
    }
}

/// What is known of a part of an expression.
#[derive(Clone, Debug)]
struct Estimate<'a> {
    cost: u64,
    size: Option<Range>,
    place: Place<'a>,
    entries: Option<Entries>,
    ty: Type,
    /// The number that it is, where it is written as one.
    number: Option<i64>,
}

impl Estimate<'_> {
    fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }
}

/// What an expression costs at most; `sizes` are those of the values of its variables.
pub(super) fn most(root: &IdedExpr, facts: &Facts, sizes: &Sizes) -> u64 {
    let mut coster = Coster {
        facts,
        root: sizes,
        locals: HashMap::new(),
    };
    coster.visit(root).cost
}

#[derive(Clone)]
struct Local<'a> {
    place: Place<'a>,
    size: Option<Range>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    facts: &'a Facts,
    root: &'a Sizes,
    locals: HashMap<String, Vec<Local<'a>>>,
}

impl<'a> Coster<'a> {
    #[allow(
        clippy::too_many_lines,
        reason = "a table, a few lines for each kind of expression"
    )]
    fn visit(&mut self, expr: &IdedExpr) -> Estimate<'a> {
        let ty = self.facts.type_of(expr.id);
        match &expr.expr {
            Expr::Literal(literal) => {
                let size = match literal {
                    LiteralValue::String(text) => text.inner().chars().count() as u64,
                    LiteralValue::Bytes(bytes) => bytes.inner().len() as u64,
                    _ => 1,
                };
                let number = match literal {
                    LiteralValue::Int(number) => Some(*number.inner()),
                    _ => None,
                };
                Estimate {
                    number,
                    ..self.made(0, Some(Range::exactly(size)), ty)
                }
            }
            Expr::Ident(name) => self.name(name, ty),
            Expr::Select(select) => {
                let operand = self.visit(&select.operand);
                if select.test {
                    return self.made(operand.cost, None, ty);
                }
                let counts = matches!(
                    operand.ty,
                    Type::Map(..) | Type::Object(_) | Type::Var(_) | Type::Param(_)
                );
                let cost = operand.cost.saturating_add(u64::from(counts));
                let place = self.field(operand.place, &select.field);
                self.at(cost, place, ty)
            }
            Expr::Call(_) => self.call(expr, ty),
            Expr::List(list) => {
                let items: Vec<_> = list.elements.iter().map(|item| self.visit(item)).collect();
                Estimate {
                    entries: Some(Entries {
                        is_list: true,
                        keys: Range::ONE,
                        values: all_of(items.iter()),
                    }),
                    ..self.made(
                        sum(&items).saturating_add(LIST),
                        Some(Range::exactly(items.len() as u64)),
                        ty,
                    )
                }
            }
            Expr::Map(map) => {
                let (mut keys, mut values) = (Vec::new(), Vec::new());
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        keys.push(self.visit(&entry.key));
                        values.push(self.visit(&entry.value));
                    }
                }
                let cost = sum(&keys).saturating_add(sum(&values)).saturating_add(MAP);
                Estimate {
                    entries: Some(Entries {
                        is_list: false,
                        keys: all_of(keys.iter()),
                        values: all_of(values.iter()),
                    }),
                    ..self.made(cost, Some(Range::exactly(keys.len() as u64)), ty)
                }
            }
            Expr::Struct(made) => {
                let mut cost = OBJECT;
                for entry in &made.entries {
                    if let EntryExpr::StructField(field) = &entry.expr {
                        cost = cost.saturating_add(self.visit(&field.value).cost);
                    }
                }
                self.made(cost, None, ty)
            }
            Expr::Comprehension(fold) if is_bind(fold) => self.bind(fold, ty),
            Expr::Comprehension(fold) => self.fold(fold, ty),
            Expr::Unspecified => self.made(0, None, ty),
        }
    }

    /// Something computed.
    fn made(&self, cost: u64, size: Option<Range>, ty: Type) -> Estimate<'a> {
        Estimate {
            cost,
            size: size.or_else(|| scalar(&ty)),
            place: Place::Nowhere,
            entries: None,
            ty,
            number: None,
        }
    }

    /// Something that stands somewhere.
    fn at(&self, cost: u64, place: Place<'a>, ty: Type) -> Estimate<'a> {
        Estimate {
            place,
            ..self.made(cost, size_at(place), ty)
        }
    }

    fn name(&mut self, name: &str, ty: Type) -> Estimate<'a> {
        let local = self.locals.get(name).and_then(|all| all.last()).cloned();
        let Some(local) = local else {
            return self.at(1, Place::At(self.root), ty);
        };
        let mut estimate = self.at(1, local.place, ty);
        estimate.size = estimate.size.or(local.size);
        estimate.entries = local.entries;
        estimate
    }

    fn field(&self, place: Place<'a>, name: &str) -> Place<'a> {
        match place {
            Place::Nowhere => Place::At(self.root),
            Place::At(sizes) => sizes.field(name).map_or(Place::Lost, Place::At),
            Place::Keys | Place::Lost => Place::Lost,
        }
    }

    fn items(&self, place: Place<'a>) -> Place<'a> {
        match place {
            Place::Nowhere => Place::At(self.root),
            Place::At(sizes) => sizes.items().map_or(Place::Lost, Place::At),
            Place::Keys | Place::Lost => Place::Lost,
        }
    }

    fn keys(&self, place: Place<'a>) -> Place<'a> {
        match place {
            Place::Nowhere => Place::At(self.root),
            Place::At(sizes) if sizes.has_keys() => Place::Keys,
            Place::At(_) | Place::Keys | Place::Lost => Place::Lost,
        }
    }

    fn push(&mut self, name: &str, local: Local<'a>) {
        self.locals.entry(name.to_owned()).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(all) = self.locals.get_mut(name) {
            all.pop();
        }
    }

    fn bind(&mut self, fold: &ComprehensionExpr, ty: Type) -> Estimate<'a> {
        let range = self.visit(&fold.iter_range);
        let value = self.visit(&fold.accu_init);
        self.push(&fold.accu_var, known(&value));
        let result = self.visit(&fold.result);
        self.pop(&fold.accu_var);
        let cost = range.cost.saturating_add(value.cost).saturating_add(result.cost);
        Estimate {
            entries: result.entries,
            ..self.made(cost, result.size, ty)
        }
    }

    fn fold(&mut self, fold: &ComprehensionExpr, ty: Type) -> Estimate<'a> {
        let range = self.visit(&fold.iter_range);
        let init = self.visit(&fold.accu_init);
        self.push(&fold.accu_var, known(&init));
        let is_list = range
            .entries
            .map_or(matches!(range.ty, Type::List(_)), |entries| entries.is_list);
        let of_keys = Local {
            place: if is_list {
                Place::Lost
            } else {
                self.keys(range.place)
            },
            size: range.entries.map(|entries| entries.keys),
            entries: None,
        };
        let of_values = Local {
            place: self.items(range.place),
            size: range.entries.map(|entries| entries.values),
            entries: None,
        };
        match &fold.iter_var2 {
            Some(second) => {
                self.push(&fold.iter_var, of_keys);
                self.push(second, of_values);
            }
            None if is_list => self.push(&fold.iter_var, of_values),
            None => self.push(&fold.iter_var, of_keys),
        }
        let (condition, step) = (self.visit(&fold.loop_cond), self.visit(&fold.loop_step));
        self.pop(&fold.iter_var);
        if let Some(second) = &fold.iter_var2 {
            self.pop(second);
        }
        let result = self.visit(&fold.result);
        self.pop(&fold.accu_var);
        let turns = range.size();
        let each = condition.cost.saturating_add(step.cost);
        let cost = [init.cost, result.cost, turns.max.saturating_mul(each)];
        let cost = cost
            .iter()
            .fold(range.cost, |sum, cost| sum.saturating_add(*cost));
        let size = match &fold.accu_init.expr {
            Expr::Literal(_) => init.size,
            Expr::List(_) | Expr::Map(_) => Some(turns),
            _ => None,
        };
        let is_container = matches!(&fold.accu_init.expr, Expr::List(_) | Expr::Map(_));
        Estimate {
            entries: step.entries.filter(|_| is_container),
            ..self.made(cost, size, ty)
        }
    }

    fn call(&mut self, expr: &IdedExpr, ty: Type) -> Estimate<'a> {
        let Expr::Call(call) = &expr.expr else {
            return self.made(0, None, ty);
        };
        let called = self.facts.calls.get(&expr.id);
        let args: Vec<Estimate<'a>> = call.args.iter().map(|arg| self.visit(arg)).collect();
        let own = sum(&args);
        let name = called.map_or(call.func_name.as_str(), |called| called.name);
        if name == "dyn"
            && let Some(arg) = args.first()
        {
            return Estimate {
                entries: arg.entries,
                ..self.made(own.saturating_add(1), arg.size, ty)
            };
        }
        if let Some(made) = self.operator(name, &args, &ty) {
            return made;
        }
        let member = called.is_some_and(|called| called.member);
        let target = call
            .target
            .as_ref()
            .filter(|_| member)
            .map(|target| self.visit(target));
        let (cost, size) = match called {
            Some(called) => self.overloads(called, target.as_ref(), &args),
            None => (1, None),
        };
        let target_cost = target.map_or(0, |target| target.cost);
        let entries = both_entries(name, &args);
        let cost = cost.saturating_add(own).saturating_add(target_cost);
        Estimate {
            entries,
            ..self.made(cost, size, ty)
        }
    }

    /// What the checker knows without a declaration.
    fn operator(&mut self, name: &str, args: &[Estimate<'a>], ty: &Type) -> Option<Estimate<'a>> {
        let own = sum(args);
        let made = match (name, args) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) => self.made(own, None, ty.clone()),
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let cost = condition.cost.saturating_add(then.cost.max(otherwise.cost));
                let entries = then.entries.zip(otherwise.entries);
                Estimate {
                    entries: entries.map(|(a, b)| a.union(b)),
                    ..self.made(cost, Some(then.size().union(otherwise.size())), ty.clone())
                }
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                let cost = equality(name, a, b);
                self.made(own.saturating_add(cost), None, ty.clone())
            }
            (operators::INDEX, [operand, _]) => {
                let place = match operand.ty {
                    Type::List(_) | Type::Map(..) => self.items(operand.place),
                    _ => Place::Nowhere,
                };
                let mut found = self.at(own.saturating_add(1), place, ty.clone());
                if let Some(entries) = operand.entries {
                    found.size = Some(entries.values);
                }
                found
            }
            _ => return None,
        };
        Some(made)
    }
}

fn known<'a>(value: &Estimate<'a>) -> Local<'a> {
    Local {
        place: value.place,
        size: value.size,
        entries: value.entries,
    }
}

fn sum(parts: &[Estimate<'_>]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.cost))
}

/// The sizes of several values together.
fn all_of<'e, 'a: 'e>(parts: impl Iterator<Item = &'e Estimate<'a>>) -> Range {
    parts
        .map(Estimate::size)
        .reduce(Range::union)
        .unwrap_or(Range::exactly(0))
}

fn size_at(place: Place<'_>) -> Option<Range> {
    match place {
        Place::At(sizes) => Some(Range::up_to(sizes.most)),
        Place::Keys => Some(Range::exactly(0)),
        Place::Nowhere | Place::Lost => None,
    }
}

fn scalar(ty: &Type) -> Option<Range> {
    let scalar = matches!(
        ty,
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint
    );
    scalar.then_some(Range::ONE)
}

fn is_bind(fold: &ComprehensionExpr) -> bool {
    matches!(&fold.iter_range.expr, Expr::List(list) if list.elements.is_empty())
        && matches!(&fold.loop_cond.expr, Expr::Literal(LiteralValue::Boolean(truth)) if !*truth.inner())
        && fold.accu_var != RESULT
}

/// What is in two lists that are joined.
fn both_entries(name: &str, args: &[Estimate<'_>]) -> Option<Entries> {
    match (name, args) {
        (operators::ADD, [a, b]) => Some(a.entries?.union(b.entries?)),
        _ => None,
    }
}
