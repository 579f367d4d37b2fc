//! The embedded store alone: how long it takes to open, and how many synced writes a second it makes.

use crate::report::Table;
use crate::stats::{Spread, percentile_ms};
use anyhow::{Context, bail};
use coracle_store::rocks::{RocksOptions, RocksStore};
use coracle_store::{Store, Txn, TxnOutcome};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const WRITERS: [usize; 4] = [1, 8, 32, 128];
const SECONDS: u64 = 3;
const VALUE_BYTES: usize = 1500;

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Where the store's files go while it is measured; should be on the disk of interest
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How many writers there are at once
    #[arg(long, value_delimiter = ',', default_values_t = WRITERS)]
    writers: Vec<usize>,
    /// How long each run takes
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// The size of a value
    #[arg(long, default_value_t = VALUE_BYTES)]
    value_bytes: usize,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

impl Args {
    /// What is measured by default.
    pub(crate) fn in_dir(dir: PathBuf, runs: usize) -> Args {
        Args {
            dir,
            writers: WRITERS.to_vec(),
            seconds: SECONDS,
            value_bytes: VALUE_BYTES,
            runs,
        }
    }
}

/// One run with one number of writers.
struct Run {
    open: Duration,
    reopen: Duration,
    per_second: f64,
    /// How long each write took, sorted.
    latencies: Vec<Duration>,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Table> {
    let note = format!(
        "Compare-and-set creates of {} bytes, each answered after it is synced; {} runs of {} s: median (least–most).",
        args.value_bytes, args.runs, args.seconds
    );
    let head = [
        "writers",
        "creates/s",
        "p50 ms",
        "p99 ms",
        "open empty ms",
        "open after ms",
    ];
    let mut table = Table::new("The store alone", &note, head);
    for &writers in &args.writers {
        let mut runs = Vec::new();
        for _ in 0..args.runs {
            runs.push(measure(args, writers).await?);
        }
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value)).to_string();
        table.row([
            writers.to_string(),
            spread(|run| run.per_second),
            spread(|run| percentile_ms(&run.latencies, 0.5)),
            spread(|run| percentile_ms(&run.latencies, 0.99)),
            spread(|run| run.open.as_secs_f64() * 1e3),
            spread(|run| run.reopen.as_secs_f64() * 1e3),
        ]);
    }
    Ok(table)
}

async fn measure(args: &Args, writers: usize) -> anyhow::Result<Run> {
    let dir = tempfile::tempdir_in(&args.dir).context("make a directory for the store")?;
    let (store, open) = timed_open(dir.path())?;
    let store = Arc::new(store);
    let started = Instant::now();
    let until = started + Duration::from_secs(args.seconds);
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        tasks.spawn(create_until(store.clone(), writer, until, args.value_bytes));
    }
    let mut latencies = Vec::new();
    while let Some(written) = tasks.join_next().await {
        latencies.extend(written.context("a writer")??);
    }
    let per_second = latencies.len() as f64 / started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    store.close();
    let (_, reopen) = timed_open(dir.path())?;
    Ok(Run {
        open,
        reopen,
        per_second,
        latencies,
    })
}

fn timed_open(dir: &Path) -> anyhow::Result<(RocksStore, Duration)> {
    let started = Instant::now();
    let store = RocksStore::open(dir, RocksOptions::default()).context("open the store")?;
    Ok((store, started.elapsed()))
}

/// Creates keys until it is time to stop; answers how long each took.
async fn create_until(
    store: Arc<RocksStore>,
    writer: usize,
    until: Instant,
    value_bytes: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let started = Instant::now();
        if started >= until {
            return Ok(latencies);
        }
        let key = format!("/registry/pods/bench-{writer}/pod-{}", latencies.len());
        let txn = Txn::new()
            .when_absent(key.clone())
            .put(key, value(latencies.len(), value_bytes));
        match store.txn(txn).await.context("write")? {
            TxnOutcome::Committed { .. } => latencies.push(started.elapsed()),
            TxnOutcome::Conflict { .. } => bail!("another writer uses the same keys"),
        }
    }
}

/// A value that can be compressed about as well as an object can.
fn value(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| {
            if i % 2 == 0 {
                b'a'
            } else {
                (seed.wrapping_mul(31).wrapping_add(i * i) >> 3) as u8
            }
        })
        .collect()
}
