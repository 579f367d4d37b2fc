//! Nothing is made in a namespace that is going away, or written in one that is not there; and the namespaces that a cluster
//! cannot do without are never deleted.

use coracle_api::status::{ApiError, Cause, Details, Reason};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::reader::{GroupResource, ObjectReader};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn admit(
    attributes: &Attributes<'_>,
    _object: &mut Value,
    _old: Option<&Value>,
    reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    if attributes.namespace.is_empty() {
        return Ok(());
    }
    // Reviews of what somebody may do must work in namespaces that are not there.
    if attributes.resource.group == "authorization.k8s.io" {
        return Ok(());
    }
    let namespaces = GroupResource::new("", "namespaces");
    let Some(namespace) = reader.get(&namespaces, "", attributes.namespace) else {
        return Err(ApiError::not_found("", "namespaces", attributes.namespace));
    };
    let going = namespace.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating");
    if going && attributes.operation == Operation::Create {
        return Err(terminating(attributes));
    }
    Ok(())
}

pub(super) fn validate(
    attributes: &Attributes<'_>,
    _object: Option<&Value>,
    _old: Option<&Value>,
    _reader: &dyn ObjectReader,
) -> Result<(), ApiError> {
    let deletes_namespace = attributes.operation == Operation::Delete && attributes.is("", "namespaces");
    if deletes_namespace && IMMORTAL.contains(&attributes.name) {
        return Err(attributes.forbidden("this namespace may not be deleted"));
    }
    Ok(())
}

fn terminating(attributes: &Attributes<'_>) -> ApiError {
    let namespace = attributes.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let refusal = attributes.forbidden(&why);
    let cause = Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    };
    let details = Details {
        causes: vec![cause],
        ..refusal.details().cloned().unwrap_or_default()
    };
    ApiError::new(403, Reason::Forbidden, refusal.message(), Some(details))
}
