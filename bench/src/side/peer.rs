//! The peer: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, set up to do what `coracle server` does.
//!
//! Where the two could differ to the peer's harm, it is given the better of it: no client-side rate limits, no TLS between
//! kube-apiserver and etcd, and none of the admission plugins that Coracle does not have.

use super::credentials::{ADMINISTRATOR, CONTROLLER_MANAGER, LOAD_USER, SCHEDULER};
use super::{
    CLUSTER_CIDR, Credentials, NODE_GRACE_PERIOD, POLL, RATE, SERVICE_CIDR, START_LIMIT, Target, end,
    free_port,
};
use crate::cluster::{self, Call};
use anyhow::{Context, bail};
use http::StatusCode;
use kube::Client;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The admission plugins that are on by default and that Coracle does not have.
const WITHOUT_PLUGINS: &str =
    "JobValidation,NodeDeclaredFeatureValidator,PodGroupProtection,PodGroupWorkloadExists";

/// Where the peer's programs are.
#[derive(clap::Args, Clone)]
pub(crate) struct PeerPrograms {
    /// The folder with etcd, kube-apiserver, kube-controller-manager and kube-scheduler
    #[arg(long)]
    pub(crate) peer: Option<PathBuf>,
}

/// A peer that runs until it is stopped or dropped.
pub(crate) struct Peer {
    /// In the order in which they are stopped.
    parts: Vec<(&'static str, Child)>,
    /// From exec until `/readyz` answered 200. The controllers and the scheduler are not started before.
    pub(crate) start: Duration,
    target: Target,
}

impl Peer {
    /// Starts one with its data in a folder and waits until it is ready.
    pub(crate) async fn start(programs: &Path, folder: &Path) -> anyhow::Result<Peer> {
        let mut starting = Starting::new(programs, folder)?;
        let started = Instant::now();
        starting.etcd()?;
        starting.apiserver()?;
        let kubeconfig = starting.kubeconfig(ADMINISTRATOR)?;
        let administrator = cluster::client(Some(&kubeconfig)).await?;
        let ready = timeout(START_LIMIT, starting.ready(&administrator)).await;
        ready.context("kube-apiserver does not become ready")??;
        let start = started.elapsed();
        cluster::bind_administrator(&administrator, LOAD_USER).await?;
        starting.controller_manager()?;
        starting.scheduler()?;
        let running = timeout(START_LIMIT, controllers_run(&administrator)).await;
        running.context("the controllers do not work")??;
        let pids: Option<Vec<u32>> = starting.parts.iter().map(|(_, child)| child.id()).collect();
        let pids = pids.context("a part of the peer has ended")?;
        let target = Target::of(&starting.kubeconfig(LOAD_USER)?, pids).await?;
        starting.parts.reverse();
        Ok(Peer {
            parts: starting.parts,
            start,
            target,
        })
    }

    /// For loads.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Stops all of it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.parts {
            end(name, child).await?;
        }
        Ok(())
    }
}

