//! What is wrong with the bytes themselves.

use std::time::Duration;

use http::Request;
use kube::client::Body;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::raw::{codes, connect, exchange, until_closed};
use crate::stand_in::{Server, get, send};

const ASK: &str =
    "GET /api/v1/namespaces/a/pods HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer jane-token\r\n";

#[tokio::test]
async fn requests_of_two_lengths_are_refused() {
    let server = Server::start().await;
    let hidden = "GET /api/v1/namespaces/a/pods HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (what, headers) in [
        ("two lengths", "Content-Length: 1\r\nContent-Length: 2\r\n"),
        ("a list of lengths", "Content-Length: 1, 2\r\n"),
        ("a signed length", "Content-Length: +1\r\n"),
        ("an unknown coding", "Transfer-Encoding: chunked, identity\r\n"),
        ("a coding of the sender's own", "Transfer-Encoding: xchunked\r\n"),
        ("a space before the colon", "Content-Length : 1\r\n"),
        ("a folded line", "X-Header: a\r\n b\r\n"),
        ("a bare return", "X-Header: a\rContent-Length: 1\r\n"),
    ] {
        let answers = exchange(&server.running, &format!("{ASK}{headers}\r\n{hidden}")).await;
        assert_eq!(codes(&answers), ["400"], "{what}: {answers}");
    }
    // By RFC 9112, 6.3: chunks count and the length does not, and after the answer the connection is closed.
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answers = exchange(&server.running, &format!("{ASK}{both}{hidden}")).await;
    assert_eq!(codes(&answers), ["200"], "{answers}");
}

#[tokio::test]
async fn what_is_asked_for_writes_no_headers() {
    let server = Server::start().await;
    let admin = server.admin().await;
    for path in [
        "/api/v1/namespaces/a/pods/x%0d%0aX-Injected:%201",
        "/nothing%0d%0aX-Injected:%201",
        "/api/v1/namespaces/a/pods?fieldManager=x%0d%0aX-Injected:%201&pretty=%0d%0a",
        "/api/v1/nodes/n1%0d%0aX-Injected:%201/proxy",
    ] {
        let answer = get(&admin, path).await;
        assert!(answer.headers.get("x-injected").is_none(), "{path}");
    }
    let own = Request::get("/version").header("audit-id", "a".repeat(2000));
    let answer = send(&admin, own.body(Body::empty()).unwrap()).await;
    assert!(
        answer.headers["audit-id"].len() <= 64,
        "an id of any length is not repeated"
    );
    let answers = exchange(
        &server.running,
        "GET /version\r\nX-Injected: 1 HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert_eq!(codes(&answers), ["400"], "{answers}");
}

#[tokio::test]
async fn a_path_means_one_thing() {
    let server = Server::start().await;
    let jane = server.with_token(Some("jane-token")).await;
    assert_eq!(get(&jane, "/api/v1/namespaces/a/pods").await.code, 200);
    for path in [
        "/api/v1/namespaces/b/pods",
        "//api/v1/namespaces/b/pods",
        "/api//v1/namespaces/b/pods",
        "/api/v1/namespaces/a/../b/pods",
        "/api/v1/namespaces/a/%2e%2e/b/pods",
        "/api/v1/namespaces/a%2f..%2fb/pods",
        "/api/v1/namespaces/a/pods/../../b/pods",
        "/api/v1/namespaces/a/../../pods",
        "/healthz/../api/v1/namespaces/b/pods",
        "/healthz/%2e%2e/api/v1/namespaces/b/pods",
        "/version/api/v1/namespaces/b/pods",
        "/api/v1/namespaces/b/pods?namespace=a",
        "/api/v1/namespaces/a/pods;/../../b/pods",
        "/api/v1/namespaces/b%00/pods",
        "/API/v1/namespaces/b/pods",
        "/api/v1/namespaces/%61%00/pods",
    ] {
        let answer = get(&jane, path).await;
        assert!(
            matches!(answer.code, 400 | 403 | 404 | 301),
            "{path}: {}",
            answer.code
        );
    }
}

#[tokio::test]
async fn who_dawdles_over_headers_is_cut_off() {
    let server =
        Server::start_with(|config| config.listener_limits.headers = Duration::from_millis(100)).await;
    let mut stream = connect(&server.running).await;
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(codes(&answer).iter().all(|code| *code == "408"), "{answer}");
}

#[tokio::test]
async fn who_dawdles_over_a_body_is_cut_off() {
    let server =
        Server::start_with(|config| config.limits.request_timeout = Duration::from_millis(100)).await;
    let mut stream = connect(&server.running).await;
    let head = "POST /api/v1/namespaces/a/pods HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer root-token\r\n\
        Content-Type: application/json\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(codes(&until_closed(&mut stream).await), ["504"]);
}

#[tokio::test]
async fn headers_have_an_end() {
    let server = Server::start().await;
    let many = format!("X-Header: {}\r\n", "x".repeat(8000)).repeat(300);
    let answers = exchange(&server.running, &format!("{ASK}{many}\r\n")).await;
    assert!(
        codes(&answers).iter().all(|code| code.starts_with('4')),
        "{answers}"
    );
    let jane = server.with_token(Some("jane-token")).await;
    assert_eq!(
        get(&jane, "/api/v1/namespaces/a/pods").await.code,
        200,
        "others are served"
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_there_is_room() {
    let server = Server::start_with(|config| config.listener_limits.connections = 2).await;
    let (one, two) = (connect(&server.running).await, connect(&server.running).await);
    let mut third = Box::pin(connect(&server.running));
    let early = timeout(Duration::from_millis(200), &mut third).await;
    assert!(early.is_err(), "there was no room");
    drop(one);
    timeout(Duration::from_secs(20), third)
        .await
        .expect("room was made");
    drop(two);
}
