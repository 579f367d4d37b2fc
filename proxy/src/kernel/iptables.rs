//! The iptables programs: reading what the kernel holds, applying a restore. No decisions here.

use std::collections::BTreeSet;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::search_path;
use crate::facts::cidr::Family;
use crate::rules::batch::Batch;
use crate::rules::diff::Installed;
use crate::rules::{JUMPS, Table};

/// How long a program may hold up the proxy. A restore of tens of thousands of rules takes a few seconds.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);

/// Seconds to wait for another program that holds the tables' lock.
const LOCK_WAIT_SECONDS: &str = "5";

/// Why the kernel's tables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// The program is not there.
    #[error("{program} is not installed: install the package iptables")]
    Missing {
        /// The program's name.
        program: &'static str,
    },
    /// The program could not be started, or its pipes broke.
    #[error("{program} could not be run")]
    Run {
        /// The program's name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program ended with a failure.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program's name.
        program: &'static str,
        /// What it said.
        message: String,
    },
    /// The program did not end.
    #[error("{program} did not finish within {} seconds", PROGRAM_TIMEOUT.as_secs())]
    Timeout {
        /// The program's name.
        program: &'static str,
    },
}

/// The programs of one family.
#[derive(Clone, Copy, Debug)]
pub struct Iptables {
    list: &'static str,
    save: &'static str,
    restore: &'static str,
    backend: Backend,
}

/// What the programs speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    /// nf_tables, to which a commit brings what changed.
    NfTables,
    /// The older interface, to which every commit brings the whole table.
    Legacy,
}

impl Backend {
    /// Takes it from what a program says about its version: `iptables-restore v1.8.9 (nf_tables)`. Programs older than nf_tables
    /// name nothing.
    fn of(version: &str) -> Self {
        if version.contains("(nf_tables)") {
            Self::NfTables
        } else {
            Self::Legacy
        }
    }
}

impl Iptables {
    /// The programs for a family.
    pub fn new(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                list: "iptables",
                save: "iptables-save",
                restore: "iptables-restore",
                backend: Backend::Legacy,
            },
            Family::V6 => Self {
                list: "ip6tables",
                save: "ip6tables-save",
                restore: "ip6tables-restore",
                backend: Backend::Legacy,
            },
        }
    }

    /// Looks whether the programs are there and the kernel lets them in, and which kind they are.
    ///
    /// # Errors
    /// When it is not so.
    pub async fn probe(&mut self) -> Result<(), IptablesError> {
        self.backend = Backend::of(&run_program(self.restore, &["--version"], "").await?);
        self.chain(Table::Nat, "PREROUTING").await.map(drop)
    }

    /// Reads what an earlier process, or this one, left in the kernel.
    ///
    /// # Errors
    /// When a table cannot be listed.
    pub async fn read(&self) -> Result<Installed, IptablesError> {
        let mut installed = Installed::default();
        for table in Table::ALL {
            installed.observe(table, &run_program(self.save, &["-t", table.as_str()], "").await?);
        }
        Ok(installed)
    }

    /// Whether the kernel still has the jumps into the rule set, and as many rules as it should in the chains that are edited.
    /// Another program that flushes the tables takes the jumps with everything else, and the chains they stand in are short.
    ///
    /// # Errors
    /// When a chain cannot be listed.
    pub async fn still_has(&self, installed: &Installed) -> Result<bool, IptablesError> {
        let places: BTreeSet<_> = JUMPS.iter().map(|jump| (jump.table, jump.from)).collect();
        for (table, from) in places {
            let mut found = Installed::default();
            found.observe(table, &self.chain(table, from).await?);
            if !found.has_jumps(table, from) {
                return Ok(false);
            }
        }
        for (table, chain, amount) in installed.edited_chains() {
            let listed = match self.chain(table, chain.as_str()).await {
                Ok(listed) => listed,
                // Not there any more: that the kernel can be read has shown above.
                Err(IptablesError::Failed { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            if listed.lines().filter(|line| line.starts_with("-A ")).count() != amount {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lists one chain.
    async fn chain(&self, table: Table, chain: &str) -> Result<String, IptablesError> {
        let arguments = ["--wait", LOCK_WAIT_SECONDS, "-t", table.as_str(), "-S", chain];
        run_program(self.list, &arguments, "").await
    }

    /// Applies a batch, what packets can meet in one step a table.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub async fn apply(&self, batch: &Batch<'_>) -> Result<(), IptablesError> {
        let input = match self.backend {
            Backend::NfTables => batch.in_stages().to_string(),
            Backend::Legacy => batch.to_string(),
        };
        self.restore(&input).await
    }

    /// Applies a restore input, each table in one step.
    ///
    /// # Errors
    /// When the kernel refuses it: then tables up to the faulty one may be changed, and the state must be read again.
    pub async fn restore(&self, input: &str) -> Result<(), IptablesError> {
        run_program(self.restore, &["--noflush", "--wait", LOCK_WAIT_SECONDS], input)
            .await
            .map(drop)
    }
}

/// Runs a program to its end and gives what it printed.
async fn run_program(
    program: &'static str,
    arguments: &[&str],
    input: &str,
) -> Result<String, IptablesError> {
    let run = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => IptablesError::Missing { program },
        _ => IptablesError::Run { program, source },
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", search_path())
        .kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(run)?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(stdin) = stdin.as_mut() {
            // A program that refuses its input closes the pipe; what it says then is the better message.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin.take());
    };
    let finish = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, finish).await;
    let output = output
        .map_err(|_| IptablesError::Timeout { program })?
        .map_err(run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(IptablesError::Failed {
        program,
        message: format!("{message} ({})", output.status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_tell_what_they_speak_to() {
        for (version, backend) in [
            ("iptables-restore v1.8.9 (nf_tables)\n", Backend::NfTables),
            ("iptables-restore v1.8.9 (legacy)\n", Backend::Legacy),
            ("iptables-restore v1.6.1\n", Backend::Legacy),
        ] {
            assert_eq!(Backend::of(version), backend, "{version}");
        }
    }
}
