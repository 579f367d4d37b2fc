//! Controllers that keep namespaces and the cluster's own objects: Namespace, ServiceAccount, its tokens, the root CA, ClusterRoles,
//! ResourceQuotas, the status of admission policies.

pub(crate) mod cluster_roles;
pub(crate) mod namespace;
pub(crate) mod policies;
pub(crate) mod quotas;
pub(crate) mod root_ca;
pub(crate) mod service_accounts;
pub(crate) mod tokens;

use k8s_openapi::api::core::v1::Namespace;

/// Whether things may still be made in the namespace.
fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}
