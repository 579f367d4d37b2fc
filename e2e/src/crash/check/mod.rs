//! Whether a history can have come from a store that keeps its promises. Pure.
//!
//! Every write that takes place has a revision of its own, so the order in which a correct server did things is known, not
//! guessed: [`timeline`] puts together what all answers and watches say about each revision. Against it
//! [`calls`] holds every request (no acknowledged write lost, each applied once, linearizable in real time), and [`watches`] every
//! delivery (ordered, unique, without gaps, bookmarks true).
//!
//! A call whose answer never came may have taken place once, at any time after it began, or not at all. Revisions that
//! no watch over all keys has covered are *dim*: something may have happened there of which nobody was told. What depends on them
//! is not held against the server.

mod calls;
mod moments;
#[cfg(test)]
mod tests;
mod timeline;
mod watches;

use thiserror::Error;

use super::history::{Delivery, History, Object, Revision};
use moments::Moments;
use timeline::Timeline;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Two sources tell different things of one revision.
    #[error("revision {revision} is told in two ways: {one}, and {other}")]
    Contradiction {
        /// Of which.
        revision: Revision,
        /// As first told.
        one: String,
        /// As told elsewhere.
        other: String,
    },
    /// A state that nobody wrote, or at another key.
    #[error("{key} held {object:?}, which nobody wrote there")]
    Invented {
        /// Where.
        key: String,
        /// What.
        object: Object,
    },
    /// One write took place more than once.
    #[error("write {token} took place at {first} and again at {second}")]
    Twice {
        /// Which write.
        token: u64,
        /// When.
        first: Revision,
        /// And when again.
        second: Revision,
    },
    /// A write that was refused took place.
    #[error("write {token} was refused and took place at {revision}")]
    RefusedAndDone {
        /// Which write.
        token: u64,
        /// When.
        revision: Revision,
    },
    /// A change that cannot follow what was there before it.
    #[error("at {revision}, {key}: {what}")]
    OutOfSequence {
        /// When.
        revision: Revision,
        /// Where.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// An effect before its cause, or after what came later.
    #[error(
        "{call} took effect at {revision}, but when it was asked {lowest} was past, and {highest} came after its answer"
    )]
    OutOfTime {
        /// Which.
        call: String,
        /// When it took effect.
        revision: Revision,
        /// The newest revision known of before.
        lowest: Revision,
        /// The oldest revision of what was asked afterwards.
        highest: Revision,
    },
    /// An answer that was not true at any moment of the call.
    #[error("{call} was answered {answer}, which was not so between {from} and {until}")]
    Untrue {
        /// Which.
        call: String,
        /// What was answered.
        answer: String,
        /// From when it could have been.
        from: Revision,
        /// Until when.
        until: Revision,
    },
    /// A list that does not show what was there at its revision.
    #[error("a list at {revision} shows {key} as {found:?}; it was {expected:?}")]
    WrongList {
        /// The list's.
        revision: Revision,
        /// Where.
        key: String,
        /// What it shows.
        found: Option<Object>,
        /// What was there.
        expected: Option<Object>,
    },
    /// A change that a watch skipped.
    #[error("{watcher} was told of {next} without {missed} before it")]
    Gap {
        /// Whose watch.
        watcher: String,
        /// What was skipped.
        missed: Revision,
        /// What came in its place.
        next: Revision,
    },
    /// A delivery behind one that came before it.
    #[error("{watcher} was told of {revision} after {before}")]
    Reordered {
        /// Whose watch.
        watcher: String,
        /// What came too late.
        revision: Revision,
        /// What had come.
        before: Revision,
    },
    /// A change delivered again.
    #[error("{watcher} was told of {revision} twice")]
    Duplicate {
        /// Whose watch.
        watcher: String,
        /// Of which.
        revision: Revision,
    },
    /// A bookmark before everything up to it had been delivered.
    #[error("{watcher} had a bookmark at {bookmark} without {missed} before it")]
    FalseBookmark {
        /// Whose watch.
        watcher: String,
        /// The bookmark.
        bookmark: Revision,
        /// What was still to come.
        missed: Revision,
    },
    /// A delivery that does not fit what happened.
    #[error("{watcher} was delivered {delivery:?}; {expected} was to be")]
    WrongEvent {
        /// Whose watch.
        watcher: String,
        /// What came.
        delivery: Delivery,
        /// What should have.
        expected: String,
    },
}

/// How much of a history was held against the model, so that a test can tell that it looked at something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Requests.
    pub calls: usize,
    /// Requests whose outcome is not known.
    pub unknown: usize,
    /// Changes put in order.
    pub changes: usize,
    /// Watch deliveries, bookmarks included.
    pub deliveries: usize,
    /// Stretches of revisions that no watch covered.
    pub dim: usize,
}

impl Extent {
    /// Adds what was held against the model elsewhere.
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.unknown += other.unknown;
        self.changes += other.changes;
        self.deliveries += other.deliveries;
        self.dim += other.dim;
    }
}

/// Holds a history against the model.
///
/// # Errors
/// Every fault found: at least one.
pub fn check(history: &History) -> Result<Extent, Vec<Fault>> {
    let mut faults = Vec::new();
    let timeline = Timeline::gather(history, &mut faults);
    let moments = Moments::of(history, &timeline);
    calls::check(history, &timeline, &moments, &mut faults);
    watches::check(history, &timeline, &moments, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let unknown = |call: &&super::history::Call| call.answer == super::history::Answer::Unknown;
    Ok(Extent {
        calls: history.calls.len(),
        unknown: history.calls.iter().filter(unknown).count(),
        changes: timeline.len(),
        deliveries: history
            .sessions
            .iter()
            .map(|session| session.deliveries.len())
            .sum(),
        dim: timeline.dim().len(),
    })
}
