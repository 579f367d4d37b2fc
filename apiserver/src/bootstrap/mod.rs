//! What every cluster has from its first moment: namespaces, roles and bindings, priority classes, flow schemas, API
//! services, and the Service `kubernetes`.
//!
//! Made where missing when the registry starts, in few transactions; roles that may be updated by the server get back
//! what they lost. Nothing that somebody has changed is taken away.

mod authorities;
mod flow_schemas;
mod kubernetes_service;
mod manifests;
mod reconcile;
mod token_tracking;

use std::net::SocketAddr;
use std::sync::Arc;

use coracle_api::status::ApiError;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::reader::GroupResource;
use crate::registry::Registry;

pub(crate) use authorities::ClientAuthorities;
pub(crate) use flow_schemas::keep_conditions;

/// Makes what is missing.
///
/// # Errors
/// Where the store does not take it.
pub(crate) async fn run(registry: &Registry) -> Result<(), ApiError> {
    registry.ensure(manifests::objects(), reconcile::restored).await?;
    network(registry).await
}

/// Makes the range that addresses of services come from, and has it ready.
///
/// # Errors
/// Where the store does not take it.
pub(crate) async fn network(registry: &Registry) -> Result<(), ApiError> {
    let network = kubernetes_service::network(registry.service_ranges(), registry.now());
    registry
        .ensure(network.clone(), kubernetes_service::widened)
        .await?;
    // A new object has no status; it is told once the object is there.
    registry.ensure(network, kubernetes_service::readied).await
}

/// The FlowSchemas and PriorityLevelConfigurations that every cluster has.
pub(crate) fn flow_control_objects() -> Vec<Value> {
    let mut objects = manifests::objects();
    objects.retain(|object| object["apiVersion"] == "flowcontrol.apiserver.k8s.io/v1");
    objects
}

/// Tells extension servers whom to believe.
///
/// # Errors
/// Where the store does not take it.
pub(crate) async fn publish_authorities(
    registry: &Registry,
    authorities: &ClientAuthorities,
) -> Result<(), ApiError> {
    registry
        .ensure(vec![authorities.config_map()], authorities::corrected)
        .await
}

/// Says since which day it is tracked when tokens in secrets were last used.
///
/// # Errors
/// Where the store does not take it.
pub(crate) async fn publish_token_tracking(registry: &Registry, now: Timestamp) -> Result<(), ApiError> {
    let map = token_tracking::config_map(now);
    registry.ensure(vec![map], token_tracking::corrected).await
}

/// Keeps the Service `kubernetes` and its endpoints as the address at which this server is reached wants them, until
/// cancelled.
pub(crate) async fn publish(registry: Arc<Registry>, address: SocketAddr, cancel: CancellationToken) {
    let reader = registry.reader();
    let mut changes = [
        ("", "services"),
        ("", "endpoints"),
        ("discovery.k8s.io", "endpointslices"),
    ]
    .map(|(group, resource)| reader.changes(&GroupResource::new(group, resource)));
    loop {
        changes.iter_mut().for_each(|changes| {
            changes.borrow_and_update();
        });
        let wanted = kubernetes_service::objects(registry.service_ranges().primary(), address);
        if let Err(error) = registry.ensure(wanted, kubernetes_service::corrected).await {
            tracing::error!(%error, "the service kubernetes could not be kept");
        }
        let [services, endpoints, slices] = &mut changes;
        let ended = tokio::select! {
            () = cancel.cancelled() => return,
            changed = services.changed() => changed,
            changed = endpoints.changed() => changed,
            changed = slices.changed() => changed,
        };
        if ended.is_err() {
            return;
        }
    }
}
