//! What everybody's credentials hang on: the authorities that sign certificates, and the key that signs tokens.

use std::path::Path;

use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{Authority, Identity, Kubeconfig, KubeconfigUser, Leaf, LeafSpec, PkiError, ServerNames, files};

const CA: &str = "ca";
const FRONT_PROXY_CA: &str = "front-proxy-ca";
const SERVICE_ACCOUNT_KEY: &str = "sa.key";
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "sa.pub";

/// The files that are never made again once one of them stands.
const LASTING: [&str; 5] = [
    "ca.crt",
    "ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    SERVICE_ACCOUNT_KEY,
];

/// All that signs. Made once, never replaced.
pub struct Authorities {
    ca: Authority,
    front_proxy_ca: Authority,
    service_account_key: KeyPair,
}

impl Authorities {
    pub(super) fn create(now: Timestamp) -> Result<Self, PkiError> {
        Ok(Self {
            ca: Authority::create("kubernetes", now)?,
            front_proxy_ca: Authority::create("front-proxy-ca", now)?,
            service_account_key: generate_key(),
        })
    }

    pub(super) fn read(directory: &Path) -> Result<Self, PkiError> {
        let missing = LASTING.iter().filter(|name| !directory.join(name).exists());
        let missing: Vec<_> = missing.map(|name| (*name).to_owned()).collect();
        if !missing.is_empty() {
            return Err(PkiError::Incomplete {
                directory: directory.to_owned(),
                missing,
            });
        }
        Ok(Self {
            ca: Authority::load(directory, CA)?,
            front_proxy_ca: Authority::load(directory, FRONT_PROXY_CA)?,
            service_account_key: load_key(&directory.join(SERVICE_ACCOUNT_KEY))?,
        })
    }

    /// Every file, with what goes into it.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let key = &self.service_account_key;
        let mut files = vec![
            (SERVICE_ACCOUNT_KEY.to_owned(), key.serialize_pem()),
            (SERVICE_ACCOUNT_PUBLIC_KEY.to_owned(), key.public_key_pem()),
        ];
        files.extend(self.ca.files(CA));
        files.extend(self.front_proxy_ca.files(FRONT_PROXY_CA));
        files
    }

    /// The authority that signs servers' and clients' certificates.
    pub fn ca(&self) -> &Authority {
        &self.ca
    }

    /// The authority that signs the certificate under which requests are passed on to extension apiservers.
    pub fn front_proxy_ca(&self) -> &Authority {
        &self.front_proxy_ca
    }

    /// The key that signs service account tokens (ECDSA P-256).
    pub fn service_account_key(&self) -> &KeyPair {
        &self.service_account_key
    }

    /// A client certificate for somebody. Nothing is written.
    pub fn issue_client(&self, identity: &Identity, now: Timestamp) -> Result<Leaf, PkiError> {
        Leaf::issue(&self.ca, &LeafSpec::client(identity), now)
    }

    /// A serving certificate for a node agent. Nothing is written.
    pub fn issue_node_server(
        &self,
        node: &str,
        names: &ServerNames,
        now: Timestamp,
    ) -> Result<Leaf, PkiError> {
        Leaf::issue(
            &self.ca,
            &LeafSpec::server(&format!("system:node:{node}"), names),
            now,
        )
    }

    /// A kubeconfig with a new client certificate. Nothing is written.
    pub fn kubeconfig(
        &self,
        identity: &Identity,
        cluster: &str,
        server: &str,
        now: Timestamp,
    ) -> Result<Kubeconfig, PkiError> {
        let leaf = self.issue_client(identity, now)?;
        Ok(Kubeconfig {
            cluster: cluster.to_owned(),
            server: server.to_owned(),
            certificate_authority: self.ca.certificate_pem().to_owned(),
            user: KubeconfigUser {
                name: identity.name.clone(),
                certificate: leaf.certificate_pem().to_owned(),
                key: leaf.key_pem().to_owned(),
            },
        })
    }
}

pub(super) fn load_key(path: &Path) -> Result<KeyPair, PkiError> {
    let damaged = |error: rcgen::Error| PkiError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    KeyPair::from_pem(&files::read(path)?).map_err(damaged)
}

/// ECDSA P-256: made in microseconds, where an RSA key would take the better part of a second.
pub(super) fn generate_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .expect("ring makes P-256 keys as long as the system has randomness")
}
