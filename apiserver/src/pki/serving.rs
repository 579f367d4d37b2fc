//! The certificate that new connections are answered with, exchanged without a restart.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Holds the current serving certificate; connections that stand keep theirs.
pub struct ServingCertificate {
    current: ArcSwap<CertifiedKey>,
}

/// A certificate or key that TLS cannot use.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// Not PEM, or not what it should hold.
    #[error("no {what} could be read")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// The key is of no kind that is served, or does not belong to the certificate.
    #[error("key and certificate cannot be used")]
    Unusable(#[from] rustls::Error),
}

impl ServingCertificate {
    /// Starts with a chain of certificates, the server's own first, and its key, both in PEM.
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, ServingError> {
        Ok(Self {
            current: ArcSwap::from_pointee(certified(chain_pem, key_pem)?),
        })
    }

    /// Takes another chain and key for connections from now on.
    pub fn replace(&self, chain_pem: &str, key_pem: &str) -> Result<(), ServingError> {
        self.current.store(Arc::new(certified(chain_pem, key_pem)?));
        Ok(())
    }
}

impl ServingCertificate {
    /// The server's own certificate, as connections from now on see it.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.current.load().cert[0].clone()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").finish_non_exhaustive()
    }
}

fn certified(chain_pem: &str, key_pem: &str) -> Result<CertifiedKey, ServingError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
    let chain = chain.map_err(|source| ServingError::Pem {
        what: "certificate",
        source,
    })?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|source| ServingError::Pem { what: "key", source })?;
    let certified = CertifiedKey::new(chain, rustls::crypto::ring::sign::any_supported_type(&key)?);
    certified.keys_match()?;
    Ok(certified)
}
