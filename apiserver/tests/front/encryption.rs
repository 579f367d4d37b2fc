//! Encryption at rest of a whole server: what is stored, what is told, and what happens when keys come and go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::{ApiServer, Config, EncryptionFlags, Running};
use coracle_store::Store;
use coracle_store::model::ModelStore;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand_in::{Answer, client_of, get, post, send, start_whole_with};

const SECRET: &str = "/registry/secrets/default/s";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// A configuration for secrets with keys of these names, written to a file.
fn configure(home: &Path, providers: &str) -> EncryptionFlags {
    let file = home.join("encryption.yaml");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets, widgets.example.com]\n  providers:\n{providers}"
    );
    std::fs::write(&file, text).unwrap();
    EncryptionFlags {
        reload: true,
        look_every: Duration::from_millis(20),
        ..EncryptionFlags::new(file)
    }
}

/// Each name has a key of its own.
fn provider(cipher: &str, names: &[&str]) -> String {
    use base64::Engine;
    let key = |name: &str| base64::engine::general_purpose::STANDARD.encode([name.as_bytes()[0]; 32]);
    let keys: Vec<_> = names
        .iter()
        .map(|name| format!("{{name: {name}, secret: '{}'}}", key(name)))
        .collect();
    format!("  - {cipher}: {{keys: [{}]}}\n", keys.join(", "))
}

struct World {
    running: Running,
    client: kube::Client,
    store: Arc<ModelStore>,
    home: TempDir,
    _data: TempDir,
}

async fn world(store: Arc<ModelStore>, providers: &str) -> World {
    let home = tempfile::tempdir().unwrap();
    let flags = configure(home.path(), providers);
    let (running, data) = start_whole_with(store.clone(), |config| config.encryption = Some(flags)).await;
    World {
        client: client_of(&running).await,
        running,
        store,
        home,
        _data: data,
    }
}

impl World {
    async fn stored(&self, key: &str) -> Vec<u8> {
        let found = self.store.get(key.as_bytes(), None).await.unwrap();
        found.kv.unwrap().value.to_vec()
    }

    async fn put(&self, object: &Value) -> Answer {
        let request = Request::put(format!("{SECRETS}/s")).header("content-type", "application/json");
        let body = Body::from(object.to_string().into_bytes());
        send(&self.client, request.body(body).unwrap()).await
    }

