//! Certificates for keys that somebody else holds: what a PKCS #10 request (RFC 2986) asks for, certified as X.509 (RFC 5280).
//!
//! The subject and the names are the request's, to the byte or nearly so; nothing else of it counts. What upstream's
//! `PermissiveSigningPolicy` does.

use jiff::Timestamp;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SigningKey,
};
use uuid::Uuid;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag};

use super::Authority;

/// Why a request was not signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SigningError {
    /// It is no request.
    #[error("unable to parse certificate request: {0}")]
    Malformed(String),
    /// Who asks does not hold the key.
    #[error("unable to verify certificate request signature: {0}")]
    Signature(String),
    /// A usage that there is not.
    #[error("unrecognized usage values: {0:?}")]
    Usages(Vec<String>),
    /// The authority has ended, or ends before the certificate begins.
    #[error("the signer has expired: NotAfter={0}")]
    Expired(Timestamp),
    /// The authority's own key cannot be used.
    #[error("failed to sign certificate: {0}")]
    Key(String),
}

impl Authority {
    /// Signs a request in PEM. `usages` are in the words of the certificates API: `client auth`. The certificate, in PEM, ends with the
    /// authority at the latest.
    ///
    /// # Errors
    /// When the request or the authority is not in order.
    pub fn sign_request(
        &self,
        request: &[u8],
        usages: &[String],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<String, SigningError> {
        let malformed = |error: &dyn std::fmt::Display| SigningError::Malformed(error.to_string());
        let (_, pem) = parse_x509_pem(request).map_err(|error| malformed(&error))?;
        let (_, request) =
            X509CertificationRequest::from_der(&pem.contents).map_err(|error| malformed(&error))?;
        request
            .verify_signature()
            .map_err(|error| SigningError::Signature(error.to_string()))?;
        let (_, own) = X509Certificate::from_der(self.certificate_der())
            .map_err(|error| SigningError::Key(error.to_string()))?;
        let ends = Timestamp::from_second(own.validity().not_after.timestamp()).unwrap_or(Timestamp::MIN);
        if not_before >= ends {
            return Err(SigningError::Expired(ends));
        }
        let usages = Usages::read(usages)?;
        let key = self.issuer().key();
        let to_sign = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer
                    .next()
                    .write_tagged(Tag::context(0), |writer| writer.write_u8(2));
                writer.next().write_bigint_bytes(&serial(), true);
                algorithm(writer.next(), key);
                writer.next().write_der(own.subject().as_raw());
                writer.next().write_sequence(|writer| {
                    writer.next().write_der(&time(not_before));
                    writer.next().write_der(&time(not_after.min(ends)));
                });
                let asked = &request.certification_request_info;
                writer.next().write_der(asked.subject.as_raw());
                writer.next().write_der(asked.subject_pki.raw);
                writer.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|writer| extensions(writer, &usages, &own, &request));
                });
            });
        });
        let signature = key
            .sign(&to_sign)
            .map_err(|error| SigningError::Key(error.to_string()))?;
        let certificate = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&to_sign);
                algorithm(writer.next(), key);
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem_of(&certificate))
    }
}

/// What a certificate may be used for, as its extensions say it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usages {
    /// The bits of `keyUsage`, the first the lowest.
    key: u16,
    extended: Vec<&'static [u64]>,
}

impl Usages {
    fn read(names: &[String]) -> Result<Self, SigningError> {
        let mut usages = Self::default();
        let mut unknown = Vec::new();
        for name in names {
            match (key_usage(name), extended_usage(name)) {
                (Some(bit), _) => usages.key |= 1 << bit,
                (None, Some(id)) if !usages.extended.contains(&id) => usages.extended.push(id),
                (None, Some(_)) => {}
                (None, None) => unknown.push(name.clone()),
            }
        }
        usages.extended.sort_unstable();
        if unknown.is_empty() {
            Ok(usages)
        } else {
            Err(SigningError::Usages(unknown))
        }
    }

    /// `keyUsage` as a bit string without zeros at its end.
    fn bits(&self) -> (Vec<u8>, usize) {
        let length = (u16::BITS - self.key.leading_zeros()) as usize;
        (
            self.key.reverse_bits().to_be_bytes()[..length.div_ceil(8)].to_vec(),
            length,
        )
    }
}

