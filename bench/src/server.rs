//! How long `coracle server` takes to be ready, and what it takes when nothing happens.

use crate::cluster::{self, Call, NAMESPACE};
use crate::process::{self, Memory};
use crate::report::Table;
use crate::side::{ControlPlane, Program};
use crate::stats::Spread;
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

#[derive(clap::Args, Clone)]
#[group(skip)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) program: Program,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// How many ConfigMaps of 1 KiB the filled directory has
    #[arg(long, default_value_t = 5000)]
    pub(crate) objects: usize,
    /// How long the control plane is idle before its memory is read
    #[arg(long, default_value_t = 30)]
    pub(crate) idle_seconds: u64,
}

/// One control plane's life.
struct Run {
    empty: Duration,
    filled: Duration,
    idle: Idle,
    idle_filled: Idle,
}

struct Idle {
    memory: Memory,
    /// CPU seconds that a minute of idleness takes.
    cpu_per_minute: f64,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Table> {
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        runs.push(measure(args).await?);
    }
    let note = format!(
        "`coracle server` (API server, controllers, scheduler in one process) with an empty data directory, and again \
         with {} ConfigMaps; memory and CPU while idle, after {} s; {} runs: median (least–most).",
        args.objects, args.idle_seconds, args.runs
    );
    let mut table = Table::new("Control plane", &note, ["what", "empty", "filled"]);
    let spread = |value: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(value)).to_string();
    let mut row = |what: &str, empty: &dyn Fn(&Run) -> f64, filled: &dyn Fn(&Run) -> f64| {
        table.row([what.to_owned(), spread(empty), spread(filled)]);
    };
    row("exec to `/readyz`, s", &|run| run.empty.as_secs_f64(), &|run| {
        run.filled.as_secs_f64()
    });
    row(
        "resident memory (RSS), MiB",
        &|run| run.idle.memory.resident,
        &|run| run.idle_filled.memory.resident,
    );
    row(
        "proportional memory (PSS), MiB",
        &|run| run.idle.memory.proportional,
        &|run| run.idle_filled.memory.proportional,
    );
    row("CPU seconds a minute", &|run| run.idle.cpu_per_minute, &|run| {
        run.idle_filled.cpu_per_minute
    });
    Ok(table)
}

async fn measure(args: &Args) -> anyhow::Result<Run> {
    let place = tempfile::tempdir_in(&args.program.dir).context("make a directory for the data")?;
    let data = place.path().join("data");
    let first = ControlPlane::start(&args.program, &data).await?;
    let (empty, idle) = (first.start, idle(&first, args.idle_seconds).await?);
    fill(&first.client, args.objects).await?;
    first.stop().await?;
    let second = ControlPlane::start(&args.program, &data).await?;
    let (filled, idle_filled) = (second.start, self::idle(&second, args.idle_seconds).await?);
    second.stop().await?;
    Ok(Run {
        empty,
        filled,
        idle,
        idle_filled,
    })
}

async fn idle(control_plane: &ControlPlane, seconds: u64) -> anyhow::Result<Idle> {
    let pid = control_plane.pid()?;
    // The first half settles what starting has stirred up.
    let half = Duration::from_secs(seconds) / 2;
    sleep(half).await;
    let before = process::cpu_time(pid)?;
    sleep(half).await;
    let taken = process::cpu_time(pid)?.saturating_sub(before);
    let cpu_per_minute = 60.0 * taken.as_secs_f64() / half.as_secs_f64().max(f64::MIN_POSITIVE);
    Ok(Idle {
        memory: process::memory(pid)?,
        cpu_per_minute,
    })
}

async fn fill(client: &Client, objects: usize) -> anyhow::Result<()> {
    cluster::make_namespace(client, NAMESPACE).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let creates = stream::iter((0..objects).map(|number| create(client, &path, number)));
    creates.buffer_unordered(32).try_collect().await
}

async fn create(client: &Client, path: &str, number: usize) -> anyhow::Result<()> {
    let name = format!("filler-{number}");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "x".repeat(1024)},
    });
    Call::post(path, &object).succeed(client).await?;
    Ok(())
}
