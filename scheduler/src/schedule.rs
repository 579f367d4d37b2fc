//! The decision: one pod, all nodes, one answer. Pure.

use crate::filters::{self, Asked, Reason, Refusal};
use crate::resources;
use crate::scores;
use crate::snapshot::{Snapshot, host_ports};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use std::collections::BTreeMap;
use std::fmt;

/// Where a pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The node's name.
    pub node: String,
}

/// Why a pod goes nowhere. Displays as upstream words it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many of them were refused for each reason; a node may have several.
    pub reasons: BTreeMap<Reason, usize>,
    /// Nodes where evicting pods cannot help.
    pub not_helpful: usize,
    /// Nodes where it might, but no pod is of lower priority.
    pub no_victims: usize,
    /// Whether the pod says that it must not displace others (`preemptionPolicy: Never`).
    pub never_preempts: bool,
}

impl Unschedulable {
    fn of(nodes: &Snapshot, spec: &PodSpec, refusals: &[Refusal]) -> Self {
        let priority = spec.priority.unwrap_or(0);
        let mut why = Self {
            nodes: nodes.len(),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            ..Self::default()
        };
        let with_victims = nodes.with_lower_priority(priority);
        for (facts, refusal) in nodes.facts.iter().zip(refusals) {
            for reason in &refusal.reasons {
                *why.reasons.entry(reason.clone()).or_default() += 1;
            }
            if !refusal.resolvable {
                why.not_helpful += 1;
            } else if !with_victims.contains(facts.name.as_str()) {
                why.no_victims += 1;
            }
        }
        why
    }

    /// Whether pods on nodes are in the way, so that the end of one may help.
    #[must_use]
    pub fn waits_for_pods(&self) -> bool {
        self.not_helpful < self.nodes
    }

    fn preemption(&self) -> Option<String> {
        if self.never_preempts {
            return Some("preemption: not eligible due to preemptionPolicy=Never.".to_owned());
        }
        // Where a pod of lower priority is in the way, nothing is said: such pods are not displaced.
        if self.not_helpful + self.no_victims < self.nodes {
            return None;
        }
        let counts = [
            (self.no_victims, "No preemption victims found for incoming pod"),
            (self.not_helpful, "Preemption is not helpful for scheduling"),
        ];
        let counts: Vec<_> = counts.iter().filter(|(count, _)| *count > 0).collect();
        let mut said: Vec<_> = counts
            .iter()
            .map(|(count, why)| format!("{count} {why}"))
            .collect();
        said.sort();
        Some(format!(
            "preemption: 0/{} nodes are available: {}.",
            self.nodes,
            said.join(", ")
        ))
    }
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<_> = self
            .reasons
            .iter()
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        reasons.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, reasons.join(", "))?;
        // What upstream's two PostFilter plugins say: there is nothing to take back from claims, or from other pods.
        f.write_str(" no new claims to deallocate")?;
        match self.preemption() {
            Some(preemption) => write!(f, ", {preemption}"),
            None => Ok(()),
        }
    }
}

/// Finds the best node for a pod. Of equally good ones, `random` picks.
///
/// # Errors
/// [`Unschedulable`] with the reasons of every node when none can take the pod.
pub fn schedule(nodes: &Snapshot, pod: &Pod, random: u64) -> Result<Placement, Unschedulable> {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let asked = Asked {
        spec,
        amounts: resources::requested(pod),
        ports: host_ports(pod),
    };
    let mut rows = Vec::new();
    let mut refusals = Vec::new();
    for row in 0..nodes.len() {
        match filters::check(nodes, row, &asked) {
            Ok(()) => rows.push(row),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if rows.is_empty() {
        return Err(Unschedulable::of(nodes, spec, &refusals));
    }
    let row = if rows.len() == 1 {
        rows[0]
    } else {
        best(nodes, &rows, &asked, pod, random)
    };
    Ok(Placement {
        node: nodes.facts[row].name.clone(),
    })
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
