//! Asking one webhook over the network. The only IO of this room.
//!
//! Connections are kept and used again for webhooks that are reached alike. A redirect is an answer like any other that is
//! not a success: it is not followed. An answer is read up to a limit, and all of it takes no longer than its time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;
use uuid::Uuid;

use super::hook::{Hook, ReviewVersion, Target};
use super::refusal::No;
use super::review::{self, Fault, Verdict};
use crate::outbound::{Connection, Pool, Reached, client_config, connect};
use crate::reader::ObjectReader;
use crate::request::full_body;

/// The largest answer that is read, in bytes: a patch that replaces the largest object, and room to spare.
const ANSWER_MAX: usize = 8 << 20;
/// How long a webhook has that does not say so itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks webhooks.
pub(super) struct Caller {
    reader: Arc<dyn ObjectReader>,
    idle: Pool,
    tasks: TaskTracker,
}

/// What went wrong on the way.
#[derive(Debug)]
enum Broken {
    /// Before anything was sent, or on a connection that the other side had closed: it may be tried on another.
    Stale(String),
    Failed(String),
}

impl Caller {
    pub(super) fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self {
            reader,
            idle: Pool::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Asks a webhook; `uid` is the one in the request.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        version: ReviewVersion,
        uid: &str,
        request: serde_json::Value,
    ) -> Result<Verdict, No> {
        let target = hook
            .target
            .as_ref()
            .map_err(|why| No::Failed(format!("could not get REST client: {why}")))?;
        let body = Bytes::from(review::review(version, request).to_string());
        let answer = self.post(target, body, hook.timeout).await;
        let answer = answer.map_err(|why| No::Failed(format!("failed to call webhook: {why}")))?;
        review::verdict(version, hook.sort, uid, &answer).map_err(|fault| match fault {
            Fault::Unreadable(why) => No::Failed(format!("failed to call webhook: {why}")),
            Fault::Invalid(why) => No::Failed(format!("received invalid webhook response: {why}")),
        })
    }

    /// Sends a review, and reads the answer to it.
    ///
    /// # Errors
    /// Why there is none, as Go words it.
    pub(super) async fn post(
        &self,
        target: &Target,
        body: Bytes,
        limit: Option<Duration>,
    ) -> Result<Bytes, String> {
        let query = limit
            .map(|limit| format!("?timeout={}s", limit.as_secs()))
            .unwrap_or_default();
        let failed = |why: &str| format!("Post {}: {why}", quote(&format!("{}{query}", target.url())));
        let exchange = self.exchange(target, &query, body);
        match timeout(limit.unwrap_or(PATIENCE), exchange).await {
            Err(_) => Err(failed("context deadline exceeded")),
            Ok(Err(why)) => Err(failed(&why)),
            Ok(Ok((status, answer))) if (200..=206).contains(&status.as_u16()) => Ok(answer),
            Ok(Ok((status, answer))) => Err(unsuccessful(status, &answer)),
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        query: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let reached = (target.place.clone(), target.trust.clone());
        while let Some(kept) = self.idle.take(&reached) {
            match self.send(&reached, kept, target, query, body.clone()).await {
                Err(Broken::Stale(why)) => debug!(why, "a kept connection to a webhook had ended"),
                Err(Broken::Failed(why)) => return Err(why),
                Ok(answer) => return Ok(answer),
            }
        }
        let tls = client_config(&target.trust, None).map_err(|error| error.to_string())?;
        let fresh = connect(&target.place, tls, &*self.reader, &self.tasks).await;
        let fresh = fresh.map_err(|error| error.to_string())?;
        match self.send(&reached, fresh, target, query, body).await {
            Err(Broken::Stale(why) | Broken::Failed(why)) => Err(why),
            Ok(answer) => Ok(answer),
        }
    }

    async fn send(
        &self,
        reached: &Reached,
        mut connection: Connection,
        target: &Target,
        query: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Broken> {
        let request = Request::post(format!("{}{query}", target.path))
            .header(header::HOST, target.place.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(full_body(body))
            .map_err(|error| Broken::Failed(error.to_string()))?;
        let answer = connection.send_request(request).await.map_err(|error| {
            if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
                Broken::Stale("EOF".to_owned())
            } else {
                Broken::Failed(error.to_string())
            }
        })?;
        let status = answer.status();
        let read = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        let bytes = match read {
            Ok(read) => read.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let why = format!("the answer is longer than {ANSWER_MAX} bytes");
                return Err(Broken::Failed(why));
            }
            Err(error) => return Err(Broken::Failed(error.to_string())),
        };
        if connection.ready().await.is_ok() {
            self.idle.keep(reached, connection);
        }
        Ok((status, bytes))
    }
}

/// What an answer that is no success says: the message of its `Status`, or what its code means.
fn unsuccessful(status: StatusCode, answer: &[u8]) -> String {
    let read: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    match read {
        Some(read) if read.text("kind") == "Status" && !read.text("message").is_empty() => {
            read.text("message").to_owned()
        }
        _ => {
            let text = String::from_utf8_lossy(answer);
            ApiError::generic(status.as_u16(), text.trim())
                .message()
                .to_owned()
        }
    }
}

/// A uid for a review.
pub(super) fn uid() -> String {
    Uuid::new_v4().to_string()
}
