//! What a node may write, as a table.

use coracle_api::resources;
use serde_json::{Value, json};

use super::*;
use crate::admission::tests::attributes;
use crate::reader::GroupResource;
use crate::reader::memory::MemoryReader;
use crate::request::UserInfo;

const NODE: &str = "n1";

fn node_user(name: &str) -> UserInfo {
    UserInfo {
        name: format!("system:node:{name}"),
        groups: vec!["system:nodes".to_owned()],
        ..UserInfo::default()
    }
}

fn cluster() -> MemoryReader {
    let reader = MemoryReader::default();
    let nodes = GroupResource::new("", "nodes");
    reader.put(&nodes, json!({"metadata": {"name": NODE, "uid": "u1"}}));
    let pods = GroupResource::new("", "pods");
    for (name, node, volumes) in [
        (
            "mine",
            NODE,
            json!([{"name": "t", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "vault"}}, {"serviceAccountToken": {}}]}},
            {"name": "c", "csi": {"driver": "csi.example.com"}}]),
        ),
        ("other", "n2", json!([])),
    ] {
        reader.put(
            &pods,
            json!({"metadata": {"namespace": "a", "name": name, "uid": format!("uid-{name}")},
            "spec": {"nodeName": node, "serviceAccountName": "app", "volumes": volumes}}),
        );
    }
    let drivers = GroupResource::new("storage.k8s.io", "csidrivers");
    reader.put(
        &drivers,
        json!({"metadata": {"name": "csi.example.com"}, "spec": {"tokenRequests": [{"audience": "store"}]}}),
    );
    reader
}

/// A write, and what becomes of it.
struct Case<'a> {
    operation: Operation,
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    name: &'a str,
    namespace: &'a str,
}

const fn case<'a>(operation: Operation, group: &'a str, resource: &'a str) -> Case<'a> {
    Case {
        operation,
        group,
        resource,
        subresource: "",
        name: "",
        namespace: "",
    }
}

impl<'a> Case<'a> {
    fn part(self, subresource: &'a str) -> Self {
        Self { subresource, ..self }
    }

    fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    fn within(self, namespace: &'a str) -> Self {
        Self { namespace, ..self }
    }

    /// The refusal without its beginning; empty where there is none.
    fn answer(&self, object: Value, old: Value) -> String {
        let resource = resources::versions(self.group, self.resource).next().unwrap();
        let (user, reader) = (node_user(NODE), cluster());
        let attributes = Attributes {
            subresource: self.subresource,
            name: self.name,
            namespace: self.namespace,
            user: &user,
            ..attributes(self.operation, resource)
        };
        let cluster = Cluster::new(&reader, None);
        let given = |value: Value| Some(value).filter(|value| !value.is_null());
        let (mut object, old) = (given(object), given(old));
        let answer = match &mut object {
            Some(object) => NodeRestriction.mutate(&attributes, object, old.as_ref(), &cluster),
            None => NodeRestriction.validate(&attributes, None, old.as_ref(), &cluster),
        };
        let error = answer.err().map(|error| error.to_string()).unwrap_or_default();
        error
            .split_once(" is forbidden: ")
            .map_or(error.clone(), |(_, why)| why.to_owned())
    }
}

#[test]
fn a_node_makes_mirror_pods_of_its_own_only() {
    let create = case(Operation::Create, "", "pods").within("a").named("p");
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": "u1", "controller": true});
    let with = |pointer: &str, value: Value| {
        let mut pod = json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"},
            "ownerReferences": [owner]}, "spec": {"nodeName": NODE, "volumes": []}});
        *pod.pointer_mut(pointer).unwrap() = value;
        pod
    };
    let changed = |field: &str, value: Value| {
        let mut owner = owner.clone();
        owner[field] = value;
        json!([owner])
    };
    let owners = "/metadata/ownerReferences";
    let itself = "node \"n1\" can only create pods with an owner reference set to itself";
    let table = [
        (with("/spec/volumes", json!([])), ""),
        (
            with("/metadata/annotations", json!({})),
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods",
        ),
        (
            with("/spec/nodeName", json!("n2")),
            "node \"n1\" can only create pods with spec.nodeName set to itself",
        ),
        (with(owners, json!([])), itself),
        (with(owners, changed("name", json!("n2"))), itself),
        (
            with(owners, json!([owner, owner])),
            "node \"n1\" can only create pods with a single owner reference set to itself",
        ),
        (
            with(owners, changed("controller", json!(false))),
            "node \"n1\" can only create pods with a controller owner reference set to itself",
        ),
        (
            with(owners, changed("blockOwnerDeletion", json!(true))),
            "node \"n1\" must not set blockOwnerDeletion on an owner reference",
        ),
        (
            with(owners, changed("uid", json!("u2"))),
            "node n1 UID mismatch: expected u2 got u1",
        ),
        (
            with(
                "/spec/volumes",
                json!([{"name": "v", "secret": {"secretName": "s"}}]),
            ),
            "node \"n1\" can not create pods that reference secrets",
        ),
    ];
    for (pod, want) in table {
        assert_eq!(create.answer(pod.clone(), Value::Null), want, "{pod}");
    }
}

