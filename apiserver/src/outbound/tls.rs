//! Whom a connection believes, and under which certificate it is opened.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::pki::Leaf;

/// Who vouches for the other side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// The authorities that this machine trusts.
    Machine,
    /// The authorities of a bundle of PEM.
    Bundle(Vec<u8>),
    /// Nobody: it is taken at its word.
    Nobody,
}

/// The certificate under which a connection is opened.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// Authorities that are not PEM.
    #[error("unable to load root certificates: unable to parse bytes as PEM block")]
    Authorities,
    /// A key that is not PEM.
    #[error("the key of the certificate to connect under cannot be read")]
    Key(#[from] rustls_pki_types::pem::Error),
    /// Not usable.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// A configuration that lacks only the choice of a certificate of our own.
type WithVerifier = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

impl ClientCertificate {
    /// Of a leaf of the cluster's own.
    ///
    /// # Errors
    /// Where its key is not PEM.
    pub(crate) fn of(leaf: &Leaf) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes())?;
        Ok(Self {
            chain: vec![leaf.certificate_der().clone()],
            key,
        })
    }

    fn used_in(self, builder: WithVerifier) -> Result<ClientConfig, rustls::Error> {
        builder.with_client_auth_cert(self.chain, self.key)
    }
}

/// How TLS is spoken under a certificate with whoever these authorities vouch for; without any, with everybody.
///
/// # Errors
/// Where the certificate cannot be used.
pub(crate) fn config_under(
    own: ClientCertificate,
    authorities: Option<&Arc<RootCertStore>>,
) -> Result<ClientConfig, TlsError> {
    Ok(own.used_in(builder(authorities)?)?)
}

impl Clone for ClientCertificate {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// How TLS is spoken with somebody of whom `trust` is asked. Offers HTTP/1.1 only: one request a connection at a time, so
/// that requests spread over the endpoints of a Service.
///
/// # Errors
/// Where the authorities or the certificate cannot be used.
pub(crate) fn client_config(
    trust: &Trust,
    own: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = match trust {
        Trust::Nobody => builder(None)?,
        Trust::Machine => builder(Some(&MACHINE))?,
        Trust::Bundle(pem) => builder(Some(&bundle(pem)?))?,
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => own.clone().used_in(builder)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Read once: what a machine trusts changes with its restart.
static MACHINE: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
});

fn bundle(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let read: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let authorities = read.map_err(|_| TlsError::Authorities)?;
    if authorities.is_empty() {
        return Err(TlsError::Authorities);
    }
    Ok(roots(&authorities)?)
}

/// Believes whoever these authorities vouch for; without any, everybody.
///
/// # Errors
/// Where they cannot be used.
fn builder(authorities: Option<&Arc<RootCertStore>>) -> Result<WithVerifier, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match authorities {
        Some(roots) if roots.is_empty() => Arc::new(NoAuthority(provider.clone())),
        Some(roots) => WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?,
        None => Arc::new(AtTheirWord(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// The authorities as something to verify by.
///
/// # Errors
/// Where one of them is no authority.
pub(crate) fn roots(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(Arc::new(roots))
}

/// Takes any certificate whose key the server holds: for those for whom nobody vouches.
struct AtTheirWord(Arc<CryptoProvider>);

/// Takes no certificate: for a machine that trusts nobody.
struct NoAuthority(Arc<CryptoProvider>);

macro_rules! verifier {
    ($name:ident, $verdict:expr) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl ServerCertVerifier for $name {
            fn verify_server_cert(
                &self,
                _end_entity: &CertificateDer<'_>,
                _intermediates: &[CertificateDer<'_>],
                _server_name: &ServerName<'_>,
                _ocsp_response: &[u8],
                _now: UnixTime,
            ) -> Result<ServerCertVerified, rustls::Error> {
                $verdict
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
    };
}

verifier!(AtTheirWord, Ok(ServerCertVerified::assertion()));
verifier!(NoAuthority, Err(rustls::CertificateError::UnknownIssuer.into()));
