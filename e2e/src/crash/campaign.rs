//! Many lives of one server after another, each ended by a kill, all chosen from a seed.
//!
//! A life begins with a check: a write fences off what came before, every watcher of everything is waited for until it has
//! seen that write, and the whole history up to there is held against the model. Then writers are let loose until the kill.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::check::{Extent, check};
use super::client::Recorder;
use super::ending::{Ending, Tally};
use super::history::{Action, Answer, Revision, Value};
use super::observer::Observer;
use super::power::Power;
use super::server::{Server, Setup};
use super::watcher::Watcher;
use super::workload;
use crate::cluster::free_port;
use crate::wait::{DEADLINE, await_condition};

/// The namespace of all keys.
const NAMESPACE: &str = "crash";

/// How many write and read at once.
const WRITERS: usize = 6;

/// How long a server that does not answer may take to be gone.
const DYING: Duration = Duration::from_secs(10);

/// Lives on one data directory before a new one is begun.
const LIVES: usize = 25;

/// What to do.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// From which everything is chosen that can be.
    pub seed: u64,
    /// How often to kill.
    pub kills: usize,
    /// The `coracle` binary.
    pub program: PathBuf,
    /// Whether it was built with failpoints.
    pub failpoints: bool,
    /// Whether to have it on a disk whose power goes, in place of kills.
    pub power_loss: bool,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By what the lives were ended.
    pub tally: Tally,
    /// What was checked, over all data directories.
    pub extent: Extent,
    /// How many data directories there were.
    pub directories: usize,
}

impl Campaign {
    /// Kills as often as planned, and checks as often.
    ///
    /// # Errors
    /// The first broken promise, with the seed and where the history is kept; or what kept the test from going on.
    pub async fn run(&self) -> Result<Report> {
        let mut random = Rng::with_seed(self.seed);
        let mut report = Report::default();
        while report.tally.kills() < self.kills {
            let lives = LIVES.min(self.kills - report.tally.kills());
            let folder = tempfile::tempdir().context("a folder")?;
            report.directories += 1;
            let mut directory = Directory::new(self, folder.path(), &mut random)?;
            let outcome = directory.lives(lives, &mut report.tally).await;
            match outcome {
                Ok(extent) => report.extent.add(extent),
                Err(error) => {
                    let kept = folder.keep();
                    if let Some(power) = &directory.power {
                        power.copy(&kept.join("copy")).context("the disk")?;
                    }
                    let history = serde_json::to_vec(&directory.observer.history())?;
                    std::fs::write(kept.join("history.json"), history).context("the history")?;
                    let seed = self.seed;
                    return Err(
                        error.context(format!("seed {seed}; data, log and history: {}", kept.display()))
                    );
                }
            }
        }
        Ok(report)
    }
}

/// One data directory with all that is seen of it.
struct Directory {
    setup: Setup,
    failpoints: bool,
    power: Option<Power>,
    random: Rng,
    observer: Arc<Observer>,
    watchers: Vec<Watcher>,
    /// Names the writes that fence off lives.
    fences: usize,
}

impl Directory {
    fn new(campaign: &Campaign, folder: &Path, random: &mut Rng) -> Result<Self> {
        let watch = |name: &str, shard, seconds| Watcher {
            name: name.to_owned(),
            shard,
            seconds,
            told: None,
        };
        let power = campaign
            .power_loss
            .then(|| Power::new(folder.join("disk")))
            .transpose();
        let power = power.context("a disk of our own needs /dev/fuse and the right to mount")?;
        let data = power.as_ref().map_or(folder, Power::folder).join("data");
        Ok(Self {
            power,
            setup: Setup {
                program: campaign.program.clone(),
                data,
                log: folder.join("log"),
                port: free_port()?,
                // Half of them forget so soon that a compaction runs all the time.
                compaction_interval: random.bool().then_some(Duration::from_secs(1)),
            },
            failpoints: campaign.failpoints,
            random: Rng::with_seed(random.u64(..)),
            observer: Arc::default(),
            watchers: vec![
                watch("all, patiently", None, 300),
                watch("all, in short", None, 1),
                watch("shard 0", Some(0), 300),
                watch("shard 1, in short", Some(1), 2),
            ],
            fences: 0,
        })
    }

    async fn lives(&mut self, lives: usize, tally: &mut Tally) -> Result<Extent> {
        for life in 0..lives {
            let ending = match self.power {
                Some(_) => Ending::choose_power_loss(&mut self.random),
                None => {
                    let compacts = self.setup.compaction_interval.is_some();
                    Ending::choose(&mut self.random, self.failpoints, compacts)
                }
            };
            self.life(ending, tally)
                .await
                .with_context(|| format!("life {life}, {ending:?}"))?;
        }
        // The last kill is looked at as well.
        let (mut server, recorder) = self.start().await?;
        let extent = self
            .with_watchers(&recorder, &mut server, async |this, server| {
                this.check(&recorder, server).await
            })
            .await?;
        server.kill().await?;
        extent.context("the last server was not killed")
    }

    async fn start(&self) -> Result<(Server, Recorder)> {
        let mut server = self.setup.spawn(None)?;
        let client = self
            .setup
            .client(&mut server)
            .await?
            .context("nobody has killed it")?;
        Ok((server, Recorder::new(client, NAMESPACE, self.observer.clone())))
    }

