//! Parts of Coracle in the foreground, as a service manager would run them: a control plane without nodes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Child;

use crate::cluster::free_port;
use crate::coracle_binary;
use crate::machine::kill;
use crate::program::Program;
use crate::wait::{DEADLINE, await_condition};

/// How long a part may take to end after it was asked to.
const END: Duration = Duration::from_secs(20);

/// Where parts of one control plane keep their data and how they are reached.
#[derive(Debug)]
pub struct Parts {
    data: PathBuf,
    port: u16,
    coracle: Program,
    /// Logs, and what stands in for the user's home. It is elsewhere than the data, so that a full disk does not hide why.
    home: TempDir,
}

/// A part that runs. It is killed when dropped.
#[derive(Debug)]
pub struct Part {
    child: Child,
    log: PathBuf,
}

impl Parts {
    /// A control plane that keeps its data in a folder, on a port of its own.
    ///
    /// # Errors
    /// When there is no binary, or no port.
    pub fn in_folder(data: &Path) -> Result<Self> {
        Ok(Self {
            data: data.to_owned(),
            port: free_port()?,
            coracle: Program::new(coracle_binary()?),
            home: tempfile::tempdir().context("a folder for logs")?,
        })
    }

    /// The flags of whatever has an apiserver in it.
    pub fn server_flags(&self) -> [String; 4] {
        let data = self.data.display().to_string();
        [
            "--data-dir".to_owned(),
            data,
            "--secure-port".to_owned(),
            self.port.to_string(),
        ]
    }

    /// Starts what has an apiserver in it (`server`, `apiserver`), and waits until it is ready.
    ///
    /// # Errors
    /// When it ends before that: with its log.
    pub async fn start_server(&self, verb: &str, kubectl: &Path) -> Result<Part> {
        let flags = self.server_flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut part = self.start(verb, &flags)?;
        let kubectl = self.kubectl(kubectl);
        let ready = async || {
            if let Some(status) = part.child.try_wait()? {
                return Ok(Some(Err(format!(
                    "{verb} has ended with {status}: {}",
                    part.log()?
                ))));
            }
            let answer = kubectl.text(&["get", "--raw", "/readyz"]).await?;
            Ok((answer == "ok").then_some(Ok(())))
        };
        let outcome = await_condition(format!("{verb} is ready"), DEADLINE, ready).await?;
        outcome.map(|()| part).map_err(anyhow::Error::msg)
    }

    /// Starts a part that finds the API by one of the kubeconfigs in the data folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_client(&self, verb: &str, kubeconfig: &str) -> Result<Part> {
        let kubeconfig = self.data.join(kubeconfig).display().to_string();
        // Several of a kind may run on this machine: each tells how it is at no port of its own.
        self.start(verb, &["--kubeconfig", &kubeconfig, "--secure-port", "0"])
    }

    fn start(&self, verb: &str, flags: &[&str]) -> Result<Part> {
        let log = self.home.path().join(format!("{verb}.log"));
        let child = self.coracle.start_logged(&[&[verb], flags].concat(), &log)?;
        Ok(Part { child, log })
    }

    /// The administrator's kubectl.
    pub fn kubectl(&self, binary: &Path) -> Program {
        Program::new(binary)
            .with("HOME", self.home.path())
            .with("KUBECONFIG", self.data.join("admin.conf"))
    }
}

impl Part {
    /// All that it has said.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Kills it without a warning, and waits until it is gone.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn kill(mut self) -> Result<()> {
        kill(self.child.id().context("it has ended before")?).await?;
        self.child.wait().await.map(drop).context("its end")
    }

    /// Asks it to end, as a service manager does, and wants it to do so well.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub async fn end(mut self) -> Result<()> {
        let pid = self.child.id().context("it has ended before")?.to_string();
        Program::new("kill").text(&["-TERM", &pid]).await?;
        let ended = tokio::time::timeout(END, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("it does not end: {}", self.log().unwrap_or_default()))??;
        ensure!(status.success(), "it ends with {status}: {}", self.log()?);
        Ok(())
    }
}
