//! Signatures of tokens, and the keys that verify them (RFC 7515, 7517, 7518): of this server's own and of other issuers. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use p521::ecdsa::signature::Verifier;
use serde_json::{Map, Value};

/// Longer tokens are refused before they are looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// What signatures may be made by, in upstream's order.
pub const ALGORITHMS: [&str; 9] = [
    "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
];

/// A key that verifies signatures.
pub(crate) struct Key {
    id: String,
    family: Family,
}

enum Family {
    Rsa(DecodingKey),
    P256(DecodingKey),
    P384(DecodingKey),
    P521(Box<p521::ecdsa::VerifyingKey>),
}

/// A token taken apart, of which nothing is proved yet.
pub(crate) struct Signed<'t> {
    /// What is signed.
    message: &'t str,
    signature: &'t str,
    /// By which algorithm it says to be signed.
    pub(crate) algorithm: String,
    /// By which key it says to be signed; empty where it does not.
    key: String,
    /// What it says.
    pub(crate) claims: Map<String, Value>,
}

impl<'t> Signed<'t> {
    /// Takes a token apart; None where it is none.
    pub(crate) fn parse(token: &'t str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = object(header)?;
        let text = |name: &str| {
            let text = header.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        // What has to be understood to read the rest is not: there are no extensions that we know.
        if header.contains_key("crit") {
            return None;
        }
        Some(Self {
            message,
            signature,
            algorithm: text("alg"),
            key: text("kid"),
            claims: object(payload)?,
        })
    }

    /// Whether the key of an id may have signed it.
    pub(super) fn may_be_of(&self, id: &str) -> bool {
        self.key.is_empty() || self.key == id
    }

    /// Whom it names as its issuer.
    pub(crate) fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether one of the keys signed it.
    pub(crate) fn is_signed_by(&self, keys: &[Key]) -> bool {
        keys.iter().filter(|key| self.may_be_of(&key.id)).any(|key| {
            key.verify(&self.algorithm, self.message.as_bytes(), self.signature)
                .unwrap_or(false)
        })
    }
}

impl Key {
    /// The keys of a set (RFC 7517); what is none, or of a sort that is not known, is passed over.
    pub(crate) fn set(jwks: &Value) -> Option<Vec<Self>> {
        let keys = jwks.get("keys")?.as_array()?;
        Some(keys.iter().filter_map(Self::read).collect())
    }

    /// A key of a set; none where it is of a sort that is not known, or not for signatures.
    pub(super) fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        if !matches!(text("use"), "" | "sig") {
            return None;
        }
        let elliptic = || DecodingKey::from_ec_components(text("x"), text("y")).ok();
        let family = match (text("kty"), text("crv")) {
            ("RSA", _) => Family::Rsa(DecodingKey::from_rsa_components(text("n"), text("e")).ok()?),
            ("EC", "P-256") => Family::P256(elliptic()?),
            ("EC", "P-384") => Family::P384(elliptic()?),
            ("EC", "P-521") => {
                let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(text(name)).ok();
                let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?;
                Family::P521(Box::new(key))
            }
            _ => return None,
        };
        Some(Self {
            id: text("kid").to_owned(),
            family,
        })
    }

