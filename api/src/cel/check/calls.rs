//! Checking operators, calls of functions and the making of objects.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{Called, Checker, Typed, broken, qualified};
use crate::cel::functions::{FUNCTIONS, Overload};
use crate::cel::node::Node;
use crate::cel::types::Type;
use crate::cel::value::Value;
use crate::cel::{library, objects};

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &CallExpr) -> Typed {
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
        if let Some(fault) = library::literal_fault(declared, &nodes) {
            let at = args.get(fault.arg).map_or(id, |arg| arg.id);
            self.report(at, fault.message);
        }
        let result = self.bindings.resolve(&result, false);
        let called = Called {
            name: declared,
            member,
            overloads: fitting.clone(),
        };
        self.facts.calls.insert(id, called);
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

    pub(super) fn object(
        &mut self,
        id: u64,
        name: &str,
        entries: &[cel::common::ast::IdedEntryExpr],
    ) -> Typed {
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
}
