//! Bearer tokens of service accounts: a whole token, and the claims of one that was signed.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle_apiserver::tokens::TokenKeys;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};

const ISSUER: &str = "https://kubernetes.default.svc";

/// What a token's head says: of `{"alg":"ES256"}`.
const HEAD: &str = "eyJhbGciOiJFUzI1NiJ9";

struct Keys {
    verifying: TokenKeys,
    signing: EncodingKey,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key can be made");
    Keys {
        verifying: TokenKeys::new(&key, ISSUER).expect("it is a key of the right kind"),
        signing: EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("it can sign"),
    }
});

/// Nothing that is made up counts as a token, and of signed claims only those that name the issuer and this time.
pub fn check(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let now = Timestamp::UNIX_EPOCH;
    KEYS.verifying.verify(text, now).expect_err("nobody has the key");
    let signed = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(input));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &KEYS.signing, Algorithm::ES256);
    let signature = signature.expect("a P-256 key signs anything");
    let Ok(claims) = KEYS.verifying.verify(&format!("{signed}.{signature}"), now) else {
        return false;
    };
    assert_eq!(claims.issuer, ISSUER);
    assert!(claims.not_before <= 0 && claims.expires >= 0, "{claims:?}");
    true
}
