//! PodDisruptionBudgets, as far as making room for a pod asks about them. Pure.
//!
//! A budget does not keep a pod from being displaced; pods that budgets protect are displaced last.

use crate::placed::Placed;
use coracle_api::selector::LabelSelector;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// One budget.
#[derive(Clone, Debug)]
struct Budget {
    namespace: String,
    selector: LabelSelector,
    allowed: i32,
    /// Names of pods whose disruption has been granted already.
    disrupted: HashSet<String>,
}

/// All budgets that select anything, by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Budgets(BTreeMap<String, Budget>);

/// The name a budget is known by here: `NAMESPACE/NAME`.
#[must_use]
pub fn key(budget: &PodDisruptionBudget) -> String {
    let meta = &budget.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.namespace), part(&meta.name))
}

impl Budgets {
    /// Takes a budget in, or what changed about it.
    pub fn set(&mut self, budget: &PodDisruptionBudget) {
        let key = key(budget);
        match read(budget) {
            Some(budget) => self.0.insert(key, budget),
            None => self.0.remove(&key),
        };
    }

    /// Forgets a budget, named as [`key`] names it.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Keeps only budgets of these names.
    pub fn retain(&mut self, keys: &HashSet<String>) {
        self.0.retain(|key, _| keys.contains(key));
    }

    /// Parts pods into those whose displacement would break a budget, if all of them went in this order, and the others.
    pub(crate) fn part<'a>(&self, pods: &[&'a Arc<Placed>]) -> (Vec<&'a Arc<Placed>>, Vec<&'a Arc<Placed>>) {
        let mut allowed: Vec<i32> = self.0.values().map(|budget| budget.allowed).collect();
        pods.iter().partition(|pod| {
            let mut broken = false;
            for (budget, allowed) in self.0.values().zip(&mut allowed) {
                if budget.protects(pod) {
                    *allowed -= 1;
                    broken |= *allowed < 0;
                }
            }
            broken
        })
    }
}

impl Budget {
    fn protects(&self, pod: &Placed) -> bool {
        let label = |key: &str| pod.labels.get(key).map(String::as_str);
        // A pod without labels is no budget's, not even where the selector only says what must be absent.
        self.namespace == pod.namespace
            && !pod.labels.is_empty()
            && self.selector.matches(label)
            && !self.disrupted.contains(&pod.name)
    }
}

/// Nothing where the selector is empty or cannot be read: such a budget selects nothing here, as upstream's scheduler has it.
fn read(budget: &PodDisruptionBudget) -> Option<Budget> {
    let selector = budget.spec.as_ref()?.selector.as_ref()?;
    let selector = serde_json::to_value(selector).ok()?;
    let selector = LabelSelector::from_object(Some(&selector)).ok()?;
    let status = budget.status.as_ref();
    let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
    (!selector.is_everything()).then(|| Budget {
        namespace: budget.metadata.namespace.clone().unwrap_or_default(),
        selector,
        allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
        disrupted: disrupted
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{PodBuilder, budget};

    fn pods(count: usize) -> Vec<Arc<Placed>> {
        let pod = |n| PodBuilder::new(&format!("p{n}")).label("app", "web").build();
        (0..count).map(|n| Arc::new(Placed::of(&pod(n), "a"))).collect()
    }

    fn violating(budgets: &Budgets, pods: &[Arc<Placed>]) -> Vec<String> {
        let all: Vec<_> = pods.iter().collect();
        budgets.part(&all).0.iter().map(|pod| pod.name.clone()).collect()
    }

    #[test]
    fn a_budget_is_used_up_in_order() {
        let mut budgets = Budgets::default();
        budgets.set(&budget("b", &[("app", "web")], 2));
        assert_eq!(violating(&budgets, &pods(4)), ["p2", "p3"]);
        budgets.set(&budget("tight", &[("app", "web")], 1));
        assert_eq!(violating(&budgets, &pods(3)), ["p1", "p2"], "the tightest counts");
        budgets.retain(&HashSet::new());
        assert!(violating(&budgets, &pods(3)).is_empty());
    }

    #[test]
    fn what_a_budget_does_not_select_is_free() {
        let mut budgets = Budgets::default();
        budgets.set(&budget("other", &[("app", "db")], 0));
        budgets.set(&budget("everything", &[], 0));
        let mut elsewhere = budget("elsewhere", &[("app", "web")], 0);
        elsewhere.metadata.namespace = Some("other".to_owned());
        budgets.set(&elsewhere);
        assert!(violating(&budgets, &pods(2)).is_empty());
    }

    #[test]
    fn a_disruption_that_was_granted_counts_no_more() {
        let mut granted = budget("b", &[("app", "web")], 0);
        let time =
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        granted.status.as_mut().unwrap().disrupted_pods = Some([("p0".to_owned(), time)].into());
        let mut budgets = Budgets::default();
        budgets.set(&granted);
        assert_eq!(violating(&budgets, &pods(2)), ["p1"]);
    }
}
