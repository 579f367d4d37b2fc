//! A key service over a real socket, made here: it seals with a byte that is its key's.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Response, Status};
use tonic_prost::ProstCodec;
use tower::ServiceExt;

use super::super::config;
use super::wire::*;
use super::*;

/// What the service is like.
struct Character {
    key_id: Mutex<String>,
    healthz: Mutex<&'static str>,
    decrypted: AtomicUsize,
}

#[derive(Clone)]
struct StandIn(Arc<Character>);

struct Encrypt(Arc<Character>);
struct Decrypt(Arc<Character>);
struct Ask(Arc<Character>);

type Answer<T> = std::future::Ready<Result<Response<T>, Status>>;

fn mixed(key_id: &str, data: &[u8]) -> Vec<u8> {
    let key = key_id.bytes().fold(0x5a, |a, b| a ^ b);
    data.iter().map(|byte| byte ^ key).collect()
}

impl UnaryService<StatusRequest> for Ask {
    type Response = StatusResponse;
    type Future = Answer<StatusResponse>;

    fn call(&mut self, _: tonic::Request<StatusRequest>) -> Self::Future {
        std::future::ready(Ok(Response::new(StatusResponse {
            version: "v2".to_owned(),
            healthz: (*self.0.healthz.lock().unwrap()).to_owned(),
            key_id: self.0.key_id.lock().unwrap().clone(),
        })))
    }
}

impl UnaryService<EncryptRequest> for Encrypt {
    type Response = EncryptResponse;
    type Future = Answer<EncryptResponse>;

    fn call(&mut self, request: tonic::Request<EncryptRequest>) -> Self::Future {
        let key_id = self.0.key_id.lock().unwrap().clone();
        std::future::ready(Ok(Response::new(EncryptResponse {
            ciphertext: mixed(&key_id, &request.into_inner().plaintext),
            annotations: [("version.example.com".to_owned(), vec![1])].into(),
            key_id,
        })))
    }
}

impl UnaryService<DecryptRequest> for Decrypt {
    type Response = DecryptResponse;
    type Future = Answer<DecryptResponse>;

    fn call(&mut self, request: tonic::Request<DecryptRequest>) -> Self::Future {
        let request = request.into_inner();
        self.0.decrypted.fetch_add(1, Ordering::Relaxed);
        let known = request.annotations.get("version.example.com") == Some(&vec![1]);
        std::future::ready(if known {
            let plaintext = mixed(&request.key_id, &request.ciphertext);
            Ok(Response::new(DecryptResponse { plaintext }))
        } else {
            Err(Status::invalid_argument("annotations are missing"))
        })
    }
}

impl StandIn {
    async fn answer(self, request: Request<Body>) -> http::Response<Body> {
        match request.uri().path() {
            "/v2.KeyManagementService/Status" => {
                Grpc::new(ProstCodec::default()).unary(Ask(self.0), request).await
            }
            "/v2.KeyManagementService/Encrypt" => {
                Grpc::new(ProstCodec::default())
                    .unary(Encrypt(self.0), request)
                    .await
            }
            _ => {
                Grpc::new(ProstCodec::default())
                    .unary(Decrypt(self.0), request)
                    .await
            }
        }
    }
}

/// Serves at a socket until the task is ended.
async fn serve(socket: PathBuf, stand_in: StandIn) {
    let listener = UnixListener::bind(socket).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let stand_in = stand_in.clone();
        let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            let stand_in = stand_in.clone();
            async move {
                let request =
                    request.map(|body| Body::new(body.map_err(|error| Status::internal(error.to_string()))));
                Ok::<_, std::convert::Infallible>(stand_in.answer(request).await)
            }
        });
        tokio::spawn(async move {
            let service = hyper_util::service::TowerToHyperService::new(service.boxed_clone());
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.serve_connection(TokioIo::new(stream), service).await
        });
    }
}

struct World {
    character: Arc<Character>,
    kms: Kms,
    server: tokio::task::JoinHandle<()>,
    home: TempDir,
}

fn kms_at(home: &TempDir) -> Kms {
    let socket = home.path().join("kms.sock");
    let text = format!(
        "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{{resources: [secrets], \
         providers: [{{kms: {{apiVersion: v2, name: kms, timeout: 5s, endpoint: 'unix://{}'}}}}]}}]}}",
        socket.display()
    );
    let configuration = config::read(text.as_bytes()).unwrap();
    Kms::new(configuration.resources[0].providers[0].kms.as_ref().unwrap()).unwrap()
}

async fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let character = Arc::new(Character {
        key_id: Mutex::new("one".to_owned()),
        healthz: Mutex::new("ok"),
        decrypted: AtomicUsize::new(0),
    });
    let socket = home.path().join("kms.sock");
    let server = tokio::spawn(serve(socket.clone(), StandIn(Arc::clone(&character))));
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    World {
        character,
        kms: kms_at(&home),
        server,
        home,
    }
}

const PLACE: &[u8] = b"/registry/secrets/a/b";

fn stored(kms: &Kms, sealed: &Bytes) -> Bytes {
    Bytes::copy_from_slice(sealed.strip_prefix(kms.prefix()).unwrap())
}

