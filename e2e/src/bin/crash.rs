//! `make crash`: kills an apiserver hundreds of times and holds what its clients were told against the model.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use coracle_e2e::coracle_binary;
use coracle_e2e::crash::campaign::{Campaign, Report};
use coracle_e2e::crash::hostile;
use tokio::time::Instant;

/// Kill an apiserver again and again, and check what its clients were told
#[derive(Debug, Parser)]
struct Arguments {
    /// From which to choose; any by default
    #[arg(long)]
    seed: Option<u64>,
    /// How often to kill
    #[arg(long, default_value_t = 300)]
    kills: usize,
    /// The binary was built with `--features failpoints`: kill at those too
    #[arg(long)]
    failpoints: bool,
    /// Take the power from the disk in place of killing; needs /dev/fuse and the right to mount
    #[arg(long)]
    power_loss: bool,
    /// Instead, let it live among clients that mean no good, on a disk that fills up
    #[arg(long)]
    hostile: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments
        .seed
        .unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    eprintln!("--seed {seed}");
    let began = Instant::now();
    let (what, report) = if arguments.hostile {
        let extent = hostile::run(coracle_binary()?, seed).await?;
        let report = Report {
            extent,
            directories: 1,
            ..Report::default()
        };
        ("hostile clients, a full disk", report)
    } else {
        let campaign = Campaign {
            seed,
            kills: arguments.kills,
            program: coracle_binary()?,
            failpoints: arguments.failpoints,
            power_loss: arguments.power_loss,
        };
        let what = if arguments.power_loss {
            "losses of power"
        } else {
            "kills"
        };
        (what, campaign.run().await?)
    };
    eprintln!("{}", report.tally);
    eprintln!("{:#?}: every promise was kept", report.extent);
    writeln!(std::io::stdout(), "{}", row(what, seed, &report, began.elapsed()))?;
    Ok(())
}

/// A line for the table in which `tools/crash` puts together what was done.
fn row(what: &str, seed: u64, report: &Report, took: Duration) -> String {
    let (tally, extent) = (&report.tally, report.extent);
    let cells = [
        what.to_owned(),
        seed.to_string(),
        tally.kills().to_string(),
        tally.at_failpoints().to_string(),
        report.directories.to_string(),
        extent.calls.to_string(),
        extent.unknown.to_string(),
        extent.changes.to_string(),
        extent.deliveries.to_string(),
        format!("{} s", took.as_secs()),
    ];
    format!("| {} |", cells.join(" | "))
}
