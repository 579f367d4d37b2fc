//! What a Deployment and its ReplicaSets say, read with defaults and bounds applied. Pure.

use crate::workloads::amounts::{Rounding, resolve};
use crate::workloads::hash;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// A Deployment's spec with defaults and bounds applied.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) replicas: i32,
    /// Pods beyond `replicas` that a rollout may have; 0 unless rolling.
    pub(crate) max_surge: i32,
    /// Pods below `replicas` that a rollout may lack; 0 unless rolling.
    pub(crate) max_unavailable: i32,
    pub(crate) recreate: bool,
    pub(crate) paused: bool,
    /// Seconds without progress after which the rollout counts as stuck.
    pub(crate) progress_deadline: Option<i32>,
    /// Old ReplicaSets to keep.
    pub(crate) history_limit: Option<i32>,
}

impl Facts {
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.clone().unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let recreate = spec
            .strategy
            .as_ref()
            .is_some_and(|s| s.type_.as_deref() == Some("Recreate"));
        let rolling = spec
            .strategy
            .and_then(|strategy| strategy.rolling_update)
            .unwrap_or_default();
        let (max_surge, max_unavailable) = if recreate {
            (0, 0)
        } else {
            bounds(
                rolling.max_surge.as_ref(),
                rolling.max_unavailable.as_ref(),
                replicas,
            )
        };
        Self {
            name: deployment.metadata.name.clone().unwrap_or_default(),
            replicas,
            max_surge,
            max_unavailable,
            recreate,
            paused: spec.paused.unwrap_or(false),
            progress_deadline: spec
                .progress_deadline_seconds
                .filter(|seconds| *seconds != i32::MAX),
            history_limit: spec.revision_history_limit.filter(|limit| *limit != i32::MAX),
        }
    }

    /// The most pods a rollout may have.
    pub(crate) fn max_total(&self) -> i32 {
        self.replicas.saturating_add(self.max_surge)
    }

    /// The least pods that must stay available.
    pub(crate) fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable
    }
}

/// Surge rounds up and unavailability down, so that a rollout neither overshoots nor stands still; when both come out as
/// zero, one pod may be missing.
fn bounds(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, replicas: i32) -> (i32, i32) {
    let quarter = IntOrString::String("25%".to_owned());
    let surge = resolve(surge.unwrap_or(&quarter), replicas, Rounding::Up);
    let unavailable = resolve(unavailable.unwrap_or(&quarter), replicas, Rounding::Down);
    let unavailable = if surge == 0 && unavailable == 0 {
        1
    } else {
        unavailable
    };
    (surge, unavailable.min(replicas))
}

/// The number of pods a ReplicaSet asks for.
pub(crate) fn spec_replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
}

/// The number of pods it has available.
pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// Sums a count over ReplicaSets.
pub(crate) fn sum<'a>(
    sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>,
    count: impl Fn(&ReplicaSet) -> i32,
) -> i32 {
    sets.into_iter()
        .map(|set| count(set))
        .fold(0, i32::saturating_add)
}

/// An annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The revision an object says it is; 0 without one.
pub(crate) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(0)
}

/// When the object was made, and its name to tell those apart that were made in the same second.
pub(crate) fn age(set: &ReplicaSet) -> (Option<k8s_openapi::jiff::Timestamp>, &str) {
    let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, set.metadata.name.as_deref().unwrap_or_default())
}

/// Whether two templates differ in nothing but the hash label.
pub(crate) fn same_template(a: Option<&PodTemplateSpec>, b: &PodTemplateSpec) -> bool {
    a.is_some_and(|a| without_hash(a) == without_hash(b))
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let mut meta = template.metadata.take().unwrap_or_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(hash::LABEL);
    }
    meta.labels = meta.labels.filter(|labels| !labels.is_empty());
    meta.annotations = meta.annotations.filter(|annotations| !annotations.is_empty());
    meta.creation_timestamp = None;
    template.metadata = Some(meta);
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_apart_and_never_both_to_zero() {
        let percent = |text: &str| IntOrString::String(text.to_owned());
        let cases = [
            (percent("25%"), percent("25%"), 10, (3, 2)),
            (percent("25%"), percent("25%"), 1, (1, 0)),
            (IntOrString::Int(0), percent("10%"), 5, (0, 1)),
            (IntOrString::Int(1), IntOrString::Int(0), 3, (1, 0)),
            (IntOrString::Int(2), IntOrString::Int(9), 3, (2, 3)),
            (percent("100%"), percent("100%"), 0, (0, 0)),
        ];
        for (surge, unavailable, replicas, expected) in cases {
            assert_eq!(
                bounds(Some(&surge), Some(&unavailable), replicas),
                expected,
                "{surge:?} {unavailable:?}"
            );
        }
    }
}
