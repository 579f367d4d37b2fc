//! The Common Expression Language as Kubernetes has it: what expressions in policies, webhooks and custom resources mean.
//!
//! [`compile`] checks an expression against an [`Environment`] and gives a [`Program`]; an [`Activation`] holds what its
//! variables are. All is pure: an authorizer, which `authorizer` asks, is given by whoever evaluates. Evaluation is bounded in
//! time and memory by upstream's costs and by limits beyond them (`meter`); `cost` estimates before there are values what an
//! expression may cost.

mod check;
mod cost;
mod equality;
mod error;
mod escape;
mod eval;
mod folds;
mod functions;
mod json;
pub(crate) mod library;
mod macros;
mod meter;
pub(crate) mod moment;
mod node;
mod objects;
mod parse;
pub mod policy;
mod program;
mod published;
pub mod rules;
mod schema;
pub mod sizes;
mod types;
mod value;
mod world;

#[cfg(test)]
mod tests;

pub use error::{EvalError, Issue, Issues};
pub use escape::{escape, unescape};
pub use json::to_json;
pub use meter::{BUDGET, MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT};
pub use moment::Moment;
pub use objects::{JSON_PATCH, Listed, of_table};
pub use parse::SOURCE_MAX;
pub use program::{Activation, Environment, Program, Variable, compile, compile_as};
pub use published::Published;
pub use schema::{type_of, value as of_schema, with_type_and_meta};
pub use types::{ObjectType, Type};
pub use value::{Key, List, Map, Object, Text, Value};
pub use world::{Asker, Authorizer, Decision, Opaque, Question, ResourceCheck};
