//! An apiserver as a child process that can be killed at any moment.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::wait::{DEADLINE, await_condition};

/// How long one look at a server that may not be up yet may take.
const LOOK: Duration = Duration::from_secs(2);

/// Has a process kill itself at a named place; see the store's `failpoint` module.
pub const FAILPOINT_VARIABLE: &str = "CORACLE_FAILPOINT";

/// How an apiserver is started, each time anew on what is in its folder.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The `coracle` binary.
    pub program: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Where its log goes.
    pub log: PathBuf,
    /// Its port on loopback.
    pub port: u16,
    /// How much history it keeps; its own default if absent.
    pub compaction_interval: Option<Duration>,
}

/// A running apiserver. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its disk may fail, of which it may die.
    may_fail: bool,
}

impl Setup {
    /// Starts it, perhaps to die at a failpoint, and does not wait.
    ///
    /// # Errors
    /// When there is nothing to start.
    pub fn spawn(&self, failpoint: Option<&str>) -> Result<Server> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .context("the server's log")?;
        let mut command = Command::new(&self.program);
        command.arg("apiserver").arg("--data-dir").arg(&self.data);
        command.args(["--secure-port", &self.port.to_string()]);
        if let Some(interval) = self.compaction_interval {
            command.args([
                "--etcd-compaction-interval",
                &format!("{}ms", interval.as_millis()),
            ]);
        }
        command.envs(failpoint.map(|failpoint| (FAILPOINT_VARIABLE, failpoint)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        Ok(Server {
            child,
            may_fail: false,
        })
    }

    /// Waits until it answers, or has ended.
    ///
    /// # Errors
    /// When it has ended otherwise than by a kill, or does neither.
    pub async fn client(&self, server: &mut Server) -> Result<Option<Client>> {
        let kubeconfig = self.data.join("admin.conf");
        let answers = await_condition("a server that answers", DEADLINE, async || {
            // One that has ended by itself will not come back.
            match server.has_ended() {
                Ok(false) => {}
                Ok(true) => return Ok(Some(Ok(None))),
                Err(error) => return Ok(Some(Err(error))),
            }
            let client = Client::try_from(config(&kubeconfig).await?)?;
            let readyz = http::Request::get("/readyz").body(Body::empty())?;
            let answer = timeout(LOOK, client.send(readyz)).await??;
            Ok(answer.status().is_success().then_some(Ok(Some(client))))
        });
        let answers = answers.await.and_then(|answers| answers);
        answers.with_context(|| format!("see {}", self.log.display()))
    }
}

impl Server {
    /// Its process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Says that its disk will fail, so that it may end by itself.
    pub fn may_fail(&mut self) {
        self.may_fail = true;
    }

    /// Whether it has been killed.
    ///
    /// # Errors
    /// When it has ended by itself: it is never asked to.
    pub fn has_ended(&mut self) -> Result<bool> {
        let status = self.child.try_wait()?;
        status.map_or(Ok(false), |status| self.judge(status).map(|()| true))
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if status.code().is_some() && !self.may_fail {
            bail!("the server ended by itself: {status}");
        }
        Ok(())
    }

    /// Waits until it has been killed.
    ///
    /// # Errors
    /// When it ends by itself.
    pub async fn ended(&mut self) -> Result<()> {
        let status = self.child.wait().await?;
        self.judge(status)
    }

    /// Kills it, if it has not been.
    ///
    /// # Errors
    /// When it has ended by itself.
    pub async fn kill(&mut self) -> Result<()> {
        // It may have gone by itself a moment ago, which `ended` tells.
        let _ = self.child.start_kill();
        self.ended().await
    }
}

/// How to reach a server, asking once: whether to ask again is for the test to say.
///
/// # Errors
/// When the kubeconfig is not there yet, or not whole.
pub async fn config(kubeconfig: &Path) -> Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(config)
}
