//! How a server's life ends.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::disk::image::Survival;
use super::observer::Observer;
use super::server::Server;

/// The store's failpoints that an apiserver comes by.
const FAILPOINTS: [&str; 11] = [
    "open/begun",
    "open/done",
    "commit/begun",
    "commit/staged",
    "commit/written",
    "commit/published",
    "commit/answered-one",
    "commit/answered",
    "compact/begun",
    "compact/marked",
    "compact/dropped",
];

/// How many of them are of a compaction.
const COMPACTION: usize = 3;

/// How the tally calls a failpoint that was come to.
const AT: &str = "at ";

/// How many writes are waited for at most at a failpoint that does not come.
const LONGEST_LIFE: usize = 800;

/// When and how a life ends.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// By SIGKILL, so long after it was started.
    WhileStarting(Duration),
    /// By SIGKILL, after so many acknowledged writes.
    AfterWrites(usize),
    /// By SIGKILL, so long after writers began.
    AfterTime(Duration),
    /// By SIGKILL from within, when it comes to a failpoint for the so manieth time.
    Failpoint(&'static str, u32),
    /// The disk's power goes, after so many changes since the start or since writers began.
    PowerLoss {
        /// How many writes, syncs, renames and the like.
        changes: u64,
        /// Counted from the start.
        at_start: bool,
        /// What remains of what was not synced.
        survival: Survival,
    },
}

impl Ending {
    /// Chooses a loss of power.
    pub fn choose_power_loss(random: &mut Rng) -> Self {
        let at_start = random.u8(..3) == 0;
        let survival = if random.bool() {
            Survival::Nothing
        } else {
            Survival::Some
        };
        // As likely soon as late: a start is some hundred changes, a commit two.
        let most = 1 << random.u8(3..11);
        Self::PowerLoss {
            changes: random.u64(1..=most),
            at_start,
            survival,
        }
    }

    /// Chooses a kill of a server that may have failpoints, and may forget history soon.
    pub fn choose(random: &mut Rng, failpoints: bool, compacts: bool) -> Self {
        // The last of them are those of a compaction.
        let reachable = if compacts {
            FAILPOINTS.len()
        } else {
            FAILPOINTS.len() - COMPACTION
        };
        match random.u8(..10) {
            0 => Self::WhileStarting(Duration::from_millis(random.u64(..1500))),
            1 => Self::AfterTime(Duration::from_micros(random.u64(..1_000_000))),
            2..=6 if failpoints => {
                let name = FAILPOINTS[random.usize(..reachable)];
                let count = if name.starts_with("commit") {
                    random.u32(1..150)
                } else {
                    1
                };
                let count = if name.starts_with("compact") {
                    random.u32(1..4)
                } else {
                    count
                };
                Self::Failpoint(name, count)
            }
            _ => Self::AfterWrites(random.usize(1..200)),
        }
    }

    /// What the server is told of it.
    pub fn failpoint(self) -> Option<String> {
        match self {
            Self::Failpoint(name, count) => Some(format!("{name}@{count}")),
            _ => None,
        }
    }

    /// Waits for the moment, under load. Answers whether it came as chosen.
    ///
    /// # Errors
    /// When the server ends by itself.
    pub async fn come(self, observer: &Observer, server: &mut Server) -> Result<bool> {
        match self {
            Self::WhileStarting(_) => {}
            Self::AfterWrites(count) => observer.acknowledged(count).await,
            Self::AfterTime(time) => tokio::time::sleep(time).await,
            Self::Failpoint(..) | Self::PowerLoss { .. } => {
                return tokio::select! {
                    ended = server.ended() => ended.map(|()| true),
                    () = observer.acknowledged(LONGEST_LIFE) => Ok(false),
                };
            }
        }
        Ok(true)
    }
}

/// How often lives ended how.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<String, usize>,
}

impl Tally {
    pub(super) fn count(&mut self, ending: Ending, came: bool) {
        let name = match ending {
            Ending::WhileStarting(_) => "while it started".to_owned(),
            Ending::AfterWrites(_) => "after some writes".to_owned(),
            Ending::AfterTime(_) => "after some time".to_owned(),
            Ending::PowerLoss { at_start: true, .. } => "by loss of power, counted from the start".to_owned(),
            Ending::PowerLoss { .. } => "by loss of power under load".to_owned(),
            Ending::Failpoint(name, _) if came => format!("{AT}{name}"),
            Ending::Failpoint(name, _) => format!("on the way to {name}"),
        };
        *self.counts.entry(name).or_default() += 1;
    }

    /// All kills.
    pub fn kills(&self) -> usize {
        self.counts.values().sum()
    }

    /// Those that came at a named place.
    pub fn at_failpoints(&self) -> usize {
        let at = self.counts.iter().filter(|(name, _)| name.starts_with(AT));
        at.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(formatter, "{count:6} {name}")?;
        }
        Ok(())
    }
}
