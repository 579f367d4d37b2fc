//! Clients that mean no good to a server that works on: some watch and do not read, some stop in the middle of a body, some
//! thousand connect and say nothing, and the disk fills up. What everyone else is told is held against the model as ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use futures::{AsyncReadExt, StreamExt};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::check::{Extent, check};
use super::client::Recorder;
use super::disk::device::Disk;
use super::history::{Action, Answer, Revision, Value};
use super::observer::Observer;
use super::server::{Server, Setup, config};
use super::watcher::Watcher;
use super::workload;
use crate::cluster::free_port;
use crate::wait::{DEADLINE, await_condition};

/// How many watch and do not read.
const DEAF: usize = 50;

/// How many stop in the middle of a body.
const STUCK: usize = 150;

/// How many connect and say nothing.
const IDLE: usize = 3000;

/// How many connect at once.
const CONNECTING: usize = 64;

/// How many writes of how many bytes make more than what sockets buffer.
const FLOOD: (usize, usize) = (24, 900 << 10);

/// And after those, more changes than the server keeps for a watch that does not take them.
const BACKLOG: usize = 1500;

/// How many write and read at once, meanwhile.
const WRITERS: usize = 4;

/// How long any ordinary request may take, meanwhile.
const BEARABLE: Duration = Duration::from_secs(5);

/// How much more memory the server may need for all of them.
const MEMORY: u64 = 512 << 20;

/// The disk's size at first, and how little of it is left later: less than the store wants to have free.
const DISK: (u64, u64) = (2 << 30, 8 << 20);

/// The namespace of all keys.
const NAMESPACE: &str = "hostile";

/// Something that speaks TLS to the server.
type Connection = Box<dyn Tls>;

/// What a connection can do.
trait Tls: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Tls for T {}

/// Runs all of it on one server.
///
/// # Errors
/// The first broken promise, or what kept the test from going on.
pub async fn run(program: PathBuf, seed: u64) -> Result<Extent> {
    let folder = tempfile::tempdir().context("a folder")?;
    let disk = Disk::new(DISK.0);
    let mount = folder.path().join("disk");
    std::fs::create_dir(&mount)?;
    let mounted = disk
        .mount(&mount)
        .context("a disk of our own needs /dev/fuse and the right to mount")?;
    let mut scene = Scene::new(program, folder.path(), &mount, seed).await?;
    let outcome = scene.play(&disk).await;
    let ended = scene.server.kill().await;
    mounted.unmount()?;
    if outcome.is_err() {
        let kept = folder.keep();
        return outcome.with_context(|| format!("seed {seed}; see {}", kept.join("log").display()));
    }
    ended?;
    outcome
}

/// A server, and those who behave.
struct Scene {
    setup: Setup,
    server: Server,
    recorder: Recorder,
    random: Rng,
    stop: CancellationToken,
    watching: JoinSet<Result<Watcher>>,
    writing: JoinSet<()>,
}

impl Scene {
    async fn new(program: PathBuf, folder: &Path, disk: &Path, seed: u64) -> Result<Self> {
        let setup = Setup {
            program,
            data: disk.join("data"),
            log: folder.join("log"),
            port: free_port()?,
            compaction_interval: None,
        };
        let mut server = setup.spawn(None)?;
        let client = setup.client(&mut server).await?.context("nobody has killed it")?;
        let recorder = Recorder::new(client, NAMESPACE, Arc::<Observer>::default());
        recorder.make_namespace().await?;
        let mut scene = Self {
            setup,
            server,
            recorder,
            random: Rng::with_seed(seed),
            stop: CancellationToken::new(),
            watching: JoinSet::new(),
            writing: JoinSet::new(),
        };
        let watcher = Watcher {
            name: "all".to_owned(),
            shard: None,
            seconds: 5,
            told: None,
        };
        scene
            .watching
            .spawn(watcher.watch(scene.recorder.clone(), scene.stop.clone()));
        scene.fence().await?;
        for _ in 0..WRITERS {
            let random = Rng::with_seed(scene.random.u64(..));
            scene
                .writing
                .spawn(workload::work(scene.recorder.clone(), random, scene.stop.clone()));
        }
        Ok(scene)
    }

