//! What happened, in the order of revisions, put together from everything that anyone was told. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::Fault;
use crate::crash::history::{Action, Answer, Delivery, History, Object, Revision};

/// A key's state from some revision on: an object, or nothing.
type State = Option<Object>;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) state: State,
}

/// What is known of a key at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    /// This was there.
    Object(&'a Object),
    /// Nothing was.
    Nothing,
    /// Nobody can tell.
    Dim,
}

impl Known<'_> {
    pub(super) fn object(&self) -> Option<&Object> {
        match self {
            Known::Object(object) => Some(object),
            Known::Nothing | Known::Dim => None,
        }
    }
}

/// All changes that are known of.
#[derive(Default)]
pub(super) struct Timeline {
    changes: BTreeMap<Revision, Change>,
    keys: HashMap<String, BTreeMap<Revision, State>>,
    /// From after the first to the second, no watch told everything. Ascending, apart.
    dim: Vec<(Revision, Revision)>,
}

impl Timeline {
    /// Puts everything together. Where sources contradict each other, the first counts.
    pub(super) fn gather(history: &History, faults: &mut Vec<Fault>) -> Self {
        let mut timeline = Self::default();
        for call in &history.calls {
            match &call.answer {
                Answer::Written(object) | Answer::Found(Some(object)) => {
                    timeline.take(&call.key, object.revision, Some(object), faults);
                }
                Answer::Listed { objects, .. } => {
                    for (key, object) in objects {
                        timeline.take(key, object.revision, Some(object), faults);
                    }
                }
                _ => {}
            }
        }
        for session in &history.sessions {
            for (_, delivery) in &session.deliveries {
                match delivery {
                    Delivery::Added(key, object) | Delivery::Modified(key, object) => {
                        timeline.take(key, object.revision, Some(object), faults);
                    }
                    // Whoever watches a part is told so of keys that only leave it.
                    Delivery::Deleted(key, revision) if session.shard.is_none() => {
                        timeline.take(key, *revision, None, faults);
                    }
                    Delivery::Deleted(..) | Delivery::Bookmark(_) => {}
                }
            }
        }
        timeline.dim = dim(history);
        timeline.check_origins(history, faults);
        timeline.check_sequences(history, faults);
        timeline
    }

