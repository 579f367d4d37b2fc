//! Parts in the same process.

use coracle_apiserver::request::UserInfo;
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;

use crate::stand_in::{Server, get};

fn user(name: &str) -> UserInfo {
    UserInfo {
        name: name.to_owned(),
        groups: vec!["system:authenticated".to_owned()],
        ..UserInfo::default()
    }
}

#[tokio::test]
async fn they_are_known_without_proof_and_authorized_like_anybody() {
    let server = Server::start().await;
    let jane = server.running.client(user("jane"));
    assert_eq!(
        get(&jane, "/api/v1/namespaces/a/pods").await.json()["user"],
        "jane"
    );
    assert_eq!(get(&jane, "/api/v1/namespaces/b/pods").await.code, 403);
    assert_eq!(
        get(&server.running.client(user("joe")), "/api/v1/namespaces/a/pods")
            .await
            .code,
        403
    );
}

#[tokio::test]
async fn their_watches_stream() {
    let server = Server::start().await;
    let mut root = user("root");
    root.groups.push("system:masters".to_owned());
    let asked = Request::get("/api/v1/pods?watch=true")
        .body(Body::empty())
        .unwrap();
    let mut body = server.running.client(root).send(asked).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}\n");
}
