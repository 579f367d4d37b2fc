//! How many pods each ReplicaSet of a Deployment should have. Pure arithmetic over what was observed.
//!
//! One step at a time, as upstream: the new ReplicaSet first, then the old ones; each step keeps the number of pods under
//! `replicas + maxSurge` and the number of available ones over `replicas - maxUnavailable`.

use super::facts::{self, Facts};
use k8s_openapi::api::apps::v1::ReplicaSet;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// New sizes by ReplicaSet name. Sizes that stay may be among them.
pub(crate) type Sizes = BTreeMap<String, i32>;

fn name(set: &ReplicaSet) -> String {
    set.metadata.name.clone().unwrap_or_default()
}

/// The size a new ReplicaSet starts with or grows to: as much as the surge leaves room for.
pub(crate) fn new_set_size(facts: &Facts, new: Option<&ReplicaSet>, all: &[Arc<ReplicaSet>]) -> i32 {
    let current = new.map_or(0, facts::spec_replicas);
    if facts.recreate || current > facts.replicas {
        return facts.replicas;
    }
    let room = facts.max_total() - facts::sum(all, facts::spec_replicas);
    current + room.max(0).min(facts.replicas - current)
}

/// The next step of a rolling update: the new ReplicaSet grows or shrinks, or else old ones shrink.
pub(crate) fn roll(facts: &Facts, new: Option<&Arc<ReplicaSet>>, old: &[Arc<ReplicaSet>]) -> Sizes {
    let Some(new) = new else { return Sizes::new() };
    let all: Vec<_> = old.iter().chain([new]).cloned().collect();
    let size = new_set_size(facts, Some(new), &all);
    if size != facts::spec_replicas(new) {
        return [(name(new), size)].into();
    }
    shrink_old(facts, new, old)
}

fn shrink_old(facts: &Facts, new: &ReplicaSet, old: &[Arc<ReplicaSet>]) -> Sizes {
    let old_total = facts::sum(old, facts::spec_replicas);
    if old_total == 0 {
        return Sizes::new();
    }
    let new_unavailable = facts::spec_replicas(new) - facts::available(new);
    let total = old_total.saturating_add(facts::spec_replicas(new));
    let most = total - facts.min_available() - new_unavailable;
    if most <= 0 {
        return Sizes::new();
    }
    let mut by_age: Vec<_> = old.iter().filter(|set| facts::spec_replicas(set) > 0).collect();
    by_age.sort_by_key(|set| facts::age(set));
    let mut sizes: Sizes = by_age
        .iter()
        .map(|set| (name(set), facts::spec_replicas(set)))
        .collect();
    drop_unhealthy(&mut sizes, &by_age, most);
    // A set that has just been told to shrink may still report pods that are about to go: they are no reason to take more.
    let staying = |set: &ReplicaSet| facts::available(set).min(facts::spec_replicas(set));
    let available = facts::sum(old, staying) + staying(new);
    drop_healthy(&mut sizes, &by_age, available - facts.min_available());
    sizes.retain(|set, size| {
        by_age
            .iter()
            .any(|s| name(s) == *set && facts::spec_replicas(s) != *size)
    });
    sizes
}

/// Pods that are not available are no loss.
fn drop_unhealthy(sizes: &mut Sizes, by_age: &[&Arc<ReplicaSet>], mut most: i32) {
    for set in by_age {
        let unhealthy = facts::spec_replicas(set) - facts::available(set);
        let drop = unhealthy.min(most).max(0);
        *sizes.entry(name(set)).or_default() -= drop;
        most -= drop;
    }
}

/// Of the others, as many as are available beyond the least that must be.
fn drop_healthy(sizes: &mut Sizes, by_age: &[&Arc<ReplicaSet>], mut most: i32) {
    for set in by_age {
        let size = sizes.entry(name(set)).or_default();
        let drop = (*size).min(most).max(0);
        *size -= drop;
        most -= drop;
    }
}

/// All old ReplicaSets that still want pods go to none.
pub(crate) fn empty_old(old: &[Arc<ReplicaSet>]) -> Sizes {
    old.iter()
        .filter(|set| facts::spec_replicas(set) > 0)
        .map(|set| (name(set), 0))
        .collect()
}

/// Sizes after a change of `replicas`, or while paused: the one active ReplicaSet takes all; several in the middle of a
/// rollout share in proportion to their size.
pub(crate) fn scale(facts: &Facts, new: Option<&Arc<ReplicaSet>>, old: &[Arc<ReplicaSet>]) -> Sizes {
    let mut active: Vec<_> = old
        .iter()
        .chain(new)
        .filter(|set| facts::spec_replicas(set) > 0)
        .cloned()
        .collect();
    if active.len() <= 1 {
        let newest_old = || old.iter().max_by_key(|set| facts::age(set)).cloned();
        let only = active.pop().or_else(|| new.cloned()).or_else(newest_old);
        return only.map(|set| (name(&set), facts.replicas)).into_iter().collect();
    }
    if facts.recreate || new.is_some_and(|new| is_saturated(facts, new)) {
        return empty_old(old);
    }
    share(facts, active)
}

fn is_saturated(facts: &Facts, new: &ReplicaSet) -> bool {
    let desired =
        facts::annotation(&new.metadata, facts::DESIRED_REPLICAS).and_then(|text| text.parse().ok());
    facts::spec_replicas(new) == facts.replicas
        && desired == Some(facts.replicas)
        && facts::available(new) == facts.replicas
}

/// Shares what is to be added or taken away; the largest set gets what rounding leaves.
fn share(facts: &Facts, mut active: Vec<Arc<ReplicaSet>>) -> Sizes {
    let allowed = if facts.replicas > 0 { facts.max_total() } else { 0 };
    let change = allowed - facts::sum(&active, facts::spec_replicas);
    // The larger first; of equals, the newer grows first and the older shrinks first.
    active.sort_by(|a, b| facts::age(a).cmp(&facts::age(b)));
    if change > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(facts::spec_replicas(set)));
    let mut shared = 0;
    let mut sizes = Vec::new();
    for set in &active {
        let part = proportion(facts, set, change, shared);
        shared += part;
        sizes.push((name(set), facts::spec_replicas(set) + part));
    }
    if let Some((_, largest)) = sizes.first_mut() {
        *largest = (*largest + change - shared).max(0);
    }
    sizes.into_iter().collect()
}

/// This set's part of the change, never more than what is left of it.
fn proportion(facts: &Facts, set: &ReplicaSet, change: i32, shared: i32) -> i32 {
    let left = change - shared;
    if facts::spec_replicas(set) == 0 || change == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(facts, set);
    if change > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

fn fraction(facts: &Facts, set: &ReplicaSet) -> i32 {
    let size = facts::spec_replicas(set);
    if facts.replicas == 0 {
        return -size;
    }
    let annotated = facts::annotation(&set.metadata, facts::MAX_REPLICAS).and_then(|text| text.parse().ok());
    // Without the annotation there is nothing to be in proportion to; the largest set then takes the whole change.
    let Some(before) = annotated.filter(|before: &i64| *before > 0) else {
        return 0;
    };
    let product = i64::from(size) * i64::from(facts.max_total());
    // Half a pod rounds up.
    let after = (2 * product + before) / (2 * before);
    i32::try_from(after).unwrap_or(i32::MAX) - size
}
