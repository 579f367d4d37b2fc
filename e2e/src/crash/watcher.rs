//! A client that watches, and goes on where it was after whatever ends its watch.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use form_urlencoded::Serializer;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::client::{Recorder, object, own_key, revision};
use super::history::{Action, Answer, Delivery, Revision};

/// How long to wait before a watch that was refused is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Who watches what, and how far it is.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// For reports.
    pub name: String,
    /// Only keys with this label, or all.
    pub shard: Option<u8>,
    /// After how many seconds the server is to end each watch, which it does with a bookmark.
    pub seconds: u32,
    /// Up to where everything has been told; where to begin is asked by a list.
    pub told: Option<Revision>,
}

/// How a watch ended.
enum End {
    /// It can be taken up where it was.
    Closed,
    /// What comes next is no longer kept.
    Expired,
}

impl Watcher {
    /// Watches one life of a server. Gives itself back, to go on in the next.
    ///
    /// # Errors
    /// When something is delivered that cannot be read.
    pub async fn watch(mut self, recorder: Recorder, stop: CancellationToken) -> Result<Self> {
        while !stop.is_cancelled() {
            let after = match self.told {
                Some(after) => after,
                None => match recorder.call("", Action::List { at: None }, 0).await {
                    Answer::Listed { revision, .. } => *self.told.insert(revision),
                    _ => {
                        stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                        continue;
                    }
                },
            };
            match stop.run_until_cancelled(self.session(&recorder, after)).await {
                None => {}
                Some(Ok(End::Closed)) => {}
                Some(Ok(End::Expired)) => self.told = None,
                Some(Err(error)) => return Err(error.context(format!("watcher {}", self.name))),
            }
        }
        Ok(self)
    }

    fn query(&self, after: Revision) -> String {
        let mut query = Serializer::new(String::new());
        query
            .append_pair("watch", "true")
            .append_pair("allowWatchBookmarks", "true");
        query.append_pair("resourceVersion", &after.to_string());
        query.append_pair("timeoutSeconds", &self.seconds.to_string());
        if let Some(shard) = self.shard {
            query.append_pair("labelSelector", &format!("shard={shard}"));
        }
        query.finish()
    }

    async fn session(&mut self, recorder: &Recorder, after: Revision) -> Result<End> {
        let path = format!("{}?{}", recorder.all(), self.query(after));
        let request = http::Request::get(path).body(Vec::new())?;
        let lines = match recorder.client().request_stream(request).await {
            Ok(stream) => stream.lines(),
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::Expired),
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                return Ok(End::Closed);
            }
        };
        let session = recorder.observer().open(&self.name, self.shard, after);
        let mut lines = pin!(lines.into_stream());
        // A line that the end of the connection cuts short is an error of the reader.
        while let Some(Ok(line)) = lines.next().await {
            // Closed in the middle of a line, by a server that was killed.
            let Ok(event) = serde_json::from_str::<Json>(&line) else {
                break;
            };
            match delivery(&event)? {
                Told::Delivery(delivery) => {
                    self.told = Some(delivery.revision());
                    recorder.observer().deliver(session, delivery);
                }
                Told::Other => {}
                Told::Expired => return Ok(End::Expired),
                Told::Failed => break,
            }
        }
        Ok(End::Closed)
    }
}

enum Told {
    Delivery(Delivery),
    /// About an object that no test wrote.
    Other,
    Expired,
    Failed,
}

fn delivery(event: &Json) -> Result<Told> {
    let about = &event["object"];
    let kind = event["type"].as_str().context("an event has a type")?;
    if kind == "BOOKMARK" {
        return Ok(Told::Delivery(Delivery::Bookmark(revision(about)?)));
    }
    if kind == "ERROR" {
        return Ok(if about["code"] == 410 {
            Told::Expired
        } else {
            Told::Failed
        });
    }
    let Some(key) = own_key(about) else {
        return Ok(Told::Other);
    };
    Ok(Told::Delivery(match kind {
        "ADDED" => Delivery::Added(key, object(about)?),
        "MODIFIED" => Delivery::Modified(key, object(about)?),
        "DELETED" => Delivery::Deleted(key, revision(about)?),
        other => bail!("an event of type {other:?}"),
    }))
}
