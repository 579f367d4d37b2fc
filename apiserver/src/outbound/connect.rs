//! Opening a connection: an address resolved once, TCP, TLS, HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use coracle_api::status::ApiError;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;
use tracing::debug;
use uuid::Uuid;

use super::service;
use crate::reader::{GroupResource, ObjectReader};
use crate::request::ResponseBody;

/// Who is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// One of the ready endpoints of a Service, by chance.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The Service's port.
        port: u16,
    },
    /// A machine by name or address.
    Host {
        /// Without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// Why somebody could not be reached. Worded as Go words it, for these end up in messages of upstream's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// There is nobody to dial.
    #[error("{0}")]
    Nowhere(ApiError),
    /// The name is not known.
    #[error("dial tcp: lookup {0}: no such host")]
    Unknown(String),
    /// Nobody answers.
    #[error("dial tcp {address}: connect: {}", said(source))]
    Refused {
        /// Who was dialled.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// TLS could not be agreed on.
    #[error("{}", said_by_tls(.0))]
    Tls(io::Error),
    /// A name that stands in no certificate.
    #[error("tls: {0:?} is not a name that can be verified")]
    Name(String),
    /// HTTP could not be begun.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

impl Place {
    /// The name that the other side's certificate must have.
    pub(crate) fn server_name(&self) -> String {
        match self {
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
            Self::Host { host, .. } => host.clone(),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Service { port, .. } | Self::Host { port, .. } => *port,
        }
    }

    /// Host and port as they stand in a URL.
    pub(crate) fn authority(&self) -> String {
        let (host, port) = (self.server_name(), self.port());
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// The addresses to be dialled, in order.
    async fn resolve(&self, reader: &dyn ObjectReader) -> Result<Vec<SocketAddr>, ConnectError> {
        let (host, port) = match self {
            Self::Host { host, port } => (host.clone(), *port),
            Self::Service {
                namespace,
                name,
                port,
            } => endpoint(reader, namespace, name, *port).map_err(ConnectError::Nowhere)?,
        };
        let found = lookup_host((host.as_str(), port)).await;
        let found: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
        if found.is_empty() {
            return Err(ConnectError::Unknown(host));
        }
        Ok(found)
    }
}

/// Host and port of somebody behind a Service.
fn endpoint(
    reader: &dyn ObjectReader,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), ApiError> {
    let service = reader
        .get(&GroupResource::new("", "services"), namespace, name)
        .ok_or_else(|| ApiError::not_found("", "services", name))?;
    if service.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName") {
        let host = service.pointer("/spec/externalName").and_then(Value::as_str);
        return Ok((host.unwrap_or_default().to_owned(), port));
    }
    let slices = reader.list(
        &GroupResource::new("discovery.k8s.io", "endpointslices"),
        namespace,
    );
    let slices: Vec<&Value> = slices.iter().map(AsRef::as_ref).collect();
    let found = service::endpoints(&service, &slices, &port.to_string(), name)?;
    let chance = Uuid::new_v4().as_u64_pair().1 as usize;
    let (address, port) = found[chance % found.len()];
    service::check_address(address)?;
    Ok((address.to_owned(), port))
}

/// Opens a connection to a place. What drives it is spawned on `tasks` and ends with it.
///
/// # Errors
/// See [`ConnectError`].
pub(crate) async fn connect(
    place: &Place,
    tls: Arc<ClientConfig>,
    reader: &dyn ObjectReader,
    tasks: &TaskTracker,
) -> Result<SendRequest<ResponseBody>, ConnectError> {
    let name = place.server_name();
    let server = ServerName::try_from(name.clone()).map_err(|_| ConnectError::Name(name))?;
    let stream = dial(&place.resolve(reader).await?).await?;
    let stream = TlsConnector::from(tls)
        .connect(server, stream)
        .await
        .map_err(ConnectError::Tls)?;
    Ok(drive(stream, tasks).await?)
}

/// The first of the addresses that answers.
async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut refused = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are small and waited for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(source) => {
                refused.get_or_insert(ConnectError::Refused {
                    address: *address,
                    source,
                });
            }
        }
    }
    Err(refused.unwrap_or_else(|| ConnectError::Unknown(String::new())))
}

/// Begins HTTP/1.1 on a stream.
///
/// # Errors
/// Where the stream ends at once.
pub(crate) async fn drive<S>(
    stream: S,
    tasks: &TaskTracker,
) -> Result<SendRequest<ResponseBody>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tasks.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection that this server opened ended early");
        }
    });
    Ok(sender)
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

/// What is wrong with the other side's certificate, in the words of Go's `crypto/x509`.
fn said_by_tls(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let why = match inner {
        Some(rustls::Error::InvalidCertificate(fault)) => match fault {
            CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("certificate is not valid for the name asked for: {fault}")
            }
            other => other.to_string(),
        },
        _ => return format!("tls: {error}"),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}
