//! From the text of an expression to a program, and from a program to a value.

use super::check::check;
use super::cost;
use super::error::{EvalError, Issues};
use super::eval::{Memo, run};
use super::node::Node;
use super::objects;
use super::parse::{parse, refused, within_limits};
use super::sizes::Sizes;
use super::types::Type;
use super::value::Value;
use super::world;

/// What an expression may refer to.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Names and types of the variables. A name may have dots.
    pub variables: Vec<(String, Type)>,
    /// Variables of a policy, which are fields of `variables`; none where there is no such object.
    pub composed: Option<Vec<(String, Type)>>,
    /// Whether objects and JSON patches may be made, as mutations do.
    pub patches: bool,
    /// Whether a list may hold values of different types. Kubernetes refuses that.
    pub mixed: bool,
}

impl Environment {
    /// An environment with these variables.
    pub fn with(variables: &[(&str, Type)]) -> Self {
        Self {
            variables: variables
                .iter()
                .map(|(name, ty)| ((*name).to_owned(), ty.clone()))
                .collect(),
            ..Self::default()
        }
    }

    /// What expressions of admission policies, and match conditions of webhooks (without `params`), may refer to. `object` and
    /// `params` are the types that are known of them; `params` is absent where there are none.
    pub fn admission(object: Type, params: Option<Type>, authorizer: bool) -> Self {
        let mut environment = Self::with(&[
            ("object", object.clone()),
            ("oldObject", object),
            ("request", objects::admission_request()),
            ("namespaceObject", objects::namespace()),
        ]);
        if let Some(params) = params {
            environment.variables.push(("params".to_owned(), params));
        }
        if authorizer {
            let asked = [
                ("authorizer", world::AUTHORIZER),
                ("authorizer.requestResource", world::RESOURCE_CHECK),
            ];
            for (name, ty) in asked {
                environment.variables.push((name.to_owned(), Type::Opaque(ty)));
            }
        }
        environment
    }

    /// Where a variable stands; [`Activation::set`] puts its value there.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|(known, _)| known == name)
    }
}

/// A checked expression.
#[derive(Debug)]
pub struct Program {
    pub(super) root: Node,
    output: Type,
    mentions: Vec<bool>,
}

impl Program {
    /// The type of its value.
    pub fn output(&self) -> &Type {
        &self.output
    }

    /// Whether it looks at a variable, by its place in the environment.
    pub fn mentions(&self, place: usize) -> bool {
        self.mentions.get(place).copied().unwrap_or(false)
    }

    /// Whether it looks at a field of a variable, by the variable's place in the environment.
    pub fn selects(&self, place: usize, field: &str) -> bool {
        self.root.selects(place, field)
    }

    /// Evaluates it, and tells what that cost. Variables of a policy are computed when they are first looked at, each within a
    /// limit of its own, and their cost is told by [`Activation::take_cost`].
    pub fn evaluate<'v>(
        &self,
        activation: &Activation<'v>,
        limit: u64,
    ) -> (Result<Value<'v>, EvalError>, u64) {
        run(self, activation, limit)
    }
}

/// A variable of a policy.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its expression, or why that does not compile.
    pub program: Result<Program, String>,
}

/// The values of the variables of an environment.
#[derive(Debug)]
pub struct Activation<'v> {
    pub(super) values: Vec<Option<Value<'v>>>,
    pub(super) composed: &'v [Variable],
    pub(super) memo: Memo<'v>,
}

impl<'v> Activation<'v> {
    /// No values yet.
    pub fn new(environment: &Environment, composed: &'v [Variable]) -> Self {
        Self {
            values: vec![None; environment.variables.len()],
            composed,
            memo: Memo::new(composed.len()),
        }
    }

    /// Gives a variable its value; one that the environment does not have is left alone.
    pub fn set(&mut self, environment: &Environment, name: &str, value: Value<'v>) {
        if let Some(place) = environment.place(name)
            && let Some(slot) = self.values.get_mut(place)
        {
            *slot = Some(value);
        }
    }

    /// What the variables of the policy have cost since this was last asked.
    pub fn take_cost(&self) -> u64 {
        self.memo.take_cost()
    }
}

/// The stack on which expressions are compiled: the parser calls itself some ten times for every bracket, and a caller's
/// thread may have little room left.
const STACK: usize = 32 << 20;

/// Compiles an expression.
///
/// # Errors
/// All that is wrong with it, with places.
pub fn compile(source: &str, environment: &Environment) -> Result<Program, Issues> {
    compile_there(source, environment, None).map(|(program, _)| program)
}

/// Compiles an expression, and tells what evaluating it may cost at most where values have these sizes.
///
/// # Errors
/// All that is wrong with it, with places.
pub(super) fn compile_with_cost(
    source: &str,
    environment: &Environment,
    sizes: &Sizes,
) -> Result<(Program, u64), Issues> {
    compile_there(source, environment, Some(sizes))
}

/// Compiles on a thread of its own.
fn compile_there(
    source: &str,
    environment: &Environment,
    sizes: Option<&Sizes>,
) -> Result<(Program, u64), Issues> {
    within_limits(source)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let compiling = thread.spawn_scoped(scope, || compile_here(source, environment, sizes));
        let compiled = compiling.ok().and_then(|compiling| compiling.join().ok());
        compiled.unwrap_or_else(|| {
            Err(refused(
                "expression could not be compiled: no stack to do so".to_owned(),
            ))
        })
    })
}

/// Compiles on a stack of [`STACK`] bytes.
fn compile_here(
    source: &str,
    environment: &Environment,
    sizes: Option<&Sizes>,
) -> Result<(Program, u64), Issues> {
    let parsed = parse(source)?;
    let checked = check(&parsed, environment).map_err(|issues| Issues {
        expression: source.to_owned(),
        issues,
    })?;
    let most = sizes.map_or(0, |sizes| cost::most(&parsed.root, &checked.facts, sizes));
    let program = Program {
        root: checked.root,
        output: checked.output,
        mentions: checked.mentions,
    };
    Ok((program, most))
}

/// Compiles an expression that has to be of a type.
///
/// # Errors
/// `compilation failed: …` with all that is wrong, or that it is of another type, as upstream words it.
pub fn compile_as(source: &str, environment: &Environment, wanted: &[Type]) -> Result<Program, String> {
    let program = compile(source, environment).map_err(|issues| format!("compilation failed: {issues}"))?;
    if wanted.is_empty() || wanted.contains(program.output()) {
        return Ok(program);
    }
    let name = |ty: &Type| match ty {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp | Type::Duration => ty.bare_name().to_owned(),
        other => other.to_string(),
    };
    let got = name(program.output());
    Err(match wanted {
        [only] => format!("must evaluate to {} but got {got}", name(only)),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            format!("must evaluate to one of [{}] but got {got}", names.join(" "))
        }
    })
}
