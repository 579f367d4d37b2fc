//! Deliveries of watches against what happened. Pure.

use super::Fault;
use super::moments::Moments;
use super::timeline::{Change, Known, Timeline};
use crate::crash::history::{Delivery, History, Object, Revision, Session};

pub(super) fn check(history: &History, timeline: &Timeline, moments: &Moments, faults: &mut Vec<Fault>) {
    for session in &history.sessions {
        let mut reader = Reader {
            session,
            timeline,
            told: session.after,
            last_change: None,
        };
        for (tick, delivery) in &session.deliveries {
            let highest = moments.after(*tick);
            if delivery.revision() >= highest {
                faults.push(Fault::OutOfTime {
                    call: format!("{:?} to {}", delivery, session.watcher),
                    revision: delivery.revision(),
                    lowest: session.after,
                    highest,
                });
            }
            if let Some(fault) = reader.read(delivery) {
                faults.push(fault);
                break;
            }
        }
    }
}

/// Follows a session.
struct Reader<'a> {
    session: &'a Session,
    timeline: &'a Timeline,
    /// Everything up to here has been delivered.
    told: Revision,
    last_change: Option<Revision>,
}

impl Reader<'_> {
    fn read(&mut self, delivery: &Delivery) -> Option<Fault> {
        let revision = delivery.revision();
        let bookmark = matches!(delivery, Delivery::Bookmark(_));
        if self.last_change == Some(revision) && !bookmark {
            return Some(Fault::Duplicate {
                watcher: self.watcher(),
                revision,
            });
        }
        // A bookmark may repeat where the watch is; a change comes after everything that was told.
        if revision < self.told || (revision == self.told && !bookmark) {
            return Some(Fault::Reordered {
                watcher: self.watcher(),
                revision,
                before: self.told,
            });
        }
        let missed = self.missed_before(revision, bookmark);
        self.told = revision;
        match missed {
            Some(missed) if bookmark => Some(Fault::FalseBookmark {
                watcher: self.watcher(),
                bookmark: revision,
                missed,
            }),
            Some(missed) => Some(Fault::Gap {
                watcher: self.watcher(),
                missed,
                next: revision,
            }),
            None if bookmark => None,
            None => {
                self.last_change = Some(revision);
                self.wrong(delivery)
            }
        }
    }

    /// The first change of concern that should have come before this one: up to and including a bookmark's own revision.
    fn missed_before(&self, revision: Revision, bookmark: bool) -> Option<Revision> {
        let end = if bookmark {
            revision
        } else {
            Revision(revision.0 - 1)
        };
        let mut unseen = self.timeline.after(self.told).take_while(|(at, _)| *at <= end);
        unseen
            .find(|(at, change)| self.concerns(*at, change))
            .map(|(at, _)| at)
    }

    /// Whether a change must be delivered. One that may or may not concern the watcher need not be.
    fn concerns(&self, at: Revision, change: &Change) -> bool {
        match (self.before(at, change), change.state.as_ref()) {
            (_, Some(object)) if self.selects(object) => true,
            (Known::Object(old), _) => self.selects(old),
            (Known::Nothing | Known::Dim, _) => false,
        }
    }

    fn before(&self, at: Revision, change: &Change) -> Known<'_> {
        self.timeline.state(&change.key, Revision(at.0 - 1))
    }

    fn selects(&self, object: &Object) -> bool {
        self.session.shard.is_none_or(|shard| shard == object.value.shard)
    }

    /// What is wrong with a change that was delivered in its turn.
    fn wrong(&self, delivery: &Delivery) -> Option<Fault> {
        let revision = delivery.revision();
        let Some(change) = self.timeline.get(revision) else {
            // Whoever watches everything is a source of the timeline; others may see more only where it is dim.
            let dim = self.timeline.is_dim(Revision(revision.0 - 1), revision);
            return (!dim).then(|| self.unfit(delivery, "nothing"));
        };
        let before = self.before(revision, change);
        let was = before.object().is_some_and(|old| self.selects(old));
        let is = change.state.as_ref().is_some_and(|object| self.selects(object));
        let fits = match delivery {
            Delivery::Added(key, _) => *key == change.key && is && (!was || before == Known::Dim),
            Delivery::Modified(key, _) => *key == change.key && is && (was || before == Known::Dim),
            Delivery::Deleted(key, _) => *key == change.key && !is && (was || before == Known::Dim),
            Delivery::Bookmark(_) => true,
        };
        let expected = format!("{:?} after {before:?}", change);
        (!fits).then(|| self.unfit(delivery, &expected))
    }

    fn unfit(&self, delivery: &Delivery, expected: &str) -> Fault {
        Fault::WrongEvent {
            watcher: self.watcher(),
            delivery: delivery.clone(),
            expected: expected.to_owned(),
        }
    }

    fn watcher(&self) -> String {
        self.session.watcher.clone()
    }
}
