//! The ServiceCIDR controller: tells the API server that a ServiceCIDR may be allocated from, and keeps one that is being
//! deleted for as long as addresses would be left without any.

mod plan;

use crate::Clock;
use crate::run::{Context, Informers};
use crate::runtime::events::reference;
use crate::runtime::{Cache, Change, Note, ObjectKey, Queue, Reconcile, ReconcileError, Recorder, write};
use crate::target::Target;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{Api, Patch, PatchParams};
use plan::{Condition, Plan};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// As whom the condition is owned.
const MANAGER: &str = "service-cidr-controller";

pub(crate) struct ServiceCidrs {
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    cidrs: Arc<Cache<ServiceCIDR>>,
    addresses: Arc<Cache<IPAddress>>,
}

/// Builds the controller and its queue, fed by the informers.
pub(crate) fn start(context: &Context, informers: &Informers) -> (Arc<ServiceCidrs>, Arc<Queue<ObjectKey>>) {
    let queue = Arc::new(Queue::new());
    let (own, cidrs) = (queue.clone(), informers.service_cidrs.cache().clone());
    informers.service_cidrs.subscribe(move |change| {
        own.add(ObjectKey::of(&change.object().metadata));
        // What comes or goes may let others go that are being deleted, or keep them.
        for other in cidrs.all() {
            if plan::is_going(&other) && plan::overlap(&other, change.object()) {
                own.add(ObjectKey::of(&other.metadata));
            }
        }
    });
    let (own, cidrs) = (queue.clone(), informers.service_cidrs.cache().clone());
    informers.ip_addresses.subscribe(move |change| {
        // An address that stays keeps what it kept before.
        if matches!(change, Change::Deleted(_)) || change.old().is_none() {
            for cidr in cidrs.all() {
                if plan::is_going(&cidr) && plan::holds(&cidr, change.object()) {
                    own.add(ObjectKey::of(&cidr.metadata));
                }
            }
        }
    });
    let controller = ServiceCidrs {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        clock: context.config.clock,
        cidrs: informers.service_cidrs.cache().clone(),
        addresses: informers.ip_addresses.cache().clone(),
    };
    (Arc::new(controller), queue)
}

impl Reconcile for ServiceCidrs {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ReconcileError> {
        let Some(cidr) = self.cidrs.get(key) else {
            return Ok(None);
        };
        // Only one that is being deleted is held against the addresses.
        let addresses = if plan::is_going(&cidr) {
            self.addresses.all()
        } else {
            Vec::new()
        };
        let plan = plan::plan(&cidr, &self.cidrs.all(), &addresses, self.clock.now());
        let again = plan.again;
        match self.act(&cidr, plan).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(again),
        }
    }
}

impl ServiceCidrs {
    async fn act(&self, cidr: &ServiceCIDR, plan: Plan) -> Result<(), ReconcileError> {
        let api: Api<ServiceCIDR> = Api::all(self.client.clone());
        let target = Target::of(&cidr.metadata);
        if let Some(finalizers) = plan.finalizers {
            let change = json!({"metadata": {"finalizers": finalizers}});
            let written = write::patch(&api, &target, change).await;
            written.map_err(ReconcileError::request(format!(
                "keeping the finalizer of {}",
                target.name
            )))?;
        }
        if let Some(condition) = plan.condition {
            let told = self.tell(&api, &target.name, &condition).await;
            if told.is_err() && condition.ready {
                let why = "The ServiceCIDR Status can not be set to Ready=True".to_owned();
                let about = reference("networking.k8s.io/v1", "ServiceCIDR", &cidr.metadata);
                self.recorder
                    .record(&about, Note::warning("KubernetesServiceCIDRError", why));
            }
            told?;
        }
        Ok(())
    }

    async fn tell(
        &self,
        api: &Api<ServiceCIDR>,
        name: &str,
        condition: &Condition,
    ) -> Result<(), ReconcileError> {
        let now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status = if condition.ready { "True" } else { "False" };
        let applied = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
            "status": {"conditions": [{
                "type": "Ready", "status": status, "reason": condition.reason, "message": condition.message,
                "lastTransitionTime": now,
            }]},
        });
        let params = PatchParams::apply(MANAGER).force();
        let told = api.patch_status(name, &params, &Patch::Apply(applied)).await;
        told.map_err(ReconcileError::request(format!(
            "telling the condition of {name}"
        )))?;
        Ok(())
    }
}
