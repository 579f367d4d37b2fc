//! Keys in PEM, in the forms that tools write them in: RSA and elliptic curves, public and private, certificates too.
//!
//! All of them come down to the public key as X.509 has it (`SubjectPublicKeyInfo`), from which key ids are made, and private
//! ones to PKCS #8 besides.

use jsonwebtoken::{Algorithm, EncodingKey};
use p521::ecdsa::{SigningKey as P521Key, VerifyingKey as P521PublicKey};
use rcgen::{KeyPair, PublicKeyData};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::KeyError;
use super::keys::SigningKey;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;
/// `rsaEncryption` and its absent parameters.
const RSA: [u8; 15] = [
    SEQUENCE, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0,
];
/// `id-ecPublicKey`.
const EC: [u8; 9] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x22];
const P521: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x23];

/// A key that signs.
pub(super) struct PrivateKey {
    pub(super) signing: SigningKey,
    /// Its public half.
    pub(super) public: Vec<u8>,
}

/// The public keys of a text, in their order.
pub(super) fn public_keys(text: &str) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut keys = Vec::new();
    for block in blocks(text)? {
        let key = match block.label.as_str() {
            "PUBLIC KEY" => block.contents,
            "RSA PUBLIC KEY" => rsa_public(&block.contents),
            "CERTIFICATE" => {
                let certificate = block.parse_x509().map_err(|_| KeyError::Pem)?;
                certificate.public_key().raw.to_vec()
            }
            "EC PARAMETERS" => continue,
            _ => private_key_in(&block)?.public,
        };
        SubjectPublicKeyInfo::from_der(&key).map_err(|_| KeyError::Pem)?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(KeyError::Pem);
    }
    Ok(keys)
}

/// The first private key of a text.
pub(super) fn private_key(text: &str) -> Result<PrivateKey, KeyError> {
    let blocks = blocks(text)?;
    let found = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY"));
    private_key_in(found.ok_or(KeyError::Pem)?)
}

fn blocks(text: &str) -> Result<Vec<Pem>, KeyError> {
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(text.as_bytes()).collect();
    blocks.map_err(|_| KeyError::Pem)
}

fn private_key_in(block: &Pem) -> Result<PrivateKey, KeyError> {
    let contents = &block.contents;
    let pkcs8 = match block.label.as_str() {
        "PRIVATE KEY" => contents.clone(),
        "RSA PRIVATE KEY" => pkcs8(&RSA, contents),
        "EC PRIVATE KEY" => pkcs8(&curve(contents).ok_or(KeyError::Kind)?, contents),
        _ => return Err(KeyError::Pem),
    };
    if let Some(key) = p521_private(&pkcs8) {
        let point = P521PublicKey::from(&key).to_encoded_point(false);
        let algorithm = wrapped(SEQUENCE, &[&EC[..], &P521].concat());
        return Ok(PrivateKey {
            public: public_key(&algorithm, point.as_bytes()),
            signing: SigningKey::P521(Box::new(key)),
        });
    }
    let pair = KeyPair::try_from(pkcs8.as_slice()).map_err(|_| KeyError::Kind)?;
    let public = pair.subject_public_key_info();
    let (key, algorithm) = match super::keys::algorithm_of(&public) {
        Some("RS256") => {
            let key = inner_key(&pkcs8).ok_or(KeyError::Kind)?.1;
            (EncodingKey::from_rsa_der(key), Algorithm::RS256)
        }
        Some("ES256") => (EncodingKey::from_ec_der(&pkcs8), Algorithm::ES256),
        Some("ES384") => (EncodingKey::from_ec_der(&pkcs8), Algorithm::ES384),
        _ => return Err(KeyError::Kind),
    };
    let signing = SigningKey::Usual(key, algorithm);
    Ok(PrivateKey { signing, public })
}

/// The algorithm of a key on a curve, of which the length of the secret tells (RFC 5915).
fn curve(contents: &[u8]) -> Option<Vec<u8>> {
    let inner = field(contents, SEQUENCE)?.0;
    let (_, rest) = field(inner, INTEGER)?;
    let (secret, _) = field(rest, OCTET_STRING)?;
    let curve: &[u8] = match secret.len() {
        32 => &P256,
        48 => &P384,
        66 => &P521,
        _ => return None,
    };
    Some(wrapped(SEQUENCE, &[&EC[..], curve].concat()))
}

/// A private key of any sort (RFC 5208).
fn pkcs8(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let version = [INTEGER, 1, 0];
    wrapped(
        SEQUENCE,
        &[&version[..], algorithm, &wrapped(OCTET_STRING, key)].concat(),
    )
}

/// The algorithm of a private key, and the key itself.
fn inner_key(pkcs8: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = field(pkcs8, SEQUENCE)?.0;
    let (_, rest) = field(inner, INTEGER)?;
    let (algorithm, rest) = field(rest, SEQUENCE)?;
    Some((algorithm, field(rest, OCTET_STRING)?.0))
}

/// A private key on P-521, if it is one (RFC 5915 within RFC 5208).
fn p521_private(pkcs8: &[u8]) -> Option<P521Key> {
    let (algorithm, key) = inner_key(pkcs8)?;
    if algorithm != [&EC[..], &P521].concat() {
        return None;
    }
    let (_, rest) = field(field(key, SEQUENCE)?.0, INTEGER)?;
    P521Key::from_slice(field(rest, OCTET_STRING)?.0).ok()
}

/// An RSA key as X.509 has it.
fn rsa_public(pkcs1: &[u8]) -> Vec<u8> {
    public_key(&RSA, pkcs1)
}

/// A public key of any sort (RFC 5280).
fn public_key(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    // No bit of the last byte is unused.
    let bits = wrapped(BIT_STRING, &[&[0][..], key].concat());
    wrapped(SEQUENCE, &[algorithm, &bits].concat())
}

/// The contents of the field that bytes begin with, and what follows it.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (long, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        length = long.iter().try_fold(0usize, |length, byte| {
            length.checked_mul(256)?.checked_add(usize::from(*byte))
        })?;
        rest = after;
    }
    let (contents, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((contents, rest))
}

fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match significant[..] {
        [] => out.push(0),
        [short] if short < 0x80 => out.push(short),
        _ => {
            out.push(0x80 | u8::try_from(significant.len()).expect("a length has eight bytes"));
            out.extend(&significant);
        }
    }
    out.extend_from_slice(contents);
    out
}
