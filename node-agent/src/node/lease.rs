//! The node's Lease in `kube-node-lease`, by which the control plane knows that the node lives.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};

use crate::clock;
use crate::pod::Context;

const NAMESPACE: &str = "kube-node-lease";

/// The lease as it is to stand now, made from what stands. Pure.
fn renewed(current: Option<Lease>, node: &Node, duration_seconds: i32, now: Timestamp) -> Lease {
    let name = node.metadata.name.clone().unwrap_or_default();
    let mut lease = current.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    if let Some(uid) = &node.metadata.uid {
        lease.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.clone(),
            uid: uid.clone(),
            ..OwnerReference::default()
        }]);
    }
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(name),
        lease_duration_seconds: Some(duration_seconds),
        renew_time: Some(MicroTime(now)),
        ..lease.spec.unwrap_or_default()
    });
    lease
}

/// Renews until shutdown, at a quarter of the lease's duration; after a failure at once, then every second.
pub(crate) async fn renew(context: Arc<Context>, mut node: tokio::sync::watch::Receiver<Node>) {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), NAMESPACE);
    let period = context.config.lease_duration / 4;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: Option<Lease> = None;
    let mut failing = false;
    // The lease belongs to the Node, so there has to be one.
    tokio::select! {
        () = context.shutdown.cancelled() => return,
        registered = node.wait_for(|n| n.metadata.uid.is_some()) => if registered.is_err() { return },
    }
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let node = node.borrow().clone();
        match renew_once(&api, &context, &node, known.take()).await {
            Ok(lease) => {
                known = Some(lease);
                failing = false;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "node lease not renewed, trying again");
                }
                failing = true;
                ticks.reset_after(std::time::Duration::from_secs(1));
            }
        }
    }
}

async fn renew_once(
    api: &Api<Lease>,
    context: &Context,
    node: &Node,
    known: Option<Lease>,
) -> Result<Lease, kube::Error> {
    let name = &context.config.node_name;
    let duration = i32::try_from(context.config.lease_duration.as_secs()).unwrap_or(40);
    let params = PostParams::default();
    if let Some(known) = known {
        let next = renewed(Some(known), node, duration, clock::now());
        match api.replace(name, &params, &next).await {
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
            other => return other,
        }
    }
    match api.get_opt(name).await? {
        Some(current) => {
            api.replace(
                name,
                &params,
                &renewed(Some(current), node, duration, clock::now()),
            )
            .await
        }
        None => {
            api.create(&params, &renewed(None, node, duration, clock::now()))
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_made_and_renewed() {
        let mut node = Node::default();
        node.metadata.name = Some("n1".into());
        node.metadata.uid = Some("u".into());
        let at = |s| Timestamp::from_second(s).unwrap();
        let first = renewed(None, &node, 40, at(0));
        assert_eq!(first.metadata.owner_references.as_ref().map(Vec::len), Some(1));
        let second = renewed(Some(first.clone()), &node, 40, at(10));
        assert_eq!(second.metadata, first.metadata);
        assert_eq!(second.spec.and_then(|s| s.renew_time), Some(MicroTime(at(10))));
    }
}
