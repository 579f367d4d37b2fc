//! What a kubelet may do: what every node needs, and of what pods use only what the pods on its own node do.
//!
//! Follows upstream's node authorizer. Instead of a graph of all objects it looks at the pods of the one namespace the
//! question is about, which is few for each of the few such questions a node asks.

use serde_json::Value;

use super::{Attributes, Decision, Verdict};
use crate::reader::{GroupResource, ObjectReader};
use crate::request::UserInfo;

/// The group of every node's identity.
const NODES: &str = "system:nodes";

/// The prefix of every node's user name.
const NODE_PREFIX: &str = "system:node:";

/// The namespace of the nodes' heartbeats.
const LEASES: &str = "kube-node-lease";

/// What every node may do: verbs, API group, resource with its subresource.
const STATIC_RULES: [(&[&str], &str, &str); 21] = [
    (&["create"], "authentication.k8s.io", "tokenreviews"),
    (&["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    (&["create"], "authorization.k8s.io", "subjectaccessreviews"),
    (&["get", "list", "watch"], "", "services"),
    (&["create"], "", "nodes"),
    (&["patch", "update"], "", "nodes"),
    (&["patch", "update"], "", "nodes/status"),
    (&["create", "patch", "update"], "", "events"),
    (&["create", "patch", "update"], "events.k8s.io", "events"),
    (&["create", "delete"], "", "pods"),
    (&["patch", "update"], "", "pods/status"),
    (&["create"], "", "pods/eviction"),
    (&["get"], "", "endpoints"),
    (
        &["create", "get", "list", "watch"],
        "certificates.k8s.io",
        "certificatesigningrequests",
    ),
    (&["get", "list", "watch"], "storage.k8s.io", "csidrivers"),
    (&["get", "list", "watch"], "node.k8s.io", "runtimeclasses"),
    (&["get", "list", "watch"], "discovery.k8s.io", "endpointslices"),
    (&["get"], "storage.k8s.io", "volumeattachments"),
    (&["get"], "resource.k8s.io", "resourceclaims"),
    (&["deletecollection"], "resource.k8s.io", "resourceslices"),
    (&["get", "patch", "update"], "", "persistentvolumeclaims/status"),
];

/// The node a user stands for: a member of `system:nodes` with a name that says which.
pub(super) fn node_name(user: &UserInfo) -> Option<&str> {
    let is_node = user.groups.iter().any(|group| group == NODES);
    user.name
        .strip_prefix(NODE_PREFIX)
        .filter(|name| is_node && !name.is_empty())
}

/// Answers for nodes; has no opinion about anybody else.
pub(super) fn authorize(reader: &dyn ObjectReader, attributes: &Attributes<'_>) -> Verdict {
    let Some(node) = node_name(attributes.user) else {
        return Verdict::new(Decision::NoOpinion, "");
    };
    if !attributes.is_resource {
        return Verdict::new(Decision::NoOpinion, "");
    }
    match check(reader, node, attributes) {
        Ok(()) => Verdict::new(Decision::Allow, ""),
        Err(reason) => Verdict::new(Decision::NoOpinion, reason),
    }
}

fn check(reader: &dyn ObjectReader, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.group, asked.resource, asked.subresource) {
        ("", "nodes", "") if asked.is_read_only() => own_node(node, asked),
        ("", "pods", "") if asked.is_read_only() => own_pods(reader, node, asked),
        ("", "secrets" | "configmaps", "") => {
            only_reads(asked)?;
            used_by_pods(reader, node, asked)
        }
        ("", "persistentvolumeclaims", "") => {
            only_get(asked)?;
            used_by_pods(reader, node, asked)
        }
        ("", "persistentvolumes", "") => {
            only_get(asked)?;
            volume_used_by_pods(reader, node, asked)
        }
        ("", "serviceaccounts", "token") => {
            only_verb(asked, "create")?;
            used_by_pods(reader, node, asked)
        }
        ("", "serviceaccounts", "") => {
            only_get(asked)?;
            used_by_pods(reader, node, asked)
        }
        ("coordination.k8s.io", "leases", "") => own_object(node, asked, asked.namespace == LEASES, "Lease"),
        ("storage.k8s.io", "csinodes", "") => own_object(node, asked, true, "CSINode"),
        _ if allowed_to_all(asked) => Ok(()),
        _ => Err(String::new()),
    }
}

fn allowed_to_all(asked: &Attributes<'_>) -> bool {
    STATIC_RULES.iter().any(|(verbs, group, resource)| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        verbs.contains(&asked.verb)
            && *group == asked.group
            && resource == asked.resource
            && subresource == asked.subresource
    })
}

fn only_verb(asked: &Attributes<'_>, verb: &str) -> Result<(), String> {
    if asked.verb == verb {
        Ok(())
    } else {
        Err(format!("can only {verb} this type of resource"))
    }
}

