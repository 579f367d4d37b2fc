//! A node asks for tokens of the accounts of its own pods, bound to those pods, for the audiences that they ask for.

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::{Write, audience};
use crate::admission::Operation;
use crate::reader::GroupResource;

pub(super) fn restrict(write: &Write<'_>) -> Result<(), ApiError> {
    if write.attributes.operation != Operation::Create || write.attributes.subresource != "token" {
        return Ok(());
    }
    let Some(asked) = write.object else {
        return Ok(());
    };
    let bound = &asked["spec"]["boundObjectRef"];
    let (name, uid) = (bound.text("name"), bound.text("uid"));
    if (bound.text("apiVersion"), bound.text("kind")) != ("v1", "Pod") || name.is_empty() {
        return write.forbid("node requested token not bound to a pod");
    }
    if uid.is_empty() {
        return write.forbid("node requested token with a pod binding without a uid");
    }
    let pods = GroupResource::new("", "pods");
    let pod = write.cluster.reader.get(&pods, write.attributes.namespace, name);
    let pod = pod.ok_or_else(|| ApiError::not_found("", "pod", name))?;
    if pod["metadata"].text("uid") != uid {
        return write.forbid(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        ));
    }
    if pod["spec"].text("nodeName") != write.node {
        return write.forbid("node requested token bound to a pod scheduled on a different node");
    }
    let audiences = asked["spec"].items("audiences");
    let wanted = match audiences {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return write.forbid("node may only request 0 or 1 audiences"),
    };
    audience::check(write, &pod, wanted).or_else(|why| write.forbid(&why))
}

/// Text at a path of fields.
pub(super) fn text_at<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
