//! What a request asks to be certified, and whether a signer of Kubernetes' own may do so. Pure.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use super::{API_CLIENT, NODE_CLIENT, NODE_SERVING};

/// The longest request that is looked at, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns_names: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    has_emails: bool,
    has_uris: bool,
    usages: BTreeSet<String>,
}

/// Reads a request; none for what is no request.
pub(super) fn read(request: &CertificateSigningRequest) -> Option<Asked> {
    let text = &request.spec.request.0;
    if text.len() > MAX_BYTES {
        return None;
    }
    let (_, pem) = parse_x509_pem(text).ok()?;
    if pem.label != "CERTIFICATE REQUEST" {
        return None;
    }
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &parsed.certification_request_info.subject;
    let texts = |attributes: Vec<Option<&str>>| -> Vec<String> {
        attributes.into_iter().flatten().map(str::to_owned).collect()
    };
    let names = texts(
        subject
            .iter_common_name()
            .map(|name| name.as_str().ok())
            .collect(),
    );
    let mut asked = Asked {
        common_name: names.last().cloned().unwrap_or_default(),
        organizations: texts(
            subject
                .iter_organization()
                .map(|name| name.as_str().ok())
                .collect(),
        ),
        usages: request.spec.usages.iter().flatten().cloned().collect(),
        ..Asked::default()
    };
    for extension in parsed.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => asked.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => asked.addresses.push(address(octets)?),
                GeneralName::RFC822Name(_) => asked.has_emails = true,
                GeneralName::URI(_) => asked.has_uris = true,
                _ => {}
            }
        }
    }
    Some(asked)
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// Whether it names nobody but by its subject, and is to call with and for nothing else.
pub(super) fn is_plain_client(asked: &Asked) -> bool {
    let names = asked.dns_names.is_empty() && asked.addresses.is_empty();
    names && !asked.has_emails && !asked.has_uris && exactly(asked, "client auth").is_ok()
}

/// Whether the signer of that name certifies this.
///
/// # Errors
/// Why not, in upstream's words.
pub(super) fn check(signer: &str, asked: &Asked) -> Result<(), String> {
    match signer {
        NODE_CLIENT => node_client(asked),
        NODE_SERVING => node_serving(asked),
        API_CLIENT => api_client(asked),
        _ => Ok(()),
    }
}

fn node_client(asked: &Asked) -> Result<(), String> {
    of_nodes(asked)?;
    for (there, what) in [
        (!asked.dns_names.is_empty(), "DNS"),
        (asked.has_emails, "Email"),
        (!asked.addresses.is_empty(), "IP"),
        (asked.has_uris, "URI"),
    ] {
        if there {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    named_as_node(asked)?;
    exactly(asked, "client auth")
}

fn node_serving(asked: &Asked) -> Result<(), String> {
    of_nodes(asked)?;
    if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    for (there, what) in [(asked.has_emails, "Email"), (asked.has_uris, "URI")] {
        if there {
            return Err(format!("{what} subjectAltNames are not allowed"));
        }
    }
    exactly(asked, "server auth")?;
    named_as_node(asked)
}

fn api_client(asked: &Asked) -> Result<(), String> {
    let optional = ["digital signature", "key encipherment", "client auth"];
    if let Some(usage) = asked
        .usages
        .iter()
        .find(|usage| !optional.contains(&usage.as_str()))
    {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    if !asked.usages.contains("client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

fn of_nodes(asked: &Asked) -> Result<(), String> {
    if asked.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    Ok(())
}

fn named_as_node(asked: &Asked) -> Result<(), String> {
    if !asked.common_name.starts_with("system:node:") {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    Ok(())
}

/// The usages are those of one side of a connection; only keys that can encipher ask for that.
fn exactly(asked: &Asked, side: &str) -> Result<(), String> {
    let others: Vec<_> = asked
        .usages
        .iter()
        .filter(|usage| *usage != "key encipherment")
        .collect();
    let mut wanted = ["digital signature", side];
    wanted.sort_unstable();
    if others != wanted {
        let mut all = ["digital signature", "key encipherment", side];
        all.sort_unstable();
        return Err(format!("usages did not match [{}]", all.join(" ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{pem, request};
    use super::*;

    const CLIENT: [&str; 3] = ["digital signature", "key encipherment", "client auth"];
    const SERVER: [&str; 2] = ["digital signature", "server auth"];

    #[test]
    fn each_signer_has_its_rules() {
        let node = "system:node:a";
        for (signer, name, organization, names, usages, want) in [
            (NODE_CLIENT, node, "system:nodes", &[][..], &CLIENT[..], None),
            (
                NODE_CLIENT,
                "a",
                "system:nodes",
                &[],
                &CLIENT,
                Some("subject common name does not begin with system:node:"),
            ),
            (
                NODE_CLIENT,
                node,
                "others",
                &[],
                &CLIENT,
                Some("subject organization is not system:nodes"),
            ),
            (
                NODE_CLIENT,
                node,
                "system:nodes",
                &["a"],
                &CLIENT,
                Some("DNS subjectAltNames are not allowed"),
            ),
            (
                NODE_CLIENT,
                node,
                "system:nodes",
                &[],
                &SERVER,
                Some("usages did not match [client auth digital signature key encipherment]"),
            ),
            (NODE_SERVING, node, "system:nodes", &["a"], &SERVER, None),
            (
                NODE_SERVING,
                node,
                "system:nodes",
                &[],
                &SERVER,
                Some("DNS or IP subjectAltName is required"),
            ),
            (API_CLIENT, "jane", "developers", &[], &CLIENT, None),
            (
                API_CLIENT,
                "jane",
                "developers",
                &[],
                &SERVER,
                Some("invalid usage for client certificate: server auth"),
            ),
            (
                API_CLIENT,
                "jane",
                "developers",
                &[],
                &CLIENT[..2],
                Some("missing required usage for client certificate: client auth"),
            ),
            ("kubernetes.io/legacy-unknown", "x", "y", &["z"], &SERVER, None),
        ] {
            let asked = read(&request(signer, pem(name, organization, names), usages)).unwrap();
            assert_eq!(check(signer, &asked).err().as_deref(), want, "{signer} {name}");
        }
        assert_eq!(read(&request(API_CLIENT, b"no request".to_vec(), &[])), None);
    }
}
