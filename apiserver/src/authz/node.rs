//! What a kubelet may do: what every node needs, and of what pods use only what the pods on its own node do.
//!
//! Follows upstream's node authorizer. Instead of a graph of all objects it looks at the pods of the one namespace the
//! question is about, which is few for each of the few such questions a node asks (`related`). What the objects themselves
//! say when a node writes them is for `NodeRestriction` to look at.

mod related;

use self::related::Wanted;
use super::{Attributes, Decision, Verdict};
use crate::reader::ObjectReader;
use crate::request::UserInfo;

/// The group of every node's identity.
const NODES: &str = "system:nodes";

/// The prefix of every node's user name.
const NODE_PREFIX: &str = "system:node:";

/// The namespace of the nodes' heartbeats.
const LEASES: &str = "kube-node-lease";

const READS: &[&str] = &["get", "list", "watch"];
const OWN: &[&str] = &["get", "create", "update", "patch", "delete"];

/// What every node may do with what is not subdivided: verbs, API group, resource.
const STATIC_RULES: [(&[&str], &str, &str); 10] = [
    (&["create"], "authentication.k8s.io", "tokenreviews"),
    (&["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    (&["create"], "authorization.k8s.io", "subjectaccessreviews"),
    (READS, "", "services"),
    (&["create", "patch", "update"], "", "events"),
    (&["create", "patch", "update"], "events.k8s.io", "events"),
    (&["get"], "", "endpoints"),
    (
        &["create", "get", "list", "watch"],
        "certificates.k8s.io",
        "certificatesigningrequests",
    ),
    (READS, "storage.k8s.io", "csidrivers"),
    (READS, "node.k8s.io", "runtimeclasses"),
];

/// The node a user stands for: a member of `system:nodes` with a name that says which, or that ought to and is empty.
pub(crate) fn identity(user: &UserInfo) -> Option<&str> {
    let is_node = user.groups.iter().any(|group| group == NODES);
    user.name.strip_prefix(NODE_PREFIX).filter(|_| is_node)
}

/// Answers for nodes; has no opinion about anybody else.
pub(super) fn authorize(reader: &dyn ObjectReader, attributes: &Attributes<'_>) -> Verdict {
    let Some(node) = identity(attributes.user) else {
        return Verdict::new(Decision::NoOpinion, "");
    };
    if node.is_empty() {
        let user = coracle_api::quote::quote(&attributes.user.name);
        return Verdict::new(Decision::NoOpinion, format!("unknown node for user {user}"));
    }
    if !attributes.is_resource {
        return Verdict::new(Decision::NoOpinion, "");
    }
    let question = Question {
        reader,
        node,
        asked: attributes,
    };
    match question.check() {
        Ok(()) => Verdict::new(Decision::Allow, ""),
        Err(reason) => Verdict::new(Decision::NoOpinion, reason),
    }
}

/// What a node asks for.
struct Question<'a> {
    reader: &'a dyn ObjectReader,
    node: &'a str,
    asked: &'a Attributes<'a>,
}

impl Question<'_> {
    fn check(&self) -> Result<(), String> {
        match (self.asked.group, self.asked.resource) {
            ("", "nodes") => self.nodes(),
            ("", "pods") => self.pods(),
            ("", "secrets" | "configmaps") => self.reads_named(),
            ("", "persistentvolumeclaims") if self.asked.subresource == "status" => self.status(),
            ("", "persistentvolumeclaims" | "persistentvolumes")
            | ("resource.k8s.io", "resourceclaims")
            | ("storage.k8s.io", "volumeattachments") => self.gets_named(),
            ("", "serviceaccounts") => self.accounts(),
            ("coordination.k8s.io", "leases") => self.leases(),
            ("storage.k8s.io", "csinodes") => self.csi_nodes(),
            ("resource.k8s.io", "resourceslices") => self.slices(),
            _ => self.anything_else(),
        }
    }

    fn anything_else(&self) -> Result<(), String> {
        let asked = self.asked;
        let allowed = STATIC_RULES.iter().any(|(verbs, group, resource)| {
            verbs.contains(&asked.verb) && *group == asked.group && *resource == asked.resource
        });
        ok_or(allowed && asked.subresource.is_empty(), String::new)
    }

    /// Whether the object has to do with the node.
    fn related(&self) -> Result<(), String> {
        let Attributes {
            resource,
            namespace,
            name,
            ..
        } = *self.asked;
        if name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        let node = self.node;
        let wanted = Wanted {
            node,
            resource,
            namespace,
            name,
        };
        ok_or(wanted.is_related(self.reader), || {
            format!("no relationship found between node '{node}' and this object")
        })
    }

    /// Whether a list or watch is of what is on the node.
    fn selects_own(&self) -> bool {
        self.asked.selected("spec.nodeName").as_deref() == Some(self.node)
    }

    fn reads_named(&self) -> Result<(), String> {
        let asked = self.asked;
        ok_or(asked.is_read_only(), || {
            "can only read resources of this type".to_owned()
        })?;
        ok_or(asked.subresource.is_empty(), || {
            "cannot read subresource".to_owned()
        })?;
        ok_or(!asked.namespace.is_empty(), || {
            "can only read namespaced object of this type".to_owned()
        })?;
        self.related()
    }

    fn gets_named(&self) -> Result<(), String> {
        ok_or(self.asked.verb == "get", || {
            "can only get individual resources of this type".to_owned()
        })?;
        ok_or(self.asked.subresource.is_empty(), || {
            "cannot get subresource".to_owned()
        })?;
        self.related()
    }

    fn status(&self) -> Result<(), String> {
        ok_or(matches!(self.asked.verb, "update" | "patch"), || {
            "can only get/update/patch this type".to_owned()
        })?;
        self.related()
    }

    fn accounts(&self) -> Result<(), String> {
        let asked = self.asked;
        if asked.verb == "get" && asked.subresource.is_empty() {
            return self.reads_named();
        }
        ok_or(asked.verb == "create" && !asked.name.is_empty(), || {
            "can only create tokens for individual service accounts".to_owned()
        })?;
        ok_or(asked.subresource == "token", || {
            "can only create token subresource of serviceaccount".to_owned()
        })?;
        self.related()
    }

    fn leases(&self) -> Result<(), String> {
        let asked = self.asked;
        ok_or(OWN.contains(&asked.verb), || {
            "can only get, create, update, patch, or delete a node lease".to_owned()
        })?;
        ok_or(asked.namespace == LEASES, || {
            format!("can only access leases in the {LEASES:?} system namespace")
        })?;
        // A create names its object in the body, which is not read yet; admission compares it.
        ok_or(asked.verb == "create" || asked.name == self.node, || {
            "can only access node lease with the same name as the requesting node".to_owned()
        })
    }

    fn csi_nodes(&self) -> Result<(), String> {
        let asked = self.asked;
        ok_or(OWN.contains(&asked.verb), || {
            "can only get, create, update, patch, or delete a CSINode".to_owned()
        })?;
        ok_or(asked.subresource.is_empty(), || {
            "cannot authorize CSINode subresources".to_owned()
        })?;
        ok_or(asked.verb == "create" || asked.name == self.node, || {
            "can only access CSINode with the same name as the requesting node".to_owned()
        })
    }

    fn slices(&self) -> Result<(), String> {
        ok_or(self.asked.subresource.is_empty(), || {
            "cannot authorize ResourceSlice subresources".to_owned()
        })?;
        match self.asked.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(),
            "watch" | "list" | "deletecollection" => ok_or(self.selects_own(), || {
                "can only list/watch/deletecollection resourceslices with nodeName field selector".to_owned()
            }),
            _ => Err(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection"
                    .to_owned(),
            ),
        }
    }

    fn nodes(&self) -> Result<(), String> {
        let node = self.node;
        match (self.asked.subresource, self.asked.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            // By the name, so that a node may look for itself before it is there.
            ("", "get" | "list" | "watch") => match self.asked.name {
                name if name == node => Ok(()),
                "" => Err(format!(
                    "node '{node}' cannot read all nodes, only its own Node object"
                )),
                name => Err(format!(
                    "node '{node}' cannot read '{name}', only its own Node object"
                )),
            },
            _ => Err(String::new()),
        }
    }

    fn pods(&self) -> Result<(), String> {
        match (self.asked.subresource, self.asked.verb) {
            ("", "get") => self.related(),
            ("", "list" | "watch") if self.selects_own() => Ok(()),
            ("", "list" | "watch") if !self.asked.name.is_empty() => self.related(),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }
}

