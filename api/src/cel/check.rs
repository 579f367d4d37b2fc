//! Type checking, and the way from a syntax tree to nodes that can be evaluated.
//!
//! As cel-go checks: names by the longest that is declared, calls by all overloads that take the arguments, parameters of
//! declarations found out on the way. What is wrong is gathered, not given up at.

mod calls;

use std::collections::HashMap;

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::error::Issue;
use super::functions::Overload;
use super::node::Node;
use super::parse::{Parsed, place};
use super::program::Environment;
use super::types::{Bindings, Type};
use super::value::Value;
use super::world;

/// The type of `variables`.
const VARIABLES: &str = "variables";

/// A call of a declared function.
pub(super) struct Called {
    pub name: &'static str,
    /// Whether it is called as `x.f()`.
    pub member: bool,
    /// Those that the arguments allow.
    pub overloads: Vec<&'static Overload>,
}

/// What was found out about the parts of an expression, by their ids: what its cost is estimated from.
#[derive(Default)]
pub(super) struct Facts {
    types: HashMap<u64, Type>,
    pub calls: HashMap<u64, Called>,
}

impl Facts {
    /// The type of a part.
    pub(super) fn type_of(&self, id: u64) -> Type {
        self.types.get(&id).cloned().unwrap_or(Type::Dyn)
    }
}

/// A checked expression.
pub(super) struct Checked {
    pub root: Node,
    pub output: Type,
    /// Which variables of the environment it looks at.
    pub mentions: Vec<bool>,
    pub facts: Facts,
}

/// Checks an expression.
pub(super) fn check(parsed: &Parsed, environment: &Environment) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        parsed,
        environment,
        bindings: Bindings::default(),
        locals: Vec::new(),
        depth: 0,
        issues: Vec::new(),
        mentions: vec![false; environment.variables.len()],
        facts: Facts::default(),
    };
    let (root, output) = checker.check(&parsed.root);
    let output = checker.bindings.resolve(&output, true);
    if checker.issues.is_empty() {
        let mut facts = checker.facts;
        for ty in facts.types.values_mut() {
            *ty = checker.bindings.resolve(ty, true);
        }
        return Ok(Checked {
            root,
            output,
            mentions: checker.mentions,
            facts,
        });
    }
    checker.issues.sort_by_key(|issue| (issue.line, issue.column));
    checker.issues.dedup();
    Err(checker.issues)
}

pub(super) struct Checker<'a> {
    parsed: &'a Parsed,
    environment: &'a Environment,
    pub(super) bindings: Bindings,
    /// Name, type and place of the variables of the macros around.
    pub(super) locals: Vec<(String, Type, usize)>,
    /// How many places are taken by them.
    pub(super) depth: usize,
    issues: Vec<Issue>,
    mentions: Vec<bool>,
    facts: Facts,
}

pub(super) type Typed = (Node, Type);

/// What takes the place of a part that could not be checked.
pub(super) fn broken() -> Typed {
    (Node::Literal(Value::Null), Type::Error)
}

