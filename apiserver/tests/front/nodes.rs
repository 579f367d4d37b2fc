//! Requests that are passed on to a node agent.

use std::sync::Arc;

use coracle_apiserver::request::UserInfo;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::stand_in::{Server, get, policy, send};
use crate::{kubelet, stand_in};

const EXEC: &str =
    "/api/v1/namespaces/a/pods/web/exec?container=c&command=sh&command=-c&stdin=true&stdout=true";
const EXEC_THERE: &str = "/exec/a/web/c?input=1&output=1&command=sh&command=-c";

fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"nodeName": node, "containers": [{"name": "c"}]}})
}

/// A node that says that its agent is where none can be.
fn elsewhere(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}})
}

/// A server, and the agent of the node `n1` that the pods `web` and `waits` run on.
pub(crate) async fn cluster() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = kubelet::node(listener.local_addr().unwrap().port());
    let objects = policy()
        .with("", "nodes", node)
        .with("", "pods", pod("web", "n1"))
        .with("", "pods", pod("waits", "n1"))
        .with("", "pods", pod("moved", "n1"))
        .with("", "nodes", elsewhere("metadata", "169.254.169.254"))
        .with("", "pods", pod("lost", "n2"))
        .with("", "pods", pod("nowhere", ""));
    let server = Server::start_among(objects, |config| {
        config.kubelet_certificate_authority = Some(config.data_dir.join("pki/ca.crt"));
    })
    .await;
    kubelet::serve(listener, &server).await;
    server
}

fn root() -> UserInfo {
    UserInfo {
        name: "root".to_owned(),
        groups: vec!["system:masters".to_owned()],
        ..UserInfo::default()
    }
}

#[tokio::test]
async fn logs_are_fetched_and_refusals_retold() {
    let server = cluster().await;
    let admin = server.admin().await;
    let path = "/api/v1/namespaces/a/pods";
    let log = get(&admin, &format!("{path}/web/log?tailLines=5&follow=true")).await;
    assert_eq!(
        (log.code, log.text.as_str()),
        (200, "/containerLogs/a/web/c?follow=true&tailLines=5")
    );
    assert_eq!(log.headers[header::CONTENT_TYPE], "text/plain");
    let waits = get(&admin, &format!("{path}/waits/log")).await;
    let want = "container \"c\" in pod \"waits\" is waiting to start: ContainerCreating";
    assert_eq!((waits.code, waits.json()["message"].as_str()), (400, Some(want)));
    assert_eq!(get(&admin, &format!("{path}/none/log")).await.code, 404);
    let lost = get(&admin, &format!("{path}/lost/log")).await;
    assert_eq!(lost.json()["message"], "pods \"n2\" not found");
    let nowhere = get(&admin, &format!("{path}/nowhere/log")).await;
    assert_eq!((nowhere.code, nowhere.text.as_str()), (200, ""));
    let other = get(&admin, &format!("{path}/web/log?container=x")).await;
    assert_eq!(other.json()["message"], "container x is not valid for pod web");
}

#[tokio::test]
async fn a_nodes_own_paths_are_passed_on() {
    let server = cluster().await;
    let answer = get(&server.admin().await, "/api/v1/nodes/n1/proxy/configz?x=1").await;
    assert_eq!((answer.code, answer.text.as_str()), (200, "/configz?x=1"));
    let moved = get(&server.admin().await, "/api/v1/nodes/n1/proxy").await;
    assert_eq!(
        (moved.code, moved.headers[header::LOCATION].as_bytes()),
        (301, &b"/api/v1/nodes/n1/proxy/"[..])
    );
}

#[tokio::test]
async fn exec_joins_the_streams_over_tls() {
    let server = cluster().await;
    let mut roots = RootCertStore::empty();
    roots
        .add(server.running.pki().lock().await.ca().certificate_der().clone())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.running.addresses()[0]).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = asking("POST", "SPDY/3.1").header(header::AUTHORIZATION, "Bearer root-token");
    let response = sender
        .send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
        .await
        .unwrap();
    echoes(response).await;
}

#[tokio::test]
async fn exec_joins_the_streams_within_the_process() {
    let server = cluster().await;
    let request = asking("POST", "SPDY/3.1").body(Body::empty()).unwrap();
    echoes(server.running.client(root()).send(request).await.unwrap()).await;
}

#[tokio::test]
async fn what_the_agent_refuses_is_refused_so_that_clients_can_try_otherwise() {
    let server = cluster().await;
    let client = server.running.client(root());
    let refused = send(&client, asking("GET", "websocket").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (refused.code, refused.text.as_str()),
        (403, "unable to upgrade: only SPDY is spoken here")
    );
    let plain = get(&server.admin().await, EXEC).await;
    assert_eq!(
        (plain.code, plain.json()["message"].as_str()),
        (400, Some("Upgrade request required"))
    );
}

#[tokio::test]
async fn who_may_only_look_may_not_run() {
    let group = "rbac.authorization.k8s.io";
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/exec"]}]);
    let objects = stand_in::policy()
        .with(group, "clusterroles", json!({"metadata": {"name": "look"}, "rules": rules}))
        .with(group, "clusterrolebindings", json!({"metadata": {"name": "look"},
            "roleRef": {"kind": "ClusterRole", "name": "look"}, "subjects": [{"kind": "User", "name": "jane"}]}));
    let server = Server::start_among(objects, |_| {}).await;
    let jane = server.running.client(UserInfo {
        name: "jane".to_owned(),
        ..UserInfo::default()
    });
    let refused = send(&jane, asking("GET", "websocket").body(Body::empty()).unwrap()).await;
    assert_eq!(refused.code, 403);
    assert!(
        refused.text.contains("cannot create resource \\\"pods/exec\\\""),
        "{}",
        refused.text
    );
}

fn asking(method: &str, protocol: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(EXEC)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, protocol)
}

/// The answer agrees to switch, and whatever is sent comes back.
async fn echoes<B>(mut response: Response<B>)
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await else {
            panic!("{head:?}")
        };
        panic!("{head:?} {:?}", body.to_bytes());
    }
    assert_eq!(response.headers()["x-asked"], EXEC_THERE);
    assert_eq!(
        response.headers()["x-stream-protocol-version"],
        "v4.channel.k8s.io"
    );
    assert_eq!(response.headers()[header::UPGRADE], "SPDY/3.1");
    let mut stream: TokioIo<Upgraded> = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}