fn key_usage(name: &str) -> Option<u32> {
    Some(match name {
        "signing" | "digital signature" => 0,
        "content commitment" => 1,
        "key encipherment" => 2,
        "data encipherment" => 3,
        "key agreement" => 4,
        "cert sign" => 5,
        "crl sign" => 6,
        "encipher only" => 7,
        "decipher only" => 8,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<&'static [u64]> {
    Some(match name {
        "any" => &[2, 5, 29, 37, 0],
        "server auth" => &[1, 3, 6, 1, 5, 5, 7, 3, 1],
        "client auth" => &[1, 3, 6, 1, 5, 5, 7, 3, 2],
        "code signing" => &[1, 3, 6, 1, 5, 5, 7, 3, 3],
        "email protection" | "s/mime" => &[1, 3, 6, 1, 5, 5, 7, 3, 4],
        "ipsec end system" => &[1, 3, 6, 1, 5, 5, 7, 3, 5],
        "ipsec tunnel" => &[1, 3, 6, 1, 5, 5, 7, 3, 6],
        "ipsec user" => &[1, 3, 6, 1, 5, 5, 7, 3, 7],
        "timestamping" => &[1, 3, 6, 1, 5, 5, 7, 3, 8],
        "ocsp signing" => &[1, 3, 6, 1, 5, 5, 7, 3, 9],
        "microsoft sgc" => &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3],
        "netscape sgc" => &[2, 16, 840, 1, 113_730, 4, 1],
        _ => return None,
    })
}

fn extensions(
    writer: &mut DERWriterSeq<'_>,
    usages: &Usages,
    authority: &X509Certificate<'_>,
    request: &X509CertificationRequest<'_>,
) {
    if usages.key != 0 {
        let (bits, length) = usages.bits();
        let value = yasna::construct_der(|writer| writer.write_bitvec_bytes(&bits, length));
        extension(writer, &[2, 5, 29, 15], true, &value);
    }
    if !usages.extended.is_empty() {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence_of(|writer| {
                for id in &usages.extended {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(id));
                }
            });
        });
        extension(writer, &[2, 5, 29, 37], false, &value);
    }
    // It signs nothing.
    let value = yasna::construct_der(|writer| writer.write_sequence(|_| {}));
    extension(writer, &[2, 5, 29, 19], true, &value);
    let subject_key =
        authority
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
                _ => None,
            });
    if let Some(id) = subject_key {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer
                    .next()
                    .write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(id));
            });
        });
        extension(writer, &[2, 5, 29, 35], false, &value);
    }
    let names = names(request);
    if !names.is_empty() {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence_of(|writer| {
                for (tag, name) in &names {
                    writer
                        .next()
                        .write_tagged_implicit(Tag::context(*tag), |writer| writer.write_bytes(name));
                }
            });
        });
        let nameless = request.certification_request_info.subject.iter().next().is_none();
        extension(writer, &[2, 5, 29, 17], nameless, &value);
    }
}

fn extension(writer: &mut DERWriterSeq<'_>, id: &[u64], critical: bool, value: &[u8]) {
    writer.next().write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(value);
    });
}

/// The alternative names that are carried over: DNS names, addresses of mail and machines, and URIs, by their tags.
fn names<'r>(request: &'r X509CertificationRequest<'_>) -> Vec<(u64, &'r [u8])> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(asked) = extension else {
            continue;
        };
        names.extend(asked.general_names.iter().filter_map(|name| match name {
            GeneralName::RFC822Name(name) => Some((1, name.as_bytes())),
            GeneralName::DNSName(name) => Some((2, name.as_bytes())),
            GeneralName::URI(name) => Some((6, name.as_bytes())),
            GeneralName::IPAddress(octets) => Some((7, *octets)),
            _ => None,
        }));
    }
    names
}

/// How the authority's key signs.
fn algorithm(writer: DERWriter<'_>, key: &KeyPair) {
    let used = key.algorithm();
    let (id, null): (&[u64], bool) = match () {
        () if used == &PKCS_RSA_SHA256 => (&[1, 2, 840, 113_549, 1, 1, 11], true),
        () if used == &PKCS_ECDSA_P384_SHA384 => (&[1, 2, 840, 10045, 4, 3, 3], false),
        () if used == &PKCS_ED25519 => (&[1, 3, 101, 112], false),
        () => {
            debug_assert_eq!(used, &PKCS_ECDSA_P256_SHA256);
            (&[1, 2, 840, 10045, 4, 3, 2], false)
        }
    };
    writer.write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
        if null {
            writer.next().write_null();
        }
    });
}