#[test]
fn a_node_deletes_evicts_and_tells_of_its_own_pods() {
    let pod = |node: &str, labels: Value| json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}, "status": {}});
    let delete = case(Operation::Delete, "", "pods").within("a").named("p");
    assert_eq!(delete.answer(Value::Null, pod(NODE, json!({}))), "");
    assert_eq!(
        delete.answer(Value::Null, pod("n2", json!({}))),
        "node \"n1\" can only delete pods with spec.nodeName set to itself"
    );
    let evict = |name| {
        case(Operation::Create, "", "pods")
            .part("eviction")
            .within("a")
            .named(name)
    };
    assert_eq!(evict("mine").answer(json!({}), Value::Null), "");
    assert_eq!(
        evict("other").answer(json!({}), Value::Null),
        "node n1 can only evict pods with spec.nodeName set to itself"
    );
    assert_eq!(
        evict("gone").answer(json!({}), Value::Null),
        "pod \"gone\" not found"
    );
    let status = case(Operation::Update, "", "pods").part("status");
    let own = pod(NODE, json!({"a": "b"}));
    assert_eq!(status.answer(own.clone(), own.clone()), "");
    assert_eq!(
        status.answer(pod(NODE, json!({})), own.clone()),
        "node \"n1\" cannot update labels through pod status"
    );
    let mut claimed = own.clone();
    claimed["status"] = json!({"resourceClaimStatuses": [{"name": "x"}]});
    assert_eq!(
        status.answer(claimed, own.clone()),
        "node \"n1\" cannot update resource claim statues"
    );
    assert_eq!(
        case(Operation::Update, "", "pods").answer(own.clone(), own.clone()),
        "unexpected operation \"UPDATE\", node \"n1\" can only create and delete mirror pods"
    );
    assert_eq!(
        case(Operation::Update, "", "pods")
            .part("resize")
            .answer(own.clone(), own),
        "unexpected pod subresource \"resize\", only 'status' and 'eviction' are allowed"
    );
}

#[test]
fn a_node_writes_its_own_node_without_steering_workloads() {
    let node = |labels: Value, taints: Value, owners: Value| json!({"metadata": {"labels": labels, "ownerReferences": owners}, "spec": {"taints": taints}});
    let plain = node(json!({"kubernetes.io/os": "linux"}), json!([]), json!([]));
    let create = case(Operation::Create, "", "nodes").named(NODE);
    assert_eq!(create.answer(plain.clone(), Value::Null), "");
    let role = json!({"node-role.kubernetes.io/control-plane": "", "node-restriction.kubernetes.io/x": "y"});
    assert_eq!(
        create.answer(node(role.clone(), json!([]), json!([])), Value::Null),
        "node \"n1\" is not allowed to set the following labels: node-restriction.kubernetes.io/x, \
         node-role.kubernetes.io/control-plane"
    );
    assert_eq!(
        case(Operation::Create, "", "nodes")
            .named("n2")
            .answer(plain.clone(), Value::Null),
        "node \"n1\" is not allowed to modify node \"n2\""
    );
    let update = case(Operation::Update, "", "nodes").part("status").named(NODE);
    let labelled = node(role, json!([]), json!([]));
    let table = [
        (plain.clone(), plain.clone(), ""),
        (
            plain.clone(),
            labelled,
            "is not allowed to modify labels: node-restriction.kubernetes.io/x, node-role.kubernetes.io/control-plane",
        ),
        (
            node(json!({"kubernetes.io/os": "x"}), json!([{"key": "k"}]), json!([])),
            plain.clone(),
            "node \"n1\" is not allowed to modify taints",
        ),
        (
            node(json!({}), json!([]), json!([{"uid": "1"}])),
            plain.clone(),
            "node \"n1\" is not allowed to modify ownerReferences",
        ),
        (node(json!({"disk": "fast"}), json!([]), json!([])), plain, ""),
    ];
    for (new, old, want) in table {
        assert_eq!(update.answer(new, old), want);
    }
}

