//! Informers that begin: everything there is, told by a watch with its end marked (KEP-3157), as client-go asks for it.

use super::lists::{NAMESPACE, PODS};
use super::{Named, Scale, pods, read, share_out};
use crate::cluster::{Call, JSON, PROTOBUF};
use crate::side::Target;
use anyhow::{Context, bail, ensure};
use futures::StreamExt;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How many informers begin, one after the other.
const INFORMERS: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);
const END: &str = "k8s.io/initial-events-end";

pub(super) async fn run(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    let amount = scale.of(PODS);
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let there = Call::get(&path).succeed(&target.client).await?;
    if read::json_list(&there)?.items == 0 {
        pods::fill(target, NAMESPACE, amount).await?;
    }
    let mut samples = Vec::new();
    for (form, format) in [(JSON, "JSON"), (PROTOBUF, "protobuf")] {
        let work = share_out(1, scale.of(INFORMERS), |_| sync(target, &path, form, amount));
        samples.push((
            format!("informer of {amount} pods, {format}"),
            target.observe(work).await?,
        ));
    }
    Ok(samples)
}

async fn sync(target: &Target, path: &str, form: &'static str, expected: usize) -> anyhow::Result<Duration> {
    let accept = if form == PROTOBUF {
        "application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        JSON
    };
    let query =
        "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let call = Call::get(format!("{path}?{query}")).accept(accept);
    let started = Instant::now();
    let synced = async {
        let answer = call.open(&target.client).await?;
        ensure!(
            answer.status().is_success(),
            "a watch was answered {}",
            answer.status()
        );
        let mut seen = Seen::new(form == PROTOBUF);
        let mut chunks = super::watches::chunks(answer.into_body());
        while let Some(chunk) = chunks.next().await {
            if seen.take(&chunk?)? {
                return Ok(seen.added);
            }
        }
        bail!("the watch ended before all was told")
    };
    let added = timeout(LIMIT, synced)
        .await
        .context("an informer did not sync")??;
    let took = started.elapsed();
    ensure!(added == expected, "{added} of {expected} objects were told");
    Ok(took)
}

/// What has been told so far.
struct Seen {
    protobuf: bool,
    pending: Vec<u8>,
    added: usize,
}

impl Seen {
    fn new(protobuf: bool) -> Seen {
        Seen {
            protobuf,
            pending: Vec::new(),
            added: 0,
        }
    }

    /// Takes what came; answers whether that is the end of the initial events.
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        let mut end = false;
        while let Some((frame, next)) = self.frame(at) {
            let event = if self.protobuf {
                read::protobuf_event(frame)?
            } else {
                json_event(frame)?
            };
            match event.as_str() {
                "ADDED" => self.added += 1,
                "BOOKMARK" => {
                    let marked = frame.windows(END.len()).any(|part| part == END.as_bytes());
                    ensure!(marked, "a bookmark came before the end of the initial events");
                    end = true;
                }
                other => bail!("an event {other} is none of the initial ones"),
            }
            at = next;
        }
        self.pending.drain(..at);
        Ok(end)
    }

    /// The frame that begins at a place, if all of it is there, and where the next one begins.
    fn frame(&self, at: usize) -> Option<(&[u8], usize)> {
        let rest = &self.pending[at..];
        if !self.protobuf {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            return Some((&rest[..end], at + end + 1));
        }
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        Some((rest.get(..length)?, at + 4 + length))
    }
}

fn json_event(frame: &[u8]) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Event {
        r#type: String,
        #[serde(rename = "object")]
        _object: serde::de::IgnoredAny,
    }
    let event: Event = serde_json::from_slice(frame).context("read an event")?;
    Ok(event.r#type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_wherever_they_are_cut() {
        let added = r#"{"type":"ADDED","object":{}}"#;
        let end = format!(r#"{{"type":"BOOKMARK","object":{{"a":"{END}"}}}}"#);
        let told = format!("{added}\n{added}\n{end}\n");
        for cut in 0..told.len() {
            let mut seen = Seen::new(false);
            assert!(!seen.take(&told.as_bytes()[..cut]).expect("well-formed"));
            assert!(seen.take(&told.as_bytes()[cut..]).expect("well-formed"));
            assert_eq!(seen.added, 2);
        }
    }

    #[test]
    fn protobuf_frames_have_their_length_in_front() {
        let mut seen = Seen::new(true);
        assert!(!seen.take(b"\0\0\0\x07\x0a\x05ADD").expect("well-formed"));
        assert!(!seen.take(b"ED\0\0").expect("well-formed"));
        assert_eq!(seen.added, 1);
    }

    #[test]
    fn what_is_no_initial_event_is_refused() {
        let mut seen = Seen::new(false);
        assert!(seen.take(b"{\"type\":\"MODIFIED\",\"object\":{}}\n").is_err());
        let mut seen = Seen::new(false);
        assert!(seen.take(b"{\"type\":\"BOOKMARK\",\"object\":{}}\n").is_err());
    }
}