/// The default service account is made by a controller.
async fn controllers_run(client: &Client) -> anyhow::Result<()> {
    loop {
        let path = "/api/v1/namespaces/default/serviceaccounts/default";
        if let (StatusCode::OK, _) = Call::get(path).send(client).await? {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

struct Starting {
    programs: PathBuf,
    folder: PathBuf,
    credentials: Credentials,
    etcd: u16,
    apiserver: u16,
    parts: Vec<(&'static str, Child)>,
}

impl Starting {
    fn new(programs: &Path, folder: &Path) -> anyhow::Result<Starting> {
        let credentials = Credentials::in_folder(&folder.join("credentials"))?;
        certificates(folder)?;
        Ok(Starting {
            programs: programs.to_owned(),
            folder: folder.to_owned(),
            credentials,
            etcd: free_port()?,
            apiserver: free_port()?,
            parts: Vec::new(),
        })
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn kubeconfig(&self, user: &str) -> anyhow::Result<PathBuf> {
        let url = format!("https://127.0.0.1:{}", self.apiserver);
        self.credentials
            .kubeconfig(user, &url, &self.folder.join("ca.crt"))
    }

    fn etcd(&mut self) -> anyhow::Result<()> {
        let client = format!("http://127.0.0.1:{}", self.etcd);
        let peer = format!("http://127.0.0.1:{}", free_port()?);
        let flags = [
            ("data-dir", self.file("etcd")),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("default={peer}")),
            ("log-level", "warn".to_owned()),
            ("quota-backend-bytes", "8589934592".to_owned()),
        ];
        self.spawn("etcd", flags)
    }

    fn apiserver(&mut self) -> anyhow::Result<()> {
        let flags = [
            ("etcd-servers", format!("http://127.0.0.1:{}", self.etcd)),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", self.apiserver.to_string()),
            ("tls-cert-file", self.file("serving.crt")),
            ("tls-private-key-file", self.file("serving.key")),
            ("client-ca-file", self.file("ca.crt")),
            (
                "token-auth-file",
                self.credentials.token_file().to_string_lossy().into_owned(),
            ),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("disable-admission-plugins", WITHOUT_PLUGINS.to_owned()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local".to_owned(),
            ),
            ("service-account-key-file", self.file("accounts.pub")),
            ("service-account-signing-key-file", self.file("accounts.key")),
            ("service-cluster-ip-range", SERVICE_CIDR.to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
        ];
        self.spawn("kube-apiserver", flags)
    }

    fn controller_manager(&mut self) -> anyhow::Result<()> {
        let kubeconfig = self.kubeconfig(CONTROLLER_MANAGER)?;
        let flags = [
            ("kubeconfig", kubeconfig.to_string_lossy().into_owned()),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", free_port()?.to_string()),
            ("root-ca-file", self.file("ca.crt")),
            ("service-account-private-key-file", self.file("accounts.key")),
            ("use-service-account-credentials", "true".to_owned()),
            ("allocate-node-cidrs", "true".to_owned()),
            ("cluster-cidr", CLUSTER_CIDR.to_owned()),
            ("node-monitor-grace-period", NODE_GRACE_PERIOD.to_owned()),
            ("leader-elect", "false".to_owned()),
            ("kube-api-qps", RATE.to_owned()),
            ("kube-api-burst", RATE.to_owned()),
        ];
        self.spawn("kube-controller-manager", flags)
    }

    fn scheduler(&mut self) -> anyhow::Result<()> {
        let kubeconfig = self.kubeconfig(SCHEDULER)?;
        let config = serde_json::json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": kubeconfig, "qps": 100_000, "burst": 100_000},
            "leaderElection": {"leaderElect": false},
        });
        fs::write(self.file("scheduler.json"), config.to_string()).context("configure the scheduler")?;
        let flags = [
            ("config", self.file("scheduler.json")),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", free_port()?.to_string()),
        ];
        self.spawn("kube-scheduler", flags)
    }

    fn spawn<const N: usize>(
        &mut self,
        name: &'static str,
        flags: [(&'static str, String); N],
    ) -> anyhow::Result<()> {
        let output =
            File::create(self.folder.join(format!("{name}.log"))).context("make a file for output")?;
        let mut command = Command::new(self.programs.join(name));
        command
            .args(flags.iter().map(|(flag, value)| format!("--{flag}={value}")))
            .stdout(output.try_clone().context("share the output file")?)
            .stderr(output)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        self.parts.push((name, child));
        Ok(())
    }

    async fn ready(&mut self, client: &Client) -> anyhow::Result<()> {
        loop {
            for (name, child) in &mut self.parts {
                if let Some(status) = child.try_wait().context("look after the peer")? {
                    bail!("{name} ended with {status}; see {}", self.folder.display());
                }
            }
            if let Ok((StatusCode::OK, _)) = Call::get("/readyz").send(client).await {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
}

/// Writes an authority, a serving certificate, and the key of service accounts.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    let write = |name: &str, pem: String| {
        fs::write(folder.join(name), pem).with_context(|| format!("write the peer's {name}"))
    };
    let authority_key = KeyPair::generate().context("make a key")?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority
        .self_signed(&authority_key)
        .context("sign the authority")?;
    write("ca.crt", certificate.pem())?;
    let serving_key = KeyPair::generate().context("make a key")?;
    let names = ["localhost", "kubernetes.default.svc", "127.0.0.1"].map(str::to_owned);
    let serving = CertificateParams::new(names).context("name the server")?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    let serving = serving
        .signed_by(&serving_key, &issuer)
        .context("sign the serving certificate")?;
    write("serving.crt", serving.pem())?;
    write("serving.key", serving_key.serialize_pem())?;
    let accounts_key = KeyPair::generate().context("make a key")?;
    write("accounts.key", accounts_key.serialize_pem())?;
    write("accounts.pub", accounts_key.public_key_pem())
}
