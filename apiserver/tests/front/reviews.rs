//! Reviews and tokens, asked over the wire.

use serde_json::json;

use crate::stand_in::{Server, get, policy, post};

async fn with_account() -> Server {
    let account = json!({"metadata": {"name": "bot", "namespace": "a", "uid": "uid-bot"}});
    let objects = policy()
        .with("", "namespaces", json!({"metadata": {"name": "a"}}))
        .with("", "serviceaccounts", account);
    Server::start_among(objects, |_| {}).await
}

#[tokio::test]
async fn access_is_reviewed() {
    let server = Server::start().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let asked = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "jane", "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "a"}}});
    let answer = post(&server.admin().await, path, &asked).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(answer.json()["status"]["allowed"], true);
    assert_eq!(get(&server.admin().await, path).await.code, 405);
    let empty =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}});
    assert_eq!(post(&server.admin().await, path, &empty).await.code, 422);
}

#[tokio::test]
async fn who_am_i() {
    let server = Server::start().await;
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = post(&server.admin().await, path, &asked).await.json();
    assert_eq!(answer["status"]["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(
        answer["status"]["userInfo"]["groups"],
        json!(["system:masters", "system:authenticated"])
    );
}

#[tokio::test]
async fn a_token_is_asked_for_used_and_reviewed() {
    let server = with_account().await;
    let admin = server.admin().await;
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let path = "/api/v1/namespaces/a/serviceaccounts/bot/token";
    let granted = post(&admin, path, &asked).await;
    assert_eq!(granted.code, 201, "{}", granted.text);
    let token = granted.json()["status"]["token"].as_str().unwrap().to_owned();

    let bot = server.with_token(Some(&token)).await;
    let refused = get(&bot, "/api/v1/namespaces/a/pods").await;
    assert_eq!(refused.code, 403);
    assert!(
        refused.text.contains("system:serviceaccount:a:bot"),
        "{}",
        refused.text
    );

    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviewed = post(&admin, "/apis/authentication.k8s.io/v1/tokenreviews", &review)
        .await
        .json();
    assert_eq!(reviewed["status"]["authenticated"], true);
    assert_eq!(reviewed["status"]["user"]["uid"], "uid-bot");
    let stale =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x.y.z"}});
    let reviewed = post(&admin, "/apis/authentication.k8s.io/v1/tokenreviews", &stale)
        .await
        .json();
    assert_eq!(reviewed["status"].get("authenticated"), None);
    assert!(
        reviewed["status"]["error"]
            .as_str()
            .unwrap()
            .contains("invalid bearer token"),
        "{reviewed}"
    );

    let missing = post(&admin, "/api/v1/namespaces/a/serviceaccounts/none/token", &asked).await;
    assert_eq!(
        (missing.code, missing.json()["message"].as_str()),
        (404, Some("serviceaccounts \"none\" not found"))
    );
}
