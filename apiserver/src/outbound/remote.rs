//! A service elsewhere that is asked by one kind of review, named by a kubeconfig: who somebody is, or what they may do.
//!
//! A question that fails for a reason that passes (the other side is busy, or broke off) is asked again a few times, with
//! growing pauses, as upstream's generic webhook does.

use std::path::Path;
use std::time::Duration;

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::time::{sleep, timeout};

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 4 << 20;
/// How often a question is asked, and how long the first pause is usually; each further one is half as long again.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Asks one service.
pub(crate) struct Remote {
    client: kube::Client,
    /// The service's own path.
    path: String,
    /// The whole address, for messages.
    url: String,
    /// How long the first pause is after a failure.
    pause: Duration,
}

/// A kubeconfig that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be read, or lacks something.
    #[error("the kubeconfig {path} cannot be used")]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// There is no cluster around this process.
    #[error("the cluster around this server cannot be found")]
    InCluster(#[source] kube::config::InClusterError),
    /// TLS cannot be spoken as it says.
    #[error("no connection to {url} can be set up")]
    Client {
        /// The service.
        url: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// Why there is no answer.
#[derive(Debug)]
struct Failure {
    why: String,
    /// Whether it may be better the next time.
    passes: bool,
}

impl Remote {
    /// The service that a kubeconfig's current context names.
    ///
    /// # Errors
    /// Where it names none that can be reached.
    pub(crate) async fn from_kubeconfig(path: &Path) -> Result<Self, RemoteError> {
        let failed = |source| RemoteError::Kubeconfig {
            path: path.display().to_string(),
            source,
        };
        let file = Kubeconfig::read_from(path).map_err(failed)?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        Self::new(config.map_err(failed)?)
    }

    /// The API of the cluster in which this process is a pod.
    ///
    /// # Errors
    /// Where it is in none.
    pub(crate) fn in_cluster(path: &str) -> Result<Self, RemoteError> {
        let mut remote = Self::new(kube::Config::incluster().map_err(RemoteError::InCluster)?)?;
        path.clone_into(&mut remote.path);
        Ok(remote)
    }

    fn new(mut config: kube::Config) -> Result<Self, RemoteError> {
        let url = config.cluster_url.clone();
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        config.default_retry = false;
        let mut parts = url.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        if let Ok(origin) = Uri::from_parts(parts) {
            config.cluster_url = origin;
        }
        let client = kube::Client::try_from(config).map_err(|source| RemoteError::Client {
            url: url.to_string(),
            source: Box::new(source),
        })?;
        Ok(Self {
            client,
            path,
            url: url.to_string(),
            pause: FIRST_PAUSE,
        })
    }

    /// The same with another pause after the first failure.
    pub(crate) fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The answer to a review, within a time.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn ask(&self, review: &Value, limit: Duration) -> Result<Value, String> {
        let body = review.to_string();
        let asking = async {
            let mut pause = self.pause;
            let mut tries = 1;
            loop {
                match self.post(body.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(Failure { passes: true, .. }) if tries < TRIES => {}
                    Err(failure) => return Err(failure.why),
                }
                sleep(pause).await;
                pause += pause / 2;
                tries += 1;
            }
        };
        let told = |why: &str| format!("Post {:?}: {why}", self.url);
        match timeout(limit, asking).await {
            Err(_) => Err(told("context deadline exceeded")),
            Ok(answer) => answer,
        }
    }

    async fn post(&self, body: String) -> Result<Value, Failure> {
        let failed = |error: &dyn std::fmt::Display, passes| Failure {
            why: format!("Post {:?}: {error}", self.url),
            passes,
        };
        let request = Request::post(&self.path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Body::from(body.into_bytes()))
            .map_err(|error| failed(&error, false))?;
        let sent = self.client.send(request).await;
        let answer = sent.map_err(|error| {
            let told = said(&error);
            let passes = told.contains("reset") || told.contains("connection closed");
            failed(&told, passes)
        })?;
        let (head, body) = answer.into_parts();
        let read = Limited::new(body, ANSWER_MAX).collect().await;
        let bytes = read.map_err(|error| failed(&error, false))?.to_bytes();
        let answer: Option<Value> = serde_json::from_slice(&bytes).ok();
        if head.status.is_success() {
            return answer.ok_or_else(|| failed(&"the answer is not JSON", false));
        }
        let message = answer.as_ref().and_then(|answer| answer.get("message"));
        let message = message.and_then(Value::as_str).map(str::to_owned);
        Err(Failure {
            why: message.unwrap_or_else(|| {
                let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                let told = coracle_api::status::ApiError::generic(head.status.as_u16(), &text);
                told.message().to_owned()
            }),
            passes: head.headers.contains_key(header::RETRY_AFTER)
                || matches!(
                    head.status,
                    StatusCode::INTERNAL_SERVER_ERROR
                        | StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::GATEWAY_TIMEOUT
                ),
        })
    }
}

/// An error with all that led to it.
fn said(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !told.contains(&more) {
            told = format!("{told}: {more}");
        }
        source = error.source();
    }
    told
}
