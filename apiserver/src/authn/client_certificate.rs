//! Client certificates.
//!
//! The handshake takes any certificate whose key the client proves to hold; who vouches for it is looked at afterwards,
//! so that a stranger gets a 401 that says so and not a broken connection. It is looked at once for each connection; only
//! its end is compared with the clock again at each request.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::request::UserInfo;

/// The attribute of a subject that is the user's uid.
const UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// Where `UserInfo.extra` says which credential was used.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Checks client certificates against the authorities that may vouch for clients, and those that may vouch for a proxy in
/// front of the server.
pub struct ClientCertificates {
    trusted: Arc<dyn ClientCertVerifier>,
    front_proxies: Option<Arc<dyn ClientCertVerifier>>,
    handshake: Arc<dyn ClientCertVerifier>,
}

/// What the certificate of a connection's other side is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As a client.
    pub client: Result<ClientIdentity, String>,
    /// As a proxy in front of the server; None where there are none.
    pub front_proxy: Option<Result<ClientIdentity, String>>,
}

/// Who a certificate says somebody is, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    user: UserInfo,
    not_after: Timestamp,
}

impl ClientCertificates {
    /// Trusts these authorities; `front_proxies` vouch for proxies, where there are any.
    pub fn new(
        authorities: &[CertificateDer<'static>],
        front_proxies: &[CertificateDer<'static>],
    ) -> Result<Self, String> {
        let both = [authorities, front_proxies].concat();
        Ok(Self {
            trusted: verifier(authorities)?,
            front_proxies: match front_proxies {
                [] => None,
                some => Some(verifier(some)?),
            },
            handshake: verifier(&both)?,
        })
    }

    /// What the handshake asks: proof of the key, from whoever offers a certificate.
    pub fn handshake_verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(ProofOfKey {
            inner: self.handshake.clone(),
        })
    }

    /// Who the peer of a connection is; None where it offered no certificate.
    pub fn identify(&self, chain: Option<&[CertificateDer<'_>]>, now: Timestamp) -> Option<Peer> {
        let (own, intermediates) = chain?.split_first()?;
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let read =
            |trusted: &Arc<dyn ClientCertVerifier>| match trusted.verify_client_cert(own, intermediates, now)
            {
                Ok(_) => ClientIdentity::read(own),
                Err(error) => Err(format!("x509: {error}")),
            };
        Some(Peer {
            client: read(&self.trusted),
            front_proxy: self.front_proxies.as_ref().map(read),
        })
    }
}

fn verifier(authorities: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())
}

impl ClientIdentity {
    fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let name = parsed
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .next();
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or("the certificate has no common name")?;
        let groups = parsed
            .subject()
            .iter_organization()
            .filter_map(|group| group.as_str().ok());
        let digest: String = Sha256::digest(certificate)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp())
            .map_err(|_| "the certificate's end is out of range")?;
        let user = UserInfo {
            name: name.to_owned(),
            uid: uid(&parsed)?,
            groups: groups.map(str::to_owned).collect(),
            extra: [(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={digest}")])].into(),
        };
        Ok(Self { user, not_after })
    }

    /// The user, as long as the certificate counts.
    pub fn user(&self, now: Timestamp) -> Result<UserInfo, String> {
        self.check_time(now)?;
        Ok(self.user.clone())
    }

    /// The common name.
    pub(super) fn name(&self) -> &str {
        &self.user.name
    }

    /// Whether the certificate counts still.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), String> {
        if now > self.not_after {
            return Err("x509: certificate has expired or is not yet valid".to_owned());
        }
        Ok(())
    }

    /// Somebody with a name and nothing else.
    #[cfg(test)]
    pub(super) fn named(name: &str, not_after: Timestamp) -> Self {
        Self {
            user: UserInfo {
                name: name.to_owned(),
                ..UserInfo::default()
            },
            not_after,
        }
    }
}

/// The uid that a certificate names; empty where it names none.
fn uid(certificate: &X509Certificate<'_>) -> Result<String, String> {
    let is_uid =
        |id: &x509_parser::der_parser::Oid<'_>| id.iter().is_some_and(|id| id.eq(UID.iter().copied()));
    let attributes = certificate.subject().iter_attributes();
    let mut uids = attributes
        .filter(|attribute| is_uid(attribute.attr_type()))
        .map(|attribute| attribute.as_str());
    match (uids.next(), uids.next()) {
        (None, _) => Ok(String::new()),
        (Some(Ok("")), None) => Err("UID cannot be an empty string".to_owned()),
        (Some(Ok(uid)), None) => Ok(uid.to_owned()),
        (Some(Err(_)), None) => Err("unable to parse UID into a string".to_owned()),
        (Some(_), Some(_)) => Err("expected 1 UID, but found multiple".to_owned()),
    }
}

/// Takes every certificate whose key is proved, so that the connection lives to carry a 401.
struct ProofOfKey {
    inner: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for ProofOfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofOfKey").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ProofOfKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::pki::{Identity, Pki, ServerNames};

    #[test]
    fn only_who_is_vouched_for_is_known_and_only_in_time() {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let later: Timestamp = "2027-03-01T01:00:00Z".parse().unwrap();
        let home = tempfile::tempdir().unwrap();
        let names = ServerNames::of_cluster("cluster.local", IpAddr::from([10, 96, 0, 1]));
        let own = Pki::open(&home.path().join("own"), &names, now).unwrap();
        let other = Pki::open(&home.path().join("other"), &names, now).unwrap();
        let certificates = ClientCertificates::new(&[own.ca().certificate_der().clone()], &[]).unwrap();
        let identify = |pki: &Pki, now| {
            let leaf = pki
                .authorities()
                .issue_client(&Identity::admin(), "2026-03-01T00:00:00Z".parse().unwrap())
                .unwrap();
            certificates
                .identify(Some(&[leaf.certificate_der().clone()]), now)
                .expect("a certificate was offered")
                .client
        };
        let identity = identify(&own, now).unwrap();
        let user = identity.user(now).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("kubernetes-admin", &["system:masters".to_owned()][..])
        );
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
        assert!(
            identity.user(later).is_err(),
            "the connection outlived the certificate"
        );
        assert!(identify(&own, later).is_err());
        assert!(identify(&other, now).is_err());
        assert!(certificates.identify(None, now).is_none());
        let server = [own.serving().certificate_der().clone()];
        assert!(
            certificates.identify(Some(&server), now).unwrap().client.is_err(),
            "a server's certificate is no client's"
        );
    }
}
