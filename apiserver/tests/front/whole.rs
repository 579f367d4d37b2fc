//! The whole apiserver over a store: what a client of a new cluster finds.

use std::sync::Arc;

use coracle_apiserver::request::UserInfo;
use coracle_store::model::ModelStore;
use serde_json::{Value, json};

use crate::stand_in::{get, post, start_whole};

#[tokio::test]
async fn a_new_cluster_is_ready_and_has_what_every_cluster_has() {
    let (running, _home) = start_whole(Arc::new(ModelStore::new())).await;
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
    assert_eq!(made.code, 201, "{}", made.text);
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = post(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts/bot/token",
        &asked,
    )
    .await;
    assert_eq!(token.code, 201, "{}", token.text);
    let may = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": "system:kube-scheduler", "resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let may = post(&admin, "/apis/authorization.k8s.io/v1/subjectaccessreviews", &may).await;
    assert_eq!(may.json()["status"]["allowed"], true, "{}", may.text);
    let none = get(&admin, "/apis/none.example.com/v1/things").await;
    assert_eq!((none.code, none.text.as_str()), (404, "404 page not found\n"));
    assert_eq!(
        get(&admin, "/api/v1/bogus").await.json()["message"],
        "the server could not find the requested resource"
    );
    running.stop().await;
}

/// What a server says of itself, to whoever looks after it.
#[tokio::test]
async fn a_server_tells_what_it_is_and_how_its_parts_are() {
    let (running, _home) = start_whole(Arc::new(ModelStore::new())).await;
    let admin = crate::stand_in::client_of(&running).await;
    let all = get(&admin, "/api/v1/componentstatuses").await;
    let names: Vec<Value> = all.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
    let store = get(&admin, "/api/v1/componentstatuses/etcd-0").await.json();
    assert_eq!(
        store["conditions"],
        json!([{"type": "Healthy", "status": "True", "message": "ok"}])
    );
    let none = get(&admin, "/api/v1/componentstatuses/none").await;
    assert_eq!(
        (none.code, none.json()["message"].as_str()),
        (404, Some("componentstatus \"none\" not found"))
    );
    let watch = get(&admin, "/api/v1/componentstatuses?watch=true").await;
    assert_eq!(
        (watch.code, watch.json()["message"].as_str()),
        (
            405,
            Some("watch is not supported on resources of kind \"componentstatuses\"")
        )
    );

    let root = get(&admin, "/").await.json();
    let paths = root["paths"].as_array().unwrap();
    for path in ["/flagz", "/statusz", "/metrics/slis", "/readyz/etcd-readiness"] {
        assert!(paths.contains(&json!(path)), "{path}");
        assert_eq!(get(&admin, path).await.code, 200, "{path}");
    }
    assert_eq!(get(&admin, "/livez/etcd-readiness").await.code, 404);
    assert!(
        get(&admin, "/statusz")
            .await
            .text
            .starts_with("\napiserver statusz\n")
    );
    assert_eq!(get(&admin, "/readyz?verbose").await.code, 200);
    let slis = get(&admin, "/metrics/slis").await.text;
    assert!(
        slis.contains("kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1"),
        "{slis}"
    );
    let tracking = get(
        &admin,
        "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking",
    )
    .await;
    assert_eq!(tracking.code, 200, "{}", tracking.text);
    running.stop().await;
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let (running, _home) = start_whole(Arc::new(ModelStore::new())).await;
    let admin = crate::stand_in::client_of(&running).await;
    let group = "rbac.authorization.k8s.io";
    let path = format!("/apis/{group}/v1/clusterroles");
    let role = |name: &str, rules: Value| json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let writes = json!([{"verbs": ["create"], "apiGroups": [group], "resources": ["clusterroles"]}]);
    assert_eq!(
        post(&admin, &path, &role("writer", writes.clone())).await.code,
        201
    );
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "writer"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "writer"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "jane"}]});
    let bound = post(&admin, &format!("/apis/{group}/v1/clusterrolebindings"), &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text);
    let jane = running.client(UserInfo {
        name: "jane".to_owned(),
        ..UserInfo::default()
    });
    let secrets = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
    let refused = post(&jane, &path, &role("more", secrets)).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert!(
        refused.json()["message"]
            .as_str()
            .unwrap()
            .contains("attempting to grant RBAC permissions not currently held")
    );
    assert_eq!(post(&jane, &path, &role("same", writes)).await.code, 201);
}
