//! Pods created through the API, each answered when it is durable.

use crate::cluster::{self, Call, NAMESPACE};
use crate::process;
use crate::report::Table;
use crate::side::{ControlPlane, Program, Target};
use crate::stats::{Spread, percentile_ms};
use anyhow::{Context, ensure};
use kube::Client;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CLIENTS: [usize; 2] = [1, 32];
const SECONDS: u64 = 5;

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    #[command(flatten)]
    program: Program,
    /// The cluster to put the load on; by default a control plane of our own
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The server's processes whose CPU time is counted, if the cluster is not our own (API server and etcd)
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// How many clients there are at once
    #[arg(long, value_delimiter = ',', default_values_t = CLIENTS)]
    clients: Vec<usize>,
    /// How long each run takes
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

impl Args {
    /// What is measured by default, on a control plane of our own.
    pub(crate) fn of_our_own(program: Program, runs: usize) -> Args {
        Args {
            program,
            kubeconfig: None,
            pid: Vec::new(),
            clients: CLIENTS.to_vec(),
            seconds: SECONDS,
            runs,
        }
    }
}

/// One run with one number of clients.
struct Run {
    per_second: f64,
    /// How long each create took, sorted.
    latencies: Vec<Duration>,
    /// The server's CPU time for each create, in milliseconds.
    cpu_ms: f64,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Table> {
    match &args.kubeconfig {
        Some(path) => {
            let target = Target::of(path, args.pid.clone()).await?;
            let table = measure_all(args, &target).await;
            cluster::clean_up(&target.client).await?;
            table
        }
        None => {
            let place = tempfile::tempdir_in(&args.program.dir).context("make a directory for the data")?;
            let control_plane = ControlPlane::start(&args.program, &place.path().join("data")).await?;
            let table = measure_all(args, control_plane.target()).await;
            control_plane.stop().await?;
            table
        }
    }
}

async fn measure_all(args: &Args, target: &Target) -> anyhow::Result<Table> {
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    let note = format!(
        "Pods that no scheduler takes, created as JSON over TLS, each answered after it is synced; the load is made on \
         the same machine; {} runs of {} s: median (least–most). CPU is the server's.",
        args.runs, args.seconds
    );
    let head = ["clients", "creates/s", "p50 ms", "p99 ms", "CPU ms per create"];
    let mut table = Table::new("Creates", &note, head);
    for &clients in &args.clients {
        let mut runs = Vec::new();
        for run in 0..args.runs {
            runs.push(measure(args, target, clients, run).await?);
        }
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value)).to_string();
        table.row([
            clients.to_string(),
            spread(|run| run.per_second),
            spread(|run| percentile_ms(&run.latencies, 0.5)),
            spread(|run| percentile_ms(&run.latencies, 0.99)),
            if target.pids.is_empty() {
                "not counted".to_owned()
            } else {
                spread(|run| run.cpu_ms)
            },
        ]);
    }
    Ok(table)
}

async fn measure(args: &Args, target: &Target, clients: usize, run: usize) -> anyhow::Result<Run> {
    let cpu_before = process::cpu_time_of(&target.pids)?;
    let started = Instant::now();
    let until = started + Duration::from_secs(args.seconds);
    let mut creators = JoinSet::new();
    for number in 0..clients {
        creators.spawn(create_until(
            target.client.clone(),
            format!("load-{clients}-{run}-{number}"),
            until,
        ));
    }
    let mut latencies = Vec::new();
    while let Some(created) = creators.join_next().await {
        latencies.extend(created.context("a client")??);
    }
    let per_second = latencies.len() as f64 / started.elapsed().as_secs_f64();
    let cpu = process::cpu_time_of(&target.pids)?.saturating_sub(cpu_before);
    latencies.sort_unstable();
    Ok(Run {
        per_second,
        cpu_ms: cpu.as_secs_f64() * 1e3 / latencies.len() as f64,
        latencies,
    })
}

/// Creates pods until it is time to stop; answers how long each took.
async fn create_until(client: Client, name: String, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let mut latencies = Vec::new();
    loop {
        let name = format!("{name}-{}", latencies.len());
        let call = Call::post(&path, &cluster::unscheduled_pod(&name));
        let started = Instant::now();
        if started >= until && !latencies.is_empty() {
            return Ok(latencies);
        }
        let answer = call.succeed(&client).await?;
        latencies.push(started.elapsed());
        let pod: Value = serde_json::from_slice(&answer).context("read the answer")?;
        let stored =
            pod["metadata"]["name"] == name.as_str() && pod["metadata"]["resourceVersion"].is_string();
        ensure!(stored, "a create of {name} was answered with {pod}");
    }
}
