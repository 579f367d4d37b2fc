//! Who may ask: the API server's kubelet client and cluster administrators. Pure.

use x509_parser::prelude::{FromDer, X509Certificate};

const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";

/// Who is at the other end, by a certificate that a trusted authority signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Nobody,
    Known { name: String, groups: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Unauthenticated,
    Forbidden(String),
}

/// The user and groups that a certificate speaks of: its common name and organizations.
pub(super) fn caller(der: &[u8]) -> Caller {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Caller::Nobody;
    };
    let subject = certificate.subject();
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
    match subject.iter_common_name().next().and_then(text) {
        Some(name) => Caller::Known {
            name,
            groups: subject.iter_organization().filter_map(text).collect(),
        },
        None => Caller::Nobody,
    }
}

pub(super) fn authorize(caller: &Caller) -> Verdict {
    match caller {
        Caller::Nobody => Verdict::Unauthenticated,
        Caller::Known { name, groups }
            if name == API_SERVER || groups.iter().any(|g| g == ADMINISTRATORS) =>
        {
            Verdict::Allowed
        }
        Caller::Known { name, .. } => Verdict::Forbidden(name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(name: &str, organization: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organization) = organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn certificates_decide() {
        for (name, organization, want) in [
            (API_SERVER, None, Verdict::Allowed),
            ("admin", Some(ADMINISTRATORS), Verdict::Allowed),
            (
                "system:node:n2",
                Some("system:nodes"),
                Verdict::Forbidden("system:node:n2".into()),
            ),
        ] {
            assert_eq!(
                authorize(&caller(&certificate(name, organization))),
                want,
                "{name}"
            );
        }
        assert_eq!(authorize(&caller(b"nonsense")), Verdict::Unauthenticated);
    }
}