    async fn life(&mut self, ending: Ending, tally: &mut Tally) -> Result<()> {
        if let (
            Some(power),
            Ending::PowerLoss {
                changes,
                at_start: true,
                ..
            },
        ) = (&self.power, ending)
        {
            power.disk().cut_after(changes);
        }
        let mut server = self.setup.spawn(ending.failpoint().as_deref())?;
        let killer = match &self.power {
            Some(power) => Some(power.dies_with(server.pid()?)),
            None => None,
        };
        if killer.is_some() {
            server.may_fail();
        }
        self.live(ending, &mut server, tally).await?;
        server.kill().await?;
        if let (Some(power), Ending::PowerLoss { survival, .. }) = (&mut self.power, ending) {
            drop(killer);
            power.cycle(survival, &mut self.random)?;
        }
        Ok(())
    }

    async fn live(&mut self, ending: Ending, server: &mut Server, tally: &mut Tally) -> Result<()> {
        if let Ending::WhileStarting(after) = ending {
            tokio::time::sleep(after).await;
            tally.count(ending, true);
            return Ok(());
        }
        let Some(client) = self.setup.client(server).await? else {
            tally.count(ending, true);
            return Ok(());
        };
        let recorder = Recorder::new(client, NAMESPACE, self.observer.clone());
        let reached = self
            .with_watchers(&recorder, server, async |this, server| {
                this.check(&recorder, server).await?;
                this.write_until(ending, &recorder, server).await
            })
            .await?;
        // Not to have come to the end of the check means that a failpoint ended it.
        tally.count(ending, reached.unwrap_or(true));
        Ok(())
    }

    /// Does something while all watch. Nothing comes of it if the server dies meanwhile.
    async fn with_watchers<T>(
        &mut self,
        recorder: &Recorder,
        server: &mut Server,
        act: impl AsyncFnOnce(&mut Self, &mut Server) -> Result<T>,
    ) -> Result<Option<T>> {
        let stop = CancellationToken::new();
        let mut watching = JoinSet::new();
        for watcher in std::mem::take(&mut self.watchers) {
            watching.spawn(watcher.watch(recorder.clone(), stop.clone()));
        }
        let done = act(self, server).await;
        let interrupted = matches!(&done, Err(error) if error.is::<Interrupted>());
        // Its connections end a moment before it does.
        let died = interrupted && matches!(timeout(DYING, server.ended()).await, Ok(Ok(())));
        server.kill().await?;
        stop.cancel();
        while let Some(watcher) = watching.join_next().await {
            self.watchers.push(watcher??);
        }
        match done {
            Ok(done) => Ok(Some(done)),
            Err(_) if died => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Holds everything up to now against the model.
    async fn check(&mut self, recorder: &Recorder, server: &mut Server) -> Result<Extent> {
        recorder.make_namespace().await.map_err(|_| Interrupted)?;
        for key in 0..workload::KEYS {
            recorder.call(&workload::name(key), Action::Get, 0).await;
        }
        recorder.call("", Action::List { at: None }, 0).await;
        let fence = self.fence(recorder).await?;
        let whole = ["all, patiently", "all, in short"].map(str::to_owned);
        let seen = await_condition("every watcher sees the last write", DEADLINE, async || {
            let covered = self
                .observer
                .slowest(&whole)
                .is_some_and(|covered| covered >= fence);
            Ok((covered || server.has_ended()?).then_some(covered))
        });
        if !seen.await? {
            bail!(Interrupted);
        }
        self.fence(recorder).await?;
        check(&self.observer.history()).map_err(|faults| {
            let shown: Vec<_> = faults.iter().take(10).map(|fault| format!("- {fault}")).collect();
            anyhow::anyhow!("{} promises are broken:\n{}", faults.len(), shown.join("\n"))
        })
    }

    /// A write that comes after everything that was asked for before.
    async fn fence(&mut self, recorder: &Recorder) -> Result<Revision, Interrupted> {
        self.fences += 1;
        let value = Value {
            token: self.observer.token(),
            shard: 0,
        };
        let key = format!("fence-{}", self.fences);
        match recorder.call(&key, Action::Create(value), 0).await {
            Answer::Written(object) => Ok(object.revision),
            _ => Err(Interrupted),
        }
    }

    /// Lets writers loose until the end of a life. Answers whether it came as chosen.
    async fn write_until(
        &mut self,
        ending: Ending,
        recorder: &Recorder,
        server: &mut Server,
    ) -> Result<bool> {
        if let (
            Some(power),
            Ending::PowerLoss {
                changes,
                at_start: false,
                ..
            },
        ) = (&self.power, ending)
        {
            power.disk().cut_after(changes);
        }
        let stop = CancellationToken::new();
        let mut writing = JoinSet::new();
        for _ in 0..WRITERS {
            let random = Rng::with_seed(self.random.u64(..));
            writing.spawn(workload::work(recorder.clone(), random, stop.clone()));
        }
        let came = ending.come(&self.observer, server).await;
        if !server.has_ended()? {
            server.kill().await?;
        }
        stop.cancel();
        while let Some(ended) = writing.join_next().await {
            ended?;
        }
        came
    }
}

/// The server died before a check came to its end.
#[derive(Debug, thiserror::Error)]
#[error("the server does not answer")]
struct Interrupted;
