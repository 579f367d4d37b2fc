//! What else a node writes: its lease, its CSINode, its resource slices, the status of claims, requests for certificates.

use coracle_api::object::{Fields, same};
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::Write;
use crate::admission::{Operation, certificates};

const LEASES: &str = "kube-node-lease";

/// The name of what is written: on create, the object's own.
fn name<'a>(write: &Write<'a>) -> &'a str {
    match (write.attributes.operation, write.object) {
        (Operation::Create, Some(object)) => object["metadata"].text("name"),
        _ => write.attributes.name,
    }
}

pub(super) fn lease(write: &Write<'_>) -> Result<(), ApiError> {
    if write.attributes.namespace != LEASES {
        let home = quote(LEASES);
        return write.forbid(&format!("can only access leases in the {home} system namespace"));
    }
    if name(write) == write.node {
        return Ok(());
    }
    write.forbid("can only access node lease with the same name as the requesting node")
}

pub(super) fn csi_node(write: &Write<'_>) -> Result<(), ApiError> {
    if name(write) == write.node {
        return Ok(());
    }
    write.forbid("can only access CSINode with the same name as the requesting node")
}

pub(super) fn resource_slice(write: &Write<'_>) -> Result<(), ApiError> {
    let (what, slice) = match write.attributes.operation {
        Operation::Create => ("create", write.object),
        Operation::Delete => ("delete", write.old),
        // The node authorizer has looked at what is there.
        Operation::Update | Operation::Connect => return Ok(()),
    };
    if slice.is_some_and(|slice| slice["spec"].text("nodeName") == write.node) {
        return Ok(());
    }
    write.forbid(&format!(
        "can only {what} ResourceSlice with the same NodeName as the requesting node"
    ))
}

pub(super) fn claim_status(write: &Write<'_>) -> Result<(), ApiError> {
    if write.attributes.subresource != "status" {
        return write.forbid("may only update PVC status");
    }
    let (Operation::Update, Some(new), Some(old)) = (write.attributes.operation, write.object, write.old)
    else {
        return write.unexpected_operation();
    };
    let (new, old) = (without_growth(new), without_growth(old));
    if same(Some(&new), Some(&old)) {
        return Ok(());
    }
    let (node, changed) = (quote(write.node), changed(&new, &old).join(", "));
    write.forbid(&format!(
        "node {node} is not allowed to update fields other than status.quantity and status.conditions: {changed}"
    ))
}

/// A claim without what a node tells of its growing, and without what every write changes.
fn without_growth(claim: &Value) -> Value {
    let mut claim = claim.clone();
    let parts: [(&str, &[&str]); 2] = [
        ("metadata", &["resourceVersion", "managedFields"]),
        (
            "status",
            &[
                "capacity",
                "conditions",
                "allocatedResources",
                "allocatedResourceStatuses",
            ],
        ),
    ];
    for (part, fields) in parts {
        if let Some(part) = claim.get_mut(part).and_then(Value::as_object_mut) {
            part.retain(|name, _| !fields.contains(&name.as_str()));
        }
    }
    claim
}

/// The fields, two levels deep, that differ.
fn changed(new: &Value, old: &Value) -> Vec<String> {
    let mut changed = Vec::new();
    for part in ["metadata", "spec", "status"] {
        let (new, old) = (&new[part], &old[part]);
        let names = [new, old].map(|part| part.as_object().into_iter().flat_map(|map| map.keys()));
        let mut names: Vec<&String> = names.into_iter().flatten().collect();
        names.sort();
        names.dedup();
        let differ = names
            .into_iter()
            .filter(|name| !same(new.get(name), old.get(name)));
        changed.extend(differ.map(|name| format!("{part}.{name}")));
    }
    changed
}

/// A node asks for certificates in its own name only.
pub(super) fn signing_request(write: &Write<'_>) -> Result<(), ApiError> {
    let (Operation::Create, Some(request)) = (write.attributes.operation, write.object) else {
        return Ok(());
    };
    let signer = request["spec"].text("signerName");
    if !matches!(
        signer,
        "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet"
    ) {
        return Ok(());
    }
    let node = write.node;
    match certificates::subject_of(request) {
        Err(why) => write.forbid(&format!("unable to parse csr: {why}")),
        Ok(subject) if subject.common_name == format!("system:node:{node}") => Ok(()),
        Ok(_) => write.forbid(&format!("can only create a node CSR with CN=system:node:{node}")),
    }
}
