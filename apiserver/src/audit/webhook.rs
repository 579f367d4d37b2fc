//! The server that events are sent to, in lists (`audit.k8s.io/v1` `EventList`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::AuditError;
use super::batch::{BatchLimits, Mode};
use super::event::Event;
use super::sink::Truncation;

/// How often a list is sent again, and how much longer each pause is (upstream's default for webhooks).
const TRIES: usize = 5;
const LONGER: f64 = 1.5;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where events are sent, and how.
#[derive(Clone, Debug)]
pub struct WebhookFlags {
    /// `--audit-webhook-config-file`: a kubeconfig.
    pub config_file: PathBuf,
    /// `--audit-webhook-initial-backoff`: the pause after the first failure.
    pub initial_backoff: Duration,
    /// `--audit-webhook-mode`.
    pub mode: Mode,
    /// `--audit-webhook-batch-*`.
    pub limits: BatchLimits,
    /// `--audit-webhook-truncate-*`.
    pub truncation: Truncation,
}

impl WebhookFlags {
    /// Upstream's defaults.
    pub fn new(config_file: impl Into<PathBuf>) -> Self {
        Self {
            config_file: config_file.into(),
            initial_backoff: Duration::from_secs(10),
            mode: Mode::Batch,
            limits: BatchLimits::of_webhook(),
            truncation: Truncation::default(),
        }
    }
}

pub(super) struct Webhook {
    client: kube::Client,
    path: String,
    backoff: Duration,
}

impl Webhook {
    pub(super) async fn open(flags: &WebhookFlags) -> Result<Self, AuditError> {
        let failed = |error: &dyn std::fmt::Display| AuditError::Webhook {
            why: error.to_string(),
        };
        let kubeconfig = Kubeconfig::read_from(&flags.config_file).map_err(|error| failed(&error))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|error| failed(&error))?;
        // The server's address is the whole one, where kube takes it for what paths are put behind.
        let mut parts = config.cluster_url.clone().into_parts();
        let path = parts
            .path_and_query
            .take()
            .map_or("/".to_owned(), |path| path.path().to_owned());
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        config.cluster_url = http::Uri::from_parts(parts).map_err(|error| failed(&error))?;
        config.default_retry = false;
        Ok(Self {
            client: kube::Client::try_from(config).map_err(|error| failed(&error))?,
            path: format!("{path}?timeout=30s"),
            backoff: flags.initial_backoff,
        })
    }

    /// Sends a list, again and again for a while where that fails. False where it was not taken after all.
    pub(super) async fn send(self: Arc<Self>, events: Vec<Event>) -> bool {
        let list =
            json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events});
        let body = list.to_string().into_bytes();
        let mut pause = self.backoff;
        for attempt in 1..=TRIES {
            let tried = tokio::time::timeout(PATIENCE, self.send_once(body.clone())).await;
            let why = match tried {
                Ok(Ok(())) => return true,
                Ok(Err(why)) => why,
                Err(_) => "it did not answer in time".to_owned(),
            };
            if attempt == TRIES {
                tracing::error!(
                    why,
                    events = events.len(),
                    "audit events were not taken and are lost"
                );
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(LONGER);
        }
        false
    }

    async fn send_once(&self, body: Vec<u8>) -> Result<(), String> {
        let request = Request::post(&self.path).header(header::CONTENT_TYPE, "application/json");
        let request = request
            .body(Body::from(body))
            .map_err(|error| error.to_string())?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        // What it says is read, so that the connection can be used again.
        let _ = response.into_body().collect().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answered {status}"))
        }
    }
}