#[tokio::test]
async fn values_are_sealed_with_a_seed_that_the_service_keeps() {
    let world = world().await;
    let never = world.kms.seal(b"secret", PLACE).unwrap_err();
    assert_eq!(never.to_string(), "got unexpected nil transformer");
    world.kms.check().await.unwrap();
    let sealed = world.kms.seal(b"secret", PLACE).unwrap();
    assert!(sealed.starts_with(b"k8s:enc:kms:v2:kms:"));
    let sealed = stored(&world.kms, &sealed);
    let opened = world.kms.open(&sealed, PLACE).await.unwrap();
    assert_eq!((&opened.bytes[..], opened.stale), (&b"secret"[..], false));
    assert_eq!(
        world.character.decrypted.load(Ordering::Relaxed),
        0,
        "the seed was remembered"
    );
    // Another server has to ask, once.
    let other = kms_at(&world.home);
    other.check().await.unwrap();
    for _ in 0..3 {
        assert_eq!(&other.open(&sealed, PLACE).await.unwrap().bytes[..], b"secret");
    }
    assert_eq!(world.character.decrypted.load(Ordering::Relaxed), 1);
    let moved = world
        .kms
        .open(&sealed, b"/registry/secrets/a/c")
        .await
        .unwrap_err();
    assert_eq!(moved.to_string(), "cipher: message authentication failed");
}

#[tokio::test]
async fn another_key_of_the_service_makes_older_values_stale() {
    let world = world().await;
    world.kms.check().await.unwrap();
    let old = stored(&world.kms, &world.kms.seal(b"secret", PLACE).unwrap());
    *world.character.key_id.lock().unwrap() = "two".to_owned();
    world.kms.rotate("two").await.unwrap();
    let opened = world.kms.open(&old, PLACE).await.unwrap();
    assert_eq!((&opened.bytes[..], opened.stale), (&b"secret"[..], true));
    let new = stored(&world.kms, &world.kms.seal(b"secret", PLACE).unwrap());
    assert!(!world.kms.open(&new, PLACE).await.unwrap().stale);
    // What it says it has and what it encrypts with must be the same.
    let error = world.kms.rotate("three").await.unwrap_err();
    assert!(error.starts_with("failed to rotate DEK"), "{error}");
    assert!(
        world.kms.seal(b"secret", PLACE).is_ok(),
        "the last good seed stays"
    );
}

#[tokio::test]
async fn a_service_that_is_ill_or_gone_is_told_of() {
    let world = world().await;
    *world.character.healthz.lock().unwrap() = "tired";
    let error = world.kms.check().await.unwrap_err();
    assert_eq!(
        error,
        "kmsv2 Provider kms is not healthy, error: got unexpected healthz status: tired"
    );
    world.server.abort();
    std::fs::remove_file(world.home.path().join("kms.sock")).unwrap();
    let error = kms_at(&world.home).check().await.unwrap_err();
    let start = "failed to perform status section of the healthz check for KMS Provider kms, error: rpc error: code = ";
    assert!(error.starts_with(start), "{error}");
}

#[tokio::test]
async fn a_seed_is_written_with_for_three_minutes_without_word() {
    let world = world().await;
    world.kms.check().await.unwrap();
    let current = world.kms.current.load_full().unwrap();
    assert!(current.check(current.until).is_ok());
    let later = current.until + SignedDuration::from_nanos(1);
    let error = current.check(later).unwrap_err().to_string();
    assert!(error.contains("expired at"), "{error}");
    let window = current.until.duration_since(Timestamp::now());
    assert!(window <= WRITES_FOR && window > WRITES_FOR - SignedDuration::from_mins(1));
    assert!(Duration::try_from(WRITES_FOR).unwrap() > LOOK_AT_WELL * 2);
}

#[test]
fn rules_of_what_is_stored() {
    let whole = EncryptedObject {
        encrypted_data: vec![1],
        key_id: "k".to_owned(),
        encrypted_dek_source: vec![1],
        annotations: Default::default(),
        encrypted_dek_source_type: 1,
    };
    assert_eq!(whole.check(), Ok(()));
    let named = |name: &str| EncryptedObject {
        annotations: [(name.to_owned(), vec![])].into(),
        ..whole.clone()
    };
    assert_eq!(named("a.example.com").check(), Ok(()));
    let faults = [
        (
            EncryptedObject {
                encrypted_dek_source_type: 2,
                ..whole.clone()
            },
            "unknown encryptedDEKSourceType: 2",
        ),
        (
            EncryptedObject {
                encrypted_data: vec![],
                ..whole.clone()
            },
            "encrypted data is empty",
        ),
        (
            EncryptedObject {
                key_id: String::new(),
                ..whole.clone()
            },
            "failed to validate key id: keyID is empty",
        ),
        (
            named("panda"),
            "failed to validate annotations: annotations: Invalid value: \"panda\": should be a domain with at least two \
             segments separated by dots",
        ),
    ];
    for (stored, message) in faults {
        assert_eq!(stored.check().unwrap_err().to_string(), message);
    }
}
