//! Changes to one pod, told to many watchers: how long from asking for a change until each watcher has been told. Each has a
//! connection of its own; or they share some, as the watches of a client-go program do.

use super::{Named, Scale, read};
use crate::cluster::{self, Call, STRATEGIC};
use crate::side::Target;
use anyhow::{Context, bail, ensure};
use futures::TryStreamExt;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const NAMESPACE: &str = "coracle-bench-watches";
const POD: &str = "watched";
const TURN: &str = "bench.coracle.dev/turn";
const WATCHERS: [usize; 3] = [10, 100, 1000];
/// How many share HTTP/2 connections.
const SHARING: [usize; 2] = [100, 1000];
/// How many share one: as many streams as a kube-apiserver allows on a connection.
const ON_A_CONNECTION: usize = 100;

/// How many changes there are. Each is made once every watcher has been told of the one before.
const CHANGES: usize = 50;
const LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn run(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    Call::post(&pods, &cluster::unscheduled_pod(POD))
        .succeed(&target.client)
        .await?;
    let mut samples = Vec::new();
    for watchers in WATCHERS {
        let clients = vec![target.client.clone(); scale.of(watchers)];
        let crowd = Crowd::gather(target, &pods, clients).await?;
        let changes = scale.of(CHANGES);
        let sample = target.observe(crowd.tell(target, &pods, changes)).await?;
        samples.push((format!("{changes} changes to {watchers} watchers"), sample));
    }
    for watchers in SHARING {
        let mut clients = Vec::new();
        while clients.len() < scale.of(watchers) {
            let together = ON_A_CONNECTION.min(scale.of(watchers) - clients.len());
            clients.extend(vec![target.multiplexing()?; together]);
        }
        let crowd = Crowd::gather(target, &pods, clients).await?;
        let changes = scale.of(CHANGES);
        let sample = target.observe(crowd.tell(target, &pods, changes)).await?;
        let name =
            format!("{changes} changes to {watchers} watchers, HTTP/2, {ON_A_CONNECTION} on each connection");
        samples.push((name, sample));
    }
    Ok(samples)
}

/// Watchers that have been let in.
struct Crowd {
    watchers: usize,
    tasks: JoinSet<anyhow::Result<()>>,
    /// What was seen by anybody, and when.
    seen: mpsc::Receiver<(usize, Instant)>,
}

impl Crowd {
    /// Has a watch begun by each of the clients.
    async fn gather(target: &Target, pods: &str, clients: Vec<Client>) -> anyhow::Result<Crowd> {
        let watchers = clients.len();
        let pod = Call::get(format!("{pods}/{POD}")).succeed(&target.client).await?;
        let pod = read::object(&pod, POD)?;
        let revision = pod["metadata"]["resourceVersion"]
            .as_str()
            .context("a revision")?;
        // Room for one event of each, so that none waits for the change to be answered.
        let (tell, seen) = mpsc::channel(watchers);
        let mut tasks = JoinSet::new();
        for client in clients {
            let path = format!("{pods}?watch=true&resourceVersion={revision}");
            let answer = Call::get(path).open(&client).await?;
            ensure!(
                answer.status().is_success(),
                "a watch was answered {}",
                answer.status()
            );
            tasks.spawn(follow(answer.into_body(), tell.clone()));
        }
        Ok(Crowd {
            watchers,
            tasks,
            seen,
        })
    }

    /// Makes changes, one after the other; answers how long each watcher had to wait for each of them.
    async fn tell(mut self, target: &Target, pods: &str, changes: usize) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(changes * self.watchers);
        for change in 0..changes {
            let patch = json!({"metadata": {"annotations": {TURN: change.to_string()}}});
            let call = Call::patch(format!("{pods}/{POD}"), STRATEGIC, &patch);
            let asked = Instant::now();
            call.succeed(&target.client).await?;
            for _ in 0..self.watchers {
                let (turn, when) = timeout(LIMIT, self.next())
                    .await
                    .context("a watcher was not told")??;
                ensure!(turn == change, "change {turn} was told instead of {change}");
                times.push(when.saturating_duration_since(asked));
            }
        }
        Ok(times)
    }

    async fn next(&mut self) -> anyhow::Result<(usize, Instant)> {
        tokio::select! {
            Some(seen) = self.seen.recv() => Ok(seen),
            Some(ended) = self.tasks.join_next() => {
                ended.context("a watcher")??;
                bail!("a watch has ended");
            }
        }
    }
}

/// Tells of each change that a watch shows.
async fn follow(mut body: Body, tell: mpsc::Sender<(usize, Instant)>) -> anyhow::Result<()> {
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("a watch broke off")?.into_data() else {
            continue;
        };
        let now = Instant::now();
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let turn = turn_of(&pending[..end])?;
            pending.drain(..=end);
            if tell.send((turn, now)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Which change an event tells of. Looked for in the text: parsing a thousand copies would cost more than sending them.
fn turn_of(line: &[u8]) -> anyhow::Result<usize> {
    let line = std::str::from_utf8(line).context("an event")?;
    ensure!(
        line.starts_with(r#"{"type":"MODIFIED","object":{"#) && line.ends_with("}}"),
        "an unexpected event: {line}"
    );
    let (_, after) = line
        .split_once(&format!(r#""{TURN}":""#))
        .with_context(|| format!("an event without a turn: {line}"))?;
    let (turn, _) = after.split_once('"').context("a turn")?;
    turn.parse().with_context(|| format!("turn {turn:?}"))
}

/// A list whose end a watch has told, in JSON lines or in frames: for [`super::informers`].
pub(super) fn chunks(body: Body) -> impl futures::Stream<Item = anyhow::Result<bytes::Bytes>> {
    http_body_util::BodyDataStream::new(body)
        .map_err(|error| anyhow::Error::new(error).context("a watch broke off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_its_turn() {
        let event =
            r#"{"type":"MODIFIED","object":{"metadata":{"annotations":{"bench.coracle.dev/turn":"17"}}}}"#;
        assert_eq!(turn_of(event.as_bytes()).expect("a turn"), 17);
        assert!(turn_of(event.replace("MODIFIED", "DELETED").as_bytes()).is_err());
        assert!(turn_of(event.replace("turn\"", "tern\"").as_bytes()).is_err());
        assert!(turn_of(&event.as_bytes()[..event.len() - 3]).is_err());
    }
}
