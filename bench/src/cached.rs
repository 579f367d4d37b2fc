//! What an API server keeps in memory of many pods, against their bytes on the wire.

use crate::cluster::{Call, JSON, PROTOBUF};
use crate::load::pods;
use crate::process;
use crate::report::Table;
use crate::side::{ControlPlane, Program};
use crate::stats::Spread;
use anyhow::Context;
use std::time::Duration;
use tokio::time::sleep;

const NAMESPACE: &str = "coracle-bench-cached";
const PODS: usize = 10_000;
/// How long what starting or filling has stirred up is given to settle; what a start alone needs is given back by then.
const SETTLING: Duration = Duration::from_secs(15);

/// One API server's life. All in KiB for each pod.
struct Run {
    /// How much more is resident than without the pods.
    resident: f64,
    json: f64,
    protobuf: f64,
}

pub(crate) async fn run(program: &Program, runs: usize) -> anyhow::Result<Table> {
    let mut measured = Vec::new();
    for _ in 0..runs {
        measured.push(measure(program).await?);
    }
    let note = format!(
        "How much more memory `coracle apiserver` has resident with {PODS} pods than without, all of it: cache, store and \
         what is kept for watches. Beside it their bytes in a list, in each encoding; both are kept, and protobuf is what is \
         stored; {runs} runs: median (least–most)."
    );
    let mut table = Table::new("Cached pods", &note, ["for each pod", "KiB", "memory against it"]);
    let spread = |value: &dyn Fn(&Run) -> f64| Spread::of(measured.iter().map(value)).to_string();
    let resident = spread(&|run| run.resident);
    table.row(["memory".to_owned(), resident, String::new()]);
    let mut row = |what: &str, bytes: fn(&Run) -> f64| {
        let ratio = spread(&|run| run.resident / bytes(run));
        table.row([what.to_owned(), spread(&bytes), format!("{ratio} ×")]);
    };
    row("JSON", |run| run.json);
    row("protobuf", |run| run.protobuf);
    row("both encodings", |run| run.json + run.protobuf);
    Ok(table)
}

async fn measure(program: &Program) -> anyhow::Result<Run> {
    let place = tempfile::tempdir_in(&program.dir).context("make a directory for the data")?;
    let server = ControlPlane::start_api_server(program, &place.path().join("data")).await?;
    sleep(SETTLING).await;
    let before = process::memory(server.pid()?)?.resident;
    pods::fill(server.target(), NAMESPACE, PODS).await?;
    sleep(SETTLING).await;
    let after = process::memory(server.pid()?)?.resident;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let mut lengths = [0.0; 2];
    for (length, form) in lengths.iter_mut().zip([JSON, PROTOBUF]) {
        let list = Call::get(&path)
            .accept(form)
            .succeed(&server.target().client)
            .await?;
        *length = list.len() as f64 / 1024.0 / PODS as f64;
    }
    server.stop().await?;
    Ok(Run {
        resident: (after - before) * 1024.0 / PODS as f64,
        json: lengths[0],
        protobuf: lengths[1],
    })
}
