//! Requests and their answers against what happened. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Fault;
use super::moments::Moments;
use super::timeline::{Known, Timeline};
use crate::crash::history::{Action, Answer, Call, History, Object, Revision};

pub(super) fn check(history: &History, timeline: &Timeline, moments: &Moments, faults: &mut Vec<Fault>) {
    for call in &history.calls {
        let checked = Checked {
            call,
            timeline,
            moments,
        };
        checked.check(faults);
    }
    check_removals(history, timeline, moments, faults);
}

struct Checked<'a> {
    call: &'a Call,
    timeline: &'a Timeline,
    moments: &'a Moments,
}

impl Checked<'_> {
    fn check(&self, faults: &mut Vec<Fault>) {
        match &self.call.answer {
            Answer::Written(object) => self.written(object, faults),
            Answer::Found(found) => {
                self.true_at_some_time(faults, |known| known.object() == found.as_ref());
            }
            Answer::Listed { revision, objects } => self.listed(*revision, objects, faults),
            Answer::Exists => self.true_at_some_time(faults, |known| *known != Known::Nothing),
            Answer::Missing => self.true_at_some_time(faults, |known| *known == Known::Nothing),
            Answer::Conflict => self.conflict(faults),
            // Removals are told from each other by the timeline, see `check_removals`.
            Answer::Deleted { .. } | Answer::Refused | Answer::Unknown => {}
        }
    }

    /// From which revision on it may have taken effect, and before which it must have.
    fn bounds(&self) -> (Revision, Revision) {
        (
            self.moments.before(self.call.began),
            self.moments.after(self.call.ended),
        )
    }

    fn written(&self, object: &Object, faults: &mut Vec<Fault>) {
        let (lowest, highest) = self.bounds();
        if object.revision <= lowest || object.revision >= highest {
            faults.push(Fault::OutOfTime {
                call: self.name(),
                revision: object.revision,
                lowest,
                highest,
            });
        }
        if self.call.action.value() != Some(object.value) {
            faults.push(Fault::Invented {
                key: self.call.key.clone(),
                object: object.clone(),
            });
        }
    }

    /// The key was in a state that makes the answer true, at some time between question and answer.
    fn true_at_some_time(&self, faults: &mut Vec<Fault>, holds: impl Fn(&Known<'_>) -> bool) {
        let (from, before) = self.bounds();
        let until = Revision(before.0 - 1);
        let states = self.timeline.states(&self.call.key, from, until);
        if !states.iter().any(|state| *state == Known::Dim || holds(state)) {
            faults.push(Fault::Untrue {
                call: self.name(),
                answer: format!("{:?}", self.call.answer),
                from,
                until,
            });
        }
    }

    fn conflict(&self, faults: &mut Vec<Fault>) {
        match &self.call.action {
            Action::Replace { over: Some(over), .. } => {
                self.true_at_some_time(faults, |known| {
                    known.object().map(|object| object.revision) != Some(*over)
                });
            }
            Action::Delete { uid: Some(uid) } => {
                self.true_at_some_time(faults, |known| {
                    known.object().map(|object| &object.uid) != Some(uid)
                });
            }
            // Without a precondition it tells that the server has tried often enough.
            _ => {}
        }
    }

    fn listed(&self, revision: Revision, objects: &BTreeMap<String, Object>, faults: &mut Vec<Fault>) {
        let (lowest, highest) = self.bounds();
        let Action::List { at } = self.call.action else {
            return;
        };
        let in_time = match at {
            None => lowest <= revision && revision < highest,
            Some(Revision(0)) => revision < highest,
            Some(exactly) => revision == exactly,
        };
        if !in_time {
            faults.push(Fault::OutOfTime {
                call: self.name(),
                revision,
                lowest,
                highest,
            });
        }
        let keys: BTreeSet<&str> = objects
            .keys()
            .map(String::as_str)
            .chain(self.timeline.keys())
            .collect();
        for key in keys {
            let (expected, found) = (self.timeline.state(key, revision), objects.get(key));
            let newer = found.is_some_and(|object| object.revision > revision);
            if newer || (expected != Known::Dim && expected.object() != found) {
                faults.push(Fault::WrongList {
                    revision,
                    key: key.to_owned(),
                    found: found.cloned(),
                    expected: expected.object().cloned(),
                });
            }
        }
    }

    fn name(&self) -> String {
        format!(
            "{:?} of {:?} ({}..{})",
            self.call.action, self.call.key, self.call.began.0, self.call.ended.0
        )
    }
}

/// Every removal was asked for, and every removal that was acknowledged took place, once, in time.
fn check_removals(history: &History, timeline: &Timeline, moments: &Moments, faults: &mut Vec<Fault>) {
    let mut asked: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in &history.calls {
        if matches!(call.action, Action::Delete { .. }) {
            asked.entry(&call.key).or_default().push(call);
        }
    }
    for key in timeline.keys() {
        let calls = asked.get(key).map_or(&[][..], Vec::as_slice);
        for (revision, uid) in timeline.removals(key) {
            if !calls.iter().any(|call| may_remove(call, &uid)) {
                faults.push(Fault::OutOfSequence {
                    revision,
                    key: key.to_owned(),
                    what: format!("{uid} was removed, which nobody had asked for, or which was refused"),
                });
            }
        }
    }
    let mut acknowledged = BTreeSet::new();
    for call in asked.values().flatten() {
        if let Answer::Deleted { uid } = &call.answer {
            let first = acknowledged.insert(uid.clone());
            check_removal(
                &Checked {
                    call,
                    timeline,
                    moments,
                },
                uid,
                first,
                faults,
            );
        }
    }
}

fn may_remove(call: &Call, uid: &str) -> bool {
    let meant = match &call.action {
        Action::Delete { uid: Some(wanted) } => wanted == uid,
        _ => true,
    };
    let done = match &call.answer {
        Answer::Deleted { uid: removed } => removed == uid,
        Answer::Unknown => true,
        _ => false,
    };
    meant && done
}

fn check_removal(checked: &Checked<'_>, uid: &str, first: bool, faults: &mut Vec<Fault>) {
    let (from, before) = checked.bounds();
    let until = Revision(before.0 - 1);
    let removals = checked.timeline.removals(&checked.call.key);
    let in_time = removals
        .iter()
        .any(|(revision, removed)| removed == uid && *revision > from && *revision <= until);
    // Nobody watched, so nobody could tell when.
    let unseen = checked.timeline.is_dim(from, until);
    if !first || !(in_time || unseen) {
        faults.push(Fault::Untrue {
            call: checked.name(),
            answer: format!("removed {uid}{}", if first { "" } else { " again" }),
            from,
            until,
        });
    }
}
