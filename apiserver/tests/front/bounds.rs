//! What is too big, too much, too slow, or broken; and the end.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::stand_in::{Server, get, send};

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let post = |bytes: usize| {
        Request::post("/api/v1/namespaces/a/pods")
            .body(Body::from(vec![b'x'; bytes]))
            .unwrap()
    };
    assert_eq!(send(&admin, post(3 << 20)).await.json()["bytes"], 3 << 20);
    let refused = send(&admin, post((3 << 20) + 1)).await;
    assert_eq!(refused.code, 413);
    assert_eq!(
        refused.json()["message"],
        "Request entity too large: limit is 3145728"
    );
}

#[tokio::test]
async fn a_panic_is_answered_and_the_server_goes_on() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let answer = get(&admin, "/api/v1/panics").await;
    assert_eq!(answer.code, 500);
    assert!(
        answer.text.contains("This request caused apiserver to panic"),
        "{}",
        answer.text
    );
    assert_eq!(get(&admin, "/readyz").await.code, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let server = Server::start_with(|config| config.limits.request_timeout = Duration::from_millis(50)).await;
    let answer = get(&server.admin().await, "/api/v1/sleepers").await;
    assert_eq!(answer.code, 504);
    assert_eq!(
        answer.json()["message"],
        "Timeout: request did not complete within the allotted timeout"
    );
}

#[tokio::test]
async fn a_client_may_ask_for_less_time() {
    let server = Server::start().await;
    let admin = server.admin().await;
    assert_eq!(get(&admin, "/api/v1/sleepers?timeout=50ms").await.code, 504);
    assert_eq!(get(&admin, "/api/v1/sleepers?timeout=soon").await.code, 400);
}

#[tokio::test]
async fn where_there_is_no_room_clients_are_told_to_come_back() {
    let server = Server::start_with(|config| {
        config.limits.priority_and_fairness = false;
        config.limits.reads = 0;
    })
    .await;
    let jane = server.with_token(Some("jane-token")).await;
    let answer = get(&jane, "/api/v1/namespaces/a/pods").await;
    assert_eq!(
        (answer.code, answer.text.as_str()),
        (429, "Too many requests, please try again later.\n")
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(
        get(&server.admin().await, "/api/v1/pods").await.code,
        200,
        "masters are let in"
    );
}

#[tokio::test]
async fn big_lists_are_packed_for_who_can_unpack_them() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let asked = Request::get("/api/v1/bigs")
        .header("accept-encoding", "gzip")
        .body(Body::empty())
        .unwrap();
    let packed = send(&admin, asked).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let plain = get(&admin, "/api/v1/bigs").await;
    assert_eq!(plain.text.len(), 256 * 1024);
}

#[tokio::test]
async fn who_does_not_greet_is_shown_the_door() {
    let server = Server::start_with(|config| {
        config.listener_limits.handshake = Duration::from_millis(50);
    })
    .await;
    let mut silent = TcpStream::connect(server.running.addresses()[0]).await.unwrap();
    let mut buffer = [0];
    assert_eq!(silent.read(&mut buffer).await.unwrap(), 0, "the server hung up");
}

#[tokio::test]
async fn a_watch_ends_when_the_server_does() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let asked = Request::get("/api/v1/pods?watch=true")
        .body(Body::empty())
        .unwrap();
    let mut body = admin.send(asked).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "{}\n");
    let ends = async {
        assert!(body.frame().await.is_none(), "the stream ends without an error");
        drop((admin, body));
    };
    tokio::join!(server.running.stop(), ends);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = Server::start().await;
    let taken = server.running.addresses()[0];
    let home = tempfile::tempdir().unwrap();
    let mut config = coracle_apiserver::Config::new(home.path());
    config.listen = vec![taken];
    let resources = coracle_apiserver::Resources {
        handler: std::sync::Arc::new(crate::stand_in::StandIn),
        reader: std::sync::Arc::new(crate::stand_in::policy()),
    };
    let store = std::sync::Arc::new(coracle_store::model::ModelStore::new());
    let error = coracle_apiserver::ApiServer::start_over(config, store, resources)
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains(&format!("cannot listen on {taken}")),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_start_shows_the_same_certificate() {
    let server = Server::start().await;
    let certificate = server.home.path().join("pki/apiserver.crt");
    let before = std::fs::read(&certificate).unwrap();
    server.running.stop().await;
    let mut config = coracle_apiserver::Config::new(server.home.path());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let resources = coracle_apiserver::Resources {
        handler: std::sync::Arc::new(crate::stand_in::StandIn),
        reader: std::sync::Arc::new(crate::stand_in::policy()),
    };
    let store = std::sync::Arc::new(coracle_store::model::ModelStore::new());
    let running = coracle_apiserver::ApiServer::start_over(config, store, resources)
        .await
        .unwrap();
    assert_eq!(std::fs::read(&certificate).unwrap(), before);
    running.stop().await;
}
