//! An expression after checking: names are places, and calls know the overloads that may answer them.

use super::functions::Overload;
use super::value::Value;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    /// A constant.
    Literal(Value<'static>),
    /// A declared variable, by its place in the environment.
    Variable(usize),
    /// A variable of a policy, by its place.
    Composed(usize),
    /// A variable of a macro, by its depth.
    Local(usize),
    /// `operand.field`, or whether it is there.
    Select {
        operand: Box<Node>,
        field: Box<str>,
        test: bool,
        optional: bool,
    },
    /// `operand[key]`.
    Index {
        operand: Box<Node>,
        key: Box<Node>,
        optional: bool,
    },
    /// `a && b`.
    And(Box<Node>, Box<Node>),
    /// `a || b`.
    Or(Box<Node>, Box<Node>),
    /// `a == b`, or `a != b`.
    Equal(Box<Node>, Box<Node>, bool),
    /// `a ? b : c`.
    Conditional(Box<Node>, Box<Node>, Box<Node>),
    /// True unless it is false.
    NotStrictlyFalse(Box<Node>),
    /// `opt.or(x)` and `opt.orValue(x)`, whose argument is not looked at when there is a value; whether the value is unwrapped.
    OrElse(Box<Node>, Box<Node>, bool),
    /// A call; those overloads that the types of the arguments allow.
    Call {
        name: &'static str,
        overloads: Vec<&'static Overload>,
        args: Vec<Node>,
    },
    /// A list; which items are optional.
    List(Vec<(Node, bool)>),
    /// A map; which entries are optional.
    Map(Vec<(Node, Node, bool)>),
    /// An object.
    Object(Box<str>, Vec<(Box<str>, Node, bool)>),
    /// A macro over a list or map.
    Fold(Box<Fold>),
}

/// A macro over a list or map.
#[derive(Debug)]
pub(super) struct Fold {
    /// What is gone through.
    pub range: Node,
    /// Whether it has two variables: key and value, or place and item.
    pub pairs: bool,
    /// The start of the result.
    pub init: Node,
    /// Whether to go on.
    pub condition: Node,
    /// What each item does to the result.
    pub step: Step,
    /// The result in the end.
    pub result: Node,
}

/// What an item does to the result of a macro.
#[derive(Debug)]
pub(super) enum Step {
    /// It is added to the list, if the guard holds.
    Append { guard: Option<Node>, item: Node },
    /// An entry is added to the map, if the guard holds; without a value the key is a map whose entries are added.
    Insert {
        guard: Option<Node>,
        key: Node,
        value: Option<Node>,
    },
    /// It is computed anew.
    Compute(Node),
}
