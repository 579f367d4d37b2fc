//! A short part of `make crash`, on the binary that users get.

use std::hash::{BuildHasher, RandomState};

use anyhow::{Context, Result, ensure};
use coracle_e2e::coracle_binary;
use coracle_e2e::crash::campaign::Campaign;

/// How often to kill; `make crash` does so hundreds of times.
const KILLS: usize = 12;

/// Replays the choices of a run, given the seed that it printed.
const SEED_VARIABLE: &str = "CORACLE_CRASH_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_an_apiserver_keeps_every_promise() -> Result<()> {
    let chosen = std::env::var(SEED_VARIABLE)
        .ok()
        .map(|seed| seed.parse())
        .transpose();
    let seed = chosen
        .context(SEED_VARIABLE)?
        .unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    println!("{SEED_VARIABLE}={seed}");
    let campaign = Campaign {
        seed,
        kills: KILLS,
        program: coracle_binary()?,
        failpoints: false,
        power_loss: false,
    };
    let report = campaign.run().await?;
    ensure!(
        report.tally.kills() == KILLS && report.extent.changes > 10 * KILLS,
        "{report:?}"
    );
    Ok(())
}
