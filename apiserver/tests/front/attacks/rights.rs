//! Every way from few rights to many.

use std::sync::Arc;

use coracle_apiserver::Running;
use coracle_apiserver::request::UserInfo;
use coracle_store::model::ModelStore;
use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand_in::{Answer, client_of, get, post, send, start_whole};

const RBAC: &str = "rbac.authorization.k8s.io";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

/// A cluster in which `jane` may do what a test lets her.
struct Cluster {
    running: Running,
    admin: kube::Client,
    jane: kube::Client,
    _home: TempDir,
}

impl Cluster {
    async fn start(rules: Value) -> Self {
        let (running, home) = start_whole(Arc::new(ModelStore::new())).await;
        let admin = client_of(&running).await;
        let jane = running.client(UserInfo {
            name: "jane".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..UserInfo::default()
        });
        let cluster = Self {
            running,
            admin,
            jane,
            _home: home,
        };
        made(&post(&cluster.admin, ROLES, &role("janes", rules)).await);
        made(&post(&cluster.admin, BINDINGS, &binding("janes", "janes", "jane")).await);
        cluster
    }

    async fn as_somebody(&self, headers: &[(&str, &str)], path: &str) -> u16 {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| {
            request.header(*name, *value)
        });
        send(&self.jane, request.body(Body::empty()).unwrap()).await.code
    }

    async fn end(self) {
        self.running.stop().await;
    }
}

fn role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}]})
}

fn made(answer: &Answer) {
    assert_eq!(answer.code, 201, "{}", answer.text);
}

async fn put(client: &kube::Client, path: &str, object: &Value) -> Answer {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(path)
        .header("content-type", "application/json");
    send(
        client,
        request.body(Body::from(object.to_string().into_bytes())).unwrap(),
    )
    .await
}

#[tokio::test]
async fn a_role_grows_by_what_its_writer_holds_or_may_escalate() {
    let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let writes =
        json!([{"verbs": ["create", "update", "patch"], "apiGroups": [RBAC], "resources": ["clusterroles"]}]);
    let cluster = Cluster::start(writes.clone()).await;
    let own = put(
        &cluster.jane,
        &format!("{ROLES}/janes"),
        &role("janes", all.clone()),
    )
    .await;
    assert_eq!(own.code, 403, "{}", own.text);
    let mut labelled = role("more", all.clone());
    labelled["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-admin": "true"});
    assert_eq!(post(&cluster.jane, ROLES, &labelled).await.code, 403);
    let mut gathers = role("gathers", json!([]));
    gathers["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"any": "thing"}}]});
    assert_eq!(
        post(&cluster.jane, ROLES, &gathers).await.code,
        403,
        "who gathers roles gathers all of them"
    );

    let escalates =
        json!([{"verbs": ["create", "escalate"], "apiGroups": [RBAC], "resources": ["clusterroles"]}]);
    let admin = put(
        &cluster.admin,
        &format!("{ROLES}/janes"),
        &role("janes", escalates),
    )
    .await;
    assert_eq!(admin.code, 200, "{}", admin.text);
    made(&post(&cluster.jane, ROLES, &role("more", all)).await);
    cluster.end().await;
}

#[tokio::test]
async fn a_binding_gives_what_its_writer_holds_or_may_bind() {
    let writes = json!([
        {"verbs": ["create", "update"], "apiGroups": [RBAC], "resources": ["clusterrolebindings"]},
        {"verbs": ["bind"], "apiGroups": [RBAC], "resources": ["clusterroles"], "resourceNames": ["view"]},
    ]);
    let cluster = Cluster::start(writes).await;
    let refused = post(&cluster.jane, BINDINGS, &binding("root", "cluster-admin", "jane")).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    made(&post(&cluster.jane, BINDINGS, &binding("looks", "view", "jane")).await);
    let moved = put(
        &cluster.jane,
        &format!("{BINDINGS}/looks"),
        &binding("looks", "cluster-admin", "jane"),
    )
    .await;
    assert!(
        matches!(moved.code, 403 | 422),
        "a binding keeps its role: {}",
        moved.text
    );
    cluster.end().await;
}

#[tokio::test]
async fn others_are_impersonated_by_who_may_and_part_by_part() {
    let rules = json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["builder"]},
    ]);
    let cluster = Cluster::start(rules).await;
    let whoami = "/version";
    assert_eq!(
        cluster.as_somebody(&[("Impersonate-User", "bob")], whoami).await,
        200
    );
    for headers in [
        &[("Impersonate-User", "system:admin")][..],
        &[
            ("Impersonate-User", "bob"),
            ("Impersonate-Group", "system:masters"),
        ],
        &[("Impersonate-User", "bob"), ("Impersonate-Uid", "1")],
        &[("Impersonate-User", "bob"), ("Impersonate-Extra-Scopes", "all")],
        &[("Impersonate-User", "system:serviceaccount:kube-system:admin")],
        &[("Impersonate-User", "system:node:n1")],
    ] {
        assert_eq!(cluster.as_somebody(headers, whoami).await, 403, "{headers:?}");
    }
    for headers in [
        &[("Impersonate-Group", "system:masters")][..],
        &[("Impersonate-Extra-Scopes", "all")],
    ] {
        let code = cluster.as_somebody(headers, whoami).await;
        assert!(
            matches!(code, 400 | 500),
            "without a user nobody is meant: {headers:?} {code}"
        );
    }
    cluster.end().await;
}

#[tokio::test]
async fn a_right_to_act_as_others_in_one_thing_is_none_in_another() {
    let group = "authentication.k8s.io";
    let rules = json!([
        {"verbs": ["impersonate:user-info"], "apiGroups": [group], "resources": ["users", "groups"]},
        {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    let cluster = Cluster::start(rules).await;
    let rights = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    made(&post(&cluster.admin, ROLES, &role("bobs", rights)).await);
    made(&post(&cluster.admin, BINDINGS, &binding("bobs", "bobs", "bob")).await);
    let bob = ("Impersonate-User", "bob");
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(cluster.as_somebody(&[bob], pods).await, 200);
    for (headers, path) in [
        (&[bob][..], "/api/v1/namespaces/default/secrets"),
        (&[bob], "/api/v1/namespaces/default/pods/web"),
        (&[bob, ("Impersonate-Group", "system:masters")], pods),
        (&[bob, ("Impersonate-Uid", "1")], pods),
        (
            &[("Impersonate-User", "system:serviceaccount:kube-system:admin")],
            pods,
        ),
        (&[("Impersonate-User", "system:node:n1")], pods),
    ] {
        assert_eq!(
            cluster.as_somebody(headers, path).await,
            403,
            "{headers:?} {path}"
        );
    }
    cluster.end().await;
}

#[tokio::test]
async fn one_right_brings_no_other_along() {
    let rules = json!([
        {"verbs": ["create", "get"], "apiGroups": [""], "resources": ["serviceaccounts"]},
        {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["nodes", "pods"]},
        {"verbs": ["create", "get"], "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"]},
    ]);
    let cluster = Cluster::start(rules).await;
    let token =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    assert_eq!(post(&cluster.jane, path, &token).await.code, 403);
    for path in [
        "/api/v1/nodes/n1/proxy/pods",
        "/api/v1/namespaces/default/pods/web/exec?command=sh",
        "/api/v1/namespaces/default/pods/web/proxy/",
        "/api/v1/namespaces/default/secrets",
    ] {
        assert_eq!(get(&cluster.jane, path).await.code, 403, "{path}");
    }
    let approval = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "a"}});
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/a/approval";
    assert_eq!(put(&cluster.jane, path, &approval).await.code, 403);
    cluster.end().await;
}
