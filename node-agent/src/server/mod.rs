//! The agent's HTTPS server, which the API server asks for logs and streams.
//!
//! Every request is authorized by its client certificate before anything else is looked at. Only HTTP/1.1 is offered:
//! SPDY and WebSocket upgrades want it.

mod auth;
mod handlers;
mod resource_metrics;
mod route;
mod stats;
mod upgrade;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::Serving;
use crate::pod::{Context, Directory};
use auth::Caller;

const MAX_CONNECTIONS: usize = 512;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A certificate, key or authority in the configuration is unusable.
    #[error("{what} of the node agent's server cannot be used: {reason}")]
    Certificate {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is taken or not ours.
    #[error("the node agent cannot listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// A server that has its address but does not answer yet.
pub(crate) struct Bound {
    listener: TcpListener,
    tls: TlsAcceptor,
    serving: Serving,
    pub(crate) port: u16,
}

/// Takes the address, so that a taken port is known before the node registers.
pub(crate) async fn bind(address: SocketAddr, serving: &Serving) -> Result<Bound, ServerError> {
    let tls = TlsAcceptor::from(Arc::new(tls_config(serving)?));
    let listen = |source| ServerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let port = listener.local_addr().map_err(listen)?.port();
    Ok(Bound {
        listener,
        tls,
        serving: serving.clone(),
        port,
    })
}

fn tls_config(serving: &Serving) -> Result<rustls::ServerConfig, ServerError> {
    let fault = |what| move |reason: String| ServerError::Certificate { what, reason };
    let certificates = |pem: &str| -> Result<Vec<CertificateDer<'static>>, String> {
        CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())
    };
    let chain = certificates(&serving.cert_pem).map_err(fault("the certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes())
        .map_err(|e| fault("the private key")(e.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates(&serving.client_ca_pem).map_err(fault("the client authority"))? {
        roots
            .add(authority)
            .map_err(|e| fault("the client authority")(e.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| fault("the client authority")(e.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| fault("the TLS setup")(e.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| fault("the certificate")(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate that was renewed since this was last asked, as connections from now on see it; none where there is none.
fn renewed(serving: &mut Serving) -> Option<TlsAcceptor> {
    let renewals = serving.renewals.as_mut()?;
    if !renewals.has_changed().unwrap_or(false) {
        return None;
    }
    (serving.cert_pem, serving.key_pem) = renewals.borrow_and_update().clone();
    match tls_config(serving) {
        Ok(config) => Some(TlsAcceptor::from(Arc::new(config))),
        Err(error) => {
            tracing::error!(%error, "a renewed certificate is not used");
            None
        }
    }
}

/// Answers until shutdown.
pub(crate) async fn serve(mut bound: Bound, context: Arc<Context>, directory: Directory) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = context.shutdown.cancelled() => return,
            accepted = bound.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Some(tls) = renewed(&mut bound.serving) {
            bound.tls = tls;
        }
        let (tls, context, directory) = (bound.tls.clone(), context.clone(), directory.clone());
        context.tasks.clone().spawn(async move {
            let _slot = slot;
            let shutdown = context.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = connection(stream, tls, context, directory) => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, context: Arc<Context>, directory: Directory) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
    let caller = Arc::new(certificate.map_or(Caller::Nobody, |c| auth::caller(c.as_ref())));
    let service = service_fn(move |request: Request<Incoming>| {
        let (context, directory, caller) = (context.clone(), directory.clone(), caller.clone());
        async move { Ok::<_, Infallible>(answer(request, &caller, context, directory).await) }
    });
    let http = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = http.with_upgrades().await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(
    request: Request<Incoming>,
    caller: &Caller,
    context: Arc<Context>,
    directory: Directory,
) -> Response<Body> {
    match auth::authorize(caller) {
        auth::Verdict::Allowed => {}
        auth::Verdict::Unauthenticated => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        auth::Verdict::Forbidden(who) => {
            return text(
                StatusCode::FORBIDDEN,
                format!("Forbidden (user={who}, verb=*, resource=nodes)"),
            );
        }
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    match route::parse(request.method(), &path, &query) {
        Ok(route) => handlers::handle(route, request, context, directory).await,
        Err(error) => text(error.code(), error.to_string()),
    }
}

/// A plain answer.
fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    with_type(code, "text/plain; charset=utf-8", text.into().into_bytes())
}

fn with_type(code: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(body))
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}
