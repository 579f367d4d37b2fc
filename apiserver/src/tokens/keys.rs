//! The key that signs tokens, and verifying what it and others like it signed.
//!
//! RSA and ECDSA on P-256, P-384 and P-521, as upstream has them: a key signs by the algorithm of its sort, and verifies what was
//! signed by any that it can be used with.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p521::ecdsa::signature::Signer;
use rcgen::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::signatures::{Key, Signed};
use super::{Claims, pem};

/// Signs in the name of one issuer, and verifies.
pub struct TokenKeys {
    issuer: String,
    signing: SigningKey,
    /// What signed tokens are verified with; the first is the one that signs.
    verifying: Vec<Verifier>,
}

/// A key that signs.
pub(super) enum SigningKey {
    /// Of a sort that the library for tokens knows, and by which algorithm it signs.
    Usual(EncodingKey, Algorithm),
    /// On the largest curve.
    P521(Box<p521::ecdsa::SigningKey>),
}

/// A key that tokens are verified with.
struct Verifier {
    id: String,
    key: Key,
    /// By which it signs.
    algorithm: &'static str,
    jwk: Value,
}

/// A key that cannot sign tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Of no kind that is known here.
    #[error("the service account key is neither an RSA key nor an ECDSA key on P-256, P-384 or P-521")]
    Kind,
    /// Not in PEM.
    #[error("no key can be read in PEM")]
    Pem,
}

/// Why a token is not one of ours, or not valid now.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// Not a signed token at all, or with other claims.
    #[error("token is malformed")]
    Malformed,
    /// Signed by another key of the same name. The words are those of the library that upstream verifies with.
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Signature,
    /// Signed by a key that is not known.
    #[error("invalid signature, no keys found")]
    UnknownKey,
    /// Made by somebody else.
    #[error("token issuer {0:?} is invalid")]
    Issuer(String),
    /// Past its end.
    #[error("service account token has expired")]
    Expired,
    /// Before its beginning.
    #[error("service account token is not valid yet")]
    TooEarly,
}

impl TokenKeys {
    /// Takes the cluster's key.
    ///
    /// # Errors
    /// Where it is of an unknown kind.
    pub fn new(key: &KeyPair, issuer: &str) -> Result<Self, KeyError> {
        Self::from_pem(&key.serialize_pem(), issuer)
    }

    /// Takes a private key in PEM.
    ///
    /// # Errors
    /// Where there is none, or of an unknown kind.
    pub fn from_pem(text: &str, issuer: &str) -> Result<Self, KeyError> {
        let key = pem::private_key(text)?;
        Ok(Self {
            issuer: issuer.to_owned(),
            signing: key.signing,
            verifying: vec![Verifier::new(&key.public)?],
        })
    }

    /// Takes what other keys signed as well: those in this text, public or private, in PEM.
    ///
    /// # Errors
    /// Where there is none, or of an unknown kind.
    pub fn trusting(mut self, text: &str) -> Result<Self, KeyError> {
        for key in pem::public_keys(text)? {
            let verifier = Verifier::new(&key)?;
            if self.verifying.iter().all(|known| known.id != verifier.id) {
                self.verifying.push(verifier);
            }
        }
        Ok(self)
    }

    /// A key that nobody keeps.
    #[cfg(test)]
    pub(crate) fn generate(issuer: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self::new(&key, issuer).unwrap()
    }

    /// In whose name tokens are signed.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The signed token.
    pub fn sign<C: Serialize>(&self, claims: &C) -> String {
        self.signing.sign(&self.verifying[0].id, claims)
    }

