//! Revisions: which ReplicaSet is the new one, what its annotations must say, which old ones may go. Pure.

use super::facts::{self, DESIRED_REPLICAS, Facts, MAX_REPLICAS, REVISION, REVISION_HISTORY};
use crate::owners::controller_reference;
use crate::workloads::hash;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// The longest history a ReplicaSet keeps of the revisions it has been, in bytes.
const LONGEST_HISTORY: usize = 2000;

/// The template a Deployment asks for.
pub(crate) fn template(deployment: &Deployment) -> PodTemplateSpec {
    deployment
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default()
}

/// The oldest ReplicaSet that has the Deployment's template, if any: an older one wins, so that a rollback finds the
/// ReplicaSet it goes back to.
pub(crate) fn find_new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Arc<ReplicaSet>> {
    let wanted = template(deployment);
    let of_set = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone());
    let mut same: Vec<_> = sets
        .iter()
        .filter(|set| facts::same_template(of_set(set).as_ref(), &wanted))
        .collect();
    same.sort_by_key(|set| facts::age(set));
    same.first().map(|set| Arc::clone(set))
}

/// The revision the new ReplicaSet has or gets: one more than any old one's.
pub(crate) fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter()
        .map(|set| facts::revision(&set.metadata))
        .max()
        .unwrap_or(0)
        + 1
}

/// Annotations of the new ReplicaSet that must change: what the Deployment passes on, and its revision. A ReplicaSet that
/// had a revision before (a rollback brought it back) remembers it.
pub(crate) fn annotation_changes(
    deployment: &Deployment,
    set: &ObjectMeta,
    revision: i64,
) -> BTreeMap<String, String> {
    let mut changes = BTreeMap::new();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_INHERITED.contains(&key.as_str()) && facts::annotation(set, key) != Some(value) {
            changes.insert(key.clone(), value.clone());
        }
    }
    let old = facts::annotation(set, REVISION);
    if facts::revision(set) < revision {
        changes.insert(REVISION.to_owned(), revision.to_string());
        if let Some(old) = old {
            let history = history(facts::annotation(set, REVISION_HISTORY), old);
            changes.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    changes
}

fn history(before: Option<&str>, old: &str) -> String {
    let mut revisions: Vec<&str> = before.into_iter().flat_map(|all| all.split(',')).collect();
    revisions.retain(|revision| !revision.is_empty());
    revisions.push(old);
    while revisions.len() > 1 && revisions.join(",").len() > LONGEST_HISTORY {
        revisions.remove(0);
    }
    revisions.join(",")
}

/// The annotations that tell a scaling from a rollout.
pub(crate) fn size_annotations(facts: &Facts) -> BTreeMap<String, String> {
    [
        (DESIRED_REPLICAS.to_owned(), facts.replicas.to_string()),
        (MAX_REPLICAS.to_owned(), facts.max_total().to_string()),
    ]
    .into()
}

/// A new ReplicaSet for the Deployment's template.
pub(crate) fn new_set(deployment: &Deployment, facts: &Facts, replicas: i32, revision: i64) -> ReplicaSet {
    let mut template = template(deployment);
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count);
    let hash = hash::of(&template, collisions);
    let meta = template.metadata.get_or_insert_default();
    meta.labels
        .get_or_insert_default()
        .insert(hash::LABEL.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    let spec = deployment.spec.as_ref();
    let selector = spec.map(|spec| spec.selector.clone()).unwrap_or_default();
    let mut annotations = annotation_changes(deployment, &ObjectMeta::default(), revision);
    annotations.extend(size_annotations(facts));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", facts.name)),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(
                "apps/v1",
                "Deployment",
                &deployment.metadata,
            )]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.and_then(|spec| spec.min_ready_seconds),
            selector: with_hash(selector, hash),
            template: Some(template),
        }),
        status: None,
    }
}

fn with_hash(mut selector: LabelSelector, hash: String) -> LabelSelector {
    selector
        .match_labels
        .get_or_insert_default()
        .insert(hash::LABEL.to_owned(), hash);
    selector
}

/// Old ReplicaSets beyond the history limit, lowest revision first, that nothing uses any more.
pub(crate) fn superfluous(facts: &Facts, old: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = facts.history_limit else {
        return Vec::new();
    };
    let alive: Vec<_> = old
        .iter()
        .filter(|set| set.metadata.deletion_timestamp.is_none())
        .collect();
    let excess = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    let mut by_revision = alive;
    by_revision.sort_by_key(|set| (facts::revision(&set.metadata), facts::age(set)));
    by_revision
        .into_iter()
        .take(excess)
        .filter(|set| is_idle(set))
        .cloned()
        .collect()
}

/// Whether a ReplicaSet has no pods, wants none, and its controller knows that.
fn is_idle(set: &ReplicaSet) -> bool {
    let status = set.status.clone().unwrap_or_default();
    facts::spec_replicas(set) == 0
        && status.replicas == 0
        && status.observed_generation.unwrap_or(0) >= set.metadata.generation.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_grows_and_is_bounded() {
        assert_eq!(history(None, "1"), "1");
        assert_eq!(history(Some("1"), "3"), "1,3");
        let long = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let shortened = history(Some(&long), "1001");
        assert!(shortened.len() <= LONGEST_HISTORY && shortened.ends_with(",1001"));
    }
}
