//! A cluster of its own for a test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::program::Program;
use crate::{coracle_binary, unique};

/// A local cluster that `coracle up` started. It is taken down when dropped, by `coracle down`.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    api_port: u16,
    /// Stands in for the user's home, so that the user's own kubeconfig is left alone.
    home: TempDir,
    coracle: PathBuf,
    up: bool,
}

impl Cluster {
    /// A cluster that is not there yet.
    ///
    /// # Errors
    /// When there is no binary to start it with, or no port for it.
    pub fn new() -> Result<Self> {
        let home = tempfile::tempdir().context("a folder for the kubeconfig")?;
        let name = format!("e2e-{}", unique());
        Ok(Self {
            name,
            api_port: free_port()?,
            home,
            coracle: coracle_binary()?,
            up: false,
        })
    }

    /// Starts it, or what of it does not run.
    ///
    /// # Errors
    /// When `coracle up` fails: with its own words.
    pub async fn up(&mut self) -> Result<()> {
        self.up_with(&[]).await
    }

    /// As [`Cluster::up`], with more flags.
    ///
    /// # Errors
    /// When `coracle up` fails: with its own words.
    pub async fn up_with(&mut self, flags: &[&str]) -> Result<()> {
        // From here on something may be left to take away.
        self.up = true;
        let port = self.api_port.to_string();
        let up = ["up", "--name", &self.name, "--api-port", &port];
        self.coracle().text(&[&up, flags].concat()).await.map(drop)
    }

    /// Takes it down.
    ///
    /// # Errors
    /// When `coracle down` fails: with its own words.
    pub async fn down(&mut self) -> Result<()> {
        self.coracle().text(&["down", "--name", &self.name]).await?;
        self.up = false;
        Ok(())
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kubeconfig that `coracle up` writes to.
    pub fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// The `coracle` binary, which finds this test's kubeconfig.
    pub fn coracle(&self) -> Program {
        self.at_home(Program::new(&self.coracle))
    }

    /// A kubectl that speaks to this cluster, in a namespace.
    pub fn kubectl(&self, binary: &Path, namespace: &str) -> Program {
        self.at_home(Program::new(binary))
            .first(&["--namespace", namespace])
    }

    /// A program that finds this test's kubeconfig.
    pub fn at_home(&self, program: Program) -> Program {
        program
            .with("HOME", self.home.path())
            .with("KUBECONFIG", self.kubeconfig())
    }

    /// What `coracle status` says.
    ///
    /// # Errors
    /// When a part of the cluster does not run.
    pub async fn status(&self) -> Result<Value> {
        self.coracle()
            .json(&["status", "--name", &self.name, "--output", "json"])
            .await
    }

    /// The process of the control plane.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn control_plane_process(&self) -> Result<u32> {
        let status = self.status().await?;
        let pid = status["controlPlane"]["pid"]
            .as_u64()
            .and_then(|pid| pid.try_into().ok());
        pid.with_context(|| format!("the status tells no process: {status}"))
    }

    /// The address of the first node.
    ///
    /// # Errors
    /// When the cluster does not run.
    pub async fn node_address(&self) -> Result<String> {
        let first = self.nodes().await?.into_iter().next();
        Ok(first.context("the cluster has a node")?.address)
    }

    /// The nodes as `coracle status` tells them.
    ///
    /// # Errors
    /// When the cluster does not run.
    pub async fn nodes(&self) -> Result<Vec<RunningNode>> {
        let status = self.status().await?;
        let nodes = status["nodes"].as_array().context("a list of nodes")?.iter();
        let node = |node: &Value| {
            Some(RunningNode {
                name: node["name"].as_str()?.to_owned(),
                address: node["address"].as_str()?.to_owned(),
                first_process: node["pid"].as_u64()?.try_into().ok()?,
            })
        };
        let nodes: Option<Vec<_>> = nodes.map(node).collect();
        nodes.with_context(|| format!("the status tells too little of its nodes: {status}"))
    }

    /// The tag in the names of the cluster's interfaces.
    pub fn tag(&self) -> String {
        tag(&self.name)
    }
}

/// A node that runs.
#[derive(Clone, Debug)]
pub struct RunningNode {
    /// Its name in the API.
    pub name: String,
    /// Its address on the cluster's bridge.
    pub address: String,
    /// The process with which it lives and dies.
    pub first_process: u32,
}

/// The tag in the names of a cluster's interfaces, which are too short for its name: the head of a SHA-256.
pub(crate) fn tag(cluster: &str) -> String {
    let hash = Sha256::digest(cluster.as_bytes());
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.up {
            return;
        }
        let mut down = Command::new(&self.coracle);
        down.args(["down", "--name", &self.name])
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig());
        match down.output() {
            Ok(output) if output.status.success() => {}
            other => eprintln!("cluster {} could not be taken down: {other:?}", self.name),
        }
    }
}

/// A port that nobody listens on now.
///
/// # Errors
/// When the kernel has none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr()?.port())
}
