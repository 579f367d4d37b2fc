//! Ways to say who somebody is that are off unless asked for, and tokens that live in secrets.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_apiserver::authn::FrontProxyHeaders;
use coracle_apiserver::config::FrontProxy;
use coracle_store::model::ModelStore;
use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::client::Body;
use kube::config::AuthInfo;
use kube::runtime::wait::await_condition;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::stand_in::{Server, client_of, client_with, get, policy, post, send, start_whole};

fn bootstrap_token() -> Value {
    let encoded = |text: &str| STANDARD.encode(text);
    json!({
        "metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "data": {"token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"),
            "usage-bootstrap-authentication": encoded("true"), "auth-extra-groups": encoded("system:bootstrappers:workers")},
    })
}

async fn who(client: &kube::Client) -> (u16, Value) {
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = post(
        client,
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        &asked,
    )
    .await;
    let json = answer.json();
    (answer.code, json["status"]["userInfo"].clone())
}

/// A server among whose objects there is a bootstrap token, where everybody may ask who they are.
async fn among(object: Value, bootstrap_tokens: bool) -> Server {
    let group = "rbac.authorization.k8s.io";
    let rules = json!([{"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}]);
    let binding = json!({"metadata": {"name": "who"}, "roleRef": {"kind": "ClusterRole", "name": "who"},
        "subjects": [{"kind": "Group", "name": "system:authenticated"}]});
    let objects = policy()
        .with(
            group,
            "clusterroles",
            json!({"metadata": {"name": "who"}, "rules": rules}),
        )
        .with(group, "clusterrolebindings", binding)
        .with("", "secrets", object);
    Server::start_among(objects, |config| {
        config.authentication.bootstrap_tokens = bootstrap_tokens;
    })
    .await
}

#[tokio::test]
async fn a_machine_joins_with_a_bootstrap_token_where_that_is_asked_for() {
    for asked_for in [true, false] {
        let server = among(bootstrap_token(), asked_for).await;
        let (code, user) = who(&server.with_token(Some("abcdef.0123456789abcdef")).await).await;
        assert_eq!(code, if asked_for { 201 } else { 401 });
        if asked_for {
            assert_eq!(user["username"], "system:bootstrap:abcdef");
            let groups = json!([
                "system:bootstrappers",
                "system:bootstrappers:workers",
                "system:authenticated"
            ]);
            assert_eq!(user["groups"], groups);
        }
        let wrong = server.with_token(Some("abcdef.0123456789abcdee")).await;
        assert_eq!(who(&wrong).await.0, 401);
    }
}

#[tokio::test]
async fn passwords_count_only_where_there_is_a_file_of_them() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("passwords.csv");
    std::fs::write(&file, "s3cret,jane,7,\"devs\"\n").unwrap();
    for asked_for in [true, false] {
        let server = Server::start_with(|config| {
            config.authentication.basic_auth_file = asked_for.then(|| file.clone());
        })
        .await;
        let with = |password: &str| {
            server.with(AuthInfo {
                username: Some("jane".to_owned()),
                password: Some(password.to_owned().into()),
                ..AuthInfo::default()
            })
        };
        let right = get(&with("s3cret").await, "/api/v1/namespaces/a/pods").await;
        // Where nobody reads passwords, whoever sends one is anonymous.
        assert_eq!(right.code, if asked_for { 200 } else { 403 }, "{}", right.text);
        let wrong = get(&with("s3cre").await, "/api/v1/namespaces/a/pods").await;
        assert_eq!(wrong.code, if asked_for { 401 } else { 403 });
    }
}

/// An authority, and clients of it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "front-proxies");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn client(&self, name: &str) -> AuthInfo {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        AuthInfo {
            client_certificate_data: Some(STANDARD.encode(certificate.pem())),
            client_key_data: Some(STANDARD.encode(key.serialize_pem()).into()),
            ..AuthInfo::default()
        }
    }
}

#[tokio::test]
async fn a_proxy_in_front_says_on_whose_behalf_it_asks() {
    let authority = Authority::new();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("proxies.pem");
    std::fs::write(&file, authority.0.pem()).unwrap();
    let server = Server::start_with(|config| {
        let list = |name: &str| vec![name.to_owned()];
        config.authentication.front_proxy = Some(FrontProxy {
            client_ca_file: file,
            headers: FrontProxyHeaders {
                allowed_names: list("front"),
                username: list("X-Remote-User"),
                uid: list("X-Remote-Uid"),
                group: list("X-Remote-Group"),
                extra_prefix: list("X-Remote-Extra-"),
            },
        });
    })
    .await;
    let ask = async |proof: AuthInfo| {
        let asked = Request::get("/api/v1/namespaces/a/pods")
            .header("x-remote-user", "jane")
            .header("x-remote-group", "devs");
        send(&server.with(proof).await, asked.body(Body::empty()).unwrap()).await
    };
    let proxied = ask(authority.client("front")).await;
    assert_eq!(proxied.code, 200, "{}", proxied.text);
    assert_eq!(proxied.json()["user"], "jane");
    assert_eq!(proxied.json()["groups"], json!(["devs", "system:authenticated"]));
    assert_eq!(
        ask(authority.client("other")).await.code,
        401,
        "its name is not let"
    );
    assert_eq!(
        ask(Authority::new().client("front")).await.code,
        401,
        "nobody vouches for it"
    );
    let token = AuthInfo {
        token: Some("jane-token".to_owned().into()),
        ..AuthInfo::default()
    };
    assert_eq!(
        ask(token).await.json()["groups"],
        json!(["system:authenticated"]),
        "others only say who they are"
    );
}

#[tokio::test]
async fn a_token_of_a_secret_counts_is_marked_and_can_be_taken_back() {
    let (running, home) = start_whole(Arc::new(ModelStore::new())).await;
    let admin = client_of(&running).await;
    let path = "/api/v1/namespaces/default";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    let account = post(&admin, &format!("{path}/serviceaccounts"), &account)
        .await
        .json();
    let key = std::fs::read(home.path().join("pki/sa.key")).unwrap();
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:bot",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": "bot-token",
        "kubernetes.io/serviceaccount/service-account.name": "bot",
        "kubernetes.io/serviceaccount/service-account.uid": account["metadata"]["uid"],
    });
    let key = EncodingKey::from_ec_pem(&key).unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}},
        "data": {"token": STANDARD.encode(&token)}});
    let made = post(&admin, &format!("{path}/secrets"), &secret).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let proof = AuthInfo {
        token: Some(token.into()),
        ..AuthInfo::default()
    };
    let bot = client_with(&running, proof).await;
    let (code, user) = who(&bot).await;
    assert_eq!(
        (code, &user["username"]),
        (201, &json!("system:serviceaccount:default:bot"))
    );
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), "default");
    let is_marked = |secret: Option<&Secret>| {
        let labels = secret.and_then(|secret| secret.metadata.labels.as_ref());
        labels.is_some_and(|labels| labels.contains_key("kubernetes.io/legacy-token-last-used"))
    };
    await_condition(secrets, "bot-token", is_marked).await.unwrap();
    let gone = Request::delete(format!("{path}/secrets/bot-token")).body(Body::empty());
    assert_eq!(send(&admin, gone.unwrap()).await.code, 200);
    assert_eq!(who(&bot).await.0, 401);
    running.stop().await;
}