fn ok_or(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::reader::GroupResource;
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
        let mirror = json!({"metadata": {"namespace": "a", "name": "mirror", "annotations": {"kubernetes.io/config.mirror": "x"}},
            "spec": {"nodeName": "n1", "imagePullSecrets": [{"name": "coveted"}]}});
        reader.put(&pods, mirror);
        let csi = json!({"nodeStageSecretRef": {"namespace": "b", "name": "stage"},
            "controllerExpandSecretRef": {"namespace": "b", "name": "expand"}});
        let volume = json!({"metadata": {"name": "pv"}, "spec": {"claimRef": {"namespace": "a", "name": "data"}, "csi": csi}});
        reader.put(&GroupResource::new("", "persistentvolumes"), volume);
        for (name, node) in [("own", "n1"), ("foreign", "n2")] {
            let object = json!({"metadata": {"name": name}, "spec": {"nodeName": node}});
            let slices = GroupResource::new("resource.k8s.io", "resourceslices");
            reader.put(&slices, object.clone());
            reader.put(&GroupResource::new("storage.k8s.io", "volumeattachments"), object);
        }
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
            let (resource, part): (&str, _) = match resource {
                "persistentvolumeclaims/status" => ("persistentvolumeclaims", "status"),
                "secrets/status" => ("secrets", "status"),
                resource => (resource, ""),
            };
            let asked = Attributes::resource(&user, verb, "", resource)
                .in_namespace("a")
                .named(name)
                .subresource(part);
            authorize(&reader, &asked).is_allowed()
        };
        let cases = [
            ("get", "secrets", "mounted", true),
            ("watch", "secrets", "env", true),
            ("get", "secrets", "pull", true),
            ("get", "secrets", "theirs", false),
            ("get", "secrets", "coveted", false),
            ("get", "pods", "mirror", true),
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
            ("get", "serviceaccounts", "app", true),
            ("get", "serviceaccounts", "admin", false),
            ("patch", "persistentvolumeclaims/status", "data", true),
            ("patch", "persistentvolumeclaims/status", "other", false),
            ("get", "secrets/status", "mounted", false),
        ];
        for (verb, resource, name, want) in cases {
            assert_eq!(ask(verb, resource, name), want, "{verb} {resource} {name}");
        }
    }

    #[test]
    fn a_node_reads_what_its_volumes_need_and_what_is_made_for_it() {
        let reader = cluster();
        let user = node_user("n1");
        let ask = |verb, group, resource, namespace, name| {
            let asked = Attributes::resource(&user, verb, group, resource)
                .in_namespace(namespace)
                .named(name);
            authorize(&reader, &asked).is_allowed()
        };
        assert!(ask("get", "", "secrets", "b", "stage"));
        assert!(!ask("get", "", "secrets", "b", "expand"));
        for resource in ["resourceslices", "volumeattachments"] {
            let group = if resource == "resourceslices" {
                "resource.k8s.io"
            } else {
                "storage.k8s.io"
            };
            assert!(ask("get", group, resource, "", "own"));
            assert!(!ask("get", group, resource, "", "foreign"));
        }
        let slices = Attributes {
            field_selector: "spec.nodeName=n1",
            ..Attributes::resource(&user, "list", "resource.k8s.io", "resourceslices")
        };
        assert!(authorize(&reader, &slices).is_allowed());
        let all = authorize(
            &reader,
            &Attributes {
                field_selector: "",
                ..slices
            },
        );
        assert_eq!(
            all.reason,
            "can only list/watch/deletecollection resourceslices with nodeName field selector"
        );
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
