//! The decision: one pod, all nodes, one answer. Pure.

use crate::filters::{self, Asked, Reason, Refusal};
use crate::preemption::{self, Preemption};
use crate::resources;
use crate::scores;
use crate::snapshot::Snapshot;
use crate::volumes::Choices;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::fmt;

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node's name.
    pub node: String,
    /// What is to be done about its claims before it is bound there.
    pub choices: Choices,
}

/// Why a pod goes nowhere, and what can be done about it. Displays as upstream words it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unschedulable {
    /// How many nodes there are.
    pub nodes: usize,
    /// What keeps the pod off all of them alike; none of them was asked then.
    pub everywhere: Option<String>,
    /// How many of them were refused for each reason; a node may have several.
    pub reasons: BTreeMap<Reason, usize>,
    /// Nodes where the end of other pods cannot help.
    pub not_helpful: usize,
    /// Whether displacing others makes room.
    pub preemption: Preemption,
}

impl Unschedulable {
    fn of(nodes: &Snapshot, asked: &Asked<'_>, refusals: &[Refusal], random: u64) -> Self {
        let mut why = Self {
            nodes: nodes.len(),
            not_helpful: refusals.iter().filter(|refusal| !refusal.resolvable).count(),
            preemption: preemption::attempt(nodes, asked, refusals, random),
            ..Self::default()
        };
        for reason in refusals.iter().flat_map(|refusal| &refusal.reasons) {
            *why.reasons.entry(reason.clone()).or_default() += 1;
        }
        why
    }

    /// No node was asked, for the pod itself can go nowhere.
    fn everywhere(nodes: &Snapshot, asked: &Asked<'_>, why: String) -> Self {
        let refusal = Refusal {
            reasons: Vec::new(),
            resolvable: false,
        };
        let refusals = vec![refusal; nodes.len()];
        Self {
            everywhere: Some(why),
            ..Self::of(nodes, asked, &refusals, 0)
        }
    }

    /// Whether pods on nodes are in the way, so that the end of one may help.
    #[must_use]
    pub fn waits_for_pods(&self) -> bool {
        self.not_helpful < self.nodes
    }
}

/// Counts with what they count, in upstream's order.
fn counted<R: fmt::Display>(nodes: usize, counts: &BTreeMap<R, usize>) -> String {
    let mut said: Vec<_> = counts
        .iter()
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    said.sort();
    format!("0/{nodes} nodes are available: {}.", said.join(", "))
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        match &self.everywhere {
            Some(why) => write!(f, "0/{} nodes are available: {why}.", self.nodes)?,
            None => f.write_str(&counted(self.nodes, &self.reasons))?,
        }
        // What upstream's two PostFilter plugins say where neither helps: nothing is to be taken back from claims, nor from
        // other pods.
        let preemption = match &self.preemption {
            Preemption::Candidate(_) => return Ok(()),
            Preemption::Never => "not eligible due to preemptionPolicy=Never.".to_owned(),
            Preemption::Waiting => "not eligible due to a terminating pod on the nominated node.".to_owned(),
            Preemption::Helpless(counts) => counted(self.nodes, counts),
        };
        write!(f, " no new claims to deallocate, preemption: {preemption}")
    }
}

/// No cluster has so few nodes that fewer are looked for.
const FEW: usize = 100;
/// The smallest share of the nodes of a large cluster that is looked for, in percent.
const LEAST_SHARE: usize = 5;

/// How many nodes that can take a pod are looked for: all in a small cluster, a share that shrinks with its size in a larger
/// one. Upstream's values where its `percentageOfNodesToScore` is not set.
fn enough(nodes: usize) -> usize {
    let percent = 50_usize.saturating_sub(nodes / 125).max(LEAST_SHARE);
    (nodes * percent / 100).max(FEW).min(nodes)
}

/// Finds the best node for a pod: the one that is kept for it, if it fits there by now, or else the one with the highest
/// score of those that can take it; in a large cluster, of the first of them from a node on that `random` picks. Of equally
/// good ones, `random` picks.
///
/// # Errors
/// [`Unschedulable`] with the reasons of every node when none can take the pod, and with what came of looking for pods to
/// displace.
pub fn schedule(nodes: &Snapshot, pod: &Pod, random: u64) -> Result<Placement, Unschedulable> {
    let mut asked = Asked::of(pod);
    match nodes.volumes.needs(pod) {
        Ok(needs) => asked.needs = needs,
        Err(why) => return Err(Unschedulable::everywhere(nodes, &asked, why)),
    }
    if let Some(node) = nodes.nominations.node_of(asked.uid)
        && let Some(row) = nodes.row(node)
        && filters::check(nodes, row, &asked).is_ok()
    {
        return Ok(placement(nodes, row, &asked));
    }
    let rows = possible(nodes, &asked, random)
        .map_err(|refusals| Unschedulable::of(nodes, &asked, &refusals, random))?;
    let row = if rows.len() == 1 {
        rows[0]
    } else {
        best(nodes, &rows, &asked, pod, random)
    };
    Ok(placement(nodes, row, &asked))
}

/// Rows of nodes that can take the pod, as many as are enough. Where there is none: why not, by row.
fn possible(nodes: &Snapshot, asked: &Asked<'_>, random: u64) -> Result<Vec<usize>, Vec<Refusal>> {
    let (all, enough) = (nodes.len(), enough(nodes.len()));
    let first = if enough < all {
        // The lower half of the bits picks among equals.
        usize::try_from(random >> 32).unwrap_or(0) % all
    } else {
        0
    };
    let mut rows = Vec::new();
    let mut refusals = Vec::new();
    for row in (first..all).chain(0..first) {
        match filters::check(nodes, row, asked) {
            Ok(()) => rows.push(row),
            Err(refusal) => refusals.push(refusal),
        }
        if rows.len() == enough {
            return Ok(rows);
        }
    }
    if rows.is_empty() {
        refusals.rotate_right(first);
        return Err(refusals);
    }
    Ok(rows)
}

fn placement(nodes: &Snapshot, row: usize, asked: &Asked<'_>) -> Placement {
    let facts = &nodes.facts[row];
    Placement {
        node: facts.name.clone(),
        // It was found before that there is something to choose.
        choices: nodes.volumes.choose(&asked.needs, facts).unwrap_or_default(),
    }
}

fn best(nodes: &Snapshot, rows: &[usize], asked: &Asked<'_>, pod: &Pod, random: u64) -> usize {
    let scores = scores::score(nodes, rows, asked, &resources::requested_for_score(pod));
    let most = scores.iter().copied().max().unwrap_or(0);
    let best: Vec<usize> = rows
        .iter()
        .zip(&scores)
        .filter(|(_, score)| **score == most)
        .map(|(row, _)| *row)
        .collect();
    let pick = random % u64::try_from(best.len()).unwrap_or(1);
    best[usize::try_from(pick).unwrap_or(0)]
}

#[cfg(test)]
mod tests;
