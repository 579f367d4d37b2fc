//! The loads: the same work for whatever cluster a kubeconfig names. Every answer is looked at, after its time was taken; a
//! wrong one ends the run.

mod customs;
pub(crate) mod dns;
mod informers;
mod leases;
mod lists;
pub(crate) mod pods;
mod read;
pub(crate) mod services;
mod watches;
mod workloads;

use crate::side::Target;
use anyhow::Context;
use futures::stream::{FuturesUnordered, TryStreamExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How many seconds what starting has stirred up is given to settle.
const SETTLING: usize = 10;
/// For how many seconds nothing is asked.
const IDLE: usize = 30;

/// What doing some work came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The servers' CPU time.
    pub(crate) cpu: Duration,
    /// How long all of it took.
    pub(crate) took: Duration,
    /// How long each part of it took, sorted; at least one.
    pub(crate) latencies: Vec<Duration>,
    /// The most memory that the servers had resident meanwhile, in MiB.
    pub(crate) peak: f64,
}

/// A piece of work, under the name of its row.
pub(crate) type Named = (String, Sample);

/// A group of rows, which is run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Group {
    /// From exec until ready
    Boot,
    /// With nothing to do
    Idle,
    /// Create, get, patch, apply and delete pods, with one client and with many
    Pods,
    /// Lists of many pods
    Lists,
    /// Changes to one pod, told to many watchers
    Watches,
    /// Informers that begin
    Informers,
    /// Heartbeats of many nodes
    Leases,
    /// A Deployment with many replicas, until all are bound
    Deployment,
    /// Many pods and many nodes
    Scheduling,
    /// Custom resources: many definitions, and large ones
    Customs,
    /// A namespace with many objects goes
    Namespace,
    /// Questions to the DNS servers
    Dns,
    /// Services into the kernel by the proxies; root's to ask for
    Services,
}

impl Group {
    /// Whether what is measured is another server than the control plane, which then only stands behind it.
    pub(crate) fn brings_its_server(self) -> bool {
        matches!(self, Group::Dns | Group::Services)
    }
}

/// How much is done.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Scale {
    /// By how much to divide the amounts of work; 1 for figures that count
    #[arg(long, default_value_t = 1)]
    divisor: usize,
}

impl Scale {
    fn of(self, amount: usize) -> usize {
        (amount / self.divisor.max(1)).max(1)
    }
}

/// Runs a group that needs nothing but a target.
pub(crate) async fn run(group: Group, target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    match group {
        Group::Boot | Group::Dns | Group::Services => Ok(Vec::new()),
        Group::Idle => Ok(vec![(
            "idle, half a minute".to_owned(),
            idle(target, scale).await?,
        )]),
        Group::Pods => pods::run(target, scale).await,
        Group::Lists => lists::run(target, scale).await,
        Group::Watches => watches::run(target, scale).await,
        Group::Informers => informers::run(target, scale).await,
        Group::Leases => leases::run(target, scale).await,
        Group::Deployment => workloads::deployment(target, scale).await,
        Group::Scheduling => workloads::scheduling(target, scale).await,
        Group::Customs => customs::run(target, scale).await,
        Group::Namespace => workloads::namespace(target, scale).await,
    }
}

async fn idle(target: &Target, scale: Scale) -> anyhow::Result<Sample> {
    let seconds = |amount| Duration::from_secs(scale.of(amount) as u64);
    tokio::time::sleep(seconds(SETTLING)).await;
    target
        .observe(async {
            tokio::time::sleep(seconds(IDLE)).await;
            Ok(vec![seconds(IDLE)])
        })
        .await
}

/// Does numbered work with some clients at once; answers how long each piece took, as the piece says.
async fn share_out<F>(
    clients: usize,
    amount: usize,
    piece: impl Fn(usize) -> F,
) -> anyhow::Result<Vec<Duration>>
where
    F: Future<Output = anyhow::Result<Duration>>,
{
    let next = AtomicUsize::new(0);
    let client = || async {
        let mut times = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= amount {
                return Ok::<_, anyhow::Error>(times);
            }
            times.push(piece(number).await.with_context(|| format!("piece {number}"))?);
        }
    };
    let all: FuturesUnordered<_> = (0..clients.min(amount)).map(|_| client()).collect();
    let times: Vec<Vec<Duration>> = all.try_collect().await?;
    Ok(times.concat())
}

/// Takes the time of something.
async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Duration)> {
    let started = Instant::now();
    let done = work.await?;
    Ok((done, started.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn every_piece_is_done_once_by_no_more_than_the_clients() {
        let (done, at_once) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let times = share_out(3, 50, |number| {
            let (done, at_once) = (&done, &at_once);
            async move {
                assert!(at_once.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::task::yield_now().await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                done.lock().expect("no panic").push(number);
                Ok(Duration::from_millis(number as u64))
            }
        })
        .await
        .expect("all goes well");
        let mut done = done.into_inner().expect("no panic");
        done.sort_unstable();
        assert_eq!(done, (0..50).collect::<Vec<_>>());
        assert_eq!(times.len(), 50);
    }

    #[tokio::test]
    async fn one_wrong_answer_fails_all() {
        let failed = share_out(4, 20, |number| async move {
            if number == 13 {
                anyhow::bail!("wrong");
            }
            Ok(Duration::ZERO)
        })
        .await;
        assert_eq!(failed.expect_err("a failure").to_string(), "piece 13");
    }
}
