//! Tokens that are known elsewhere: those of OpenID issuers, and those that a webhook knows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle_apiserver::authn::jwt::{ClaimMappings, Issuer, JwtIssuer, Mapping};
use coracle_apiserver::config::TokenWebhookConfig;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

use crate::https::Elsewhere;
use crate::stand_in::{Server, get, post};

/// A key of an issuer's.
struct SigningKey {
    id: &'static str,
    pair: KeyPair,
}

impl SigningKey {
    fn new(id: &'static str) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { id, pair }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.der_bytes();
        let (x, y) = point[1..].split_at(32);
        let encoded = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": encoded(x), "y": encoded(y)})
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// An issuer that shows these keys.
async fn issuer(keys: Arc<Mutex<Vec<Value>>>) -> Elsewhere {
    Elsewhere::start(move |own, path, _| match path {
        "/.well-known/openid-configuration" => {
            (200, json!({"issuer": own, "jwks_uri": format!("{own}/keys")}))
        }
        "/keys" => (200, json!({"keys": *keys.lock().unwrap()})),
        _ => (404, json!({})),
    })
    .await
}

fn claims(issuer: &str, change: impl Fn(&mut Value)) -> Value {
    let ends = jiff::Timestamp::now().as_second() + 600;
    let mut claims =
        json!({"iss": issuer, "aud": "us", "sub": "jane", "exp": ends, "groups": ["devs"], "jti": "t1"});
    change(&mut claims);
    claims
}

/// A server that believes an issuer, and puts a prefix before the groups that it tells.
async fn believing(issuer: &Elsewhere, prefix: &str) -> Server {
    Server::start_with(|config| {
        let claim = |claim: &str, prefix: &str| Mapping {
            claim: claim.to_owned(),
            prefix: Some(prefix.to_owned()),
            ..Mapping::default()
        };
        config.authentication.signing_algorithms = vec!["ES256".to_owned()];
        config.authentication.jwt = vec![JwtIssuer {
            issuer: Issuer {
                url: issuer.url.clone(),
                certificate_authority: issuer.authority.clone(),
                audiences: vec!["us".to_owned()],
                ..Issuer::default()
            },
            claim_mappings: ClaimMappings {
                username: claim("sub", ""),
                groups: claim("groups", prefix),
                ..ClaimMappings::default()
            },
            ..JwtIssuer::default()
        }];
    })
    .await
}

async fn ask(server: &Server, token: &str) -> (u16, Value) {
    let client = server.with_token(Some(token)).await;
    let answer = get(&client, "/api/v1/namespaces/a/pods").await;
    (answer.code, answer.json())
}

/// Asks until the server has found out where the issuer's keys are.
async fn ask_at_last(server: &Server, token: &str) -> Value {
    let asking = async {
        loop {
            if let (200, answer) = ask(server, token).await {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking)
        .await
        .unwrap()
}

#[tokio::test]
async fn tokens_of_an_issuer_count_and_its_keys_may_change() {
    let (first, second) = (SigningKey::new("1"), SigningKey::new("2"));
    let keys = Arc::new(Mutex::new(vec![first.jwk()]));
    let issuer = issuer(keys.clone()).await;
    let server = believing(&issuer, "oidc:").await;
    let good = first.sign(&claims(&issuer.url, |_| {}));
    let answer = ask_at_last(&server, &good).await;
    assert_eq!(answer["user"], "jane");
    assert_eq!(answer["groups"], json!(["oidc:devs", "system:authenticated"]));
    let before = issuer.asked("/keys").len();
    assert_eq!(ask(&server, &good).await.0, 200);
    assert_eq!(
        issuer.asked("/keys").len(),
        before,
        "keys that are known are not asked for"
    );

    let late = second.sign(&claims(&issuer.url, |_| {}));
    assert_eq!(ask(&server, &late).await.0, 401, "nobody shows that key");
    *keys.lock().unwrap() = vec![second.jwk()];
    assert_eq!(ask(&server, &late).await.0, 200, "keys may change");
    assert_eq!(ask(&server, &good).await.0, 401, "and are forgotten then");

    let bad: [(&str, Value); 4] = [
        (
            "for others",
            claims(&issuer.url, |claims| claims["aud"] = json!("them")),
        ),
        ("over", claims(&issuer.url, |claims| claims["exp"] = json!(1000))),
        (
            "nobody's",
            claims(&issuer.url, |claims| claims["sub"] = Value::Null),
        ),
        ("another's", claims("https://other", |_| {})),
    ];
    for (why, claims) in &bad {
        let (code, _) = ask(&server, &second.sign(claims)).await;
        // A null name is an empty one, which upstream takes.
        assert_eq!(code, if *why == "nobody's" { 403 } else { 401 }, "{why}");
    }
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": second.sign(&bad[0].1)}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let told = post(&server.admin().await, path, &review).await.json();
    assert_eq!(
        told["status"]["error"],
        "[invalid bearer token, oidc: verify token: oidc: expected audience \"us\" got [\"them\"]]"
    );
}

#[tokio::test]
async fn groups_may_be_told_elsewhere_to_who_holds_the_token_for_that() {
    let key = Arc::new(SigningKey::new("1"));
    let signer = key.clone();
    let issuer = Elsewhere::start(move |own, path, credential| match path {
        "/.well-known/openid-configuration" => {
            (200, json!({"issuer": own, "jwks_uri": format!("{own}/keys")}))
        }
        "/keys" => (200, json!({"keys": [signer.jwk()]})),
        "/groups" if credential == "Bearer at" => {
            let told = claims(own, |claims| claims["groups"] = json!(["many", "more"]));
            (200, Value::String(signer.sign(&told)))
        }
        "/others" => {
            let told = claims(own, |claims| claims["aud"] = json!("others"));
            (200, Value::String(signer.sign(&told)))
        }
        _ => (401, json!({})),
    })
    .await;
    let server = believing(&issuer, "").await;
    let leaving = |path: &str, access_token: &str| {
        let endpoint = format!("{}{path}", issuer.url);
        let token = claims(&issuer.url, |claims| {
            claims.as_object_mut().unwrap().remove("groups");
            claims["_claim_names"] = json!({"groups": "src"});
            claims["_claim_sources"] = json!({"src": {"endpoint": endpoint, "access_token": access_token}});
        });
        key.sign(&token)
    };
    let answer = ask_at_last(&server, &leaving("/groups", "at")).await;
    assert_eq!(answer["groups"], json!(["many", "more", "system:authenticated"]));
    for (why, token) in [
        ("who may not ask", leaving("/groups", "wrong")),
        ("what is told for others", leaving("/others", "at")),
    ] {
        assert_eq!(ask(&server, &token).await.0, 401, "{why}");
    }
}

#[tokio::test]
async fn a_file_says_by_expressions_what_tokens_mean_and_where_none_is_needed() {
    let key = SigningKey::new("1");
    let issuer = issuer(Arc::new(Mutex::new(vec![key.jwk()]))).await;
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]},
        "jwt": [{
            "issuer": {"url": issuer.url, "certificateAuthority": issuer.authority, "audiences": ["us", "others"],
                "audienceMatchPolicy": "MatchAny"},
            "claimMappings": {
                "username": {"expression": "claims.sub"},
                "groups": {"expression": "claims.groups.filter(group, group != 'hidden')"},
                "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
            },
            "claimValidationRules": [{"expression": "claims.tenant in ['a', 'b']", "message": "tenant is not ours"}],
            "userValidationRules": [{"expression": "!user.username.startsWith('system:')"}],
        }],
    });
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("authentication.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let server = Server::start_with(|config| config.authentication.file = Some(file)).await;
    let of = |tenant: &str, name: &str| {
        key.sign(&claims(&issuer.url, |claims| {
            claims["tenant"] = json!(tenant);
            claims["sub"] = json!(name);
            claims["groups"] = json!(["devs", "hidden"]);
        }))
    };
    let answer = ask_at_last(&server, &of("a", "jane")).await;
    assert_eq!(answer["groups"], json!(["devs", "system:authenticated"]));
    assert_eq!(ask(&server, &of("c", "jane")).await.0, 401);
    assert_eq!(ask(&server, &of("a", "system:admin")).await.0, 401);
    let nobody = server.with_token(None).await;
    assert_eq!(get(&nobody, "/livez").await.code, 200);
    assert_eq!(get(&nobody, "/readyz").await.code, 401);
}

#[tokio::test]
async fn a_webhook_is_asked_once_about_a_token() {
    let webhook = Elsewhere::start(|_, _, review| {
        let known = review["spec"]["token"] == "theirs";
        let user = json!({"username": "jane", "uid": "7", "groups": ["devs"], "extra": {"k": ["v"]}});
        let status = if known {
            json!({"authenticated": true, "user": user})
        } else {
            json!({"authenticated": false})
        };
        (
            200,
            json!({"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status}),
        )
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("webhook.conf");
    std::fs::write(&kubeconfig, webhook.kubeconfig("/authenticate")).unwrap();
    let server = Server::start_with(|config| {
        config.authentication.webhook = Some(TokenWebhookConfig {
            kubeconfig,
            version: "v1".to_owned(),
            cache_ttl: Duration::from_secs(120),
        });
    })
    .await;
    for _ in 0..2 {
        let (code, answer) = ask(&server, "theirs").await;
        assert_eq!((code, &answer["user"]), (200, &json!("jane")));
        assert_eq!(ask(&server, "nobody's").await.0, 401);
    }
    assert_eq!(
        ask(&server, "jane-token").await.0,
        200,
        "those at hand come first"
    );
    let asked = webhook.asked("/authenticate");
    assert_eq!(asked.len(), 2, "each token once");
    assert_eq!(asked[0]["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(
        asked[0]["spec"]["audiences"],
        json!(["https://kubernetes.default.svc.cluster.local"])
    );
}
