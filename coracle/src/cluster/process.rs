//! Processes that outlive the command that starts them, and are found again without mistake.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long one look at a condition on this machine waits before the next.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A process by number and start time: a number alone may have been given to another since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// The number as this machine's first process namespace counts.
    pub(crate) pid: i32,
    /// Clock ticks between boot and the process' start (proc(5), field 22 of stat).
    pub(crate) started: u64,
}

impl ProcessId {
    /// The identity of a process that runs now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let (state, started) = stat(pid)?;
        (state != 'Z').then_some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, if the process still runs.
    ///
    /// # Errors
    /// When this user may not.
    pub(crate) fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot end process {}", self.pid)),
        }
    }

    /// Ends the process: asks, waits for `grace`, then kills, and returns when it is gone.
    ///
    /// # Errors
    /// When this user may not, or when a killed process does not go away.
    pub(crate) fn end(self, grace: Duration) -> Result<()> {
        if !grace.is_zero() {
            self.signal(Signal::SIGTERM)?;
        }
        if !wait_until(grace, || !self.is_alive()) {
            self.signal(Signal::SIGKILL)?;
        }
        anyhow::ensure!(
            wait_until(Duration::from_secs(20), || !self.is_alive()),
            "process {} does not end",
            self.pid
        );
        Ok(())
    }

    /// Resident memory in bytes; `None` once the process is gone.
    pub(crate) fn resident_bytes(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    }
}

/// State letter and start time from proc(5) stat. The command's name stands in parentheses and may hold anything.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// Waits until `condition` holds; false when `limit` passes first.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// This program itself, as a command to start.
///
/// # Errors
/// When the running file cannot be named.
pub(crate) fn this_program() -> Result<Command> {
    Ok(Command::new(
        std::env::current_exe().context("cannot find the coracle program itself")?,
    ))
}

/// Starts a process that goes on after this one: no terminal, output appended to a log.
///
/// The started program itself must call [`leave_session`] first thing.
///
/// # Errors
/// When the log cannot be opened or the program cannot be started.
pub(crate) fn start_detached(mut command: Command, log: &Path) -> Result<Child> {
    let open = || File::options().create(true).append(true).open(log);
    let output = open().with_context(|| format!("cannot open {}", log.display()))?;
    let errors = open().with_context(|| format!("cannot open {}", log.display()))?;
    command.stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Writes a value as JSON, whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    super::state::write_atomically(file, &serde_json::to_vec_pretty(value)?, 0o600)
}

/// Makes this process the leader of a session of its own, so that closing a terminal does not end it.
pub(crate) fn leave_session() {
    // Fails only for a process that leads its group already, and that has left.
    let _ = nix::unistd::setsid();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let me = ProcessId::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(me.resident_bytes().unwrap() > 0);
        assert!(
            !ProcessId {
                started: me.started + 1,
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn ending_a_process_waits_until_it_is_gone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let id = ProcessId::of(child.id() as i32).unwrap();
        id.end(Duration::from_secs(5)).unwrap();
        assert!(!id.is_alive());
        child.wait().unwrap();
    }
}
