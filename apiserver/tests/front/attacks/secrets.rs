//! What must be told to nobody.

use std::io;
use std::sync::{Arc, Mutex};

use http::Request;
use kube::client::Body;
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::stand_in::{Server, get, post, send};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_token_is_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("debug,coracle_apiserver=trace"))
        .with_writer(log.clone())
        .finish();
    // Everything of this test runs on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start().await;
    let right = server.with_token(Some("root-token")).await;
    let wrong = server.with_token(Some("wrong-token-of-somebody")).await;
    assert_eq!(get(&right, "/api/v1/pods").await.code, 200);
    assert_eq!(get(&wrong, "/api/v1/pods").await.code, 401);
    assert_eq!(get(&right, "/api/v1/panics").await.code, 500);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": "reviewed-token-of-somebody"}});
    let answer = post(&right, "/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let basic = Request::get("/api/v1/pods").header("authorization", "Basic d3Jvbmc6cGFzc3dvcmQ=");
    send(&server.with_token(None).await, basic.body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("panic"), "what happens is logged: {text}");
    for secret in [
        "root-token",
        "wrong-token-of-somebody",
        "reviewed-token-of-somebody",
        "d3Jvbmc6cGFzc3dvcmQ=",
    ] {
        assert!(!text.contains(secret), "{secret} is logged: {text}");
    }
}
