//! Deleting entries of the kernel's connection table with the `conntrack` program.

use std::collections::BTreeSet;
use std::io;

use tokio::process::Command;

use super::search_path;
use crate::facts::cidr::Family;
use crate::rules::flows::StaleFlows;

/// Deletions for one change beyond which the rest is left to the entries' own timeouts.
const MOST_DELETIONS: usize = 1_000;

/// Deletes stale entries.
///
/// # Errors
/// When the program cannot be run. That it found no entry is no error.
pub async fn delete(stale: &BTreeSet<StaleFlows>, family: Family) -> io::Result<()> {
    for flows in stale.iter().take(MOST_DELETIONS) {
        let mut command = Command::new("conntrack");
        command
            .args(flows.arguments(family))
            .env("PATH", search_path())
            .kill_on_drop(true);
        command.output().await?;
    }
    Ok(())
}
