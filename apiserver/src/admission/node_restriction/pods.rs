//! A node makes mirror pods of its own, deletes and evicts pods that run on it, and writes their status.

use coracle_api::object::{Fields, same};
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Write, references};
use crate::admission::Operation;
use crate::reader::GroupResource;

const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn restrict(write: &Write<'_>) -> Result<(), ApiError> {
    match write.attributes.subresource {
        "" => whole(write),
        "status" => status(write),
        "eviction" => eviction(write),
        other => {
            let other = quote(other);
            write.forbid(&format!(
                "unexpected pod subresource {other}, only 'status' and 'eviction' are allowed"
            ))
        }
    }
}

fn whole(write: &Write<'_>) -> Result<(), ApiError> {
    let node = quote(write.node);
    match (write.attributes.operation, write.object, write.old) {
        (Operation::Create, Some(pod), _) => creation(write, pod),
        (Operation::Delete, _, Some(pod)) if runs_on(pod, write.node) => Ok(()),
        (Operation::Delete, ..) => write.forbid(&format!(
            "node {node} can only delete pods with spec.nodeName set to itself"
        )),
        (operation, ..) => {
            let operation = quote(operation.as_str());
            write.forbid(&format!(
                "unexpected operation {operation}, node {node} can only create and delete mirror pods"
            ))
        }
    }
}

fn runs_on(pod: &Value, node: &str) -> bool {
    pod["spec"].text("nodeName") == node
}

fn creation(write: &Write<'_>, pod: &Value) -> Result<(), ApiError> {
    let node = quote(write.node);
    if pod["metadata"]["annotations"].get(MIRROR).is_none() {
        let mirror = quote(MIRROR);
        return write.forbid(&format!(
            "pod does not have {mirror} annotation, node {node} can only create mirror pods"
        ));
    }
    if !runs_on(pod, write.node) {
        return write.forbid(&format!(
            "node {node} can only create pods with spec.nodeName set to itself"
        ));
    }
    owner(write, pod)?;
    match references::of(pod) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => write.forbid(&format!("node {node} can not create pods that reference {what}")),
        Err(why) => write.forbid(&format!("error checking mirror pod for API references: {why}")),
    }
}

/// A mirror pod belongs to its node, and to nobody else.
fn owner(write: &Write<'_>, pod: &Value) -> Result<(), ApiError> {
    let (name, node) = (write.node, quote(write.node));
    let itself = format!("node {node} can only create pods with an owner reference set to itself");
    let owner = match pod["metadata"].items("ownerReferences") {
        [owner] => owner,
        [] => return write.forbid(&itself),
        _ => {
            return write.forbid(&format!(
                "node {node} can only create pods with a single owner reference set to itself"
            ));
        }
    };
    if (owner.text("apiVersion"), owner.text("kind"), owner.text("name")) != ("v1", "Node", name) {
        return write.forbid(&itself);
    }
    if !owner.flag("controller") {
        return write.forbid(&format!(
            "node {node} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner.flag("blockOwnerDeletion") {
        return write.forbid(&format!(
            "node {node} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let nodes = GroupResource::new("", "nodes");
    let found = write
        .cluster
        .reader
        .get(&nodes, "", name)
        .ok_or_else(|| ApiError::not_found("", "node", name))?;
    let (said, uid) = (owner.text("uid"), found["metadata"].text("uid"));
    if said != uid {
        return write.forbid(&format!("node {name} UID mismatch: expected {said} got {uid}"));
    }
    Ok(())
}

fn status(write: &Write<'_>) -> Result<(), ApiError> {
    let (Operation::Update, Some(new), Some(old)) = (write.attributes.operation, write.object, write.old)
    else {
        return write.unexpected_operation();
    };
    let node = quote(write.node);
    if !runs_on(old, write.node) {
        return write.forbid(&format!(
            "node {node} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let kept = |pointer: &str| same(new.pointer(pointer), old.pointer(pointer));
    if !kept("/metadata/labels") {
        return write.forbid(&format!("node {node} cannot update labels through pod status"));
    }
    if !kept("/status/resourceClaimStatuses") {
        return write.forbid(&format!("node {node} cannot update resource claim statues"));
    }
    if !kept("/status/extendedResourceClaimStatus") {
        return write.forbid(&format!(
            "node {node} cannot update extended resource claim status"
        ));
    }
    Ok(())
}

fn eviction(write: &Write<'_>) -> Result<(), ApiError> {
    let (Operation::Create, Some(eviction)) = (write.attributes.operation, write.object) else {
        return write.unexpected_operation();
    };
    let name = match write.attributes.name {
        "" => eviction["metadata"].text("name"),
        name => name,
    };
    if name.is_empty() {
        return write.forbid("could not determine pod from request data");
    }
    let pods = GroupResource::new("", "pods");
    let pod = write.cluster.reader.get(&pods, write.attributes.namespace, name);
    let pod = pod.ok_or_else(|| ApiError::not_found("", "pod", name))?;
    if runs_on(&pod, write.node) {
        return Ok(());
    }
    let node = write.node;
    write.forbid(&format!(
        "node {node} can only evict pods with spec.nodeName set to itself"
    ))
}
