//! Answers that are remembered for a while. Pure: what time it is, is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// A bounded number of answers, each until its end.
pub(crate) struct Expiring<K, V> {
    most: usize,
    answers: Mutex<HashMap<K, (V, Timestamp)>>,
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
    /// Remembers `most` answers at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            answers: Mutex::default(),
        }
    }

    /// What is remembered.
    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, until) = answers.get(key)?;
        (now < *until).then(|| answer.clone())
    }

    /// Remembers an answer for a time; where there is no room, those that have ended are forgotten, or else all.
    pub(crate) fn put(&self, key: K, answer: V, life: Duration, now: Timestamp) {
        let Ok(until) = now.checked_add(life) else {
            return;
        };
        if until <= now {
            return;
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= self.most {
            answers.retain(|_, (_, until)| now < *until);
        }
        if answers.len() >= self.most {
            answers.clear();
        }
        answers.insert(key, (answer, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_remembered_for_their_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let known = Expiring::new(2);
        let life = Duration::from_secs(10);
        known.put("a", 1, life, at(0));
        known.put("none", 1, Duration::ZERO, at(0));
        assert_eq!(known.get(&"a", at(9)), Some(1));
        assert_eq!(known.get(&"a", at(10)), None);
        assert_eq!(known.get(&"none", at(0)), None);
        known.put("b", 2, life, at(5));
        known.put("c", 3, life, at(12));
        assert_eq!((known.get(&"a", at(5)), known.get(&"b", at(12))), (None, Some(2)));
        known.put("d", 4, life, at(12));
        assert_eq!(
            (known.get(&"b", at(12)), known.get(&"d", at(12))),
            (None, Some(4))
        );
    }
}
