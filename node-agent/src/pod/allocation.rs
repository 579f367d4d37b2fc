//! What the pods of the node were granted, so that a pod, or a resize, takes only what is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::plan::{Pending, Rejection, admit, refusal};
use crate::resources::{Amounts, pod_requests};

/// The pods that the node took and that hold something, by uid, with the resources that they were granted; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Allocations(Arc<Mutex<BTreeMap<String, Arc<Pod>>>>);

fn held(pod: &Pod) -> Amounts {
    pod.spec.as_ref().map(pod_requests).unwrap_or_default()
}

impl Allocations {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Arc<Pod>>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what a pod has, whatever is left for others.
    pub(super) fn set(&self, uid: &str, pod: Arc<Pod>) {
        self.with(|all| all.insert(uid.to_owned(), pod));
    }

    /// The pod holds nothing any more.
    pub(super) fn remove(&self, uid: &str) {
        self.with(|all| all.remove(uid));
    }

    /// Takes a pod, if the node has what it asks for beside what others hold.
    pub(super) fn admit(&self, uid: &str, pod: &Arc<Pod>, node: &Node) -> Result<(), Rejection> {
        self.with(|all| {
            let others = all.iter().filter(|(other, _)| *other != uid);
            let others: Vec<_> = others.map(|(_, other)| other.clone()).collect();
            admit(pod, &others, node)?;
            all.insert(uid.to_owned(), pod.clone());
            Ok(())
        })
    }

    /// Grants a pod other amounts than it has, if the node has them; if not, says why.
    pub(super) fn resize(&self, uid: &str, pod: &Arc<Pod>, node: Amounts) -> Option<Pending> {
        self.with(|all| {
            let others = all.iter().filter(|(other, _)| *other != uid);
            let others = others
                .map(|(_, other)| held(other))
                .fold(Amounts::default(), |sum, held| Amounts {
                    milli_cpu: sum.milli_cpu.saturating_add(held.milli_cpu),
                    memory: sum.memory.saturating_add(held.memory),
                });
            let refusal = refusal(held(pod), others, node);
            if refusal.is_none() {
                all.insert(uid.to_owned(), pod.clone());
            }
            refusal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(milli_cpu: i64) -> Arc<Pod> {
        let resources = json!({"requests": {"cpu": format!("{milli_cpu}m")}});
        let spec = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        Arc::new(serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_one_pod_gives_back_another_may_have() {
        let node = Amounts {
            milli_cpu: 1000,
            memory: 0,
        };
        let all = Allocations::default();
        all.set("a", pod(600));
        all.set("b", pod(200));
        assert!(all.resize("b", &pod(500), node).is_some_and(|p| p.is_deferred()));
        assert_eq!(all.resize("a", &pod(400), node), None);
        assert_eq!(all.resize("b", &pod(600), node), None);
        assert!(all.resize("a", &pod(401), node).is_some());
        all.remove("b");
        assert_eq!(all.resize("a", &pod(1000), node), None);
    }

    #[test]
    fn who_was_refused_holds_nothing() {
        let node = json!({"status": {"allocatable": {"cpu": "1", "pods": "9"}}});
        let node: Node = serde_json::from_value(node).unwrap();
        let all = Allocations::default();
        assert_eq!(all.admit("a", &pod(600), &node), Ok(()));
        assert_eq!(
            all.admit("a", &pod(600), &node),
            Ok(()),
            "it does not stand in its own way"
        );
        let refused = all.admit("b", &pod(500), &node);
        assert_eq!(refused.map_err(|why| why.reason), Err("OutOfcpu".to_owned()));
        assert_eq!(all.admit("c", &pod(400), &node), Ok(()));
    }
}
