//! When a pod must leave a node that is tainted NoExecute. Pure.

use crate::observed::Pod;
use crate::workloads::pods;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// What becomes of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may stay.
    Stay,
    /// It must go at this time, if nothing changes.
    LeaveAt(Timestamp),
    /// It must go.
    Leave,
}

/// Judges a pod by its node's taints. `first_seen` is when these taints were first seen with this pod, for taints that do
/// not say when they were added.
pub(crate) fn plan(pod: &Pod, taints: &[Taint], first_seen: Timestamp, now: Timestamp) -> Verdict {
    if pods::is_terminating(pod) || pods::is_finished(pod) {
        return Verdict::Stay;
    }
    let deadlines = taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .map(|taint| {
            let since = taint.time_added.as_ref().map_or(first_seen, |time| time.0);
            deadline(pod, taint, since.max(assigned(pod)))
        });
    match deadlines.flatten().min() {
        None => Verdict::Stay,
        Some(at) if at <= now => Verdict::Leave,
        Some(at) => Verdict::LeaveAt(at),
    }
}

/// Whether any taint asks for anything.
pub(crate) fn concerns(taints: &[Taint]) -> bool {
    taints.iter().any(|taint| taint.effect == "NoExecute")
}

/// When the pod came to the node, as near as its status says.
fn assigned(pod: &Pod) -> Timestamp {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    started
        .or(pod.metadata.creation_timestamp.as_ref())
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// When the pod must be gone for this taint: at once if it is not tolerated, after the shortest of the times for which it
/// is, never if no toleration is limited.
fn deadline(pod: &Pod, taint: &Taint, since: Timestamp) -> Option<Timestamp> {
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let mut matching = tolerations
        .filter(|toleration| tolerates(toleration, taint))
        .peekable();
    if matching.peek().is_none() {
        return Some(Timestamp::MIN);
    }
    let shortest = matching
        .filter_map(|toleration| toleration.toleration_seconds)
        .min()?;
    since.checked_add(SignedDuration::from_secs(shortest.max(0))).ok()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let rule = coracle_api::taints::Toleration {
        key: toleration.key.as_deref().unwrap_or_default(),
        operator: toleration.operator.as_deref().unwrap_or_default(),
        value: toleration.value.as_deref().unwrap_or_default(),
        effect: toleration.effect.as_deref().unwrap_or_default(),
    };
    rule.covers(&coracle_api::taints::Taint {
        key: &taint.key,
        value: taint.value.as_deref().unwrap_or_default(),
        effect: &taint.effect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::replicaset::fixtures::PodBuilder;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn verdict(seconds: &[Option<i64>], taint_added: Option<i64>, now: i64) -> Verdict {
        let mut pod = (*PodBuilder::new("p").build()).clone();
        let toleration = |seconds: &Option<i64>| Toleration {
            key: Some("node.kubernetes.io/unreachable".to_owned()),
            operator: Some("Exists".to_owned()),
            toleration_seconds: *seconds,
            ..Toleration::default()
        };
        pod.spec.as_mut().unwrap().tolerations = Some(seconds.iter().map(toleration).collect());
        let taint = Taint {
            key: "node.kubernetes.io/unreachable".to_owned(),
            effect: "NoExecute".to_owned(),
            time_added: taint_added.map(|second| Time(at(second))),
            value: None,
        };
        plan(&pod, &[taint], at(100), at(now))
    }

    #[test]
    fn the_shortest_toleration_counts_from_when_the_taint_was_added() {
        let cases = [
            (vec![], Some(50), 60, Verdict::Leave),
            (vec![None], Some(50), 60, Verdict::Stay),
            (vec![Some(300)], Some(50), 60, Verdict::LeaveAt(at(350))),
            (vec![Some(300)], Some(50), 350, Verdict::Leave),
            (vec![Some(300), Some(30)], Some(50), 60, Verdict::LeaveAt(at(80))),
            (vec![Some(300), None], Some(50), 60, Verdict::LeaveAt(at(350))),
            (vec![Some(300)], None, 110, Verdict::LeaveAt(at(400))),
            (vec![Some(-1)], Some(50), 60, Verdict::Leave),
        ];
        for (seconds, added, now, expected) in cases {
            assert_eq!(verdict(&seconds, added, now), expected, "{seconds:?}");
        }
    }
}
