//! `NodeRestriction`: a node writes what it must about itself and its own pods, and nothing else.
//!
//! Who a node is, is what the node authorizer says. It has let pass what kinds of things a node may write; here the
//! objects themselves are looked at.

mod audience;
mod nodes;
mod owned;
mod pods;
mod references;
mod tokens;

use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Attributes, Cluster, Operation, Plugin};
use crate::authz::node_identity;

/// The plugin.
pub(super) struct NodeRestriction;

/// A write of a node.
#[derive(Clone, Copy)]
struct Write<'a> {
    /// The node's name.
    node: &'a str,
    attributes: &'a Attributes<'a>,
    /// Absent on delete.
    object: Option<&'a Value>,
    /// Absent on create.
    old: Option<&'a Value>,
    cluster: &'a Cluster<'a>,
}

impl Write<'_> {
    fn forbid(&self, why: &str) -> Result<(), ApiError> {
        Err(self.attributes.forbidden(why))
    }

    fn unexpected_operation(&self) -> Result<(), ApiError> {
        let operation = quote(self.attributes.operation.as_str());
        self.forbid(&format!("unexpected operation {operation}"))
    }
}

impl Plugin for NodeRestriction {
    fn asks(&self) -> bool {
        true
    }

    fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        restrict(attributes, Some(object), old, cluster)
    }

    fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
        old: Option<&Value>,
        cluster: &Cluster<'_>,
    ) -> Result<(), ApiError> {
        match attributes.operation {
            Operation::Delete => restrict(attributes, None, old, cluster),
            // Looked at as it was asked for, before it is changed by others.
            Operation::Create | Operation::Update | Operation::Connect => Ok(()),
        }
    }
}

fn restrict(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    cluster: &Cluster<'_>,
) -> Result<(), ApiError> {
    let Some(node) = node_identity(attributes.user) else {
        return Ok(());
    };
    if node.is_empty() {
        let user = quote(&attributes.user.name);
        return Err(attributes.forbidden(&format!("could not determine node from user {user}")));
    }
    let write = Write {
        node,
        attributes,
        object,
        old,
        cluster,
    };
    match (attributes.resource.group, attributes.resource.resource) {
        ("", "pods") => pods::restrict(&write),
        ("", "nodes") => nodes::restrict(&write),
        ("", "persistentvolumeclaims") => owned::claim_status(&write),
        ("", "serviceaccounts") => tokens::restrict(&write),
        ("coordination.k8s.io", "leases") => owned::lease(&write),
        ("storage.k8s.io", "csinodes") => owned::csi_node(&write),
        ("resource.k8s.io", "resourceslices") => owned::resource_slice(&write),
        ("certificates.k8s.io", "certificatesigningrequests") => owned::signing_request(&write),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
