//! Connections to whatever requests are passed on to. One connection carries one request: streams end with it, and nothing
//! is shared between the users whose requests are passed on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::destination::{Destination, Transport};
use crate::pki::Leaf;
use crate::request::ResponseBody;

/// How long connecting and greeting may take each.
const PATIENCE: Duration = Duration::from_secs(30);

/// TLS towards node agents, exchanged when the certificate under which they are called is renewed.
pub(crate) struct NodeTls {
    authorities: Option<Arc<RootCertStore>>,
    current: ArcSwap<ClientConfig>,
}

/// A certificate that cannot be used to call node agents.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeTlsError {
    /// Not PEM.
    #[error("the certificate for calling node agents cannot be read")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// Not usable.
    #[error("the certificate for calling node agents cannot be used")]
    Unusable(#[from] rustls::Error),
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
    pub(crate) fn new(
        authorities: Option<&[CertificateDer<'static>]>,
        own: &Leaf,
    ) -> Result<Self, NodeTlsError> {
        let authorities = authorities.map(roots).transpose()?;
        let config = node_config(authorities.as_ref(), own)?;
        Ok(Self {
            authorities,
            current: ArcSwap::from_pointee(config),
        })
    }

    /// Calls them under another certificate from now on.
    pub(crate) fn replace(&self, own: &Leaf) -> Result<(), NodeTlsError> {
        self.current
            .store(Arc::new(node_config(self.authorities.as_ref(), own)?));
        Ok(())
    }
}

impl Dialer {
    pub(crate) fn new(nodes: Arc<NodeTls>) -> Result<Self, NodeTlsError> {
        let anybody = builder(None)?.with_no_client_auth();
        Ok(Self {
            nodes,
            anybody: Arc::new(anybody),
        })
    }

    /// Opens a connection. What drives it is spawned on `tasks` and ends with it.
    pub(super) async fn dial(
        &self,
        destination: &Destination,
        tasks: &TaskTracker,
    ) -> Result<SendRequest<ResponseBody>, DialError> {
        let address = destination.authority();
        let slow = || DialError::Slow(address.clone());
        let connecting = TcpStream::connect((destination.host.as_str(), destination.port));
        let stream = timeout(PATIENCE, connecting)
            .await
            .map_err(|_| slow())?
            .map_err(|source| DialError::Connect {
                address: address.clone(),
                source,
            })?;
        let config = match destination.transport {
            Transport::Plain => return drive(stream, tasks).await,
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
        drive(stream, tasks).await
    }
}

async fn drive<S>(stream: S, tasks: &TaskTracker) -> Result<SendRequest<ResponseBody>, DialError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tasks.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection that requests are passed on over ended early");
        }
    });
    Ok(sender)
}

fn node_config(authorities: Option<&Arc<RootCertStore>>, own: &Leaf) -> Result<ClientConfig, NodeTlsError> {
    let key = PrivateKeyDer::from_pem_slice(own.key_pem().as_bytes())?;
    Ok(builder(authorities)?.with_client_auth_cert(vec![own.certificate_der().clone()], key)?)
}

type WithVerifier = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder(authorities: Option<&Arc<RootCertStore>>) -> Result<WithVerifier, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match authorities {
        Some(roots) => WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?,
        None => Arc::new(AtTheirWord(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(Arc::new(roots))
}

/// Takes any certificate whose key the server holds: for those for whom nobody vouches.
struct AtTheirWord(Arc<CryptoProvider>);

impl fmt::Debug for AtTheirWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtTheirWord").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for AtTheirWord {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
