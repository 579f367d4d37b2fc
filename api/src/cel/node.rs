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

impl Node {
    /// Whether a field of a variable is looked at in here, by the variable's place.
    pub(super) fn selects(&self, place: usize, field: &str) -> bool {
        if let Node::Select {
            operand, field: own, ..
        } = self
            && matches!(**operand, Node::Variable(at) if at == place)
            && **own == *field
        {
            return true;
        }
        self.parts().into_iter().any(|part| part.selects(place, field))
    }

    /// What it is made of.
    fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Literal(_) | Node::Variable(_) | Node::Composed(_) | Node::Local(_) => Vec::new(),
            Node::Select { operand, .. } | Node::NotStrictlyFalse(operand) => vec![operand],
            Node::Index { operand, key, .. } => vec![operand, key],
            Node::And(a, b) | Node::Or(a, b) | Node::Equal(a, b, _) | Node::OrElse(a, b, _) => vec![a, b],
            Node::Conditional(a, b, c) => vec![a, b, c],
            Node::Call { args, .. } => args.iter().collect(),
            Node::List(items) => items.iter().map(|(item, _)| item).collect(),
            Node::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
            Node::Object(_, fields) => fields.iter().map(|(_, value, _)| value).collect(),
            Node::Fold(fold) => {
                let mut parts = vec![&fold.range, &fold.init, &fold.condition, &fold.result];
                match &fold.step {
                    Step::Append { guard, item } => parts.extend(guard.iter().chain([item])),
                    Step::Insert { guard, key, value } => {
                        parts.extend(guard.iter().chain([key]).chain(value));
                    }
                    Step::Compute(node) => parts.push(node),
                }
                parts
            }
        }
    }
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
