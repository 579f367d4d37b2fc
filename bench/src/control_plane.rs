//! A `coracle server` of our own.

use crate::cluster;
use anyhow::{Context, bail};
use http::{Method, StatusCode};
use kube::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How often readiness is asked for: the error of a measured start.
const POLL: Duration = Duration::from_millis(2);

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Which program is measured, and where its data goes.
#[derive(clap::Args, Clone)]
pub(crate) struct Program {
    /// The coracle program; by default the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where data directories go while they are measured; should be on the disk of interest
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}

impl Program {
    fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.binary {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_exe()
                .context("find this program")?
                .with_file_name("coracle")),
        }
    }
}

/// A control plane that runs until it is stopped or dropped.
pub(crate) struct ControlPlane {
    child: Child,
    pub(crate) client: Client,
    /// From exec until `/readyz` answered 200.
    pub(crate) start: Duration,
}

impl ControlPlane {
    /// Starts one on a data directory and waits until it is ready.
    pub(crate) async fn start(program: &Program, data: &Path) -> anyhow::Result<ControlPlane> {
        let path = program.path()?;
        let log = data.with_extension("log");
        let output = File::create(&log).context("make a file for the server's output")?;
        let mut command = Command::new(&path);
        command
            .args([
                "server",
                "--bind-address",
                "127.0.0.1",
                "--secure-port",
                &free_port()?.to_string(),
            ])
            .arg("--data-dir")
            .arg(data)
            .stdout(output.try_clone().context("share the output file")?)
            .stderr(output)
            .kill_on_drop(true);
        // What an earlier run has left here names an earlier port.
        let kubeconfig = data.join("admin.conf");
        if kubeconfig.exists() {
            std::fs::remove_file(&kubeconfig).context("remove the old kubeconfig")?;
        }
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", path.display()))?;
        let ready = timeout(START_LIMIT, ready(&mut child, &kubeconfig)).await;
        let client = ready.context("the server is not ready after a minute").flatten();
        let client = client.with_context(|| format!("see {}", log.display()))?;
        Ok(ControlPlane {
            child,
            client,
            start: started.elapsed(),
        })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Stops it as an init system would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).context("a pid")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("ask the server to stop")?;
        let status = timeout(STOP_LIMIT, self.child.wait())
            .await
            .context("the server does not stop")?;
        let status = status.context("wait for the server")?;
        if !status.success() {
            bail!("the server stopped with {status}");
        }
        Ok(())
    }
}

/// Waits until the server answers that it is ready.
async fn ready(child: &mut Child, kubeconfig: &Path) -> anyhow::Result<Client> {
    let mut client = None;
    loop {
        if let Some(status) = child.try_wait().context("look after the server")? {
            bail!("the server ended with {status}");
        }
        if client.is_none() && kubeconfig.exists() {
            // It may not be written to its end yet.
            client = cluster::client(Some(kubeconfig)).await.ok();
        }
        if let Some(client) = &client
            && let Ok((StatusCode::OK, _)) = cluster::send(client, Method::GET, "/readyz", Vec::new()).await
        {
            return Ok(client.clone());
        }
        sleep(POLL).await;
    }
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
