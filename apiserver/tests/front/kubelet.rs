//! A node agent that says what it was asked and under which certificate, and echoes what is streamed to it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use coracle_apiserver::pki::ServerNames;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::stand_in::Server;

/// A node whose agent listens at a port of this machine.
pub(crate) fn node(port: u16) -> Value {
    json!({"metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
}

/// Serves under a certificate of the server's authority, to whom that authority vouches for.
pub(crate) async fn serve(listener: TcpListener, server: &Server) {
    let acceptor = acceptor(server).await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let caller = caller(&stream);
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(
                            TokioIo::new(stream),
                            service_fn(|request| answer(request, &caller)),
                        )
                        .with_upgrades();
                    let _ = connection.await;
                }
            });
        }
    });
}

async fn acceptor(server: &Server) -> TlsAcceptor {
    let pki = server.running.pki();
    let pki = pki.lock().await;
    let mut names = ServerNames::default();
    names.add("127.0.0.1");
    let leaf = pki
        .authorities()
        .issue_node_server("n1", &names, Timestamp::now())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pki.ca().certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![leaf.certificate_der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// The serial number of the certificate that a caller has shown.
fn caller(stream: &TlsStream<TcpStream>) -> String {
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    let (_, certificate) = X509Certificate::from_der(&shown[0]).unwrap();
    certificate.raw_serial_as_string()
}

async fn answer(mut request: Request<Incoming>, caller: &str) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = request.uri().to_string();
    let text = |code: u16, text: String| {
        Response::builder()
            .status(code)
            .body(Full::new(Bytes::from(text)))
            .unwrap()
    };
    if asked.starts_with("/containerLogs/a/waits") {
        return Ok(text(
            400,
            "container \"c\" in pod \"waits\" is waiting to start: ContainerCreating".to_owned(),
        ));
    }
    if asked.contains("/a/moved/") {
        let moved = Response::builder()
            .status(302)
            .header(header::LOCATION, "https://elsewhere.example.com/");
        return Ok(moved.body(Full::default()).unwrap());
    }
    let wanted = request.headers().get(header::UPGRADE).cloned();
    match wanted.as_ref().and_then(|wanted| wanted.to_str().ok()) {
        None if asked.contains("/whoami/") => Ok(text(200, caller.to_owned())),
        None => Ok(text(200, asked)),
        Some("websocket") => Ok(text(
            403,
            "unable to upgrade: only SPDY is spoken here".to_owned(),
        )),
        Some(protocol) => {
            let protocol = protocol.to_owned();
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            let agreed = Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, protocol)
                .header("x-stream-protocol-version", "v4.channel.k8s.io")
                .header("x-asked", asked);
            Ok(agreed.body(Full::default()).unwrap())
        }
    }
}
