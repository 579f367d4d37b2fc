//! Whom a connection believes, and under which certificate it is opened.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

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
        Trust::Bundle(pem) => {
            let authorities = bundle(pem)?;
            let inner = verifier(Some(&roots(&authorities)?))?;
            with_verifier(Arc::new(OrItself { inner, authorities }))?
        }
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

fn bundle(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let authorities = read.map_err(|_| TlsError::Authorities)?;
    if authorities.is_empty() {
        return Err(TlsError::Authorities);
    }
    Ok(authorities)
}

/// Believes whoever these authorities vouch for; without any, everybody.
///
/// # Errors
/// Where they cannot be used.
fn builder(authorities: Option<&Arc<RootCertStore>>) -> Result<WithVerifier, rustls::Error> {
    with_verifier(verifier(authorities)?)
}

fn verifier(authorities: Option<&Arc<RootCertStore>>) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(match authorities {
        Some(roots) if roots.is_empty() => Arc::new(NoAuthority(provider)),
        Some(roots) => WebPkiServerVerifier::builder_with_provider(roots.clone(), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?,
        None => Arc::new(AtTheirWord(provider)),
    })
}

fn with_verifier(verifier: Arc<dyn ServerCertVerifier>) -> Result<WithVerifier, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
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

/// Takes the certificates that others take, and those that stand among the authorities themselves. Servers often show the
/// very certificate that they are known by, which says of itself that it is an authority; Go takes it, so clients rely on
/// that.
struct OrItself {
    inner: Arc<dyn ServerCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for OrItself {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrItself").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for OrItself {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.authorities.iter().any(|known| known == end_entity) {
            return self
                .inner
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        let bad = |_| rustls::Error::from(CertificateError::BadEncoding);
        let (_, certificate) = X509Certificate::from_der(end_entity).map_err(bad)?;
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|now| ASN1Time::from_timestamp(now).ok());
        if now.is_some_and(|now| certificate.validity().is_valid_at(now)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::Expired.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
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
verifier!(NoAuthority, Err(CertificateError::UnknownIssuer.into()));

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_server_may_show_the_certificate_that_it_is_known_by() {
        let certificate = |name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        };
        let (own, other) = (certificate("hook.n.svc"), certificate("hook.n.svc"));
        let known = bundle(own.pem().as_bytes()).unwrap();
        let verifier = OrItself {
            inner: verifier(Some(&roots(&known).unwrap())).unwrap(),
            authorities: known,
        };
        let ask = |shown: &rcgen::Certificate, name: &'static str, seconds: u64| {
            let name = ServerName::try_from(name).unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            verifier
                .verify_server_cert(shown.der(), &[], &name, &[], now)
                .is_ok()
        };
        let now = 1_800_000_000;
        assert!(ask(&own, "hook.n.svc", now));
        assert!(!ask(&own, "other.n.svc", now), "the name counts");
        assert!(!ask(&own, "hook.n.svc", 0), "and the time");
        assert!(!ask(&other, "hook.n.svc", now), "and who it is");
        assert!(client_config(&Trust::Bundle(b"no certificate".to_vec()), None).is_err());
    }
}
