//! `pods/binding` and `bindings`: how a scheduler puts a pod on a node.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_api::table::Gvk;
use coracle_api::validation::{FieldErrors, Path};
use coracle_store::Txn;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::negotiate::{Purpose, accepted};
use crate::registry::options::WriteOptions;
use crate::registry::served::Served;
use crate::registry::write::Written;
use crate::registry::{Registry, body, meta, respond};
use crate::request::{RequestBody, RequestContext, ResponseBody};

const TRIES: usize = 20;
const BINDING: Gvk = Gvk {
    group: "",
    version: "v1",
    kind: "Binding",
};

impl Registry {
    /// The older way: a `Binding` of the pod's name, posted to the namespace.
    pub(in crate::registry) async fn bind_by_body(
        &self,
        ctx: &RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        if ctx.info.verb != "create" || ctx.info.parts.len() != 1 {
            return Err(ApiError::generic(405, ""));
        }
        let bytes = crate::registry::read(body).await?;
        let (binding, _) = body::of_kind(ctx, &bytes, BINDING, Default::default())?;
        let pods = self
            .catalog
            .find("", "v1", "pods")
            .ok_or_else(|| ApiError::generic(404, ""))?;
        let name = meta::text(&binding, "name").to_owned();
        self.bind(ctx, &pods, &name, bytes).await
    }

    pub(super) async fn bind(
        &self,
        ctx: &RequestContext,
        pods: &Arc<Served>,
        name: &str,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "CreateOptions")?;
        let (mut binding, _) = body::of_kind(ctx, &bytes, BINDING, options.field_validation)?;
        if meta::text(&binding, "name") != name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        self.webhooks.create(ctx, BINDING, &mut binding).await?;
        check(&binding)?;
        if name.is_empty() {
            return Err(ApiError::bad_request("Name parameter required."));
        }
        for _ in 0..TRIES {
            let Some(current) = self.current(pods, &ctx.info.namespace, name).await? else {
                return Err(self.not_found(pods, name));
            };
            let mut pod = Value::clone(&current.value());
            assign(&mut pod, &binding, self.now())
                .map_err(|why| ApiError::conflict("", "pods/binding", name, &why))?;
            if options.dry_run {
                break;
            }
            let key = pods.key(&ctx.info.namespace, name);
            if let Written::Done(_) = self.put(pods, &key, pod, current.revision(), Txn::new()).await? {
                break;
            }
        }
        let success =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        respond::value(&success, accepted, StatusCode::CREATED)
    }
}

fn check(binding: &Value) -> Result<(), ApiError> {
    let mut errors = FieldErrors::new();
    let target = Path::new("target");
    let text = |pointer: &str| {
        binding
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let kind = text("/target/kind");
    if !matches!(kind, "" | "Node") {
        errors.not_supported(&target.child("kind"), kind, &["Node", "<empty>"]);
    }
    if text("/target/name").is_empty() {
        errors.required(&target.child("name"), "");
    }
    if errors.is_empty() {
        return Ok(());
    }
    // Upstream hands the faults on as they are, and calls them the server's.
    Err(ApiError::unknown(errors.aggregate()))
}

/// Puts a pod on the node that a binding names.
fn assign(pod: &mut Value, binding: &Value, now: Timestamp) -> Result<(), String> {
    let name = meta::text(pod, "name").to_owned();
    if meta::is_deleting(pod) {
        return Err(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let assigned = pod
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !assigned.is_empty() {
        return Err(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    if pod
        .pointer("/spec/schedulingGates")
        .and_then(Value::as_array)
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let uid = meta::text(binding, "uid");
    if !uid.is_empty() && uid != meta::text(pod, "uid") {
        let found = meta::text(pod, "uid");
        return Err(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
        ));
    }
    let node = binding.pointer("/target/name").cloned().unwrap_or_default();
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("nodeName".to_owned(), node);
    }
    copy(pod, binding, "annotations");
    copy(pod, binding, "labels");
    // A node that was kept for the pod means nothing from now on (ClearingNominatedNodeNameAfterBinding).
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("nominatedNodeName");
    }
    set_scheduled(pod, now);
    Ok(())
}

/// Passes annotations or labels of a binding on; what the pod has of the same name gives way.
fn copy(pod: &mut Value, binding: &Value, field: &str) {
    let Some(sent) = meta::get(binding, field).and_then(Value::as_object) else {
        return;
    };
    let own = meta::get(pod, field).and_then(Value::as_object);
    let mut all = own.cloned().unwrap_or_default();
    all.extend(sent.clone());
    meta::set(pod, field, Value::Object(all));
}

fn set_scheduled(pod: &mut Value, now: Timestamp) {
    let Some(pod) = pod.as_object_mut() else { return };
    let status = pod.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else {
        return;
    };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    conditions.retain(|condition| condition.get("type").and_then(Value::as_str) != Some("PodScheduled"));
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::time(now),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_assigned_once() {
        let binding = json!({"metadata": {"name": "p", "annotations": {"a": "b"}, "labels": {"zone": "z"}}, "target": {"kind": "Node", "name": "n1"}});
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {}, "status": {"nominatedNodeName": "n2",
            "conditions": [{"type": "PodScheduled", "status": "False"}]}});
        assign(&mut pod, &binding, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            pod,
            json!({"metadata": {"name": "p", "annotations": {"a": "b"}, "labels": {"zone": "z"}}, "spec": {"nodeName": "n1"},
            "status": {"conditions": [{"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": "1970-01-01T00:00:00Z"}]}})
        );
        let again = assign(&mut pod, &binding, Timestamp::UNIX_EPOCH);
        assert_eq!(again, Err("pod p is already assigned to node \"n1\"".to_owned()));
    }

    #[test]
    fn only_nodes_are_targets() {
        assert!(check(&json!({"metadata": {"name": "p"}, "target": {"name": "n"}})).is_ok());
        let error = check(&json!({"metadata": {"name": "p"}, "target": {"kind": "Pod"}})).unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (
                500,
                "[target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \
             \"<empty>\", target.name: Required value]"
            )
        );
    }
}
