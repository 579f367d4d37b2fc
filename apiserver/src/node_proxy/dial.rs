//! Connections to whatever requests are passed on to. One connection carries one request: streams end with it, and nothing
//! is shared between the users whose requests are passed on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::client::conn::http1::SendRequest;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::destination::{Destination, Transport};
use crate::outbound::service::may_be_reached;
use crate::outbound::{ClientCertificate, TlsError, Trust, client_config, config_under, drive, roots};
use crate::pki::Leaf;
use crate::request::ResponseBody;

/// How long connecting and greeting may take each.
const PATIENCE: Duration = Duration::from_secs(30);

/// TLS towards node agents, exchanged when the certificate under which they are called is renewed.
pub(crate) struct NodeTls {
    authorities: Option<Arc<RootCertStore>>,
    current: ArcSwap<ClientConfig>,
}

/// Why somebody could not be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("dial tcp {0}: i/o timeout")]
    Slow(String),
    #[error("dial tcp {address}: connect: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("tls: {0}")]
    Tls(std::io::Error),
    #[error("{0} is not a name that TLS can check")]
    Name(String),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Makes connections; cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    nodes: Arc<NodeTls>,
    anybody: Arc<ClientConfig>,
}

impl NodeTls {
    /// Calls node agents under this certificate. With authorities they must be vouched for; without, they are taken at
    /// their word, as upstream does where `--kubelet-certificate-authority` is not set.
    pub(crate) fn new(authorities: Option<&[CertificateDer<'static>]>, own: &Leaf) -> Result<Self, TlsError> {
        let authorities = authorities.map(roots).transpose()?;
        let config = config_under(ClientCertificate::of(own)?, authorities.as_ref())?;
        Ok(Self {
            authorities,
            current: ArcSwap::from_pointee(config),
        })
    }

    /// Calls them under another certificate from now on.
    pub(crate) fn replace(&self, own: &Leaf) -> Result<(), TlsError> {
        let config = config_under(ClientCertificate::of(own)?, self.authorities.as_ref())?;
        self.current.store(Arc::new(config));
        Ok(())
    }
}

impl Dialer {
    pub(crate) fn new(nodes: Arc<NodeTls>) -> Result<Self, TlsError> {
        let anybody = client_config(&Trust::Nobody, None)?;
        Ok(Self { nodes, anybody })
    }

    /// Opens a connection. What drives it is spawned on `tasks` and ends with it.
    pub(super) async fn dial(
        &self,
        destination: &Destination,
        tasks: &TaskTracker,
    ) -> Result<SendRequest<ResponseBody>, DialError> {
        let address = destination.authority();
        let slow = || DialError::Slow(address.clone());
        let stream = timeout(PATIENCE, connect(destination))
            .await
            .map_err(|_| slow())?
            .map_err(|source| DialError::Connect {
                address: address.clone(),
                source,
            })?;
        let config = match destination.transport {
            Transport::Plain => return Ok(drive(stream, tasks).await?),
            Transport::Tls => self.anybody.clone(),
            Transport::NodeAgent => self.nodes.current.load_full(),
        };
        let name = ServerName::try_from(destination.host.clone())
            .map_err(|_| DialError::Name(destination.host.clone()))?;
        let greeting = TlsConnector::from(config).connect(name, stream);
        let stream = timeout(PATIENCE, greeting)
            .await
            .map_err(|_| slow())?
            .map_err(DialError::Tls)?;
        Ok(drive(stream, tasks).await?)
    }
}
/// Connects to the first address of a destination that answers. What a name stands for is asked once. Only under the
/// certificate of a node agent may it be this machine itself.
async fn connect(destination: &Destination) -> io::Result<TcpStream> {
    let found = lookup_host((destination.host.as_str(), destination.port)).await?;
    let is_agent = destination.transport == Transport::NodeAgent;
    let reached: Vec<_> = found
        .filter(|address| is_agent || may_be_reached(address.ip()))
        .collect();
    if reached.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "address not allowed",
        ));
    }
    TcpStream::connect(reached.as_slice()).await
}