fn only_get(asked: &Attributes<'_>) -> Result<(), String> {
    if asked.verb == "get" {
        Ok(())
    } else {
        Err("can only get individual resources of this type".to_owned())
    }
}

fn only_reads(asked: &Attributes<'_>) -> Result<(), String> {
    if asked.is_read_only() {
        Ok(())
    } else {
        Err("can only read resources of this type".to_owned())
    }
}

fn own_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if asked.name == node {
        return Ok(());
    }
    Err(format!(
        "node {node:?} cannot read {:?}, only its own Node object",
        asked.name
    ))
}

fn own_pods(reader: &dyn ObjectReader, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if asked.verb != "get" && asked.name.is_empty() {
        if asked.selected("spec.nodeName").as_deref() == Some(node) {
            return Ok(());
        }
        return Err("can only list/watch pods with spec.nodeName field selector".to_owned());
    }
    let pod = reader.get(&GroupResource::new("", "pods"), asked.namespace, asked.name);
    if pod.is_some_and(|pod| runs_on(&pod, node)) {
        Ok(())
    } else {
        Err(unrelated(node))
    }
}

fn own_object(node: &str, asked: &Attributes<'_>, at_home: bool, kind: &str) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err(format!("can only get, create, update, patch, or delete a {kind}"));
    }
    if !at_home {
        return Err(format!("can only access {kind}s in the namespace {LEASES:?}"));
    }
    // A create names its object in the body, which is not read yet; admission compares it.
    if asked.name == node || (asked.verb == "create" && asked.name.is_empty()) {
        return Ok(());
    }
    Err(format!(
        "can only access {kind} with the same name as the requesting node"
    ))
}

fn used_by_pods(reader: &dyn ObjectReader, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if asked.name.is_empty() {
        return Err("No Object name found".to_owned());
    }
    let pods = reader.list(&GroupResource::new("", "pods"), asked.namespace);
    let used = pods
        .iter()
        .filter(|pod| runs_on(pod, node))
        .any(|pod| refers_to(pod, asked.resource, asked.name));
    if used { Ok(()) } else { Err(unrelated(node)) }
}

fn volume_used_by_pods(reader: &dyn ObjectReader, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    let volume = reader.get(&GroupResource::new("", "persistentvolumes"), "", asked.name);
    let claim = volume.as_deref().and_then(|volume| {
        let text = |pointer| volume.pointer(pointer).and_then(Value::as_str);
        Some((
            text("/spec/claimRef/namespace")?.to_owned(),
            text("/spec/claimRef/name")?.to_owned(),
        ))
    });
    let Some((namespace, name)) = claim else {
        return Err(unrelated(node));
    };
    let claim = Attributes {
        resource: "persistentvolumeclaims",
        namespace: &namespace,
        name: &name,
        ..*asked
    };
    used_by_pods(reader, node, &claim)
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node {node:?} and this object")
}

fn runs_on(pod: &Value, node: &str) -> bool {
    pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node)
}

/// Whether a pod names an object of its namespace anywhere in its spec.
fn refers_to(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    match resource {
        "serviceaccounts" => spec.get("serviceAccountName").and_then(Value::as_str) == Some(name),
        "persistentvolumeclaims" => {
            let ephemeral = pod
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            mentions(spec, &["claimName"], &[], name) || ephemeral_claim(spec, ephemeral, name)
        }
        "configmaps" => mentions(spec, &[], &["configMap", "configMapRef", "configMapKeyRef"], name),
        "secrets" => mentions(
            spec,
            &["secretName"],
            &[
                "secret",
                "secretRef",
                "secretKeyRef",
                "imagePullSecrets",
                "nodePublishSecretRef",
            ],
            name,
        ),
        _ => false,
    }
}

fn ephemeral_claim(spec: &Value, pod: &str, name: &str) -> bool {
    let volumes = spec
        .get("volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    volumes
        .filter(|volume| volume.get("ephemeral").is_some())
        .any(|volume| {
            let volume = volume.get("name").and_then(Value::as_str).unwrap_or_default();
            format!("{pod}-{volume}") == name
        })
}

/// Whether, anywhere below, one of `fields` is the name, or one of `references` (an object or a list of them) has it as
/// its `name`.
fn mentions(value: &Value, fields: &[&str], references: &[&str], name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| mentions(item, fields, references, name)),
        Value::Object(map) => map.iter().any(|(key, below)| {
            (fields.contains(&key.as_str()) && below == name)
                || (references.contains(&key.as_str()) && is_named(below, name))
                || mentions(below, fields, references, name)
        }),
        _ => false,
    }
}

