//! The key that signs tokens (ES256), and verifying what it signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Claims;

/// Longer tokens are refused before they are looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// An uncompressed point: a leading 4, then two coordinates of 32 bytes each.
const COORDINATE_BYTES: usize = 32;

/// Signs and verifies in the name of one issuer.
pub struct TokenKeys {
    issuer: String,
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    coordinates: [String; 2],
}

/// A key that cannot sign tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not an elliptic curve key over P-256.
    #[error("the service account key is not an ECDSA P-256 key")]
    Kind,
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
    pub fn new(key: &KeyPair, issuer: &str) -> Result<Self, KeyError> {
        let [x, y] = coordinates(key.public_key_raw()).ok_or(KeyError::Kind)?;
        Ok(Self {
            issuer: issuer.to_owned(),
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info())),
            signing: EncodingKey::from_ec_pem(key.serialize_pem().as_bytes())?,
            verifying: DecodingKey::from_ec_components(&x, &y)?,
            coordinates: [x, y],
        })
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
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).expect("a P-256 key signs any claims")
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
        if header.kid.is_some_and(|id| !id.is_empty() && id != self.id) {
            return Err(VerifyError::UnknownKey);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<C>(token, &self.verifying, &validation);
        let decoded = decoded.map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => VerifyError::Signature,
            _ => VerifyError::Malformed,
        });
        Ok(decoded?.claims)
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        let [x, y] = &self.coordinates;
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]})
    }
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

fn coordinates(point: &[u8]) -> Option<[String; 2]> {
    let (&4, coordinates) = point.split_first()? else {
        return None;
    };
    if coordinates.len() != 2 * COORDINATE_BYTES {
        return None;
    }
    let (x, y) = coordinates.split_at(COORDINATE_BYTES);
    Some([x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{KubernetesClaims, ObjectClaim};

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
    fn the_key_set_names_the_key_that_tokens_name() {
        let keys = TokenKeys::generate("us");
        let header = jsonwebtoken::decode_header(keys.sign(&claims("us"))).unwrap();
        let jwks = keys.jwks();
        assert_eq!(header.kid.as_deref(), jwks["keys"][0]["kid"].as_str());
        let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwks["keys"][0].clone()).unwrap();
        assert!(DecodingKey::from_jwk(&key).is_ok());
    }
}
