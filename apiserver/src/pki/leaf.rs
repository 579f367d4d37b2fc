//! Certificates that sign nothing: a server's or a client's.

use std::net::IpAddr;
use std::path::Path;

use jiff::Timestamp;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PublicKeyData, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authorities::generate_key;
use super::authority::set_validity;
use super::{Authority, Identity, PkiError, ServerNames, files};

/// How long a leaf is valid, in seconds: one year, as kubeadm's.
const LIFETIME: u64 = 365 * 24 * 60 * 60;

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To be called.
    Server,
    /// To call.
    Client,
}

/// What a leaf is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSpec {
    subject: Identity,
    names: ServerNames,
    usage: Usage,
}

impl LeafSpec {
    /// A server reached under the given names.
    pub fn server(common_name: &str, names: &ServerNames) -> Self {
        Self {
            subject: Identity::new(common_name, &[]),
            names: names.clone(),
            usage: Usage::Server,
        }
    }

    /// A client that is known by the given identity.
    pub fn client(identity: &Identity) -> Self {
        Self {
            subject: identity.clone(),
            names: ServerNames::default(),
            usage: Usage::Client,
        }
    }

    fn params(&self, now: Timestamp) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = self
            .subject
            .subject()
            .map_err(|reason| self.unissuable(&reason))?;
        for name in &self.names.dns {
            let name = name
                .as_str()
                .try_into()
                .map_err(|_| self.unissuable(&format!("{name:?} is no DNS name")))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params
            .subject_alt_names
            .extend(self.names.addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![match self.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LIFETIME);
        Ok(params)
    }

    fn unissuable(&self, reason: &str) -> PkiError {
        PkiError::Unissuable {
            subject: self.subject.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Leaf {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Leaf {
    /// Makes a key and has the authority vouch for it.
    pub fn issue(authority: &Authority, spec: &LeafSpec, now: Timestamp) -> Result<Self, PkiError> {
        let key = generate_key();
        let certificate = spec
            .params(now)?
            .signed_by(&key, authority.issuer())
            .map_err(|error| spec.unissuable(&error.to_string()))?;
        Self::from_pem(certificate.pem(), key.serialize_pem()).map_err(|reason| spec.unissuable(&reason))
    }

    /// Takes a certificate and the key that belongs to it.
    pub fn from_pem(certificate_pem: String, key_pem: String) -> Result<Self, String> {
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let validity = parsed.validity();
        let (Some(not_before), Some(not_after)) = (time(validity.not_before), time(validity.not_after))
        else {
            return Err("its validity is out of range".to_owned());
        };
        Ok(Self {
            certificate,
            certificate_pem,
            key_pem,
            not_before,
            not_after,
        })
    }

    pub(super) fn load_or_issue(
        directory: &Path,
        name: &str,
        authority: &Authority,
        spec: &LeafSpec,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        match Self::load(directory, name) {
            Some(leaf) if !leaf.is_due(now) && leaf.says(spec, authority) => Ok(leaf),
            _ => {
                let leaf = Self::issue(authority, spec, now)?;
                leaf.save(directory, name)?;
                Ok(leaf)
            }
        }
    }

    /// Issues the leaf again where it is due, and says whether it was.
    pub(super) fn renew(
        &mut self,
        directory: &Path,
        name: &str,
        authority: &Authority,
        spec: &LeafSpec,
        now: Timestamp,
    ) -> Result<bool, PkiError> {
        if !self.is_due(now) {
            return Ok(false);
        }
        *self = Self::issue(authority, spec, now)?;
        self.save(directory, name)?;
        Ok(true)
    }

    /// What is there, if it is whole. What is not is no loss: it can be issued again.
    fn load(directory: &Path, name: &str) -> Option<Self> {
        let certificate = files::read(&directory.join(format!("{name}.crt"))).ok()?;
        let key_pem = files::read(&directory.join(format!("{name}.key"))).ok()?;
        let key = KeyPair::from_pem(&key_pem).ok()?;
        let leaf = Self::from_pem(certificate, key_pem).ok()?;
        key_fits(&leaf.certificate, &key).then_some(leaf)
    }

    /// The files of a leaf of this name, with what goes into them.
    pub(super) fn files(&self, name: &str) -> [(String, String); 2] {
        [
            (format!("{name}.key"), self.key_pem.clone()),
            (format!("{name}.crt"), self.certificate_pem.clone()),
        ]
    }

    fn save(&self, directory: &Path, name: &str) -> Result<(), PkiError> {
        for (name, contents) in self.files(name) {
            files::write(&directory.join(name), contents.as_bytes())?;
        }
        Ok(())
    }

    /// From two thirds of its life on a leaf is to be replaced: months before anybody would notice.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life = self.not_after.as_second() - self.not_before.as_second();
        now.as_second() >= self.not_before.as_second() + life / 3 * 2 || now < self.not_before
    }

    /// Whether the leaf is signed by this authority and says what is asked for.
    fn says(&self, spec: &LeafSpec, authority: &Authority) -> bool {
        let (Ok((_, own)), Ok((_, ca))) = (
            X509Certificate::from_der(&self.certificate),
            X509Certificate::from_der(authority.certificate_der()),
        ) else {
            return false;
        };
        let first = |name: &str| {
            own.subject()
                .iter_common_name()
                .next()
                .and_then(|cn| cn.as_str().ok())
                == Some(name)
        };
        first(&spec.subject.name)
            && own.issuer() == ca.subject()
            && authority_key(&own) == subject_key(&ca)
            && names_of(&own) == sorted(&spec.names)
    }

    /// The certificate.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate, in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key, in PEM. Secret.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Whom it names.
    ///
    /// # Errors
    /// Where its subject cannot be read.
    pub fn identity(&self) -> Result<Identity, String> {
        let (_, parsed) = X509Certificate::from_der(&self.certificate).map_err(|error| error.to_string())?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().last();
        let name = name.ok_or("its subject has no name")?.as_str();
        let groups = subject
            .iter_organization()
            .map(|group| group.as_str().map(str::to_owned));
        Ok(Identity {
            name: name.map_err(|error| error.to_string())?.to_owned(),
            groups: groups
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?,
        })
    }

    /// When it ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Whether a certificate is about this key.
pub(super) fn key_fits(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
}

fn authority_key<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref().map(|key| key.0)
            }
            _ => None,
        })
}

fn subject_key<'c>(certificate: &'c X509Certificate<'_>) -> Option<&'c [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
            _ => None,
        })
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => {
                    names.extend(address(octets).map(|address| address.to_string()))
                }
                _ => {}
            }
        }
    }
    names.sort();
    names
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

fn sorted(names: &ServerNames) -> Vec<String> {
    let addresses = names.addresses.iter().map(ToString::to_string);
    let mut all: Vec<String> = names.dns.iter().cloned().chain(addresses).collect();
    all.sort();
    all
}
