//! `make crash`: kills an apiserver hundreds of times and holds what its clients were told against the model.

use std::hash::{BuildHasher, RandomState};

use anyhow::Result;
use clap::Parser;
use coracle_e2e::coracle_binary;
use coracle_e2e::crash::campaign::Campaign;
use coracle_e2e::crash::hostile;

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
    if arguments.hostile {
        let extent = hostile::run(coracle_binary()?, seed).await?;
        eprintln!("{extent:#?}: every promise was kept");
        return Ok(());
    }
    let campaign = Campaign {
        seed,
        kills: arguments.kills,
        program: coracle_binary()?,
        failpoints: arguments.failpoints,
        power_loss: arguments.power_loss,
    };
    let report = campaign.run().await?;
    eprintln!("{}", report.tally);
    eprintln!(
        "{:#?} on {} data directories: every promise was kept",
        report.extent, report.directories
    );
    Ok(())
}