fn is_named(reference: &Value, name: &str) -> bool {
    match reference {
        Value::Array(items) => items.iter().any(|item| is_named(item, name)),
        _ => reference.get("name").is_some_and(|own| own == name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    fn cluster() -> MemoryReader {
        let reader = MemoryReader::default();
        let pod = |name: &str, node: &str, extra: Value| {
            let mut spec = json!({"nodeName": node, "serviceAccountName": "app", "containers": []});
            spec.as_object_mut()
                .expect("an object")
                .extend(extra.as_object().cloned().unwrap_or_default());
            json!({"metadata": {"namespace": "a", "name": name}, "spec": spec})
        };
        let pods = GroupResource::new("", "pods");
        let mine = json!({
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "mounted"}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scratch", "ephemeral": {}},
            ],
            "initContainers": [{"name": "i", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}]}],
            "containers": [{"name": "m", "envFrom": [{"configMapRef": {"name": "from"}}]}],
        });
        reader.put(&pods, pod("mine", "n1", mine));
        reader.put(
            &pods,
            pod("other", "n2", json!({"imagePullSecrets": [{"name": "theirs"}]})),
        );
        let claim =
            json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "a", "name": "data"}}});
        reader.put(&GroupResource::new("", "persistentvolumes"), claim);
        reader
    }

    fn node_user(name: &str) -> UserInfo {
        UserInfo {
            name: format!("system:node:{name}"),
            groups: vec![NODES.to_owned()],
            ..UserInfo::default()
        }
    }

    #[test]
    fn a_node_reads_what_its_pods_use() {
        let reader = cluster();
        let user = node_user("n1");
        let ask = |verb, resource, name| {
            let asked = Attributes::resource(&user, verb, "", resource)
                .in_namespace("a")
                .named(name);
            authorize(&reader, &asked).is_allowed()
        };
        let cases = [
            ("get", "secrets", "mounted", true),
            ("watch", "secrets", "env", true),
            ("get", "secrets", "pull", true),
            ("get", "secrets", "theirs", false),
            ("list", "secrets", "", false),
            ("update", "secrets", "mounted", false),
            ("get", "configmaps", "projected", true),
            ("get", "configmaps", "from", true),
            ("get", "configmaps", "mounted", false),
            ("get", "persistentvolumeclaims", "data", true),
            ("get", "persistentvolumeclaims", "mine-scratch", true),
            ("get", "pods", "mine", true),
            ("get", "pods", "other", false),
            ("delete", "pods", "mine", true),
            ("get", "services", "any", true),
            ("create", "secrets", "", false),
        ];
        for (verb, resource, name, want) in cases {
            assert_eq!(ask(verb, resource, name), want, "{verb} {resource} {name}");
        }
    }

    #[test]
    fn a_node_owns_its_node_lease_and_token_requests() {
        let reader = cluster();
        let user = node_user("n1");
        let allowed = |asked: Attributes<'_>| authorize(&reader, &asked).is_allowed();
        let core = |verb, resource| Attributes::resource(&user, verb, "", resource);
        assert!(allowed(core("get", "nodes").named("n1")));
        assert!(!allowed(core("get", "nodes").named("n2")));
        assert!(!allowed(core("list", "nodes")));
        assert!(allowed(core("patch", "nodes").named("n1").subresource("status")));
        assert!(allowed(core("get", "persistentvolumes").named("pv")));
        let lease = Attributes::resource(&user, "update", "coordination.k8s.io", "leases");
        assert!(allowed(lease.in_namespace("kube-node-lease").named("n1")));
        assert!(!allowed(lease.in_namespace("kube-node-lease").named("n2")));
        assert!(!allowed(lease.in_namespace("kube-system").named("n1")));
        let token = core("create", "serviceaccounts")
            .in_namespace("a")
            .subresource("token");
        assert!(allowed(token.named("app")));
        assert!(!allowed(token.named("admin")));
    }

    #[test]
    fn a_node_lists_pods_only_by_its_own_name() {
        let reader = cluster();
        let user = node_user("n1");
        let list = Attributes::resource(&user, "list", "", "pods");
        let verdict = |selector| {
            authorize(
                &reader,
                &Attributes {
                    field_selector: selector,
                    ..list
                },
            )
        };
        assert!(verdict("spec.nodeName=n1").is_allowed());
        assert!(!verdict("spec.nodeName=n2").is_allowed());
        assert_eq!(
            verdict("").reason,
            "can only list/watch pods with spec.nodeName field selector"
        );
    }

    #[test]
    fn nobody_else_is_meant() {
        let reader = cluster();
        let pretender = UserInfo {
            groups: Vec::new(),
            ..node_user("n1")
        };
        let verdict = authorize(&reader, &Attributes::resource(&pretender, "get", "", "services"));
        assert_eq!(verdict, Verdict::new(Decision::NoOpinion, ""));
    }
}
