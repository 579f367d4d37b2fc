//! The key that signs tokens, and verifying what it and others like it signed.
//!
//! ECDSA on P-256 and P-384 and RSA, as upstream has them but for P-521.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Claims;
use super::pem;

/// Longer tokens are refused before they are looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// Signs in the name of one issuer, and verifies.
pub struct TokenKeys {
    issuer: String,
    signing: EncodingKey,
    /// What signed tokens are verified with; the first is the one that signs.
    verifying: Vec<Verifier>,
}

/// A key that tokens are verified with.
struct Verifier {
    id: String,
    key: DecodingKey,
    algorithm: Algorithm,
    jwk: Value,
}

/// A key that cannot sign tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Of no kind that is known here.
    #[error("the service account key is neither an RSA key nor an ECDSA key on P-256 or P-384")]
    Kind,
    /// Not in PEM.
    #[error("no key can be read in PEM")]
    Pem,
    /// Not readable as one.
    #[error("the service account key cannot be used")]
    Unusable(#[from] jsonwebtoken::errors::Error),
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
            signing: key.encoding,
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
        let own = &self.verifying[0];
        let mut header = Header::new(own.algorithm);
        header.typ = None;
        header.kid = Some(own.id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).expect("a key that was read signs any claims")
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
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| VerifyError::Malformed)?;
        let named = header.kid.filter(|id| !id.is_empty());
        let keys = self.verifying.iter();
        let mut failed = VerifyError::UnknownKey;
        for key in keys.filter(|key| named.as_ref().is_none_or(|id| *id == key.id)) {
            match key.decode(token) {
                Ok(claims) => return Ok(claims),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The algorithms that tokens are signed with, each once.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.verifying.iter().map(Verifier::algorithm).collect();
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

impl Verifier {
    /// Of a public key as X.509 has it.
    fn new(public: &[u8]) -> Result<Self, KeyError> {
        let algorithm = algorithm_of(public).ok_or(KeyError::Kind)?;
        let (_, info) = SubjectPublicKeyInfo::from_der(public).map_err(|_| KeyError::Pem)?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(public));
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (key, jwk) = match info.parsed().map_err(|_| KeyError::Kind)? {
            PublicKey::RSA(key) => {
                let [modulus, exponent] = [key.modulus, key.exponent].map(without_zeros);
                let jwk = json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256",
                    "n": encoded(modulus), "e": encoded(exponent)});
                (DecodingKey::from_rsa_raw_components(modulus, exponent), jwk)
            }
            PublicKey::EC(point) => {
                let [x, y] = coordinates(point.data()).ok_or(KeyError::Kind)?;
                let (curve, name) = match algorithm {
                    Algorithm::ES384 => ("P-384", "ES384"),
                    _ => ("P-256", "ES256"),
                };
                let key = DecodingKey::from_ec_components(&x, &y)?;
                let jwk =
                    json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": name, "x": x, "y": y});
                (key, jwk)
            }
            _ => return Err(KeyError::Kind),
        };
        Ok(Self {
            id,
            key,
            algorithm,
            jwk,
        })
    }

    fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::RS256 => "RS256",
            Algorithm::ES384 => "ES384",
            _ => "ES256",
        }
    }

    fn decode<C: DeserializeOwned>(&self, token: &str) -> Result<C, VerifyError> {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<C>(token, &self.key, &validation);
        let decoded = decoded.map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => VerifyError::Signature,
            _ => VerifyError::Malformed,
        });
        Ok(decoded?.claims)
    }
}

