//! What other servers answer, and what is asked of them.

use http::header;
use tokio::io::AsyncWriteExt;

use super::raw::{codes, connect, until_closed};
use crate::nodes::cluster;
use crate::stand_in::get;

#[tokio::test]
async fn a_refused_upgrade_leaves_no_way_to_the_agent() {
    let server = cluster().await;
    let mut stream = connect(&server.running).await;
    // The agent refuses WebSockets. Had the connection been joined to it, it would answer the second request, which this
    // server refuses to who brings no credentials.
    let first = "GET /api/v1/namespaces/a/pods/web/exec?command=sh&stdout=true HTTP/1.1\r\nHost: localhost\r\n\
        Authorization: Bearer root-token\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let second = "GET /runningpods/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(first.as_bytes()).await.unwrap();
    stream.write_all(second.as_bytes()).await.unwrap();
    let answers = until_closed(&mut stream).await;
    assert_eq!(codes(&answers), ["403", "403"], "{answers}");
    assert!(answers.contains("only SPDY is spoken here"), "{answers}");
    assert!(
        !answers.ends_with("/runningpods/"),
        "the agent did not answer: {answers}"
    );
}

#[tokio::test]
async fn an_agents_redirect_is_not_followed() {
    let server = cluster().await;
    let admin = server.admin().await;
    let log = get(&admin, "/api/v1/namespaces/a/pods/moved/log").await;
    assert_eq!(
        (log.code, log.json()["reason"].as_str()),
        (302, None),
        "{}",
        log.text
    );
    assert!(log.headers.get(header::LOCATION).is_none());
    let mut stream = connect(&server.running).await;
    let ask = "POST /api/v1/namespaces/a/pods/moved/exec?command=sh&stdout=true HTTP/1.1\r\nHost: localhost\r\n\
        Authorization: Bearer root-token\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n\
        GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answers = until_closed(&mut stream).await;
    assert_eq!(codes(&answers)[0], "500", "{answers}");
    assert!(!answers.to_lowercase().contains("\r\nlocation:"), "{answers}");
}

#[tokio::test]
async fn a_node_leads_to_its_agent_and_nowhere_else() {
    let server = cluster().await;
    let admin = server.admin().await;
    for name in ["metadata:80", "n1:6443", "none"] {
        let answer = get(&admin, &format!("/api/v1/nodes/{name}/proxy/latest/meta-data")).await;
        assert!(
            matches!(answer.code, 400 | 403 | 404 | 503),
            "{name}: {} {}",
            answer.code,
            answer.text
        );
    }
    // The agent judges the path that was authorized, whatever dots are in it.
    let own = get(&admin, "/api/v1/nodes/n1/proxy/metrics/../configz").await;
    assert_ne!(own.text, "/configz");
}
