//! A server elsewhere, over TLS on loopback: an issuer of tokens, or a webhook. It answers as the test says and writes down
//! what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What is answered to a path and a body.
type Answer = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

/// Paths and bodies.
type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// Which bodies wait for each other, and for how many they wait before any of them is answered.
struct Gathering {
    of: Box<dyn Fn(&Value) -> bool + Send + Sync>,
    all: Barrier,
}

pub(crate) struct Elsewhere {
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Who vouches for it, in PEM.
    pub(crate) authority: String,
    asked: Log,
    gathering: Arc<OnceLock<Gathering>>,
    serving: JoinHandle<()>,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Elsewhere {
    /// Serves; `answer` is told the server's own URL, the path and the body, which of a request without one is its
    /// Authorization. Text is answered as it is.
    pub(crate) async fn start(
        answer: impl Fn(&str, &str, &Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let (tls, authority) = tls();
        let socket = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let url = format!("https://{}", socket.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let own = url.clone();
        let answer: Arc<Answer> = Arc::new(move |path: &str, body: &Value| answer(&own, path, body));
        let log = asked.clone();
        let gathering = Arc::<OnceLock<Gathering>>::default();
        let gathered = gathering.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let gathered = gathered.clone();
                tokio::spawn(serve(
                    tls.clone(),
                    stream,
                    answer.clone(),
                    (log.clone(), gathered),
                ));
            }
        });
        Self {
            url,
            authority,
            asked,
            gathering,
            serving,
        }
    }

    /// From now on bodies of a sort are only answered when this many of them are here at once.
    pub(crate) fn gather(&self, many: usize, of: impl Fn(&Value) -> bool + Send + Sync + 'static) {
        let gathering = Gathering {
            of: Box::new(of),
            all: Barrier::new(many),
        };
        assert!(self.gathering.set(gathering).is_ok(), "it gathers already");
    }

    /// What was asked at a path so far.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let at_path = asked.iter().filter(|(at, _)| at == path);
        at_path.map(|(_, body)| body.clone()).collect()
    }

    /// A kubeconfig that leads to a path here.
    pub(crate) fn kubeconfig(&self, path: &str) -> String {
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.authority);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("{}{path}", self.url), "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        })
        .to_string()
    }
}

fn tls() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}

async fn serve(
    tls: TlsAcceptor,
    stream: TcpStream,
    answer: Arc<Answer>,
    (log, gathering): (Log, Arc<OnceLock<Gathering>>),
) {
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, log, gathering) = (answer.clone(), log.clone(), gathering.clone());
        async move {
            let path = request.uri().path().to_owned();
            let credential = request.headers().get("authorization");
            let credential = credential.map_or(Value::Null, |value| json!(value.to_str().unwrap()));
            let body = request.into_body().collect().await.map(|body| body.to_bytes());
            let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or(credential);
            if let Some(gathering) = gathering.get().filter(|gathering| (gathering.of)(&body)) {
                gathering.all.wait().await;
            }
            let (code, value) = answer(&path, &body);
            let text = value.as_str().map(str::to_owned);
            log.lock().unwrap().push((path, body));
            let response = Response::builder()
                .status(code)
                .header("content-type", "application/json");
            Ok::<_, Infallible>(
                response
                    .body(Full::new(Bytes::from(text.unwrap_or_else(|| value.to_string()))))
                    .unwrap(),
            )
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
