//! Which of the possible nodes is best. Pure; upstream's plugins and weights, each score from 0 to 100.

use crate::filters::Asked;
use crate::resources::Amounts;
use crate::snapshot::Snapshot;
use crate::{affinity, taints};
use std::borrow::Cow;

const MOST: i64 = 100;
/// Images smaller than this do not matter, larger ones than that matter no more (upstream's values, per container).
const SMALL_IMAGE: i64 = 23 * 1024 * 1024;
const LARGE_IMAGE: i64 = 1000 * 1024 * 1024;

/// The weighted score of each of these rows.
pub(crate) fn score(nodes: &Snapshot, rows: &[usize], asked: &Asked<'_>, for_score: &Amounts) -> Vec<i64> {
    let disliked = rows.iter().map(|row| {
        i64::try_from(taints::disliked(asked.spec, &nodes.facts[*row].taints)).unwrap_or(i64::MAX)
    });
    let disliked = normalized(disliked.collect());
    let preferred = rows
        .iter()
        .map(|row| affinity::preference(asked.spec, &nodes.facts[*row].name, &nodes.facts[*row].labels));
    let preferred = normalized(preferred.collect());
    let images = Images::of(nodes, asked);
    let mut scores = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        let resources = least_allocated(nodes, *row, for_score) + balanced(nodes, *row, &asked.amounts);
        let wishes = 3 * (MOST - disliked[at]) + 2 * preferred[at];
        scores.push(resources + wishes + images.score(nodes, *row));
    }
    scores
}

/// Scales so that the largest is 100; all zero stays all zero.
fn normalized(mut scores: Vec<i64>) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    if most > 0 {
        scores
            .iter_mut()
            .for_each(|score| *score = score.saturating_mul(MOST) / most);
    }
    scores
}

/// The share of CPU and memory that would stay free.
fn least_allocated(nodes: &Snapshot, row: usize, asked: &Amounts) -> i64 {
    let (has, used) = (&nodes.allocatable[row], &nodes.scored[row]);
    let free = |has: i64, used: i64| {
        if has <= 0 || used > has {
            0
        } else {
            (has - used).saturating_mul(MOST) / has
        }
    };
    let cpu = free(has.milli_cpu, used.milli_cpu + asked.milli_cpu);
    let memory = free(has.memory, used.memory.saturating_add(asked.memory));
    i64::midpoint(cpu, memory)
}

/// How evenly CPU and memory would be used: 100 less the standard deviation of the two shares.
fn balanced(nodes: &Snapshot, row: usize, asked: &Amounts) -> i64 {
    let (has, used) = (&nodes.allocatable[row], &nodes.requested[row]);
    let per_mille = |has: i64, used: i64| {
        if has <= 0 {
            0
        } else {
            (used.saturating_mul(1000) / has).clamp(0, 1000)
        }
    };
    let cpu = per_mille(has.milli_cpu, used.milli_cpu + asked.milli_cpu);
    let memory = per_mille(has.memory, used.memory.saturating_add(asked.memory));
    // The standard deviation of two numbers is half their distance.
    MOST - (cpu - memory).abs() / 20
}

/// The images a pod's containers need, each weighed by how many nodes have it, so that one node is not flooded.
struct Images<'a> {
    /// Those that a node has.
    weights: Vec<(Cow<'a, str>, i64)>,
    containers: i64,
}

impl<'a> Images<'a> {
    fn of(nodes: &Snapshot, asked: &Asked<'a>) -> Self {
        let containers = asked
            .spec
            .containers
            .iter()
            .chain(asked.spec.init_containers.iter().flatten());
        let names: Vec<_> = containers
            .filter_map(|container| container.image.as_deref())
            .map(tagged)
            .collect();
        let containers = i64::try_from(names.len()).unwrap_or(1).max(1);
        let all = i64::try_from(nodes.len()).unwrap_or(i64::MAX).max(1);
        let weighed = names.into_iter().filter_map(|name| {
            let having = i64::try_from(nodes.having_image(&name)).unwrap_or(0);
            (having > 0).then_some((name, having * MOST / all))
        });
        Self {
            weights: weighed.collect(),
            containers,
        }
    }

    fn score(&self, nodes: &Snapshot, row: usize) -> i64 {
        let images = &nodes.facts[row].images;
        let present = self
            .weights
            .iter()
            .filter_map(|(name, share)| Some(images.get(&**name)? / MOST * share));
        let total: i64 = present.sum();
        let large = LARGE_IMAGE * self.containers;
        (total.clamp(SMALL_IMAGE, large) - SMALL_IMAGE) * MOST / (large - SMALL_IMAGE)
    }
}

/// The name under which a node has an image: one without a tag means `latest`.
fn tagged(name: &str) -> Cow<'_, str> {
    if name.rsplit('/').next().unwrap_or(name).contains([':', '@']) {
        name.into()
    } else {
        format!("{name}:latest").into()
    }
}