impl Checker<'_> {
    pub(super) fn report(&mut self, id: u64, message: impl Into<String>) {
        let (line, column) = place(self.parsed, id);
        self.issues.push(Issue {
            line,
            column,
            message: message.into(),
        });
    }

    fn shown(&self, ty: &Type) -> String {
        self.bindings.resolve(ty, true).to_string()
    }

    pub(super) fn check(&mut self, expr: &IdedExpr) -> Typed {
        let (node, ty) = self.part(expr);
        self.facts.types.insert(expr.id, ty.clone());
        (node, ty)
    }

    fn part(&mut self, expr: &IdedExpr) -> Typed {
        match &expr.expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(name) => self.name(name, true).unwrap_or_else(|| {
                let name = name.trim_start_matches('.');
                self.report(
                    expr.id,
                    format!("undeclared reference to '{name}' (in container '')"),
                );
                broken()
            }),
            Expr::Select(select) => {
                if !select.test
                    && let Some(name) = qualified(expr)
                    && let Some(found) = self.name(&name, false)
                {
                    return found;
                }
                self.select(expr.id, &select.operand, &select.field, select.test, false)
            }
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => {
                let mut items = Vec::with_capacity(list.elements.len());
                let mut common = None;
                for (index, element) in list.elements.iter().enumerate() {
                    let optional = list.optional_indices.contains(&index);
                    let (node, ty) = self.check(element);
                    let ty = self.unwrapped(element.id, ty, optional);
                    common = Some(self.join(element.id, common, ty));
                    items.push((node, optional));
                }
                let item = common.unwrap_or_else(|| self.bindings.fresh());
                (Node::List(items), Type::list(item))
            }
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                let (mut keys, mut values) = (None, None);
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        continue;
                    };
                    let (key, key_type) = self.check(&entry.key);
                    keys = Some(self.join(entry.key.id, keys, key_type));
                    let (value, value_type) = self.check(&entry.value);
                    let value_type = self.unwrapped(entry.value.id, value_type, entry.optional);
                    values = Some(self.join(entry.value.id, values, value_type));
                    entries.push((key, value, entry.optional));
                }
                let key = keys.unwrap_or_else(|| self.bindings.fresh());
                let value = values.unwrap_or_else(|| self.bindings.fresh());
                (Node::Map(entries), Type::map(key, value))
            }
            Expr::Struct(made) => self.object(expr.id, &made.type_name, &made.entries),
            Expr::Comprehension(fold) => self.fold(fold),
            Expr::Unspecified => {
                self.report(expr.id, "unexpected expression");
                broken()
            }
        }
    }

    /// The type within, of what is optional.
    fn unwrapped(&mut self, id: u64, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match self.bindings.resolve(&ty, false) {
            Type::Optional(item) => (*item).clone(),
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let wanted = Type::optional(other.clone());
                let message = format!("expected type '{wanted}' but found '{other}'");
                self.report(id, message);
                Type::Error
            }
        }
    }

    /// The type that two items of a list have in common.
    fn join(&mut self, id: u64, common: Option<Type>, ty: Type) -> Type {
        let Some(common) = common else { return ty };
        let mut tried = self.bindings.clone();
        if tried.accepts(&common, &ty) {
            self.bindings = tried;
            let (known, new) = (
                self.bindings.resolve(&common, false),
                self.bindings.resolve(&ty, false),
            );
            return if new.is_dyn() || matches!(known, Type::Null) {
                new
            } else {
                known
            };
        }
        if !self.environment.mixed && !common.is_dyn() {
            let message = format!(
                "expected type '{}' but found '{}'",
                self.shown(&common),
                self.shown(&ty)
            );
            self.report(id, message);
            return Type::Error;
        }
        Type::Dyn
    }

    /// What a name with or without dots means.
    fn name(&mut self, name: &str, simple: bool) -> Option<Typed> {
        let absolute = name.starts_with('.');
        let name = name.trim_start_matches('.');
        if !absolute {
            let root = name.split('.').next().unwrap_or(name);
            let local = self.locals.iter().rev().find(|(known, ..)| known == root);
            match local {
                Some((_, ty, place)) if simple => return Some((Node::Local(*place), ty.clone())),
                Some(_) => return None,
                None => {}
            }
        }
        if let Some(place) = self.environment.place(name) {
            self.mentions[place] = true;
            return Some((Node::Variable(place), self.environment.variables[place].1.clone()));
        }
        let ty = named_type(name)?;
        Some((
            Node::Literal(Value::Type(ty.clone())),
            Type::Type(Some(ty.into())),
        ))
    }

    fn select(&mut self, id: u64, operand: &IdedExpr, field: &str, test: bool, optional: bool) -> Typed {
        if let Some(found) = self.composed(id, operand, field, test) {
            return found;
        }
        let (node, ty) = self.check(operand);
        let (ty, through) = match self.bindings.resolve(&ty, false) {
            Type::Optional(inner) => ((*inner).clone(), true),
            other => (other, false),
        };
        let found = match &ty {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => object.field(field).unwrap_or_else(|| {
                self.report(id, format!("undefined field '{field}'"));
                Type::Error
            }),
            Type::Dyn | Type::Error | Type::Var(_) => Type::Dyn,
            other => {
                self.report(id, format!("type '{other}' does not support field selection"));
                Type::Error
            }
        };
        let ty = match (test, optional || through) {
            (true, _) => Type::Bool,
            (false, true) => Type::optional(found),
            (false, false) => found,
        };
        let node = Node::Select {
            operand: Box::new(node),
            field: field.into(),
            test,
            optional,
        };
        (node, ty)
    }

    /// `variables.x`.
    fn composed(&mut self, id: u64, operand: &IdedExpr, field: &str, test: bool) -> Option<Typed> {
        let all = self.environment.composed.as_ref()?;
        let Expr::Ident(name) = &operand.expr else {
            return None;
        };
        if name != VARIABLES || self.locals.iter().any(|(known, ..)| known == VARIABLES) {
            return None;
        }
        // A later variable of the same name hides an earlier one.
        let found = all.iter().rposition(|(known, _)| known == field);
        Some(match found {
            Some(_) if test => (Node::Literal(Value::Bool(true)), Type::Bool),
            Some(place) => (Node::Composed(place), all[place].1.clone()),
            None => {
                self.report(id, format!("undefined field '{field}'"));
                broken()
            }
        })
    }

    fn fold(&mut self, fold: &ComprehensionExpr) -> Typed {
        super::folds::fold(self, fold)
    }

    pub(super) fn shown_type(&self, ty: &Type) -> String {
        self.shown(ty)
    }
}

/// The name with dots that an expression spells.
fn qualified(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            let operand = qualified(&select.operand)?;
            Some(format!("{operand}.{}", select.field))
        }
        _ => None,
    }
}

fn constant(literal: &LiteralValue) -> Typed {
    let (value, ty) = match literal {
        LiteralValue::Boolean(truth) => (Value::Bool(*truth.inner()), Type::Bool),
        LiteralValue::Bytes(bytes) => (Value::Bytes(bytes.inner().into()), Type::Bytes),
        LiteralValue::Double(number) => (Value::Double(*number.inner()), Type::Double),
        LiteralValue::Int(number) => (Value::Int(*number.inner()), Type::Int),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(text) => (Value::text(text.inner()), Type::String),
        LiteralValue::UInt(number) => (Value::Uint(*number.inner()), Type::Uint),
    };
    (Node::Literal(value), ty)
}

/// The type of a name.
fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(None),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        other => Type::Opaque(world::NAMES.into_iter().find(|known| *known == other)?),
    })
}
