//! Audit: who asked for what, what came of it, and why it was allowed (`audit.k8s.io/v1`).
//!
//! `policy` decides how much is recorded of a request, `recorder` gathers it while the request is answered, `event` is what
//! is written of it at each stage, `body` sees the answer's bytes go by, and `sink`, `log` and `webhook` take events away.
//! Without `--audit-policy-file` nothing of this runs: a request carries an empty [`Recorder`].

mod batch;
mod body;
mod event;
mod log;
mod policy;
mod recorder;
mod sink;
mod webhook;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use batch::{BatchLimits, Mode};
pub use log::{Format, LogFlags};
pub use sink::Truncation;
pub use webhook::WebhookFlags;

pub(crate) use recorder::Recorder;

use crate::request::{RequestInfo, UserInfo};
use event::{Event, ObjectReference, Stage};
use policy::{Level, Policy};
use sink::Sink;

/// A user agent longer than this is cut (upstream's `maxUserAgentLength`).
const USER_AGENT_MAX: usize = 1024;

/// What is recorded, and where it goes.
#[derive(Clone, Debug, Default)]
pub struct AuditFlags {
    /// `--audit-policy-file`; nothing is recorded without one.
    pub policy_file: Option<PathBuf>,
    /// A file that events are appended to.
    pub log: Option<LogFlags>,
    /// A server that events are sent to.
    pub webhook: Option<WebhookFlags>,
}

impl AuditFlags {
    /// Whether batches can be made as the flags of those say that make any.
    fn check(&self) -> Result<(), String> {
        if let Some(log) = self.log.as_ref().filter(|log| log.mode == Mode::Batch) {
            log.limits.check("log")?;
        }
        match self
            .webhook
            .as_ref()
            .filter(|webhook| webhook.mode == Mode::Batch)
        {
            Some(webhook) => webhook.limits.check("webhook"),
            None => Ok(()),
        }
    }
}

/// Why nothing can be recorded as configured.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy cannot be read.
    #[error("loading audit policy file: failed to read file path {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no policy.
    #[error("loading audit policy file: {why}: from file {}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The log cannot be written.
    #[error("ensureLogFile: {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Batches cannot be made as it says.
    #[error("{why}")]
    Limits {
        /// Why.
        why: String,
    },
    /// The server cannot be spoken to.
    #[error("initializing audit webhook: {why}")]
    Webhook {
        /// Why.
        why: String,
    },
}

/// A policy, and where what it wants recorded goes.
pub(crate) struct Audit {
    policy: Policy,
    sink: Arc<Sink>,
}

/// What is known of a request when it comes in.
pub(crate) struct Received<'a> {
    pub(crate) head: &'a Parts,
    pub(crate) info: &'a RequestInfo,
    pub(crate) audit_id: &'a str,
    /// The other end of its connection; nobody where it came from within the process.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) at: Timestamp,
}

impl Audit {
    /// Reads the policy and opens what events go to. None where nothing would come of it.
    ///
    /// # Errors
    /// What cannot be read or opened.
    pub(crate) async fn open(
        flags: &AuditFlags,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Result<Option<Arc<Self>>, AuditError> {
        flags.check().map_err(|why| AuditError::Limits { why })?;
        let Some(file) = &flags.policy_file else {
            return Ok(None);
        };
        let path = || file.clone();
        let bytes = std::fs::read(file).map_err(|source| AuditError::Read { path: path(), source })?;
        let policy = Policy::read(&bytes).map_err(|why| AuditError::Policy { path: path(), why })?;
        if flags.log.is_none() && flags.webhook.is_none() {
            return Ok(None);
        }
        let sink = Arc::new(Sink::open(flags, tasks, shutdown).await?);
        Ok(Some(Arc::new(Self { policy, sink })))
    }

    /// Begins to record a request whose sender is known. An empty recorder where the policy wants nothing of it.
    pub(crate) fn begin(&self, received: &Received<'_>, sender: Option<&UserInfo>) -> Recorder {
        let rule = self.policy.evaluate(received.info, sender);
        if rule.level == Level::None {
            return Recorder::default();
        }
        let event = Event::received(rule.level, received, sender);
        Recorder::new(rule, event, Arc::clone(&self.sink))
    }
}

/// Where a request came from, as upstream's `SourceIPs` tells it: who passed it on, and the other end of the connection.
fn source_ips(headers: &HeaderMap, peer: Option<SocketAddr>) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let address = |text: &str| text.trim().parse::<std::net::IpAddr>().ok();
    let mut found = Vec::new();
    let forwarded = text("x-forwarded-for").unwrap_or_default();
    found.extend(forwarded.split(',').filter_map(address));
    if let Some(real) = text("x-real-ip").and_then(address)
        && !found.contains(&real)
    {
        found.push(real);
    }
    let peer = peer.map(|peer| peer.ip().to_canonical());
    if let Some(peer) = peer
        && found.last() != Some(&peer)
    {
        found.push(peer);
    }
    found.iter().map(ToString::to_string).collect()
}

/// What is said of credentials that did not count (upstream's `getAuthMethods`).
pub(crate) fn attempted(headers: &HeaderMap, certificate: bool) -> String {
    let authorization = headers.get(http::header::AUTHORIZATION);
    let authorization = authorization
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let scheme = authorization
        .trim()
        .split_once(' ')
        .map(|(scheme, _)| scheme.to_lowercase());
    let mut methods = Vec::new();
    if scheme.as_deref() == Some("basic") {
        methods.push("basic");
    }
    if scheme.as_deref() == Some("bearer") {
        methods.push("bearer");
    }
    if certificate {
        methods.push("x509");
    }
    if methods.is_empty() {
        return "Authentication failed, no credentials provided".to_owned();
    }
    format!("Authentication failed, attempted: {}", methods.join(", "))
}

impl Event {
    fn received(level: Level, received: &Received<'_>, sender: Option<&UserInfo>) -> Self {
        let (head, info) = (received.head, received.info);
        let agent = head.headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let user_agent = match agent.get(..USER_AGENT_MAX) {
            Some(start) if agent.len() > USER_AGENT_MAX => format!("{start}...TRUNCATED"),
            _ => agent.to_owned(),
        };
        let object_ref = info.is_resource_request.then(|| ObjectReference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.api_group.clone(),
            api_version: info.api_version.clone(),
            subresource: info.subresource.clone(),
            ..ObjectReference::default()
        });
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            audit_id: received.audit_id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: head
                .uri
                .path_and_query()
                .map_or("/", |uri| uri.as_str())
                .to_owned(),
            verb: info.verb.clone(),
            user: sender.map(event::User::of).unwrap_or_default(),
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: source_ips(&head.headers, received.peer),
            user_agent,
            object_ref,
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: received.at,
            stage_timestamp: received.at,
            annotations: Default::default(),
        }
    }
}