/// A number that no other certificate has: 127 random bits.
fn serial() -> [u8; 16] {
    let mut bytes = *Uuid::new_v4().as_bytes();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    bytes
}

/// A moment as certificates have it: with two digits of the year until 2049 (RFC 5280, 4.1.2.5).
fn time(at: Timestamp) -> Vec<u8> {
    let (tag, text) = match at.strftime("%Y").to_string().parse::<i16>() {
        Ok(1950..=2049) => (0x17, at.strftime("%y%m%d%H%M%SZ").to_string()),
        _ => (0x18, at.strftime("%Y%m%d%H%M%SZ").to_string()),
    };
    let length = u8::try_from(text.len()).unwrap_or_default();
    [&[tag, length], text.as_bytes()].concat()
}

fn pem_of(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, PublicKeyData, SanType};
    use x509_parser::pem::Pem;

    fn request(key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "jane");
        // Twice the same attribute: rcgen knows no way but this.
        params
            .distinguished_name
            .push(DnType::OrganizationName, "developers");
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 10]), "admins");
        params.subject_alt_names = vec![
            SanType::DnsName("jane.example.com".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ];
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    fn usages(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_says_what_was_asked_and_is_the_authority_s() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::create("own", now).unwrap();
        let key = KeyPair::generate().unwrap();
        let until = Timestamp::from_second(1_800_003_600).unwrap();
        let asked = usages(&[
            "client auth",
            "digital signature",
            "key encipherment",
            "decipher only",
        ]);
        let pem = authority
            .sign_request(request(&key).as_bytes(), &asked, now, until)
            .unwrap();
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let (_, own) = X509Certificate::from_der(authority.certificate_der()).unwrap();
        certificate.verify_signature(Some(own.public_key())).unwrap();
        assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
        let organizations = certificate
            .subject()
            .iter_organization()
            .map(|name| name.as_str().unwrap());
        assert_eq!(organizations.collect::<Vec<_>>(), ["developers", "admins"]);
        assert_eq!(certificate.validity().not_before.timestamp(), now.as_second());
        assert_eq!(certificate.validity().not_after.timestamp(), until.as_second());
        assert!(!certificate.is_ca());
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
        assert!(usage.value.decipher_only() && !usage.value.key_cert_sign());
        let extended = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.server_auth);
        let names = certificate.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 2);
        assert_eq!(names.general_names[0], GeneralName::DNSName("jane.example.com"));
    }

    #[test]
    fn what_is_not_in_order_is_not_signed() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::create("own", now).unwrap();
        let asked = usages(&["client auth"]);
        let sign = |request: &str, asked: &[String], at: Timestamp| {
            authority.sign_request(request.as_bytes(), asked, at, at)
        };
        let good = request(&KeyPair::generate().unwrap());
        assert!(matches!(
            sign("no request", &asked, now),
            Err(SigningError::Malformed(_))
        ));
        assert_eq!(
            sign(&good, &usages(&["odd"]), now),
            Err(SigningError::Usages(usages(&["odd"])))
        );
        assert!(matches!(
            sign(&good, &asked, Timestamp::MAX),
            Err(SigningError::Expired(_))
        ));
        // Another name under the same signature.
        let der = Pem::iter_from_buffer(good.as_bytes())
            .next()
            .unwrap()
            .unwrap()
            .contents;
        let at = der.windows(4).position(|bytes| bytes == b"jane").unwrap();
        let mut forged = der;
        forged[at] = b'b';
        let forged = pem_of(&forged).replace("CERTIFICATE", "CERTIFICATE REQUEST");
        assert!(matches!(
            sign(&forged, &asked, now),
            Err(SigningError::Signature(_))
        ));
    }

    #[test]
    fn years_have_as_many_digits_as_they_need() {
        let at = |text: &str| time(text.parse().unwrap());
        assert_eq!(at("2049-12-31T23:59:59Z"), b"\x17\x0d491231235959Z");
        assert_eq!(at("2050-01-01T00:00:00Z"), b"\x18\x0f20500101000000Z");
    }
}