    /// Waits until the server answers a read as expected.
    async fn until(&self, path: &str, expected: impl Fn(&Answer) -> bool) -> Answer {
        let asking = async {
            loop {
                let answer = get(&self.client, path).await;
                if expected(&answer) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking)
            .await
            .expect("the server never answers so")
    }
}

fn secret() -> Value {
    json!({"metadata": {"name": "s"}, "stringData": {"word": "sesame"}})
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn what_is_named_is_stored_encrypted_and_told_plainly() {
    let world = world(Arc::default(), &provider("secretbox", &["a"])).await;
    let watch = Request::get(format!("{SECRETS}?watch=true"))
        .body(Body::empty())
        .unwrap();
    let mut events = world.client.send(watch).await.unwrap().into_body();
    assert_eq!(post(&world.client, SECRETS, &secret()).await.code, 201);
    let stored = world.stored(SECRET).await;
    assert!(stored.starts_with(b"k8s:enc:secretbox:v1:a:"));
    assert!(!holds(&stored, "sesame"));
    for path in [SECRETS.to_owned(), format!("{SECRETS}/s")] {
        let answer = get(&world.client, &path).await;
        assert!(answer.text.contains("c2VzYW1l"), "{}", answer.text);
    }
    let frame = http_body_util::BodyExt::frame(&mut events)
        .await
        .unwrap()
        .unwrap();
    assert!(holds(&frame.into_data().unwrap(), "c2VzYW1l"));
    post(
        &world.client,
        "/api/v1/namespaces/default/configmaps",
        &json!({"metadata": {"name": "c"}}),
    )
    .await;
    assert!(
        world
            .stored("/registry/configmaps/default/c")
            .await
            .starts_with(b"k8s\0"),
        "not named"
    );
    assert_eq!(get(&world.client, "/readyz/kms-providers").await.text, "ok");
    assert_eq!(get(&world.client, "/livez/kms-providers").await.code, 404);
}

#[tokio::test]
async fn keys_are_exchanged_while_the_server_runs() {
    let world = world(Arc::default(), &provider("aescbc", &["a"])).await;
    assert_eq!(post(&world.client, SECRETS, &secret()).await.code, 201);
    let made = get(&world.client, &format!("{SECRETS}/s")).await.json();
    let unchanged = world.put(&made).await.json();
    assert_eq!(
        unchanged["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    // The new key writes, the old one still reads.
    let both = provider("aesgcm", &["b"]) + &provider("aescbc", &["a"]);
    configure(world.home.path(), &both);
    let rewritten = async {
        loop {
            assert_eq!(
                world
                    .put(&get(&world.client, &format!("{SECRETS}/s")).await.json())
                    .await
                    .code,
                200
            );
            if world.stored(SECRET).await.starts_with(b"k8s:enc:aesgcm:v1:b:") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), rewritten)
        .await
        .expect("a write that changes nothing renews the value");
    let again = world
        .put(&get(&world.client, &format!("{SECRETS}/s")).await.json())
        .await
        .json();
    let newest = get(&world.client, &format!("{SECRETS}/s")).await.json();
    assert_eq!(
        again["metadata"]["resourceVersion"], newest["metadata"]["resourceVersion"],
        "it is not stale any more"
    );
    // A file that cannot be used takes nobody's place.
    std::fs::write(world.home.path().join("encryption.yaml"), "kind: Nonsense").unwrap();
    assert_eq!(world.put(&newest).await.code, 200);
    world.running.stop().await;
}

#[tokio::test]
async fn what_nobody_has_the_key_of_is_told_of_and_kept() {
    let store: Arc<ModelStore> = Arc::default();
    let first = world(store.clone(), &provider("secretbox", &["a"])).await;
    assert_eq!(post(&first.client, SECRETS, &secret()).await.code, 201);
    first.running.stop().await;
    let world = world(store, &(provider("secretbox", &["b"]) + "  - identity: {}\n")).await;
    let one = format!("{SECRETS}/s");
    let message = "Internal error occurred: no matching key was found for the provided Secretbox transformer";
    for answer in [
        get(&world.client, &one).await,
        world.put(&secret()).await,
        send(&world.client, Request::delete(&one).body(Body::empty()).unwrap()).await,
    ] {
        assert_eq!(
            (answer.code, answer.json()["message"].as_str()),
            (500, Some(message))
        );
    }
    assert_eq!(get(&world.client, &format!("{SECRETS}/other")).await.code, 404);
    assert_eq!(post(&world.client, SECRETS, &secret()).await.code, 409);
    for path in [
        SECRETS.to_owned(),
        format!("{SECRETS}?watch=true"),
        "/api/v1/secrets".to_owned(),
    ] {
        let answer = get(&world.client, &path).await;
        assert_eq!(
            (answer.code, answer.json()["message"].as_str()),
            (
                429,
                Some(
                    "storage is (re)initializing: failed to list *core.Secret: unable to transform key \
                     \"/registry/secrets/default/s\": no matching key was found for the provided Secretbox transformer"
                )
            )
        );
    }
    assert_eq!(
        get(&world.client, "/api/v1/pods").await.code,
        200,
        "nothing else is concerned"
    );
    // With the key it is there again.
    configure(world.home.path(), &provider("secretbox", &["b", "a"]));
    let found = world.until(&one, |answer| answer.code == 200).await;
    assert!(found.text.contains("c2VzYW1l"));
    assert_eq!(
        get(&world.client, SECRETS).await.json()["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_keeps_the_server_from_starting() {
    let home = tempfile::tempdir().unwrap();
    let flags = configure(
        home.path(),
        "  - secretbox: {keys: [{name: a, secret: c2hvcnQ=}]}\n",
    );
    let mut config = Config::new(home.path());
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.encryption = Some(flags);
    let error = ApiServer::start(config, Arc::new(ModelStore::new()))
        .await
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "error while parsing file: resources[0].providers[0].secretbox.keys[0].secret: Invalid value: \"REDACTED\": secret \
         is not of the expected length, got 5, expected one of [32]"
    );
}

#[tokio::test]
async fn custom_resources_are_encrypted_too() {
    let world = world(Arc::default(), &provider("secretbox", &["a"])).await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let made = post(
        &world.client,
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &definition,
    )
    .await;
    assert_eq!(made.code, 201, "{}", made.text);
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "word": "sesame"});
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    assert_eq!(post(&world.client, widgets, &widget).await.code, 201);
    let stored = world.stored("/registry/example.com/widgets/default/w").await;
    assert!(stored.starts_with(b"k8s:enc:secretbox:v1:a:") && !holds(&stored, "sesame"));
    assert!(
        get(&world.client, &format!("{widgets}/w"))
            .await
            .text
            .contains("sesame")
    );
}