/// What a key signs with; none of an unknown kind.
pub(super) fn algorithm_of(public: &[u8]) -> Option<Algorithm> {
    let (_, info) = SubjectPublicKeyInfo::from_der(public).ok()?;
    match info.parsed().ok()? {
        PublicKey::RSA(_) => Some(Algorithm::RS256),
        PublicKey::EC(point) => match point.data().len() {
            65 => Some(Algorithm::ES256),
            97 => Some(Algorithm::ES384),
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
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(claims.get("iss")?.as_str()?.to_owned())
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
mod tests {
    use super::*;
    use crate::tokens::{KubernetesClaims, ObjectClaim};
    use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey};
    use rsa::pkcs8::{EncodePrivateKey, LineEnding};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claims(issuer: &str) -> Claims {
        Claims {
            audiences: vec!["a".to_owned()],
            expires: 2000,
            issued: 1000,
            issuer: issuer.to_owned(),
            not_before: 1000,
            subject: "system:serviceaccount:n:s".to_owned(),
            kubernetes: KubernetesClaims {
                namespace: "n".to_owned(),
                service_account: ObjectClaim::new("s", "u"),
                ..KubernetesClaims::default()
            },
            ..Claims::default()
        }
    }

    #[test]
    fn what_was_signed_is_verified_as_long_as_it_counts() {
        let keys = TokenKeys::generate("us");
        let token = keys.sign(&claims("us"));
        assert_eq!(keys.verify(&token, at(1500)), Ok(claims("us")));
        assert_eq!(keys.verify(&token, at(2001)), Err(VerifyError::Expired));
        assert_eq!(keys.verify(&token, at(999)), Err(VerifyError::TooEarly));
    }

    #[test]
    fn nothing_else_is() {
        let keys = TokenKeys::generate("us");
        let token = keys.sign(&claims("us"));
        assert_eq!(
            TokenKeys::generate("us").verify(&token, at(1500)),
            Err(VerifyError::UnknownKey)
        );
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        let other = keys.sign(&Claims {
            id: "other".to_owned(),
            ..claims("us")
        });
        let (_, signature) = other.rsplit_once('.').unwrap();
        assert_eq!(
            keys.verify(&format!("{unsigned}.{signature}"), at(1500)),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            keys.verify(&keys.sign(&claims("them")), at(1500)),
            Err(VerifyError::Issuer("them".to_owned()))
        );
        let (head, signature) = token.rsplit_once('.').unwrap();
        let body = head.split_once('.').unwrap().1;
        let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let shared = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let forgeries = [
            String::new(),
            "a.b.c".to_owned(),
            format!("{unsigned}.{body}."),
            format!("{shared}.{body}.{signature}"),
            format!("{head}."),
            "x".repeat(MAX_TOKEN_BYTES + 1),
        ];
        for forged in forgeries {
            assert!(keys.verify(&forged, at(1500)).is_err(), "{forged:.60}");
        }
    }

    #[test]
    fn keys_of_other_servers_are_trusted_where_they_are_named() {
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let signed = TokenKeys::new(&other, "us").unwrap().sign(&claims("us"));
        let own = TokenKeys::generate("us");
        let token = own.sign(&claims("us"));
        assert_eq!(own.verify(&signed, at(1500)), Err(VerifyError::UnknownKey));
        let both = own.trusting(&other.public_key_pem()).unwrap();
        assert_eq!(both.verify(&signed, at(1500)), Ok(claims("us")));
        assert_eq!(both.verify(&token, at(1500)), Ok(claims("us")));
        assert_eq!(both.algorithms(), ["ES256", "ES384"]);
        // Private keys name their public halves, and a key counts once.
        let again = both.trusting(&other.serialize_pem()).unwrap();
        assert_eq!(again.jwks()["keys"].as_array().map(Vec::len), Some(2));
        assert!(TokenKeys::from_pem("none", "us").is_err());
    }

    /// A key on P-256 in the form that SEC 1 gives it, which names its curve and its public half.
    fn sec1() -> String {
        let key = KeyPair::generate().unwrap();
        let pkcs8 = key.serialize_der();
        // In PKCS #8 the secret number is what follows the last header that announces 32 bytes.
        let header = pkcs8.windows(2).position(|bytes| bytes == [0x04, 0x20]).unwrap();
        let secret = &pkcs8[header..header + 34];
        let curve: &[u8] = &[
            0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
        ];
        let public = [&[0xa1, 0x44, 0x03, 0x42, 0x00], key.public_key_raw()].concat();
        let content = [&[0x02, 0x01, 0x01], secret, curve, &public].concat();
        let sequence = [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat();
        let text = base64::engine::general_purpose::STANDARD.encode(sequence);
        format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
    }

    /// As `openssl` writes them: in PKCS #8, and in the older forms of RSA and of curves.
    #[test]
    fn every_form_of_a_key_is_read() {
        let rsa = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let pkcs8 = rsa.to_pkcs8_pem(LineEnding::LF).unwrap();
        let pkcs1 = rsa.to_pkcs1_pem(LineEnding::LF).unwrap();
        for text in [pkcs8.as_str(), pkcs1.as_str(), &sec1()] {
            let keys = TokenKeys::from_pem(text, "us").unwrap();
            let token = keys.sign(&claims("us"));
            let others = TokenKeys::generate("us").trusting(text).unwrap();
            assert_eq!(others.verify(&token, at(1500)), Ok(claims("us")));
        }
        let public = rsa.to_public_key().to_pkcs1_pem(LineEnding::LF).unwrap();
        let trusting = TokenKeys::generate("us").trusting(&public).unwrap();
        let token = TokenKeys::from_pem(&pkcs8, "us").unwrap().sign(&claims("us"));
        assert_eq!(trusting.verify(&token, at(1500)), Ok(claims("us")));
    }

    #[test]
    fn the_key_set_names_the_key_that_tokens_name() {
        let keys = TokenKeys::generate("us");
        let header = jsonwebtoken::decode_header(keys.sign(&claims("us"))).unwrap();
        let jwks = keys.jwks();
        assert_eq!(header.kid.as_deref(), jwks["keys"][0]["kid"].as_str());
        let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwks["keys"][0].clone()).unwrap();
        assert!(DecodingKey::from_jwk(&key).is_ok());
    }
}
