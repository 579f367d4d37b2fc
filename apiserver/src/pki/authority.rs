//! Certificate authorities.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::authorities::{generate_key, load_key};
use super::{PkiError, files};

/// How long an authority is valid, in seconds: ten years, as kubeadm's.
const LIFETIME: u64 = 10 * 365 * 24 * 60 * 60;

/// How far back a new certificate is valid, in seconds, so that a clock that is a little behind takes it.
pub(super) const BACKDATE: i64 = 5 * 60;

/// A key that signs certificates, and the certificate that says so.
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority that vouches for itself.
    pub(super) fn create(name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.subject_alt_names = name.try_into().map(SanType::DnsName).into_iter().collect();
        set_validity(&mut params, now, LIFETIME);
        let key = generate_key();
        let certificate = params.self_signed(&key).map_err(|error| PkiError::Unissuable {
            subject: name.to_owned(),
            reason: error.to_string(),
        })?;
        let certificate_pem = certificate.pem();
        Ok(Self {
            certificate: certificate.into(),
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    pub(super) fn load(directory: &Path, name: &str) -> Result<Self, PkiError> {
        Self::from_files(
            &directory.join(format!("{name}.crt")),
            &directory.join(format!("{name}.key")),
        )
    }

    /// An authority from a certificate and a key in PEM, each in a file of its own.
    ///
    /// # Errors
    /// When they cannot be read, or do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, PkiError> {
        let damaged = |reason: String| PkiError::Damaged {
            path: certificate.to_owned(),
            reason,
        };
        let certificate_pem = files::read(certificate)?;
        let own = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| damaged(format!("no certificate in it ({error})")))?;
        let key = load_key(key)?;
        if !super::leaf::key_fits(&own, &key) {
            return Err(damaged("its key is not the one beside it".to_owned()));
        }
        let issuer = Issuer::from_ca_cert_der(&own, key).map_err(|error| damaged(error.to_string()))?;
        Ok(Self {
            certificate: own,
            certificate_pem,
            issuer,
        })
    }

    /// The files of an authority of this name, with what goes into them.
    pub(super) fn files(&self, name: &str) -> [(String, String); 2] {
        let key = self.issuer.key().serialize_pem();
        [
            (format!("{name}.key"), key),
            (format!("{name}.crt"), self.certificate_pem.clone()),
        ]
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// The authority's own certificate.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's own certificate, in PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }
}

/// Sets from when until when a certificate counts. `lifetime` is in seconds.
pub(super) fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let from = u64::try_from(now.as_second() - BACKDATE).unwrap_or_default();
    params.not_before = epoch + Duration::from_secs(from);
    params.not_after = params.not_before + Duration::from_secs(lifetime);
}
