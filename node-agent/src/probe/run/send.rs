//! One attempt of a probe: HTTP, TCP, gRPC or a command in the container. Lifecycle hooks use the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::ProbeTarget;
use crate::cri::Cri;
use crate::probe::state::Outcome;

/// As much of an answer as an event can show.
const MAX_BODY_BYTES: usize = 10 * 1024;

/// Where an HTTP request goes.
#[derive(Clone, Debug)]
pub(crate) struct HttpTarget {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl HttpTarget {
    /// The target of an `httpGet` action.
    pub(crate) fn of(action: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<Self, String> {
        let headers = action
            .http_headers
            .iter()
            .flatten()
            .map(|h| (h.name.clone(), h.value.clone()));
        let path = action.path.as_deref().unwrap_or("/");
        Ok(Self {
            https: action
                .scheme
                .as_deref()
                .is_some_and(|s| s.eq_ignore_ascii_case("HTTPS")),
            host: action
                .host
                .clone()
                .filter(|h| !h.is_empty())
                .unwrap_or_else(|| pod_ip.to_owned()),
            port: resolve_port(&action.port, container)?,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            headers: headers.collect(),
        })
    }
}

/// A port by number or by the name that the container gives it.
pub(crate) fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => container
                .ports
                .iter()
                .flatten()
                .find(|p| p.name.as_deref() == Some(text))
                .map(|p| p.container_port)
                .ok_or_else(|| format!("couldn't find port: {text}"))?,
        },
    };
    u16::try_from(number)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// Runs one attempt within its timeout.
pub(super) async fn attempt(cri: &Cri, target: &ProbeTarget, probe: &Probe, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        return exec_probe(
            cri,
            &target.container_id,
            exec.command.as_deref().unwrap_or_default(),
            timeout,
        )
        .await;
    }
    let container = &target.spec;
    let network = async {
        if let Some(action) = &probe.http_get {
            match HttpTarget::of(action, container, &target.pod_ip) {
                Ok(http) => http_probe(&http).await,
                Err(fault) => Outcome::Unknown(fault),
            }
        } else if let Some(action) = &probe.tcp_socket {
            let host = action
                .host
                .as_deref()
                .filter(|h| !h.is_empty())
                .unwrap_or(&target.pod_ip);
            match resolve_port(&action.port, container) {
                Ok(port) => tcp_connect(host, port)
                    .await
                    .map_or_else(Outcome::Failure, |()| Outcome::Success),
                Err(fault) => Outcome::Unknown(fault),
            }
        } else if let Some(action) = &probe.grpc {
            let service = action.service.as_deref().unwrap_or_default();
            grpc_health(&target.pod_ip, action.port, service).await
        } else {
            Outcome::Unknown("probe has no action".into())
        }
    };
    match tokio::time::timeout(timeout, network).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(timeout_message(probe, target)),
    }
}

fn timeout_message(probe: &Probe, target: &ProbeTarget) -> String {
    match &probe.http_get {
        Some(action) => {
            let url = HttpTarget::of(action, &target.spec, &target.pod_ip)
                .map(|t| url(&t))
                .unwrap_or_default();
            format!(
                "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            )
        }
        None => format!("dial tcp {}: i/o timeout", target.pod_ip),
    }
}

async fn exec_probe(cri: &Cri, id: &str, command: &[String], timeout: Duration) -> Outcome {
    match cri.exec_sync(id, command, timeout).await {
        Ok(done) if done.exit_code == 0 => Outcome::Success,
        Ok(done) => Outcome::Failure(done.output.chars().take(MAX_BODY_BYTES).collect()),
        Err(error) if error.message().contains("timeout") || error.message().contains("deadline") => {
            Outcome::Failure(format!(
                "command timed out: {:?} timed out after {}s",
                command.join(" "),
                timeout.as_secs()
            ))
        }
        Err(error) => Outcome::Unknown(error.message()),
    }
}

fn url(target: &HttpTarget) -> String {
    let scheme = if target.https { "https" } else { "http" };
    format!(
        "{scheme}://{}{}",
        authority(&target.host, target.port),
        target.path
    )
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

async fn http_probe(target: &HttpTarget) -> Outcome {
    match http_get(target).await {
        Ok((status, _)) if (200..400).contains(&status) => Outcome::Success,
        Ok((status, _)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Err(fault) => Outcome::Failure(format!("Get \"{}\": {fault}", url(target))),
    }
}

/// Status and beginning of the body of a GET; certificates are not verified, as probes never do.
pub(crate) async fn http_get(target: &HttpTarget) -> Result<(u16, Bytes), String> {
    let stream = connect(&target.host, target.port).await?;
    if target.https {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(insecure_tls()?));
        let name = rustls_pki_types::ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
        let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
        exchange(stream, target).await
    } else {
        exchange(stream, target).await
    }
}

async fn exchange<S>(stream: S, target: &HttpTarget) -> Result<(u16, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = http::Request::get(&target.path);
    let own = |name: &str| target.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !own("host") {
        request = request.header("Host", authority(&target.host, target.port));
    }
    if !own("user-agent") {
        request = request.header("User-Agent", "kube-probe/1.36");
    }
    if !own("accept") {
        request = request.header("Accept", "*/*");
    }
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
        Ok((status, body.map(|b| b.to_bytes()).unwrap_or_default()))
    };
    tokio::pin!(answer);
    tokio::select! {
        result = &mut answer => result,
        // The connection may end first, with all of the answer already in hand.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(e) => Err(e.to_string()),
        },
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|e| {
        let cause = match e.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            _ => e.to_string(),
        };
        format!("dial tcp {}: {cause}", authority(host, port))
    })
}

