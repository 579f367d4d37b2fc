//! The whole apiserver over a store: what a client of a new cluster finds.

use std::sync::Arc;

use coracle_apiserver::request::UserInfo;
use coracle_apiserver::{ApiServer, Config};
use coracle_store::model::ModelStore;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::stand_in::{get, send};

#[tokio::test]
async fn a_new_cluster_is_ready_and_has_what_every_cluster_has() {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::new(home.path());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let running = ApiServer::start(config, Arc::new(ModelStore::new()))
        .await
        .unwrap();
    let admin = crate::stand_in::client_of(&running).await;
    assert_eq!(get(&admin, "/readyz").await.text, "ok");
    assert_eq!(get(&admin, "/api/v1/namespaces/kube-system").await.code, 200);
    let admins = get(
        &admin,
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
    )
    .await;
    assert_eq!(admins.code, 200, "{}", admins.text);

    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    let made = post(&admin, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = post(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts/bot/token",
        &asked,
    )
    .await;
    assert_eq!(token.0, 201, "{}", token.1);
    let may = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": "system:kube-scheduler", "resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let may = post(&admin, "/apis/authorization.k8s.io/v1/subjectaccessreviews", &may).await;
    assert_eq!(may.1["status"]["allowed"], true, "{}", may.1);
    let none = get(&admin, "/apis/none.example.com/v1/things").await;
    assert_eq!((none.code, none.text.as_str()), (404, "404 page not found\n"));
    assert_eq!(
        get(&admin, "/api/v1/bogus").await.json()["message"],
        "the server could not find the requested resource"
    );
    running.stop().await;
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::new(home.path());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let running = ApiServer::start(config, Arc::new(ModelStore::new()))
        .await
        .unwrap();
    let admin = crate::stand_in::client_of(&running).await;
    let group = "rbac.authorization.k8s.io";
    let path = format!("/apis/{group}/v1/clusterroles");
    let role = |name: &str, rules: Value| json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let writes = json!([{"verbs": ["create"], "apiGroups": [group], "resources": ["clusterroles"]}]);
    assert_eq!(post(&admin, &path, &role("writer", writes.clone())).await.0, 201);
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "writer"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "writer"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}]});
    let bound = post(&admin, &format!("/apis/{group}/v1/clusterrolebindings"), &binding).await;
    assert_eq!(bound.0, 201, "{}", bound.1);
    let jane = running.client(UserInfo {
        name: "jane".to_owned(),
        ..UserInfo::default()
    });
    let secrets = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
    let refused = post(&jane, &path, &role("more", secrets)).await;
    assert_eq!(refused.0, 403, "{}", refused.1);
    assert!(
        refused.1["message"]
            .as_str()
            .unwrap()
            .contains("attempting to grant RBAC permissions not currently held")
    );
    assert_eq!(post(&jane, &path, &role("same", writes)).await.0, 201);
}

async fn post(client: &kube::Client, path: &str, object: &Value) -> (u16, Value) {
    let request = Request::post(path).header("content-type", "application/json");
    let answer = send(
        client,
        request.body(Body::from(object.to_string().into_bytes())).unwrap(),
    )
    .await;
    (answer.code, answer.json())
}