    async fn play(&mut self, disk: &Disk) -> Result<Extent> {
        self.serves(200).await.context("before anything happens")?;
        let before = self.memory()?;
        let deaf = self.deaf().await?;
        let stuck = self.stuck().await?;
        let idle = self.idle().await?;
        self.flood().await.context("beside hostile clients")?;
        self.serves(BACKLOG).await.context("beside hostile clients")?;
        let grown = self.memory()?.saturating_sub(before);
        ensure!(grown < MEMORY, "the server needs {} MiB more", grown >> 20);
        // Two stand for all: each has up to its backlog to tell before its end.
        for stream in deaf.into_iter().take(2) {
            self.was_cut_off(stream)
                .await
                .context("a watch that was not read")?;
        }
        drop((stuck, idle));
        self.fill(disk).await.context("on a full disk")?;
        self.end().await
    }

    /// Ordinary clients get so much done, and none waits long.
    async fn serves(&mut self, writes: usize) -> Result<()> {
        let observer = self.recorder.observer().clone();
        let begun = observer.history().calls.len();
        timeout(DEADLINE, observer.acknowledged(writes))
            .await
            .context("writers are held up")?;
        for _ in 0..20 {
            let asked = Instant::now();
            let answer = self.recorder.call(&workload::name(0), Action::Get, 0).await;
            ensure!(
                matches!(answer, Answer::Found(_)),
                "a read is answered {answer:?}"
            );
            ensure!(asked.elapsed() < BEARABLE, "a read takes {:?}", asked.elapsed());
        }
        let calls = &observer.history().calls[begun..];
        let unanswered = calls.iter().filter(|call| call.answer == Answer::Unknown).count();
        ensure!(
            unanswered == 0,
            "{unanswered} of {} requests had no answer",
            calls.len()
        );
        Ok(())
    }

    /// Writes more than the buffers of any watch can hold.
    async fn flood(&self) -> Result<()> {
        for _ in 0..FLOOD.0 {
            let (key, value) = (workload::name(workload::KEYS), self.value());
            let written = match self
                .recorder
                .call(&key, Action::Replace { value, over: None }, FLOOD.1)
                .await
            {
                Answer::Missing => {
                    self.recorder
                        .call(&key, Action::Create(self.value()), FLOOD.1)
                        .await
                }
                other => other,
            };
            ensure!(
                matches!(written, Answer::Written(_)),
                "a write is answered {written:?}"
            );
        }
        Ok(())
    }

    /// Opens watches from the beginning, of which nothing is read.
    async fn deaf(&self) -> Result<Vec<impl futures::AsyncBufRead + use<>>> {
        let path = format!("{}?watch=true&resourceVersion=1", self.recorder.all());
        let mut streams = Vec::new();
        for _ in 0..DEAF {
            // Of connections of their own, as each has a buffer that fills up.
            let client = kube::Client::try_from(self.config().await?)?;
            let request = http::Request::get(&path).body(Vec::new())?;
            streams.push(client.request_stream(request).await?);
        }
        Ok(streams)
    }

