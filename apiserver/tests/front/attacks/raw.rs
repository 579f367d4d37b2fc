//! A client that sends whatever it likes.

use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::Running;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// More than any of these exchanges takes; only a server that hangs takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection of HTTP/1.1.
pub(super) async fn connect(running: &Running) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = running.pki().lock().await.ca().certificate_der().clone();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// Sends the text, and gives all that comes until the server hangs up.
pub(super) async fn exchange(running: &Running, text: &str) -> String {
    let mut stream = connect(running).await;
    // Who is refused early may find the connection closed before all is sent.
    let _ = stream.write_all(text.as_bytes()).await;
    until_closed(&mut stream).await
}

/// All that comes until the server hangs up.
pub(super) async fn until_closed(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // Without the TLS goodbye, which a server in a hurry leaves out, reading ends with an error.
    let _ = read.expect("the server hangs up");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status codes of the answers in what came.
pub(super) fn codes(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3))
        .collect()
}
