//! Client certificates: bytes that claim to be one, and one with any names that an authority signed.

use std::sync::LazyLock;

use coracle_apiserver::authn::ClientCertificates;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;

struct Authority {
    trusted: ClientCertificates,
    issuer: Issuer<'static, KeyPair>,
    /// Of those whom it signs for.
    key: KeyPair,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let key = || KeyPair::generate().expect("a key can be made");
    let own = key();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&own).expect("an authority can be made");
    Authority {
        trusted: ClientCertificates::new(&[authority.der().clone()], &[]).expect("it can be trusted"),
        issuer: Issuer::new(params, own),
        key: key(),
    }
});

/// Nobody is known by a certificate that is made up; by one that is signed, under the names in it and no others.
pub fn check(input: &[u8]) -> bool {
    let now = Timestamp::from_second(1_800_000_000).expect("it is a time");
    let identify = |der: CertificateDer<'_>| {
        let outcome = AUTHORITY.trusted.identify(Some(&[der]), now);
        outcome.expect("a certificate is offered").client
    };
    // As an authority's, too.
    let _ = ClientCertificates::new(&[CertificateDer::from(input.to_vec())], &[]);
    identify(CertificateDer::from(input)).expect_err("nobody has the authority's key");
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let (name, group) = text
        .split_once('\n')
        .map_or((text, None), |(name, group)| (name, Some(group)));
    let Some(signed) = signed(name, group) else {
        return false;
    };
    match identify(signed) {
        Ok(identity) => {
            let user = identity.user(now).expect("it counts now");
            let groups: Vec<_> = user.groups.iter().map(String::as_str).collect();
            assert_eq!((user.name.as_str(), groups), (name, Vec::from_iter(group)));
            true
        }
        Err(why) => {
            assert!(name.is_empty(), "{name:?} of {group:?} is not known: {why}");
            false
        }
    }
}

/// A certificate for who has this common name and organization.
fn signed(name: &str, group: Option<&str>) -> Option<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    let certificate = params.signed_by(&AUTHORITY.key, &AUTHORITY.issuer).ok()?;
    Some(certificate.der().clone())
}
