//! Secrets for TLS whose certificate or key is none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Warnings;
use crate::object::Fields;

/// What Go's `tls.X509KeyPair` says of input without the blocks it looks for. What is in the blocks is not looked at.
pub(super) fn secret(object: &Value, found: &mut Warnings) {
    if object.text("type") != "kubernetes.io/tls" {
        return;
    }
    let blocks = |key: &str| {
        let bytes = STANDARD.decode(object["data"].text(key)).unwrap_or_default();
        block_types(&String::from_utf8_lossy(&bytes))
    };
    let (certificates, keys) = (blocks("tls.crt"), blocks("tls.key"));
    if !certificates.iter().any(|kind| kind == "CERTIFICATE") {
        found.add(match &certificates[..] {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [key] if key.ends_with("PRIVATE KEY") => {
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned()
            }
            others => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
                others.join(" ")
            ),
        });
    } else if !keys
        .iter()
        .any(|kind| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY"))
    {
        found.add(match &keys[..] {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [kind] if kind == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            others => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                others.join(" ")
            ),
        });
    }
}

/// The types of the PEM blocks in a text.
fn block_types(text: &str) -> Vec<String> {
    let (mut types, mut open) = (Vec::new(), None);
    for line in text.lines().map(str::trim_end) {
        let mark = |edge: &str| line.strip_prefix(edge)?.strip_suffix("-----");
        if let Some(kind) = mark("-----BEGIN ") {
            open = Some(kind);
        } else if let Some(kind) = mark("-----END ")
            && open.take() == Some(kind)
        {
            types.push(kind.to_owned());
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_certificate_is_told() {
        let pem =
            |kind: &str| STANDARD.encode(format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n"));
        let (certificate, key) = (pem("CERTIFICATE"), pem("RSA PRIVATE KEY"));
        let table = [
            (certificate.as_str(), key.as_str(), ""),
            (
                "AAAA",
                &key,
                "tls: failed to find any PEM data in certificate input",
            ),
            (&certificate, "", "tls: failed to find any PEM data in key input"),
            (
                &certificate,
                &certificate,
                "tls: found a certificate rather than a key in the PEM for the private key",
            ),
            (
                &key,
                &key,
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
            ),
        ];
        for (certificate, key, want) in table {
            let mut found = Warnings::default();
            let data = json!({"tls.crt": certificate, "tls.key": key});
            secret(&json!({"type": "kubernetes.io/tls", "data": data}), &mut found);
            assert_eq!(found.0.join("\n"), want);
        }
    }
}