    /// The claims of a token that this key signed, in this issuer's name, and that counts now. Audiences are the
    /// caller's to look at.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, VerifyError> {
        let claims: Claims = self.decode(token)?;
        if claims.issuer != self.issuer {
            return Err(VerifyError::Issuer(claims.issuer));
        }
        claims.check_time(now)?;
        Ok(claims)
    }

    /// The claims of a token that this key signed, whoever it names as its issuer and whether it counts now or not.
    pub(crate) fn decode<C: DeserializeOwned>(&self, token: &str) -> Result<C, VerifyError> {
        let signed = Signed::parse(token).ok_or(VerifyError::Malformed)?;
        let mut keys = self
            .verifying
            .iter()
            .filter(|key| signed.may_be_of(&key.id))
            .peekable();
        if keys.peek().is_none() {
            return Err(VerifyError::UnknownKey);
        }
        if !keys.any(|key| signed.is_signed_by(std::slice::from_ref(&key.key))) {
            return Err(VerifyError::Signature);
        }
        serde_json::from_value(Value::Object(signed.claims)).map_err(|_| VerifyError::Malformed)
    }

    /// The algorithms that tokens are signed with, each once.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.verifying.iter().map(|key| key.algorithm).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        let keys: Vec<&Value> = self.verifying.iter().map(|key| &key.jwk).collect();
        json!({"keys": keys})
    }
}

impl SigningKey {
    /// A token that says this, and by which key it is signed (RFC 7515).
    fn sign<C: Serialize>(&self, id: &str, claims: &C) -> String {
        let signed = match self {
            Self::Usual(key, algorithm) => {
                let mut header = Header::new(*algorithm);
                header.typ = None;
                header.kid = Some(id.to_owned());
                jsonwebtoken::encode(&header, claims, key).ok()
            }
            Self::P521(key) => serde_json::to_vec(claims).ok().map(|claims| {
                let header = json!({"alg": "ES512", "kid": id}).to_string();
                let [header, claims] = [header.as_bytes(), &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
                let message = format!("{header}.{claims}");
                let signature: p521::ecdsa::Signature = key.sign(message.as_bytes());
                format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
            }),
        };
        signed.expect("a key that was read signs any claims")
    }
}

impl Verifier {
    /// Of a public key as X.509 has it.
    fn new(public: &[u8]) -> Result<Self, KeyError> {
        let algorithm = algorithm_of(public).ok_or(KeyError::Kind)?;
        let (_, info) = SubjectPublicKeyInfo::from_der(public).map_err(|_| KeyError::Pem)?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(public));
        let jwk = match info.parsed().map_err(|_| KeyError::Kind)? {
            PublicKey::RSA(key) => {
                let [modulus, exponent] =
                    [key.modulus, key.exponent].map(|number| URL_SAFE_NO_PAD.encode(without_zeros(number)));
                json!({"use": "sig", "kty": "RSA", "kid": id, "alg": algorithm, "n": modulus, "e": exponent})
            }
            PublicKey::EC(point) => {
                let [x, y] = coordinates(point.data()).ok_or(KeyError::Kind)?;
                let curve = match algorithm {
                    "ES512" => "P-521",
                    "ES384" => "P-384",
                    _ => "P-256",
                };
                json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": algorithm, "x": x, "y": y})
            }
            _ => return Err(KeyError::Kind),
        };
        Ok(Self {
            key: Key::read(&jwk).ok_or(KeyError::Kind)?,
            id,
            algorithm,
            jwk,
        })
    }
}

/// What a key signs by; none of an unknown kind.
pub(super) fn algorithm_of(public: &[u8]) -> Option<&'static str> {
    let (_, info) = SubjectPublicKeyInfo::from_der(public).ok()?;
    match info.parsed().ok()? {
        PublicKey::RSA(_) => Some("RS256"),
        // An uncompressed point: a 4 and two coordinates.
        PublicKey::EC(point) => match point.data().len() {
            65 => Some("ES256"),
            97 => Some("ES384"),
            133 => Some("ES512"),
            _ => None,
        },
        _ => None,
    }
}

/// A number without the zeros that keep it from being read as negative.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Whom a token names as its issuer, which proves nothing; None where it is no signed token.
pub(crate) fn untrusted_issuer(token: &str) -> Option<String> {
    let signed = Signed::parse(token)?;
    Some(signed.claims.get("iss")?.as_str()?.to_owned())
}

/// The two halves of an uncompressed point: after a leading 4, both are of one length.
fn coordinates(point: &[u8]) -> Option<[String; 2]> {
    let (&4, coordinates) = point.split_first()? else {
        return None;
    };
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Some([x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate)))
}

#[cfg(test)]
mod tests;
