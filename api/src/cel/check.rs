//! Type checking, and the way from a syntax tree to nodes that can be evaluated.
//!
//! As cel-go checks: names by the longest that is declared, calls by all overloads that take the arguments, parameters of
//! declarations found out on the way. What is wrong is gathered, not given up at.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::error::Issue;
use super::functions::{FUNCTIONS, Overload};
use super::node::Node;
use super::objects;
use super::parse::{Parsed, place};
use super::program::Environment;
use super::types::{Bindings, Type};
use super::value::Value;
use super::world;

/// The type of `variables`.
const VARIABLES: &str = "variables";

/// A checked expression.
pub(super) struct Checked {
    pub root: Node,
    pub output: Type,
    /// Which variables of the environment it looks at.
    pub mentions: Vec<bool>,
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
    };
    let (root, output) = checker.check(&parsed.root);
    let output = checker.bindings.resolve(&output, true);
    if checker.issues.is_empty() {
        return Ok(Checked {
            root,
            output,
            mentions: checker.mentions,
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

    fn call(&mut self, id: u64, call: &CallExpr) -> Typed {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b]) => return self.logic(id, name, a, b),
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                let (a, b) = (self.check(a), self.check(b));
                let mut tried = self.bindings.clone();
                if tried.accepts(&a.1, &b.1) || self.environment.mixed {
                    self.bindings = tried;
                } else {
                    self.no_overload(id, name, &[a.1, b.1], false);
                }
                let equal = name == operators::EQUALS;
                return (Node::Equal(Box::new(a.0), Box::new(b.0), equal), Type::Bool);
            }
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                return self.conditional(id, condition, then, otherwise);
            }
            (operators::INDEX | operators::OPT_INDEX, [operand, key]) => {
                return self.index(id, name, operand, key);
            }
            (operators::OPT_SELECT, [operand, field]) => {
                if let Expr::Literal(LiteralValue::String(field)) = &field.expr {
                    return self.select(id, operand, field.inner(), false, true);
                }
            }
            (operators::NOT_STRICTLY_FALSE, [operand]) => {
                let (node, _) = self.check(operand);
                return (Node::NotStrictlyFalse(Box::new(node)), Type::Bool);
            }
            _ => {}
        }
        let Some(target) = &call.target else {
            return self.invoke(id, name.trim_start_matches('.'), None, &call.args);
        };
        if let Some(prefix) = qualified(target) {
            let root = prefix.split('.').next().unwrap_or(&prefix);
            let name = format!("{}.{name}", prefix.trim_start_matches('.'));
            if !self.locals.iter().any(|(known, ..)| known == root) && FUNCTIONS.find(&name).is_some() {
                return self.invoke(id, &name, None, &call.args);
            }
        }
        self.invoke(id, name, Some(target), &call.args)
    }

    fn logic(&mut self, id: u64, name: &str, a: &IdedExpr, b: &IdedExpr) -> Typed {
        let (a, b) = (self.check(a), self.check(b));
        if !self.bindings.accepts(&Type::Bool, &a.1) || !self.bindings.accepts(&Type::Bool, &b.1) {
            self.no_overload(id, name, &[a.1, b.1], false);
        }
        let (a, b) = (Box::new(a.0), Box::new(b.0));
        let node = if name == operators::LOGICAL_AND {
            Node::And(a, b)
        } else {
            Node::Or(a, b)
        };
        (node, Type::Bool)
    }

    fn conditional(&mut self, id: u64, condition: &IdedExpr, then: &IdedExpr, otherwise: &IdedExpr) -> Typed {
        let (condition, then, otherwise) = (self.check(condition), self.check(then), self.check(otherwise));
        let mut tried = self.bindings.clone();
        let mut ty = Type::Dyn;
        if tried.accepts(&Type::Bool, &condition.1) && tried.accepts(&then.1, &otherwise.1) {
            self.bindings = tried;
            let (a, b) = (
                self.bindings.resolve(&then.1, false),
                self.bindings.resolve(&otherwise.1, false),
            );
            ty = if b.is_dyn() || matches!(a, Type::Null) {
                b
            } else {
                a
            };
        } else if !self.environment.mixed {
            self.no_overload(
                id,
                operators::CONDITIONAL,
                &[condition.1, then.1, otherwise.1],
                false,
            );
            ty = Type::Error;
        }
        let node = Node::Conditional(Box::new(condition.0), Box::new(then.0), Box::new(otherwise.0));
        (node, ty)
    }

    fn index(&mut self, id: u64, name: &str, operand: &IdedExpr, key: &IdedExpr) -> Typed {
        let (operand, key) = (self.check(operand), self.check(key));
        let (of, through) = match self.bindings.resolve(&operand.1, false) {
            Type::Optional(inner) => ((*inner).clone(), true),
            other => (other, false),
        };
        let optional = name == operators::OPT_INDEX;
        let found = match &of {
            Type::List(item) if self.bindings.accepts(&Type::Int, &key.1) => Some((**item).clone()),
            Type::Map(wanted, value) if self.bindings.accepts(wanted, &key.1) => Some((**value).clone()),
            Type::Dyn | Type::Error | Type::Var(_) => Some(Type::Dyn),
            _ => None,
        };
        let found = found.unwrap_or_else(|| {
            self.no_overload(id, name, &[operand.1.clone(), key.1.clone()], false);
            Type::Error
        });
        let ty = if optional || through {
            Type::optional(found)
        } else {
            found
        };
        let node = Node::Index {
            operand: Box::new(operand.0),
            key: Box::new(key.0),
            optional,
        };
        (node, ty)
    }

    fn no_overload(&mut self, id: u64, name: &str, types: &[Type], member: bool) {
        if types.iter().any(|ty| matches!(ty, Type::Error)) {
            return;
        }
        let types: Vec<String> = types.iter().map(|ty| self.shown(ty)).collect();
        let signature = match types.split_first() {
            Some((receiver, rest)) if member => format!("{receiver}.({})", rest.join(", ")),
            _ => format!("({})", types.join(", ")),
        };
        self.report(
            id,
            format!("found no matching overload for '{name}' applied to '{signature}'"),
        );
    }

    /// A call of a declared function.
    fn invoke(&mut self, id: u64, name: &str, target: Option<&IdedExpr>, args: &[IdedExpr]) -> Typed {
        let Some((declared, overloads)) = FUNCTIONS.find(name) else {
            self.report(id, format!("undeclared reference to '{name}' (in container '')"));
            for part in target.into_iter().chain(args) {
                self.check(part);
            }
            return broken();
        };
        let member = target.is_some();
        let mut nodes = Vec::with_capacity(args.len() + 1);
        let mut types = Vec::with_capacity(args.len() + 1);
        for part in target.into_iter().chain(args) {
            let (node, ty) = self.check(part);
            nodes.push(node);
            types.push(ty);
        }
        let (fitting, result) = self.fitting(overloads, member, &types);
        let Some(result) = result else {
            self.no_overload(id, name, &types, member);
            return broken();
        };
        if let Some(fault) = super::library::literal_fault(declared, &nodes) {
            let at = args.get(fault.arg).map_or(id, |arg| arg.id);
            self.report(at, fault.message);
        }
        let result = self.bindings.resolve(&result, false);
        let node = match (declared, nodes.len()) {
            ("or" | "orValue", 2) => {
                let other = nodes.pop().unwrap_or(Node::Literal(Value::Null));
                let optional = nodes.pop().unwrap_or(Node::Literal(Value::Null));
                Node::OrElse(Box::new(optional), Box::new(other), declared == "orValue")
            }
            _ => Node::Call {
                name: declared,
                overloads: fitting,
                args: nodes,
            },
        };
        (node, result)
    }

    /// The overloads that take arguments of these types, and the type of the result; none where there are none.
    fn fitting(
        &mut self,
        overloads: &'static [Overload],
        member: bool,
        types: &[Type],
    ) -> (Vec<&'static Overload>, Option<Type>) {
        let mut fitting = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads {
            if overload.member != member || overload.args.len() != types.len() {
                continue;
            }
            let mut tried = self.bindings.clone();
            let mut params = Vec::new();
            let fits = overload.args.iter().zip(types).all(|(wanted, given)| {
                let wanted = tried.instance(wanted, &mut params);
                tried.accepts(&wanted, given)
            });
            if !fits {
                continue;
            }
            let ty = tried.instance(&overload.result, &mut params);
            let ty = tried.resolve(&ty, false);
            self.bindings = tried;
            result = Some(match result {
                None => ty,
                Some(known) if known == ty => known,
                Some(_) => Type::Dyn,
            });
            fitting.push(overload);
        }
        (fitting, result)
    }

    fn object(&mut self, id: u64, name: &str, entries: &[cel::common::ast::IdedEntryExpr]) -> Typed {
        let name = name.trim_start_matches('.');
        let found = objects::patch_type(name).filter(|_| self.environment.patches);
        let Some(Type::Object(object)) = found else {
            self.report(id, format!("undeclared reference to '{name}' (in container '')"));
            return broken();
        };
        let mut fields = Vec::with_capacity(entries.len());
        for entry in entries {
            let EntryExpr::StructField(field) = &entry.expr else {
                continue;
            };
            let (node, ty) = self.check(&field.value);
            let ty = self.unwrapped(field.value.id, ty, field.optional);
            match object.field(&field.field) {
                None => self.report(entry.id, format!("undefined field '{}'", field.field)),
                Some(wanted) if !self.bindings.accepts(&wanted, &ty) => {
                    let (name, given) = (&field.field, self.shown(&ty));
                    self.report(
                        entry.id,
                        format!(
                            "expected type of field '{name}' is '{wanted}' but provided type is '{given}'"
                        ),
                    );
                }
                Some(_) => {}
            }
            fields.push((field.field.as_str().into(), node, field.optional));
        }
        (Node::Object(name.into(), fields), Type::Object(object))
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
