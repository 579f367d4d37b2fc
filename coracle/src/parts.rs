//! Running the components in the foreground, each until a signal or a failure ends it.

pub(crate) mod addons;
pub(crate) mod clients;
#[cfg(test)]
mod fixture;
pub(crate) mod health;
pub(crate) mod node;
mod rotation;
pub(crate) mod server;
mod signer;
pub(crate) mod start_pages;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use coracle_apiserver::version::GIT_VERSION;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

/// The administrator's kubeconfig, in the control plane's data directory.
pub(crate) const ADMIN_KUBECONFIG: &str = "admin.conf";

/// The files with which a node's parts speak to the API and are spoken to.
#[derive(Clone, Debug)]
pub(crate) struct NodeFiles {
    /// The node agent's kubeconfig.
    pub(crate) kubelet: PathBuf,
    /// The proxy's kubeconfig.
    pub(crate) proxy: PathBuf,
    /// The DNS server's kubeconfig.
    pub(crate) dns: PathBuf,
    /// The node agent's serving certificate.
    pub(crate) serving_certificate: PathBuf,
    /// Its key.
    pub(crate) serving_key: PathBuf,
    /// The authority of the node agent's callers.
    pub(crate) client_ca: PathBuf,
}

impl NodeFiles {
    /// Their places below a node's folder.
    pub(crate) fn below(folder: &Path) -> Self {
        let file = |name: &str| folder.join("pki").join(name);
        Self {
            kubelet: file("kubelet.conf"),
            proxy: file("kube-proxy.conf"),
            dns: file("dns.conf"),
            serving_certificate: file("kubelet.crt"),
            serving_key: file("kubelet.key"),
            client_ca: file("ca.crt"),
        }
    }
}

/// Makes a client from a kubeconfig file for a part, which tells its name.
///
/// # Errors
/// When the file cannot be read or names nothing usable.
pub(crate) async fn client_from(kubeconfig: &Path, part: &'static str) -> Result<Client> {
    let config = config_from(kubeconfig, part).await?;
    Client::try_from(config).with_context(|| format!("cannot use the kubeconfig {}", kubeconfig.display()))
}

/// What a kubeconfig file says, for a part that tells its name.
///
/// # Errors
/// When the file cannot be read or names nothing usable.
pub(crate) async fn config_from(kubeconfig: &Path, part: &'static str) -> Result<kube::Config> {
    let unusable = || format!("cannot use the kubeconfig {}", kubeconfig.display());
    let file = Kubeconfig::read_from(kubeconfig).with_context(unusable)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(unusable)?;
    config.headers.push((USER_AGENT, agent(part)));
    Ok(config)
}

/// What a part calls itself in its requests. What stands before the slash is the manager of the fields that it writes, so a
/// part is named as upstream's program for it is (`kube-scheduler`).
pub(crate) fn agent(part: &'static str) -> HeaderValue {
    let text = format!(
        "{part}/{} ({}/{})",
        GIT_VERSION,
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(part))
}

/// Runs a part on all cores, with its log on standard error.
///
/// # Errors
/// The part's own.
pub(crate) fn serve(part: impl Future<Output = Result<()>>) -> Result<()> {
    log_to_stderr();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            tokio::spawn(start_pages::give_back_after_start());
            part.await
        })
}

/// Logs go to standard error; `RUST_LOG` chooses what, `info` by default.
pub(crate) fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=warn,kube_runtime=error"));
    let colour =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    // Fails only where a subscriber is set already, and then logs go there.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .try_init();
}

/// A token that is cancelled by SIGTERM or by Ctrl-C.
///
/// # Errors
/// When the process cannot have signal handlers.
pub(crate) fn until_signalled(tasks: &mut tokio::task::JoinSet<Result<()>>) -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("asked to end"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
            () = token.cancelled() => {}
        }
        token.cancel();
        Ok(())
    });
    Ok(shutdown)
}

/// Waits for all parts. The first that ends takes the others with it; the first error is the outcome.
///
/// # Errors
/// The first error of a part.
pub(crate) async fn until_all_end(
    mut tasks: tokio::task::JoinSet<Result<()>>,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        shutdown.cancel();
        let ended = ended
            .context("a part has stopped on a fault of its own")
            .and_then(|result| result);
        outcome = outcome.and(ended);
    }
    outcome
}

/// The node's name: as given, else this machine's.
///
/// # Errors
/// When the machine does not say, or its name is no DNS subdomain.
pub(crate) fn node_name(given: Option<String>) -> Result<String> {
    match given {
        Some(name) => Ok(name),
        None => {
            let name = nix::unistd::gethostname().context("cannot read this machine's name")?;
            name.into_string()
                .map(|name| name.to_lowercase())
                .ok()
                .context("this machine's name is no text: give --hostname-override")
        }
    }
}
