//! What each pod of the node was granted, so that a resize takes only what is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::plan::{Pending, refusal};
use crate::resources::Amounts;

/// Requests granted, by pod uid; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Allocations(Arc<Mutex<BTreeMap<String, Amounts>>>);

impl Allocations {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Amounts>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what a pod has, whatever is left for others.
    pub(super) fn set(&self, uid: &str, amounts: Amounts) {
        self.with(|all| all.insert(uid.to_owned(), amounts));
    }

    /// The pod holds nothing any more.
    pub(super) fn remove(&self, uid: &str) {
        self.with(|all| all.remove(uid));
    }

    /// Grants a pod other amounts than it has, if the node has them; if not, says why.
    pub(super) fn resize(&self, uid: &str, amounts: Amounts, node: Amounts) -> Option<Pending> {
        self.with(|all| {
            let others = all.iter().filter(|(other, _)| *other != uid);
            let others = others.fold(Amounts::default(), |sum, (_, held)| Amounts {
                milli_cpu: sum.milli_cpu.saturating_add(held.milli_cpu),
                memory: sum.memory.saturating_add(held.memory),
            });
            let refusal = refusal(amounts, others, node);
            if refusal.is_none() {
                all.insert(uid.to_owned(), amounts);
            }
            refusal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_pod_gives_back_another_may_have() {
        let amounts = |milli_cpu| Amounts { milli_cpu, memory: 0 };
        let (all, node) = (Allocations::default(), amounts(1000));
        all.set("a", amounts(600));
        all.set("b", amounts(200));
        assert!(
            all.resize("b", amounts(500), node)
                .is_some_and(|p| p.is_deferred())
        );
        assert_eq!(all.resize("a", amounts(400), node), None);
        assert_eq!(all.resize("b", amounts(600), node), None);
        assert!(all.resize("a", amounts(401), node).is_some());
        all.remove("b");
        assert_eq!(all.resize("a", amounts(1000), node), None);
    }
}
