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
        "x".repeat((32 << 10) + 1),
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

/// A key on P-521 in the forms of SEC 1 and of PKCS #8.
fn on_the_largest_curve() -> [String; 2] {
    let short = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let secret = [&[0][..], &[7; 65]].concat();
    let curve = [6, 5, 0x2b, 0x81, 4, 0, 0x23];
    let field = |curve: &[u8]| [&[2, 1, 1][..], &short(4, &secret), curve].concat();
    let sec1 = short(0x30, &field(&short(0xa0, &curve)));
    let algorithm = [&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1][..], &curve].concat();
    let key = short(4, &short(0x30, &field(&[])));
    let pkcs8 = short(0x30, &[&[2, 1, 0][..], &short(0x30, &algorithm), &key].concat());
    [("EC PRIVATE KEY", sec1), ("PRIVATE KEY", pkcs8)].map(|(label, der)| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    })
}

#[test]
fn keys_on_the_largest_curve_sign_and_verify() {
    for text in on_the_largest_curve() {
        let keys = TokenKeys::from_pem(&text, "us").unwrap();
        let token = keys.sign(&claims("us"));
        assert_eq!(keys.verify(&token, at(1500)), Ok(claims("us")));
        assert_eq!(keys.algorithms(), ["ES512"]);
        let jwks = keys.jwks();
        let jwk = &jwks["keys"][0];
        assert_eq!((&jwk["crv"], &jwk["alg"]), (&json!("P-521"), &json!("ES512")));
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({"alg": "ES512", "kid": jwk["kid"]}));
        let others = TokenKeys::generate("us").trusting(&text).unwrap();
        assert_eq!(others.verify(&token, at(1500)), Ok(claims("us")));
        let (message, _) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.encode([1; 132]);
        let forged = format!("{message}.{signature}");
        assert_eq!(keys.verify(&forged, at(1500)), Err(VerifyError::Signature));
    }
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
    assert!(jsonwebtoken::DecodingKey::from_jwk(&key).is_ok());
}
