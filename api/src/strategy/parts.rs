//! Subresources that write a part of an object: of what a client sends, that part is taken, and the rest stays as it was.

use serde_json::{Map, Value};

use super::{keep, keep_metadata, prepare_update};
use crate::object::{Fields, object_in};
use crate::table::Gvk;

/// Leaves of an update through a subresource what it may change.
pub fn prepare_part(gvk: Gvk, subresource: &str, new: &mut Value, old: &Value) {
    let Value::Object(fields) = new else { return };
    match subresource {
        "ephemeralcontainers" => only_ephemeral_containers(fields, old),
        "resize" => only_resources(fields, old),
        "finalize" => return keep(fields, old, "status"),
        _ => {}
    }
    prepare_update(gvk, new, old);
}

fn only_ephemeral_containers(pod: &mut Map<String, Value>, old: &Value) {
    let containers = object_in(pod, "spec").and_then(|spec| spec.remove("ephemeralContainers"));
    keep(pod, old, "spec");
    if let Some(spec) = object_in(pod, "spec") {
        match containers {
            Some(containers) => spec.insert("ephemeralContainers".into(), containers),
            None => spec.remove("ephemeralContainers"),
        };
    }
    keep_metadata(pod, old);
}

/// Takes the resources of the pod and of its containers, and how these may be resized. Containers that come, go or change places
/// are left for validation to refuse.
fn only_resources(pod: &mut Map<String, Value>, old: &Value) {
    let (spec, before) = (pod.get("spec").cloned().unwrap_or_default(), &old["spec"]);
    if ["containers", "initContainers"]
        .iter()
        .any(|list| spec.count(list) != before.count(list))
    {
        return;
    }
    keep(pod, old, "spec");
    if let Some(kept) = object_in(pod, "spec") {
        keep(kept, &spec, "resources");
        for list in ["containers", "initContainers"] {
            if let Some(resized) = resized(spec.items(list), before.items(list)) {
                kept.insert(list.into(), resized.into());
            }
        }
    }
    keep_metadata(pod, old);
}

/// The containers that there were, with their new resources; the new ones where they are others. None where there are none.
fn resized(new: &[Value], old: &[Value]) -> Option<Vec<Value>> {
    if new.is_empty() {
        return None;
    }
    if new
        .iter()
        .zip(old)
        .any(|(new, old)| new.text("name") != old.text("name"))
    {
        return Some(new.to_vec());
    }
    let merged = new.iter().zip(old).map(|(new, old)| {
        let mut container = old.clone();
        if let Value::Object(fields) = &mut container {
            keep(fields, new, "resources");
            keep(fields, new, "resizePolicy");
        }
        container
    });
    Some(merged.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: Gvk = Gvk {
        group: "",
        version: "v1",
        kind: "Pod",
    };

    fn pod() -> Value {
        json!({
            "metadata": {"name": "p", "generation": 1, "managedFields": [{"manager": "a"}]},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}], "nodeName": "n"},
            "status": {"phase": "Running"},
        })
    }

    fn written(subresource: &str, change: Value) -> Value {
        let old = pod();
        let mut new = old.clone();
        crate::patch::merge::apply(&mut new, &change).unwrap();
        prepare_part(POD, subresource, &mut new, &old);
        new
    }

    #[test]
    fn ephemeral_containers_are_taken_and_nothing_else() {
        let sent = json!({
            "metadata": {"labels": {"a": "b"}, "managedFields": [{"manager": "b"}]},
            "spec": {"nodeName": "m", "ephemeralContainers": [{"name": "d"}]},
            "status": {"phase": "Failed"},
        });
        let mut want = pod();
        want["metadata"]["managedFields"] = json!([{"manager": "b"}]);
        want["metadata"]["generation"] = json!(2);
        want["spec"]["ephemeralContainers"] = json!([{"name": "d"}]);
        assert_eq!(written("ephemeralcontainers", sent), want);
        assert_eq!(
            written("ephemeralcontainers", json!({"spec": {"nodeName": "m"}})),
            pod()
        );
    }

    #[test]
    fn resources_are_taken_container_by_container() {
        let requests = json!({"requests": {"cpu": "1"}});
        let sent = json!({"spec": {"containers": [{"name": "c", "image": "j", "resources": requests}], "nodeName": "m"}});
        let mut want = pod();
        want["spec"]["containers"][0]["resources"] = requests.clone();
        want["metadata"]["generation"] = json!(2);
        assert_eq!(written("resize", sent), want);
        let renamed = json!({"spec": {"containers": [{"name": "x"}]}});
        assert_eq!(
            written("resize", renamed)["spec"]["containers"],
            json!([{"name": "x"}])
        );
        let more = json!({"spec": {"containers": [], "nodeName": "m"}});
        assert_eq!(written("resize", more)["spec"]["nodeName"], "m");
    }

    #[test]
    fn to_finalize_a_namespace_leaves_its_status() {
        let gvk = Gvk {
            kind: "Namespace",
            ..POD
        };
        let old = json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let mut new = json!({"metadata": {"labels": {"a": "b"}}, "spec": {}, "status": {"phase": "x"}});
        prepare_part(gvk, "finalize", &mut new, &old);
        assert_eq!(
            new,
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {}, "status": {"phase": "Active"}})
        );
    }
}
