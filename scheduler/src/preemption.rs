//! Making room: which pods of lower priority must go so that a pod fits. Pure; upstream's DefaultPreemption.
//!
//! Only nodes are looked at where the pods on them are what is in the way. There all pods of lower priority are taken off in
//! thought, and as many as possible are given back: first those that a disruption budget protects, the more important ones
//! first. What could not be given back must go. Filters only ever become stricter with more pods, so that no victim could be
//! spared while the others go.

use crate::filters::{self, Asked, Reason, Refusal};
use crate::placed::Placed;
use crate::snapshot::Snapshot;
use k8s_openapi::jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// As many nodes are looked for where room can be made, at least, and this share of all in large clusters (upstream's
/// `minCandidateNodesAbsolute` and `minCandidateNodesPercentage`).
const ENOUGH_CANDIDATES: usize = 100;
const ENOUGH_PERCENT: usize = 10;

/// A node where room can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The node's name.
    pub node: String,
    /// Who must go: at least one, the most important first.
    pub victims: Vec<Arc<Placed>>,
    /// How many of them a disruption budget protects.
    pub violations: usize,
}

/// Why room cannot be made on a node. Displays as upstream words it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hindrance {
    /// Without the pods of lower priority this is still in the way.
    Remains(Reason),
    /// No pod there is of lower priority.
    NoVictims,
    /// The pods there are not what is in the way.
    NotHelpful,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remains(reason) => reason.fmt(f),
            Self::NoVictims => f.write_str("No preemption victims found for incoming pod"),
            Self::NotHelpful => f.write_str("Preemption is not helpful for scheduling"),
        }
    }
}

/// What came of looking for room for a pod that fits nowhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Preemption {
    /// The pod says that it must not displace others (`preemptionPolicy: Never`).
    Never,
    /// Room is being made already: pods on its nominated node are on their way out.
    Waiting,
    /// Room can be made nowhere: on how many nodes for which reason.
    Helpless(BTreeMap<Hindrance, usize>),
    /// Room is to be made here.
    Candidate(Candidate),
}

impl Default for Preemption {
    fn default() -> Self {
        Self::Helpless(BTreeMap::new())
    }
}

/// Looks for room for a pod that every node refused; `refusals` has one for each row. `random` picks where the search begins.
pub(crate) fn attempt(nodes: &Snapshot, asked: &Asked<'_>, refusals: &[Refusal], random: u64) -> Preemption {
    if asked.spec.preemption_policy.as_deref() == Some("Never") {
        return Preemption::Never;
    }
    if is_waiting(nodes, asked, refusals) {
        return Preemption::Waiting;
    }
    let possible = refusals
        .iter()
        .enumerate()
        .filter(|(_, refusal)| refusal.resolvable);
    let rows: Vec<usize> = possible.map(|(row, _)| row).collect();
    let (candidates, mut hindrances) = search(nodes, &rows, asked, random);
    match candidates.into_iter().min_by_key(Cost::of) {
        Some(candidate) => Preemption::Candidate(candidate),
        None => {
            if refusals.len() > rows.len() {
                hindrances.insert(Hindrance::NotHelpful, refusals.len() - rows.len());
            }
            Preemption::Helpless(hindrances)
        }
    }
}

/// Whether pods were displaced for this one before, and are still leaving the node that is kept for it.
fn is_waiting(nodes: &Snapshot, asked: &Asked<'_>, refusals: &[Refusal]) -> bool {
    let kept = nodes
        .nominations
        .node_of(asked.uid)
        .and_then(|node| nodes.row(node));
    kept.is_some_and(|row| {
        let leaving = |pod: &Arc<Placed>| pod.priority < asked.priority && nodes.is_preempted(pod);
        // A node that cannot take the pod any more, whoever leaves it, is not worth waiting for.
        refusals[row].resolvable && nodes.residents[row].iter().any(leaving)
    })
}

fn search(
    nodes: &Snapshot,
    rows: &[usize],
    asked: &Asked<'_>,
    random: u64,
) -> (Vec<Candidate>, BTreeMap<Hindrance, usize>) {
    let enough = (rows.len() * ENOUGH_PERCENT / 100)
        .max(ENOUGH_CANDIDATES)
        .min(rows.len());
    let offset = random.checked_rem(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    let offset = offset
        .and_then(|offset| usize::try_from(offset).ok())
        .unwrap_or(0);
    let mut candidates = Vec::new();
    let mut hindrances: BTreeMap<Hindrance, usize> = BTreeMap::new();
    let mut one_is_free = false;
    for row in rows[offset..].iter().chain(&rows[..offset]) {
        match dry_run(nodes, *row, asked) {
            Ok(candidate) => {
                one_is_free |= candidate.violations == 0;
                candidates.push(candidate);
            }
            Err(why) => why
                .into_iter()
                .for_each(|why| *hindrances.entry(why).or_default() += 1),
        }
        if one_is_free && candidates.len() >= enough {
            break;
        }
    }
    (candidates, hindrances)
}

/// Who must leave this node so that the pod fits; if that does not help, why not.
pub(crate) fn dry_run(nodes: &Snapshot, row: usize, asked: &Asked<'_>) -> Result<Candidate, Vec<Hindrance>> {
    let residents = nodes.residents[row].iter();
    let mut lower: Vec<&Arc<Placed>> = residents.filter(|pod| pod.priority < asked.priority).collect();
    if lower.is_empty() {
        return Err(vec![Hindrance::NoVictims]);
    }
    let mut load = filters::load(nodes, row, asked);
    lower.iter().for_each(|pod| load.remove(pod));
    if let Err(refusal) = filters::fits(nodes, row, &load, asked) {
        return Err(refusal.reasons.into_iter().map(Hindrance::Remains).collect());
    }
    lower.sort_by_key(|pod| pod.importance());
    let (protected, free) = nodes.budgets.part(&lower);
    let mut victims = Vec::new();
    let mut spare = |pods: Vec<&Arc<Placed>>| {
        for pod in pods {
            load.add(pod);
            if filters::fits(nodes, row, &load, asked).is_err() {
                load.remove(pod);
                victims.push(pod.clone());
            }
        }
        victims.len()
    };
    let violations = spare(protected);
    spare(free);
    victims.sort_by_key(|pod| pod.importance());
    Ok(Candidate {
        node: nodes.facts[row].name.clone(),
        victims,
        violations,
    })
}

/// What room on a node costs, as upstream weighs it; the least is best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Victims that a budget protects.
    violations: usize,
    /// The priority of the most important victim.
    highest: i32,
    /// The sum of priorities, each made positive so that fewer pods of a negative one cost less.
    sum: i64,
    victims: usize,
    /// When the first of the most important victims began: the later, the less is lost.
    started: Reverse<Timestamp>,
}

impl Cost {
    fn of(candidate: &Candidate) -> Self {
        let victims = &candidate.victims;
        let positive = |pod: &Arc<Placed>| i64::from(pod.priority) - i64::from(i32::MIN);
        let first = victims.first();
        Self {
            violations: candidate.violations,
            highest: first.map_or(i32::MIN, |pod| pod.priority),
            sum: victims.iter().map(positive).sum(),
            victims: victims.len(),
            started: Reverse(first.map_or(Timestamp::MAX, |pod| pod.importance().1)),
        }
    }
}

#[cfg(test)]
mod tests;
