//! Which mutating webhooks are asked a second time. Pure.
//!
//! Upstream runs the whole chain of mutation twice where a webhook changed something: the plugins in the tree see what the
//! webhooks did, and webhooks that asked for it see what came after them.

use std::collections::BTreeSet;

use serde_json::Value;

/// What has to be known between the webhooks of a write, and from the first round to the second.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Whether this is the second round.
    again: bool,
    /// Whether a second round is due.
    due: bool,
    /// Asked already, and willing to be asked again, and nothing has changed since.
    asked: BTreeSet<String>,
    /// To be asked again.
    wanted: BTreeSet<String>,
    /// What the first round left.
    left: Option<Value>,
}

impl Rounds {
    /// Whether the plugins in the tree and the webhooks have to be gone through again.
    pub(crate) fn is_due(&self) -> bool {
        self.due
    }

    /// Begins the second round with the object as the plugins in the tree leave it.
    pub(crate) fn begin_again(&mut self, object: &Value) {
        self.again = true;
        self.due = false;
        if self.left.as_ref() != Some(object) {
            self.all_again();
        }
    }

    /// Ends a round.
    pub(super) fn end(&mut self, object: Option<&Value>) {
        self.left = object.filter(|_| self.due && !self.again).cloned();
    }

    /// Which round this is, counted from 0.
    pub(super) fn number(&self) -> usize {
        usize::from(self.again)
    }

    /// Whether a webhook is asked in this round.
    pub(crate) fn asks(&self, id: &str) -> bool {
        !self.again || self.wanted.contains(id)
    }

    /// A webhook has changed the object: those before it have not seen that.
    pub(crate) fn changed(&mut self) {
        self.all_again();
        self.due = true;
    }

    /// A webhook that wants to see later changes was asked.
    pub(crate) fn was_asked(&mut self, id: &str) {
        self.asked.insert(id.to_owned());
    }

    fn all_again(&mut self) {
        self.wanted.append(&mut self.asked);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_before_a_change_are_asked_again_and_those_after_it_are_not() {
        let mut rounds = Rounds::default();
        rounds.was_asked("a");
        rounds.changed();
        rounds.was_asked("b");
        let object = json!({"x": 1});
        rounds.end(Some(&object));
        assert!(rounds.is_due());
        rounds.begin_again(&object);
        assert_eq!(
            (rounds.asks("a"), rounds.asks("b"), rounds.asks("c")),
            (true, false, false)
        );
    }

    #[test]
    fn all_are_asked_again_where_the_plugins_changed_something_too() {
        let mut rounds = Rounds::default();
        rounds.changed();
        rounds.was_asked("b");
        rounds.end(Some(&json!({"x": 1})));
        rounds.begin_again(&json!({"x": 2}));
        assert!(rounds.asks("b"));
        rounds.changed();
        rounds.end(Some(&json!({})));
        assert!(rounds.asks("b"));
    }

    #[test]
    fn without_a_change_one_round_is_enough() {
        let mut rounds = Rounds::default();
        rounds.was_asked("a");
        rounds.end(Some(&json!({})));
        assert!(!rounds.is_due());
    }
}