#[test]
fn a_node_asks_for_tokens_of_its_own_pods_and_their_audiences() {
    let token = case(Operation::Create, "", "serviceaccounts")
        .part("token")
        .within("a")
        .named("app");
    let ask = |pod: &str, uid: &str, audiences: Value| {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
        token.answer(
            json!({"spec": {"boundObjectRef": bound, "audiences": audiences}}),
            Value::Null,
        )
    };
    let denied = |audience: &str| {
        format!(
            "audience \"{audience}\" not found in pod spec volume, system:node:n1 is not authorized to request tokens for \
             this audience"
        )
    };
    assert_eq!(ask("mine", "uid-mine", json!([])), "");
    assert_eq!(ask("mine", "uid-mine", json!(["vault"])), "");
    assert_eq!(ask("mine", "uid-mine", json!(["store"])), "");
    assert_eq!(ask("mine", "uid-mine", json!(["else"])), denied("else"));
    assert_eq!(
        ask("mine", "uid-mine", json!(["vault", "store"])),
        "node may only request 0 or 1 audiences"
    );
    assert_eq!(
        ask("mine", "", json!([])),
        "node requested token with a pod binding without a uid"
    );
    assert!(
        ask("mine", "uid-2", json!([]))
            .starts_with("the UID in the bound object reference (uid-2) does not match")
    );
    assert_eq!(
        ask("other", "uid-other", json!([])),
        "node requested token bound to a pod scheduled on a different node"
    );
    assert_eq!(ask("gone", "u", json!([])), "pod \"gone\" not found");
    assert_eq!(
        token.answer(json!({"spec": {}}), Value::Null),
        "node requested token not bound to a pod"
    );
}

#[test]
fn what_belongs_to_a_node_bears_its_name() {
    let lease = case(Operation::Create, "coordination.k8s.io", "leases").within("kube-node-lease");
    let of = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(lease.answer(of(NODE), Value::Null), "");
    assert_eq!(
        lease.answer(of("n2"), Value::Null),
        "can only access node lease with the same name as the requesting node"
    );
    assert_eq!(
        case(Operation::Create, "coordination.k8s.io", "leases")
            .within("a")
            .answer(of(NODE), Value::Null),
        "can only access leases in the \"kube-node-lease\" system namespace"
    );
    let csi = case(Operation::Delete, "storage.k8s.io", "csinodes").named("n2");
    assert_eq!(
        csi.answer(Value::Null, of("n2")),
        "can only access CSINode with the same name as the requesting node"
    );
    let slice = |node: &str| json!({"spec": {"nodeName": node}});
    let create = case(Operation::Create, "resource.k8s.io", "resourceslices");
    assert_eq!(create.answer(slice(NODE), Value::Null), "");
    assert_eq!(
        create.answer(slice("n2"), Value::Null),
        "can only create ResourceSlice with the same NodeName as the requesting node"
    );
    let claim = |size: &str, labels: Value| {
        json!({"metadata": {"labels": labels, "resourceVersion": size}, "spec": {"volumeName": "v"},
            "status": {"capacity": {"storage": size}}})
    };
    let status = case(Operation::Update, "", "persistentvolumeclaims").part("status");
    assert_eq!(status.answer(claim("2", json!({})), claim("1", json!({}))), "");
    assert_eq!(
        status.answer(claim("2", json!({"a": "b"})), claim("1", json!({}))),
        "node \"n1\" is not allowed to update fields other than status.quantity and status.conditions: metadata.labels"
    );
}

#[test]
fn nobody_else_is_restricted_and_a_node_without_a_name_may_nothing() {
    let reader = cluster();
    let pods = resources::find("", "v1", "pods").unwrap();
    let answer = |user: &UserInfo| {
        let attributes = Attributes {
            user,
            ..attributes(Operation::Create, pods)
        };
        let cluster = Cluster::new(&reader, None);
        NodeRestriction.mutate(&attributes, &mut json!({"spec": {}}), None, &cluster)
    };
    let jane = UserInfo {
        groups: Vec::new(),
        ..node_user(NODE)
    };
    assert!(answer(&jane).is_ok());
    let refusal = answer(&node_user("")).unwrap_err();
    assert_eq!(
        refusal.message(),
        "pods is forbidden: could not determine node from user \"system:node:\""
    );
}