    fn verify(&self, algorithm: &str, message: &[u8], signature: &str) -> Option<bool> {
        let (key, algorithm) = match (&self.family, algorithm) {
            (Family::Rsa(key), "RS256") => (key, Algorithm::RS256),
            (Family::Rsa(key), "RS384") => (key, Algorithm::RS384),
            (Family::Rsa(key), "RS512") => (key, Algorithm::RS512),
            (Family::Rsa(key), "PS256") => (key, Algorithm::PS256),
            (Family::Rsa(key), "PS384") => (key, Algorithm::PS384),
            (Family::Rsa(key), "PS512") => (key, Algorithm::PS512),
            (Family::P256(key), "ES256") => (key, Algorithm::ES256),
            (Family::P384(key), "ES384") => (key, Algorithm::ES384),
            (Family::P521(key), "ES512") => {
                let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
                let signature = p521::ecdsa::Signature::from_slice(&signature).ok()?;
                return Some(key.verify(message, &signature).is_ok());
            }
            _ => return None,
        };
        jsonwebtoken::crypto::verify(signature, message, key, algorithm).ok()
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use p521::ecdsa::signature::Signer;
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::traits::PublicKeyParts;
    use serde_json::json;

    use super::*;

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// A token signed by whatever `sign` does to its text.
    fn token(algorithm: &str, sign: impl Fn(&[u8]) -> String) -> String {
        let header = encoded(json!({"alg": algorithm, "kid": "k"}).to_string());
        let message = format!(
            "{header}.{}",
            encoded(json!({"iss": "https://issuer"}).to_string())
        );
        let signature = sign(message.as_bytes());
        format!("{message}.{signature}")
    }

    fn elliptic(algorithm: &str, crv: &str) -> (String, Value) {
        let kind = if crv == "P-256" {
            &rcgen::PKCS_ECDSA_P256_SHA256
        } else {
            &rcgen::PKCS_ECDSA_P384_SHA384
        };
        let pair = rcgen::KeyPair::generate_for(kind).unwrap();
        let point = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let jwk = json!({"kty": "EC", "crv": crv, "kid": "k", "x": encoded(x), "y": encoded(y)});
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let signed = token(algorithm, |message| {
            jsonwebtoken::crypto::sign(message, &key, algorithm.parse().unwrap()).unwrap()
        });
        (signed, jwk)
    }

    fn large_elliptic() -> (String, Value) {
        let secret = p521::SecretKey::from_slice(&[[0].as_slice(), &[7; 65]].concat()).unwrap();
        let key = p521::ecdsa::SigningKey::from_slice(&secret.to_bytes()).unwrap();
        let point = p521::ecdsa::VerifyingKey::from(&key).to_encoded_point(false);
        let jwk = json!({"kty": "EC", "crv": "P-521", "kid": "k", "x": encoded(point.x().unwrap()), "y": encoded(point.y().unwrap())});
        let signed = token("ES512", |message| {
            let signature: p521::ecdsa::Signature = key.sign(message);
            encoded(signature.to_bytes())
        });
        (signed, jwk)
    }

    #[test]
    fn a_signature_counts_by_its_key_and_algorithm_alone() {
        let mut random = rsa::rand_core::OsRng;
        let private = rsa::RsaPrivateKey::new(&mut random, 2048).unwrap();
        let der = private.to_pkcs1_der().unwrap();
        let rsa_key = EncodingKey::from_rsa_der(der.as_bytes());
        let jwk = json!({"kty": "RSA", "kid": "k", "n": encoded(private.n().to_bytes_be()), "e": encoded(private.e().to_bytes_be())});
        let mut signed: Vec<(String, Value)> = Vec::new();
        for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
            let sign = |message: &[u8]| {
                jsonwebtoken::crypto::sign(message, &rsa_key, name.parse().unwrap()).unwrap()
            };
            signed.push((token(name, sign), jwk.clone()));
        }
        signed.push(elliptic("ES256", "P-256"));
        signed.push(elliptic("ES384", "P-384"));
        signed.push(large_elliptic());
        for (token, jwk) in &signed {
            let parsed = Signed::parse(token).unwrap();
            assert_eq!(parsed.issuer(), "https://issuer");
            let keys = Key::set(&json!({"keys": [jwk]})).unwrap();
            assert!(parsed.is_signed_by(&keys), "{}", parsed.algorithm);
            for (other, jwk) in signed.iter().filter(|(_, other)| other != jwk) {
                let others = Key::set(&json!({"keys": [jwk]})).unwrap();
                assert!(!parsed.is_signed_by(&others), "{other}");
            }
            let mut renamed = jwk.clone();
            renamed["kid"] = json!("other");
            assert!(!parsed.is_signed_by(&Key::set(&json!({"keys": [renamed]})).unwrap()));
            let mut for_secrets = jwk.clone();
            for_secrets["use"] = json!("enc");
            assert!(Key::set(&json!({"keys": [for_secrets]})).unwrap().is_empty());
            let forged = token.replacen("eyJhbGci", "eyJhbGcI", 1);
            let told = Signed::parse(&forged).is_some_and(|forged| forged.is_signed_by(&keys));
            assert!(!told);
        }
    }

    #[test]
    fn what_is_no_token_is_not_taken_apart() {
        let none = encoded(json!({"alg": "none"}).to_string());
        let claims = encoded(json!({"iss": "a"}).to_string());
        let unsigned = format!("{none}.{claims}.");
        assert!(!Signed::parse(&unsigned).unwrap().is_signed_by(&[]));
        let critical = encoded(json!({"alg": "ES256", "crit": ["b64"]}).to_string());
        for text in [
            String::new(),
            "a.b".to_owned(),
            "a.b.c.d".to_owned(),
            format!("{critical}.{claims}.x"),
            format!("{none}.{claims}.{}", "x".repeat(MAX_TOKEN_BYTES)),
        ] {
            assert!(Signed::parse(&text).is_none(), "{text:.40}");
        }
    }
}