/// Succeeds if something accepts connections.
pub(crate) async fn tcp_connect(host: &str, port: u16) -> Result<(), String> {
    connect(host, port).await.map(drop)
}

/// `grpc.health.v1.Health/Check`, whose two messages are small enough to be written by hand: the request's field 1 is
/// the service, the answer's field 1 the status, of which 1 means serving.
async fn grpc_health(host: &str, port: i32, service: &str) -> Outcome {
    let Some(port) = u16::try_from(port).ok() else {
        return Outcome::Unknown("invalid port number".into());
    };
    match grpc_status(host, port, service).await {
        Ok(1) => Outcome::Success,
        Ok(status) => {
            let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
                .get(usize::from(status))
                .copied()
                .unwrap_or("UNKNOWN");
            Outcome::Failure(format!("service unhealthy (responded with \"{name}\")"))
        }
        Err(fault) => Outcome::Failure(format!("error: health rpc probe failed: {fault}")),
    }
}

async fn grpc_status(host: &str, port: u16, service: &str) -> Result<u8, String> {
    let stream = connect(host, port).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
    let length = u8::try_from(service.len())
        .ok()
        .filter(|l| *l < 126)
        .ok_or("service name is too long")?;
    let mut body = vec![0, 0, 0, 0, 0];
    if length > 0 {
        body[4] = length + 2;
        body.extend([0x0a, length]);
        body.extend(service.as_bytes());
    }
    let request = http::Request::post(format!(
        "http://{}/grpc.health.v1.Health/Check",
        authority(host, port)
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(Full::new(Bytes::from(body)))
    .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let body = Limited::new(response.into_body(), MAX_BODY_BYTES)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        if let Some(status) = trailers.get("grpc-status").filter(|s| s.as_bytes() != b"0") {
            return Err(format!("grpc status {}", status.to_str().unwrap_or("?")));
        }
        match body.to_bytes().get(5..) {
            Some([0x08, status, ..]) => Ok(*status),
            Some([]) => Ok(0),
            _ => Err("no health status in the answer".into()),
        }
    };
    tokio::select! {
        result = answer => result,
        ended = connection => Err(ended.err().map_or_else(|| "connection closed".into(), |e| e.to_string())),
    }
}

fn insecure_tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// Probes ask whether a container answers, not who it is: upstream skips verification as well.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn ports_by_number_and_name() {
        let container: Container =
            serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        for (port, want) in [
            (IntOrString::Int(80), Ok(80)),
            (IntOrString::String("81".into()), Ok(81)),
            (IntOrString::String("web".into()), Ok(8080)),
            (
                IntOrString::String("x".into()),
                Err("couldn't find port: x".to_owned()),
            ),
            (
                IntOrString::Int(70_000),
                Err("invalid port number: 70000".to_owned()),
            ),
        ] {
            assert_eq!(resolve_port(&port, &container), want);
        }
    }

    async fn answer_once(text: &'static str) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(text.as_bytes()).await;
        });
        port
    }

    #[tokio::test]
    async fn http_statuses_decide() {
        for (answer, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Outcome::Success),
            (
                "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
                Outcome::Success,
            ),
            (
                "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
                Outcome::Failure("HTTP probe failed with statuscode: 503".into()),
            ),
        ] {
            let port = answer_once(answer).await;
            let target = HttpTarget {
                https: false,
                host: "127.0.0.1".into(),
                port,
                path: "/".into(),
                headers: vec![],
            };
            assert_eq!(http_probe(&target).await, want);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failure() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let fault = tcp_connect("127.0.0.1", port).await.unwrap_err();
        assert_eq!(
            fault,
            format!("dial tcp 127.0.0.1:{port}: connect: connection refused")
        );
    }
}
