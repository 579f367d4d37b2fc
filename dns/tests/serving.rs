//! The whole server on loopback, with an API that the test plays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use coracle_dns::forward::{ForwardError, Forwarder};
use coracle_dns::{Config, RunError};
use futures::stream;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// One service, one namespace; the last slice that the server wrote.
#[derive(Clone, Default)]
struct FakeApi {
    slice: Arc<Mutex<Option<Value>>>,
    changed: watch::Sender<u32>,
}

impl FakeApi {
    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, std::io::Error>(api.respond(request).await) }
        });
        Client::new(service, "default")
    }

    async fn respond(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        if head.uri.query().unwrap_or_default().contains("watch=true") {
            return Response::new(StreamBody::new(stream::pending()).boxed_unsync());
        }
        let body = body.collect().await.unwrap().to_bytes();
        match (head.method, path.rsplit('/').next().unwrap()) {
            (Method::POST, "endpointslices") => {
                let slice: Value = serde_json::from_slice(&body).unwrap();
                self.store(Some(slice.clone()));
                reply(201, &slice)
            }
            (Method::DELETE, "kube-dns-node-1") => {
                self.store(None);
                reply(
                    200,
                    &json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}),
                )
            }
            (Method::GET, "kube-dns-node-1") => {
                let slice = self.slice.lock().unwrap().clone();
                slice.map_or_else(not_found, |slice| reply(200, &slice))
            }
            (Method::GET, "node-1") => reply(200, &json!({"metadata": {"name": "node-1", "uid": "u-1"}})),
            (Method::GET, "services") => list(&[json!({"metadata": {"namespace": "default", "name": "web"},
                "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}})]),
            (Method::GET, "namespaces" | "endpointslices") => list(&[]),
            _ => not_found(),
        }
    }

    fn store(&self, slice: Option<Value>) {
        *self.slice.lock().unwrap() = slice;
        self.changed.send_modify(|changes| *changes += 1);
    }

    async fn await_slice(&self, wanted: impl Fn(Option<&Value>) -> bool) {
        let mut changes = self.changed.subscribe();
        let reached = changes.wait_for(|_| wanted(self.slice.lock().unwrap().as_ref()));
        tokio::time::timeout(DEADLINE, reached)
            .await
            .expect("the slice is written in time")
            .unwrap();
    }
}

fn reply(code: u16, body: &Value) -> Response<Body> {
    let body = Full::from(body.to_string())
        .map_err(|never| match never {})
        .boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

fn list(items: &[Value]) -> Response<Body> {
    reply(
        200,
        &json!({"metadata": {"resourceVersion": "1"}, "items": items}),
    )
}

fn not_found() -> Response<Body> {
    reply(
        404,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
                       "reason": "NotFound", "message": "not found"}),
    )
}

/// An address that is free for both transports.
async fn free_address() -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).await.is_ok() {
            return address;
        }
    }
}

fn config(address: SocketAddr) -> Config {
    Config {
        bind_addresses: vec![address],
        cluster_domain: "cluster.local".into(),
        node_name: "node-1".into(),
        node_ip: address.ip(),
        resolv_conf: "/dev/null".into(),
        service_name: "kube-dns".into(),
    }
}

fn question(name: &str) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

async fn ask_udp(server: SocketAddr, name: &str) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket
        .send_to(&question(name).to_vec().unwrap(), server)
        .await
        .unwrap();
    let mut buffer = vec![0; 4096];
    let (length, _) = tokio::time::timeout(DEADLINE, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn ask_tcp(stream: &mut TcpStream, name: &str) -> Message {
    let packet = question(name).to_vec().unwrap();
    stream.write_u16(packet.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&packet).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn a_server_registers_answers_and_leaves() {
    let (api, shutdown, address) = (FakeApi::default(), CancellationToken::new(), free_address().await);
    let running = tokio::task::spawn(coracle_dns::run(api.client(), config(address), shutdown.clone()));
    api.await_slice(|slice| slice.is_some()).await;
    let slice = api.slice.lock().unwrap().clone().unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
    assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], "u-1");

    let answer = ask_udp(address, "web.default.svc.cluster.local.").await;
    assert_eq!(answer.answers[0].data, RData::A(A::new(10, 96, 0, 5)));
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        let answer = ask_tcp(&mut stream, "web.default.svc.cluster.local.").await;
        assert_eq!(
            answer.answers[0].data,
            RData::A(A::new(10, 96, 0, 5)),
            "one connection takes several questions"
        );
    }
    let unknown = ask_udp(address, "nothing.default.svc.cluster.local.").await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
    let outside = ask_udp(address, "example.org.").await;
    assert_eq!(
        outside.metadata.response_code,
        ResponseCode::ServFail,
        "there is no upstream to ask"
    );

    shutdown.cancel();
    tokio::time::timeout(DEADLINE, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(*api.slice.lock().unwrap(), None, "the slice goes with the server");
    assert!(UdpSocket::bind(address).await.is_ok(), "and so does the socket");
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let result = coracle_dns::run(
        FakeApi::default().client(),
        config(address),
        CancellationToken::new(),
    )
    .await;
    assert!(
        matches!(result, Err(RunError::Bind { address: named, .. }) if named == address),
        "{result:?}"
    );
}

/// A resolver that answers every question with one address; over UDP it only says that the answer is too long.
async fn resolver(code: ResponseCode) -> SocketAddr {
    let address = free_address().await;
    let (socket, listener) = (
        UdpSocket::bind(address).await.unwrap(),
        TcpListener::bind(address).await.unwrap(),
    );
    let respond = move |packet: &[u8], truncated: bool| {
        let mut message = Message::from_vec(packet).unwrap().into_response();
        message.metadata.response_code = code;
        message.metadata.truncation = truncated;
        if !truncated {
            let name = message.queries[0].name().clone();
            message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(198, 51, 100, 1))));
        }
        message.to_vec().unwrap()
    };
    tokio::task::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            // A forged answer comes first: its number is not the one that was asked with.
            let mut forged = respond(&buffer[..length], true);
            forged[0] ^= 0xff;
            socket.send_to(&forged, client).await.unwrap();
            socket
                .send_to(&respond(&buffer[..length], true), client)
                .await
                .unwrap();
        }
    });
    tokio::task::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut packet).await.unwrap();
            let answer = respond(&packet, false);
            stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn resolvers_are_asked_one_after_the_other_and_over_tcp_when_need_be() {
    let resolvers = vec![
        free_address().await,
        resolver(ResponseCode::ServFail).await,
        resolver(ResponseCode::NoError).await,
    ];
    let query = Query::query(Name::from_ascii("example.org.").unwrap(), RecordType::A);
    let answer = Forwarder::to(resolvers).resolve(&query).await.unwrap();
    assert_eq!(answer.answers[0].data, RData::A(A::new(198, 51, 100, 1)));
}

#[tokio::test]
async fn resolvers_that_all_fail_are_told_of() {
    let query = Query::query(Name::from_ascii("example.org.").unwrap(), RecordType::A);
    let result = Forwarder::to(Vec::new()).resolve(&query).await;
    assert!(matches!(result, Err(ForwardError::NoResolver)));
    let failing = resolver(ResponseCode::Refused).await;
    let result = Forwarder::to(vec![failing]).resolve(&query).await;
    assert!(
        matches!(
            result,
            Err(ForwardError::Refused {
                code: ResponseCode::Refused,
                ..
            })
        ),
        "{result:?}"
    );
}
