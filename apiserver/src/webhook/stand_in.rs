//! A webhook on this machine, over TLS, for the tests of whatever asks webhooks.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::http::request_info::{parse, parse_query};
use crate::request::RequestContext;

/// What it was asked: the path with its query, and the review.
pub(crate) type Call = (String, Value);

/// Answers by the path and the `request` of a review.
type Answers = dyn Fn(&str, &Value) -> Reply + Send + Sync;

/// How a webhook answers.
pub(crate) enum Reply {
    /// With the `response` of a review; its uid is filled in.
    Review(Value),
    /// With anything.
    Raw(Response<Full<Bytes>>),
    /// Not at all.
    Never,
}

/// A webhook that runs until it is dropped.
pub(crate) struct HookServer {
    address: SocketAddr,
    authority: String,
    calls: Arc<Mutex<Vec<Call>>>,
    connections: Arc<Mutex<usize>>,
    _running: DropGuard,
}

/// What the front would make of a POST.
pub(crate) fn context(target: &str) -> RequestContext {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = parse_query(Some(query));
    RequestContext {
        info: parse(&Method::POST, path, &query).unwrap(),
        user: Default::default(),
        method: Method::POST,
        query,
        headers: HeaderMap::new(),
        warnings: Default::default(),
    }
}

/// A yes.
pub(crate) fn allowed() -> Reply {
    Reply::Review(json!({"allowed": true}))
}

/// A yes that changes something.
pub(crate) fn patched(patch: &Value) -> Reply {
    let patch = STANDARD.encode(patch.to_string());
    Reply::Review(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

/// A no.
pub(crate) fn denied(message: &str) -> Reply {
    Reply::Review(
        json!({"allowed": false, "status": {"message": message, "reason": "Forbidden", "code": 403}}),
    )
}

impl HookServer {
    pub(crate) async fn start(answers: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let names = ["127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cancel = CancellationToken::new();
        let server = Self {
            address: listener.local_addr().unwrap(),
            authority: STANDARD.encode(own.cert.pem()),
            calls: Arc::default(),
            connections: Arc::default(),
            _running: cancel.clone().drop_guard(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (calls, connections) = (server.calls.clone(), server.connections.clone());
        let answers: Arc<Answers> = Arc::new(answers);
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Some(Ok((stream, _))) = cancel.run_until_cancelled(listener.accept()).await {
                *connections.lock().unwrap() += 1;
                let (acceptor, calls, answers) = (acceptor.clone(), calls.clone(), answers.clone());
                let cancel = cancel.clone();
                tasks.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request| answer(request, &calls, &*answers));
                    let serving = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = cancel.run_until_cancelled(serving).await;
                });
            }
        });
        server
    }

    /// `clientConfig` for a path of it.
    pub(crate) fn client_config(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.authority})
    }

    /// What it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// What it was asked since somebody looked last.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: &Mutex<Vec<Call>>,
    answers: &Answers,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().to_string();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    calls.lock().unwrap().push((target.clone(), review.clone()));
    let path = target.split('?').next().unwrap_or_default();
    Ok(match answers(path, &review["request"]) {
        Reply::Raw(response) => response,
        Reply::Never => std::future::pending().await,
        Reply::Review(mut response) => {
            response["uid"] = review["request"]["uid"].clone();
            let answer =
                json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response});
            Response::new(Full::new(answer.to_string().into()))
        }
    })
}
