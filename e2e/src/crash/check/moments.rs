//! Which revisions lie before a moment and which after it. Pure.

use super::timeline::Timeline;
use crate::crash::history::{Answer, History, Revision, Tick};

/// What was known of revisions when.
pub(super) struct Moments {
    /// Ascending in both: by then, the store had come at least that far.
    reached: Vec<(Tick, Revision)>,
    /// Ascending in both: every write asked for from then on came at that revision or later.
    ahead: Vec<(Tick, Revision)>,
}

impl Moments {
    pub(super) fn of(history: &History, timeline: &Timeline) -> Self {
        let removals = timeline.all_removals();
        let mut reached = Vec::new();
        let mut ahead = Vec::new();
        for call in &history.calls {
            match &call.answer {
                Answer::Written(object) => {
                    reached.push((call.ended, object.revision));
                    ahead.push((call.began, object.revision));
                }
                // The answer does not say when; that the object of this uid is gone, the watches do.
                Answer::Deleted { uid } => {
                    if let Some(revision) = removals.get(uid) {
                        reached.push((call.ended, *revision));
                        ahead.push((call.began, *revision));
                    }
                }
                Answer::Found(Some(object)) => reached.push((call.ended, object.revision)),
                Answer::Listed { revision, .. } => reached.push((call.ended, *revision)),
                _ => {}
            }
        }
        for session in &history.sessions {
            reached.extend(
                session
                    .deliveries
                    .iter()
                    .map(|(tick, delivery)| (*tick, delivery.revision())),
            );
        }
        reached.sort_unstable();
        let mut highest = Revision::default();
        for (_, revision) in &mut reached {
            highest = highest.max(*revision);
            *revision = highest;
        }
        ahead.sort_unstable();
        let mut lowest = Revision(u64::MAX);
        for (_, revision) in ahead.iter_mut().rev() {
            lowest = lowest.min(*revision);
            *revision = lowest;
        }
        Self { reached, ahead }
    }

    /// The newest revision that was known of before a moment.
    pub(super) fn before(&self, began: Tick) -> Revision {
        let known = self.reached.partition_point(|(tick, _)| *tick < began);
        known
            .checked_sub(1)
            .map_or(Revision::default(), |last| self.reached[last].1)
    }

    /// The oldest revision of a write that was asked for after a moment: whatever ended by then happened before it.
    pub(super) fn after(&self, ended: Tick) -> Revision {
        let past = self.ahead.partition_point(|(tick, _)| *tick <= ended);
        self.ahead
            .get(past)
            .map_or(Revision(u64::MAX), |(_, revision)| *revision)
    }
}
