//! Whether the node takes the pod, asked once, before anything of it is made.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use super::{RETRY_FIRST, Worker};
use crate::events::Severity;

/// What became of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It was not asked yet.
    Open,
    /// The node has taken the pod.
    Taken,
    /// The node refused it.
    Rejected(crate::plan::Rejection),
}

impl Worker {
    /// Asks, if it is not known yet. False where it cannot be known now.
    pub(super) async fn consider_admission(&mut self, now: Timestamp) -> bool {
        if self.admission != Admission::Open {
            return true;
        }
        if self.is_taken_already() {
            self.admission = Admission::Taken;
            return true;
        }
        let allocations = self.context.allocations.clone();
        let known = self.context.node_object.borrow().clone();
        let mut verdict = allocations.admit(&self.identity.uid, &self.pod, &known);
        if verdict.is_err() || known.metadata.name.is_none() {
            // What the node offers may have changed since it was last looked at.
            let Some(node) = self.read_node().await else {
                self.wake_at = now.saturating_add(RETRY_FIRST).ok();
                return false;
            };
            verdict = allocations.admit(&self.identity.uid, &self.pod, &node);
        }
        self.admission = match verdict {
            Ok(()) => Admission::Taken,
            Err(rejection) => {
                let (reason, message) = (rejection.reason.clone(), rejection.message.clone());
                tracing::info!(pod = self.identity.name, reason, message, "pod refused");
                self.job().event(Severity::Warning, reason, message);
                Admission::Rejected(rejection)
            }
        };
        true
    }

    /// An agent took the pod before, or nothing of it is to be made any more.
    fn is_taken_already(&self) -> bool {
        let status = self.pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        self.removed
            || self.pod.metadata.deletion_timestamp.is_some()
            || matches!(phase, Some("Succeeded" | "Failed"))
            || status.is_some_and(|status| status.start_time.is_some())
            || !self.runtime.sandboxes.is_empty()
    }

    async fn read_node(&self) -> Option<Node> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        let read = api.get(&self.context.config.node_name).await;
        read.inspect_err(|error| tracing::debug!(pod = self.identity.name, %error, "node not read"))
            .ok()
    }
}
