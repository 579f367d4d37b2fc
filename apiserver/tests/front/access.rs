//! Who is let in, and what others are told.

use http::Request;
use kube::client::Body;
use serde_json::json;

use crate::stand_in::{Server, get, send};

#[tokio::test]
async fn certificates_tokens_and_nobody() {
    let server = Server::start().await;
    let admin = get(&server.admin().await, "/api/v1/pods").await.json();
    assert_eq!(admin["user"], "kubernetes-admin");
    assert_eq!(admin["groups"], json!(["system:masters", "system:authenticated"]));

    let jane = server.with_token(Some("jane-token")).await;
    let allowed = get(&jane, "/api/v1/namespaces/a/pods").await.json();
    assert_eq!(
        (&allowed["user"], &allowed["authorization"]),
        (&json!("jane"), &json!(false))
    );
    let refused = get(&jane, "/api/v1/pods").await;
    assert_eq!(refused.code, 403);
    let want = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
        "message": "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
        "details": {"kind": "pods"}, "code": 403});
    assert_eq!(refused.json(), want);

    let stranger = get(&server.with_token(Some("nonsense")).await, "/api/v1/pods").await;
    assert_eq!(
        (stranger.code, stranger.json()["message"].as_str()),
        (401, Some("Unauthorized"))
    );

    let nobody = server.with_token(None).await;
    let root = get(&nobody, "/").await;
    let want = "forbidden: User \"system:anonymous\" cannot get path \"/\"";
    assert_eq!((root.code, root.json()["message"].as_str()), (403, Some(want)));
    assert_eq!(get(&nobody, "/readyz").await.text, "ok");
    assert_eq!(get(&nobody, "/version").await.json()["minor"], "36");
    server.running.stop().await;
}

#[tokio::test]
async fn without_anonymous_requests_nobody_is_a_stranger() {
    let server = Server::start_with(|config| config.anonymous = false).await;
    assert_eq!(get(&server.with_token(None).await, "/version").await.code, 401);
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_answered_and_not_cut_off() {
    let (own, other) = (Server::start().await, Server::start().await);
    let read = |server: &Server| std::fs::read_to_string(server.running.admin_kubeconfig()).unwrap();
    let field = |text: &str, name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
    let (mut mixed, theirs) = (read(&own), read(&other));
    for name in ["client-certificate-data", "client-key-data"] {
        mixed = mixed.replace(&field(&mixed, name), &field(&theirs, name));
    }
    std::fs::write(own.running.admin_kubeconfig(), mixed).unwrap();
    let answer = get(&own.admin().await, "/api/v1/pods").await;
    assert_eq!(
        (answer.code, answer.json()["reason"].as_str()),
        (401, Some("Unauthorized"))
    );
}

#[tokio::test]
async fn masters_may_act_as_others() {
    let server = Server::start().await;
    let asked = Request::get("/api/v1/namespaces/a/pods").header("impersonate-user", "jane");
    let root = server.with_token(Some("root-token")).await;
    let answer = send(&root, asked.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["user"], "jane");
    let asked = Request::get("/api/v1/namespaces/a/pods").header("impersonate-user", "root");
    let jane = server.with_token(Some("jane-token")).await;
    let answer = send(&jane, asked.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code, 403);
    assert!(
        answer
            .text
            .contains("cannot impersonate-on:user-info:list resource"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn paths_that_nobody_answers_at() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let missing = get(&admin, "/nothing/here").await;
    assert_eq!(
        (missing.code, missing.text.as_str()),
        (404, "404 page not found\n")
    );
    let wrong = send(&admin, Request::delete("/version").body(Body::empty()).unwrap()).await;
    let want = "the server does not allow this method on the requested resource";
    assert_eq!((wrong.code, wrong.json()["message"].as_str()), (405, Some(want)));
    assert!(
        get(&admin, "/metrics")
            .await
            .text
            .contains("apiserver_request_total{")
    );
    let oidc = get(&admin, "/.well-known/openid-configuration").await.json();
    assert_eq!(oidc["issuer"], "https://kubernetes.default.svc.cluster.local");
    assert_eq!(
        get(&admin, "/openid/v1/jwks").await.json()["keys"][0]["alg"],
        "ES256"
    );
    assert_eq!(get(&admin, "/api/v1/watch").await.code, 500);
}

#[tokio::test]
async fn answers_carry_an_audit_id_and_are_not_cached() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let own = Request::get("/version")
        .header("audit-id", "mine")
        .body(Body::empty())
        .unwrap();
    let answer = send(&admin, own).await;
    assert_eq!(answer.headers["audit-id"], "mine");
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    assert_eq!(get(&admin, "/version").await.headers["audit-id"].len(), 36);
}
