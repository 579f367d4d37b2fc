//! A `coracle server` of our own.

use super::credentials::{ADMINISTRATOR, LOAD_USER};
use super::{CLUSTER_CIDR, Credentials, NODE_GRACE_PERIOD, POLL, START_LIMIT, Target, free_port, terminate};
use crate::cluster::{self, Call};
use anyhow::{Context, bail};
use http::StatusCode;
use kube::Client;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

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
    pub(super) fn path(&self) -> anyhow::Result<PathBuf> {
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
    /// As the administrator.
    pub(crate) client: Client,
    /// The administrator's.
    pub(crate) kubeconfig: PathBuf,
    /// From exec until `/readyz` answered 200.
    pub(crate) start: Duration,
    target: Target,
}

impl ControlPlane {
    /// Starts one on a data directory and waits until it is ready.
    pub(crate) async fn start(program: &Program, data: &Path) -> anyhow::Result<ControlPlane> {
        let controllers = [
            "--cluster-cidr",
            CLUSTER_CIDR,
            "--node-monitor-grace-period",
            NODE_GRACE_PERIOD,
        ];
        Self::start_as(program, data, "server", &controllers).await
    }

    /// Starts an API server without controllers and scheduler.
    pub(crate) async fn start_api_server(program: &Program, data: &Path) -> anyhow::Result<ControlPlane> {
        Self::start_as(program, data, "apiserver", &[]).await
    }

    async fn start_as(
        program: &Program,
        data: &Path,
        part: &str,
        flags: &[&str],
    ) -> anyhow::Result<ControlPlane> {
        let path = program.path()?;
        let log = data.with_extension("log");
        let credentials = Credentials::in_folder(&data.with_extension("credentials"))?;
        let output = File::create(&log).context("make a file for the server's output")?;
        let port = free_port()?;
        let mut command = Command::new(&path);
        command
            .args([
                part,
                "--bind-address",
                "127.0.0.1",
                "--secure-port",
                &port.to_string(),
            ])
            .args(flags)
            .arg("--token-auth-file")
            .arg(credentials.token_file())
            .arg("--data-dir")
            .arg(data)
            .stdout(output.try_clone().context("share the output file")?)
            .stderr(output)
            .kill_on_drop(true);
        let ca_file = data.join("pki/ca.crt");
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = credentials.kubeconfig(ADMINISTRATOR, &url, &ca_file)?;
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("start {}", path.display()))?;
        let ready = timeout(START_LIMIT, ready(&mut child, &kubeconfig)).await;
        let start = started.elapsed();
        let client = ready.context("the server does not become ready").flatten();
        let client = client.with_context(|| format!("see {}", log.display()))?;
        cluster::bind_administrator(&client, LOAD_USER).await?;
        let load = credentials.kubeconfig(LOAD_USER, &url, &ca_file)?;
        let pid = child.id().context("the server has ended")?;
        let target = Target::of(&load, vec![pid]).await?;
        Ok(ControlPlane {
            child,
            client,
            kubeconfig,
            start,
            target,
        })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// For loads.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Stops it as an init system would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        terminate("the server", &mut self.child).await
    }
}

/// Waits until the server answers that it is ready.
async fn ready(child: &mut Child, kubeconfig: &Path) -> anyhow::Result<Client> {
    let mut client = None;
    loop {
        if let Some(status) = child.try_wait().context("look after the server")? {
            bail!("the server ended with {status}");
        }
        if client.is_none() {
            // Fails until the server has made its certificates.
            client = cluster::client(Some(kubeconfig)).await.ok();
        }
        if let Some(client) = &client
            && let Ok((StatusCode::OK, _)) = Call::get("/readyz").send(client).await
        {
            return Ok(client.clone());
        }
        sleep(POLL).await;
    }
}