    fn take(&mut self, key: &str, revision: Revision, state: Option<&Object>, faults: &mut Vec<Fault>) {
        let change = Change {
            key: key.to_owned(),
            state: state.cloned(),
        };
        match self.changes.get(&revision) {
            None => {
                let states = self.keys.entry(change.key.clone()).or_default();
                states.insert(revision, change.state.clone());
                self.changes.insert(revision, change);
            }
            Some(known) if *known == change => {}
            Some(known) => faults.push(Fault::Contradiction {
                revision,
                one: format!("{known:?}"),
                other: format!("{change:?}"),
            }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn dim(&self) -> &[(Revision, Revision)] {
        &self.dim
    }

    pub(super) fn get(&self, revision: Revision) -> Option<&Change> {
        self.changes.get(&revision)
    }

    /// The changes after a revision.
    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = (Revision, &Change)> {
        let range = self.changes.range((Excluded(revision), Unbounded));
        range.map(|(revision, change)| (*revision, change))
    }

    /// Whether something that nobody was told of may have happened after one revision, up to another.
    pub(super) fn is_dim(&self, after: Revision, until: Revision) -> bool {
        let first = self.dim.partition_point(|(_, end)| *end <= after);
        self.dim.get(first).is_some_and(|(start, _)| *start < until)
    }

    /// What a key held at a revision.
    pub(super) fn state(&self, key: &str, at: Revision) -> Known<'_> {
        let last = self
            .keys
            .get(key)
            .and_then(|states| states.range(..=at).next_back());
        let since = last.map_or(Revision::default(), |(revision, _)| *revision);
        if self.is_dim(since, at) {
            return Known::Dim;
        }
        last.and_then(|(_, state)| state.as_ref())
            .map_or(Known::Nothing, Known::Object)
    }

    /// What a key held at any time from one revision until another.
    pub(super) fn states(&self, key: &str, from: Revision, until: Revision) -> Vec<Known<'_>> {
        let mut found = vec![self.state(key, from)];
        if self.is_dim(from, until) {
            found.push(Known::Dim);
        }
        if from < until
            && let Some(states) = self.keys.get(key)
        {
            let later = states.range((Excluded(from), Included(until)));
            found.extend(later.map(|(_, state)| state.as_ref().map_or(Known::Nothing, Known::Object)));
        }
        found
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// When the object of each uid was removed.
    pub(super) fn all_removals(&self) -> HashMap<String, Revision> {
        let removals = self.keys().flat_map(|key| self.removals(key));
        removals.map(|(revision, uid)| (uid, revision)).collect()
    }

    /// What was removed at a key, and when.
    pub(super) fn removals(&self, key: &str) -> Vec<(Revision, String)> {
        let mut removals = Vec::new();
        let mut before: Option<&Object> = None;
        for (revision, state) in self.keys.get(key).into_iter().flatten() {
            if state.is_none()
                && let Some(object) = before
            {
                removals.push((*revision, object.uid.clone()));
            }
            before = state.as_ref();
        }
        removals
    }

    /// Every state was written by someone, there, once, and not in spite of a refusal.
    fn check_origins(&self, history: &History, faults: &mut Vec<Fault>) {
        let writes = history
            .calls
            .iter()
            .filter_map(|call| Some((call.action.value()?.token, call)));
        let writes: HashMap<u64, _> = writes.collect();
        let mut seen: HashMap<u64, Revision> = HashMap::new();
        for (revision, change) in &self.changes {
            let Some(object) = &change.state else { continue };
            let token = object.value.token;
            let asked = writes
                .get(&token)
                .filter(|call| call.key == change.key && call.action.value() == Some(object.value));
            let Some(call) = asked else {
                faults.push(Fault::Invented {
                    key: change.key.clone(),
                    object: object.clone(),
                });
                continue;
            };
            if let Some(first) = seen.insert(token, *revision) {
                faults.push(Fault::Twice {
                    token,
                    first,
                    second: *revision,
                });
            }
            if !matches!(call.answer, Answer::Written(_) | Answer::Unknown) {
                faults.push(Fault::RefusedAndDone {
                    token,
                    revision: *revision,
                });
            }
        }
    }

    /// Every change fits what was there before it.
    fn check_sequences(&self, history: &History, faults: &mut Vec<Fault>) {
        let writes = history
            .calls
            .iter()
            .filter_map(|call| Some((call.action.value()?.token, &call.action)));
        let writes: HashMap<u64, &Action> = writes.collect();
        let mut uids = HashSet::new();
        for (revision, change) in &self.changes {
            let before = self.state(&change.key, Revision(revision.0 - 1));
            let action = change
                .state
                .as_ref()
                .and_then(|object| writes.get(&object.value.token));
            let what = match (&change.state, action) {
                (None, _) => (before == Known::Nothing).then_some("removed, though nothing was there"),
                (Some(object), Some(Action::Create(_))) => wrong_creation(object, before, &mut uids),
                (Some(object), Some(Action::Replace { over, .. })) => wrong_change(object, before, *over),
                // Told as invented.
                (Some(_), _) => None,
            };
            if let Some(what) = what {
                faults.push(Fault::OutOfSequence {
                    revision: *revision,
                    key: change.key.clone(),
                    what: format!("{what} ({:?} after {before:?})", change.state),
                });
            }
        }
    }
}

fn wrong_creation(object: &Object, before: Known<'_>, uids: &mut HashSet<String>) -> Option<&'static str> {
    if !uids.insert(object.uid.clone()) {
        return Some("created with a uid that there has been");
    }
    matches!(before, Known::Object(_)).then_some("created over what was there")
}

fn wrong_change(object: &Object, before: Known<'_>, over: Option<Revision>) -> Option<&'static str> {
    match before {
        Known::Dim => None,
        Known::Nothing => Some("changed, though nothing was there"),
        Known::Object(old) if old.uid != object.uid => Some("changed with another uid"),
        Known::Object(old) if over.is_some_and(|over| over != old.revision) => {
            Some("changed over another revision than its writer named")
        }
        Known::Object(_) => None,
    }
}

/// What no watch over all keys has covered.
fn dim(history: &History) -> Vec<(Revision, Revision)> {
    let whole = history.sessions.iter().filter(|session| session.shard.is_none());
    let mut covered: Vec<_> = whole.map(|session| (session.after, session.covered())).collect();
    covered.sort_unstable();
    let mut dim = Vec::new();
    let mut until: Option<Revision> = None;
    for (after, end) in covered {
        if until.is_some_and(|until| until < after) {
            dim.extend(until.map(|until| (until, after)));
        }
        until = until.max(Some(end));
    }
    dim.push((until.unwrap_or_default(), Revision(u64::MAX)));
    dim
}
