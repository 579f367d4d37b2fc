//! TLS as the server offers it, from files or from our own authority.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsAcceptor;

use super::StartError;
use crate::aggregation::Aggregator;
use crate::authn::ClientCertificates;
use crate::config::{CertificateFiles, Config};
use crate::node_proxy::NodeTls;
use crate::outbound::TlsError;
use crate::pki::{Pki, ServingCertificate};

/// What the server shows, and whom it believes.
pub(super) struct Tls {
    serving: Arc<ServingCertificate>,
    clients: Arc<ClientCertificates>,
    config: Arc<ServerConfig>,
    callers: Callers,
    /// Where the serving certificate comes from, when it is not our own.
    files: Option<CertificateFiles>,
}

/// Those who call others under certificates of this server's.
pub(super) struct Callers {
    pub(super) nodes: Arc<NodeTls>,
    pub(super) aggregator: Arc<Aggregator>,
}

impl Tls {
    pub(super) fn load(config: &Config, pki: &Pki, callers: Callers) -> Result<Self, StartError> {
        let (chain, key) = current(config.serving_certificate.as_ref(), pki)?;
        let serving = ServingCertificate::new(&chain, &key)
            .map_err(|error| unusable("the serving certificate", &error))?;
        let serving = Arc::new(serving);
        let mut authorities = vec![pki.ca().certificate_der().clone()];
        if let Some(path) = &config.client_ca_file {
            authorities.extend(read_authorities(path)?);
        }
        let front_proxies = match &config.authentication.front_proxy {
            Some(proxy) => read_authorities(&proxy.client_ca_file)?,
            None => Vec::new(),
        };
        let clients = ClientCertificates::new(&authorities, &front_proxies);
        let clients = clients.map_err(|reason| StartError::Tls {
            what: "the authority for clients".to_owned(),
            reason,
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("TLS", &error))?
            .with_client_cert_verifier(clients.handshake_verifier())
            .with_cert_resolver(serving.clone());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            serving,
            clients: Arc::new(clients),
            config: Arc::new(tls),
            callers,
            files: config.serving_certificate.clone(),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    pub(super) fn clients(&self) -> Arc<ClientCertificates> {
        self.clients.clone()
    }

    /// The server's own certificate, as connections from now on see it.
    #[cfg(test)]
    pub(super) fn shown(&self) -> CertificateDer<'static> {
        self.serving.shown()
    }

    /// Shows what stands in the files, or in our own directory, from now on, to clients and to those who are called.
    pub(super) fn refresh(&self, pki: &Pki) -> Result<(), StartError> {
        let (chain, key) = current(self.files.as_ref(), pki)?;
        self.serving
            .replace(&chain, &key)
            .map_err(|error| unusable("the serving certificate", &error))?;
        self.callers
            .nodes
            .replace(pki.kubelet_client())
            .map_err(node_tls_error)?;
        self.callers
            .aggregator
            .replace(pki.front_proxy_client())
            .map_err(|error| unusable("TLS towards extension servers", &error))
    }
}

/// How node agents are called.
pub(super) fn node_tls(config: &Config, pki: &Pki) -> Result<NodeTls, StartError> {
    let authorities = config
        .kubelet_certificate_authority
        .as_deref()
        .map(read_authorities)
        .transpose()?;
    NodeTls::new(authorities.as_deref(), pki.kubelet_client()).map_err(node_tls_error)
}

pub(super) fn node_tls_error(error: TlsError) -> StartError {
    unusable("TLS towards node agents", &error)
}

/// All certificates of a PEM file.
fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let pem = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let authorities = read.map_err(|error| unusable(&path.display().to_string(), &error))?;
    if authorities.is_empty() {
        return Err(unusable(
            &path.display().to_string(),
            &"there is no certificate in it",
        ));
    }
    Ok(authorities)
}

fn current(files: Option<&CertificateFiles>, pki: &Pki) -> Result<(String, String), StartError> {
    match files {
        Some(files) => Ok((read(&files.certificate)?, read(&files.key)?)),
        None => {
            let leaf = pki.serving();
            Ok((leaf.certificate_pem().to_owned(), leaf.key_pem().to_owned()))
        }
    }
}

pub(super) fn read(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn unusable(what: &str, error: &dyn std::fmt::Display) -> StartError {
    StartError::Tls {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}
