//! What others wrote into the part of a status that is the node's to write: the node lifecycle controller calls pods of a silent
//! node unready, and nobody but their node takes that back. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PodCondition, PodStatus};

use crate::plan::OWNED_CONDITIONS;

/// A status that was put right is not put right again sooner: two that do not agree must not write all the time. kubelet
/// compares what it told with what stands as often.
const PUT_RIGHT_AGAIN: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Overwritten {
    found: bool,
    put_right: Option<Timestamp>,
}

impl Overwritten {
    /// Holds what stands in the API against what was told last, if anything was.
    pub(super) fn look(&mut self, told: Option<&PodStatus>, stands: Option<&PodStatus>) {
        self.found = told
            .zip(stands)
            .is_some_and(|(told, stands)| differs(told, stands));
    }

    /// When to put it right; nothing where it is as it was told.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let again = self
            .put_right
            .and_then(|at| at.saturating_add(PUT_RIGHT_AGAIN).ok());
        self.found.then(|| again.map_or(now, |again| again.max(now)))
    }

    /// It is being put right.
    pub(super) fn put_right(&mut self, now: Timestamp) {
        self.found = false;
        self.put_right = Some(now);
    }
}

/// Whether a condition that the node owns stands otherwise than it was told, or the phase does.
fn differs(told: &PodStatus, stands: &PodStatus) -> bool {
    let condition = |status: &PodStatus, kind: &str| {
        let conditions = status.conditions.iter().flatten();
        let mut own = conditions.filter(|condition: &&PodCondition| condition.type_ == kind);
        own.next().map(|condition| condition.status.clone())
    };
    told.phase != stands.phase
        || OWNED_CONDITIONS
            .iter()
            .any(|kind| condition(told, kind) != condition(stands, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(ready: &str) -> PodStatus {
        serde_json::from_value(json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": ready}, {"type": "example.com/gate", "status": ready}]}))
        .unwrap()
    }

    #[test]
    fn what_others_wrote_is_put_right_but_not_all_the_time() {
        let (start, second) = (Timestamp::UNIX_EPOCH, SignedDuration::from_secs(1));
        let mut overwritten = Overwritten::default();
        overwritten.look(None, Some(&status("False")));
        assert_eq!(overwritten.due(start), None, "nothing was told yet");
        overwritten.look(Some(&status("True")), Some(&status("False")));
        assert_eq!(overwritten.due(start), Some(start));
        overwritten.put_right(start);
        assert_eq!(overwritten.due(start), None);
        overwritten.look(Some(&status("True")), Some(&status("False")));
        assert_eq!(overwritten.due(start + second), Some(start + PUT_RIGHT_AGAIN));
        overwritten.look(Some(&status("True")), Some(&status("True")));
        assert_eq!(overwritten.due(start + second), None);
    }

    #[test]
    fn conditions_of_others_are_theirs() {
        let mut stands = status("True");
        stands.conditions.as_mut().unwrap()[1].status = "False".to_owned();
        assert!(!differs(&status("True"), &stands));
    }
}