    /// Begins requests whose bodies never end.
    async fn stuck(&self) -> Result<Vec<Connection>> {
        let mut connections = self.connect(STUCK).await?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{{\"api",
            self.recorder.all()
        );
        for connection in &mut connections {
            connection.write_all(head.as_bytes()).await?;
            connection.flush().await?;
        }
        Ok(connections)
    }

    /// Connects, and says nothing.
    async fn idle(&self) -> Result<Vec<Connection>> {
        self.connect(IDLE).await
    }

    async fn connect(&self, count: usize) -> Result<Vec<Connection>> {
        let connector = self.config().await?.rustls_https_connector()?;
        let address = http::Uri::try_from(format!("https://127.0.0.1:{}", self.setup.port))?;
        let connect = |_| {
            let (mut connector, address) = (connector.clone(), address.clone());
            async move {
                let ready = connector.ready().await.map_err(anyhow::Error::from_boxed)?;
                let stream = ready.call(address).await.map_err(anyhow::Error::from_boxed)?;
                let connection: Connection = Box::new(TokioIo::new(stream));
                anyhow::Ok(connection)
            }
        };
        let connecting: Vec<_> = futures::stream::iter(0..count)
            .map(connect)
            .buffer_unordered(CONNECTING)
            .collect()
            .await;
        connecting.into_iter().collect()
    }

    async fn config(&self) -> Result<kube::Config> {
        config(&self.setup.data.join("admin.conf")).await
    }

    /// Reads what a watch has to tell after all: it has to come to an end, since the server does not keep it for ever.
    async fn was_cut_off(&self, mut stream: impl futures::AsyncBufRead + Unpin) -> Result<()> {
        let mut rest = Vec::new();
        // How it ends does not matter: a watch that is cut off in the middle of an event is taken up from the one before.
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest))
            .await
            .context("it does not end")?;
        Ok(())
    }

    /// Leaves the store no space, and gives it some again.
    async fn fill(&mut self, disk: &Disk) -> Result<()> {
        disk.resize(disk.used() + DISK.1);
        await_condition("a write that is refused", DEADLINE, async || {
            let (key, value) = (workload::name(0), self.value());
            let replace = Action::Replace { value, over: None };
            let mut answer = self.recorder.call(&key, replace, 0).await;
            // Whoever removed it last cannot have made it again.
            if answer == Answer::Missing {
                let create = Action::Create(self.value());
                answer = self.recorder.call(&key, create, 0).await;
            }
            Ok((answer == Answer::Unknown).then_some(()))
        })
        .await?;
        for key in 0..workload::KEYS {
            let answer = self.recorder.call(&workload::name(key), Action::Get, 0).await;
            ensure!(
                matches!(answer, Answer::Found(_)),
                "a read is answered {answer:?}"
            );
        }
        ensure!(!self.server.has_ended()?, "the server has ended");
        disk.resize(DISK.0);
        let observer = self.recorder.observer().clone();
        timeout(DEADLINE, observer.acknowledged(200))
            .await
            .context("writes do not come back")?;
        Ok(())
    }

    /// Has all who behave come to an end, and holds what they were told against the model.
    async fn end(&mut self) -> Result<Extent> {
        let fence = self.fence().await?;
        let observer = self.recorder.observer().clone();
        let all = ["all".to_owned()];
        await_condition("the watcher sees the last write", DEADLINE, async || {
            Ok(observer.slowest(&all).filter(|covered| *covered >= fence))
        })
        .await?;
        self.stop.cancel();
        while let Some(ended) = self.writing.join_next().await {
            ended?;
        }
        while let Some(ended) = self.watching.join_next().await {
            ended??;
        }
        check(&observer.history()).map_err(|faults| {
            let shown: Vec<_> = faults.iter().take(10).map(|fault| format!("- {fault}")).collect();
            anyhow::anyhow!("{} promises are broken:\n{}", faults.len(), shown.join("\n"))
        })
    }

    async fn fence(&self) -> Result<Revision> {
        let value = self.value();
        match self
            .recorder
            .call(&format!("fence-{}", value.token), Action::Create(value), 0)
            .await
        {
            Answer::Written(object) => Ok(object.revision),
            other => anyhow::bail!("a write is answered {other:?}"),
        }
    }

    fn value(&self) -> Value {
        Value {
            token: self.recorder.observer().token(),
            shard: 0,
        }
    }

    /// The server's resident memory in bytes.
    fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid()?))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident
            .and_then(|text| text.trim().strip_suffix(" kB"))
            .context("VmRSS")?;
        Ok(kilobytes.trim().parse::<u64>()? << 10)
    }
}
