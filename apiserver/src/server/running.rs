//! An apiserver that runs: how parts in this process reach it, how its certificates are kept fresh, how it is stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::certificates::Tls;
use super::{StartError, kubeconfigs};
use crate::aggregation::Aggregator;
use crate::bootstrap::ClientAuthorities;
use crate::config::Config;
use crate::health::Started;
use crate::http::{Front, InProcessService};
use crate::pki::Pki;
use crate::request::UserInfo;

/// Handle of a running apiserver. Dropping it asks the server to stop and does not wait.
pub struct Running {
    pub(super) front: Front,
    pub(super) aggregator: Arc<Aggregator>,
    pub(super) pki: Arc<Mutex<Pki>>,
    pub(super) bound: Vec<SocketAddr>,
    pub(super) advertised: SocketAddr,
    pub(super) config: Config,
    pub(super) tasks: TaskTracker,
    pub(super) started: Started,
    pub(super) shutdown: CancellationToken,
}

impl Running {
    /// A client in the name of a user, which reaches the server without a socket. What the user may do is decided as for
    /// anybody; no proof of who they are is asked for.
    pub fn client(&self, user: UserInfo) -> kube::Client {
        kube::Client::new(
            InProcessService::new(self.front.clone(), user, self.tasks.clone()),
            "default",
        )
    }

    /// As [`Running::client`], for a program that tells its name (`User-Agent`). By that its part in an object's managed
    /// fields is known.
    pub fn client_by(&self, agent: HeaderValue, user: UserInfo) -> kube::Client {
        let service = InProcessService::new(self.front.clone(), user, self.tasks.clone());
        kube::Client::new(service.by(agent), "default")
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// Where others reach it.
    pub fn url(&self) -> String {
        format!("https://{}", self.advertised)
    }

    /// Where others reach it, as an address.
    pub(super) fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// For how long events are kept.
    pub(super) fn event_ttl(&self) -> Duration {
        self.config.event_ttl
    }

    /// The cluster's keys and certificates, for whoever issues further ones.
    pub fn pki(&self) -> Arc<Mutex<Pki>> {
        self.pki.clone()
    }

    /// Where the administrator's kubeconfig stands.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.config.data_dir.join(kubeconfigs::ADMIN)
    }

    /// Who vouches for clients, and for whoever speaks in the name of clients, as PEM.
    pub(super) async fn client_authorities(&self) -> Result<ClientAuthorities, StartError> {
        let pki = self.pki.lock().await;
        let mut clients = pki.ca().certificate_pem().to_owned();
        if let Some(path) = &self.config.client_ca_file {
            clients.push_str(&super::certificates::read(path)?);
        }
        let mut front_proxy = pki.authorities().front_proxy_ca().certificate_pem().to_owned();
        let other = self.config.authentication.front_proxy.as_ref();
        if let Some(proxy) = other {
            front_proxy.push_str(&super::certificates::read(&proxy.client_ca_file)?);
        }
        Ok(ClientAuthorities {
            clients,
            front_proxy,
            headers: other.map(|proxy| proxy.headers.clone()).unwrap_or_default(),
        })
    }

    /// Ends when the server was asked to stop.
    pub fn shutdown_token(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Stops: nothing new is taken, streams end, requests get the time of grace to be answered.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        if timeout(self.config.shutdown_grace, self.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                left = self.tasks.len(),
                "stopped before every request was answered"
            );
        }
    }

    /// Tells the world that the server is ready.
    pub(super) fn set_started(&self) {
        self.started.set();
    }

    /// Writes kubeconfigs and begins to watch over certificates.
    pub(super) async fn keep_certificates(&self, tls: Tls) -> Result<(), StartError> {
        let keeper = Keeper {
            pki: self.pki.clone(),
            directory: self.config.data_dir.clone(),
            url: self.url(),
            tls: Arc::new(tls),
        };
        keeper.clone().look(Timestamp::now()).await?;
        let (shutdown, pause) = (self.shutdown.clone(), self.config.look_at_certificates);
        self.tasks.spawn(async move {
            while timeout(pause, shutdown.cancelled()).await.is_err() {
                if let Err(error) = keeper.clone().look(Timestamp::now()).await {
                    error!(%error, "certificates could not be renewed; trying again in {pause:?}");
                }
            }
        });
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.tasks.close();
    }
}

/// Whoever keeps certificates fresh.
#[derive(Clone)]
struct Keeper {
    pki: Arc<Mutex<Pki>>,
    directory: PathBuf,
    url: String,
    tls: Arc<Tls>,
}

impl Keeper {
    /// Renews what is due at this time, and shows it.
    async fn look(self, now: Timestamp) -> Result<(), StartError> {
        let mut pki = self.pki.lock_owned().await;
        tokio::task::spawn_blocking(move || {
            if pki.renew(now)? {
                info!("certificates were renewed");
            }
            self.tls.refresh(&pki)?;
            let directory: &Path = &self.directory;
            Ok(kubeconfigs::keep(directory, &pki, &self.url, now)?)
        })
        .await?
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::super::certificates::{Callers, node_tls};
    use super::*;
    use crate::reader::memory::MemoryReader;

    fn keeper(directory: &Path, now: Timestamp) -> Keeper {
        let config = Config::new(directory);
        let names = config.server_names().unwrap();
        let pki = Pki::open(&directory.join("pki"), &names, now).unwrap();
        let (tasks, shutdown) = Default::default();
        let own = pki.front_proxy_client();
        let aggregator = Aggregator::new(Arc::new(MemoryReader::default()), own, tasks, shutdown);
        let callers = Callers {
            nodes: Arc::new(node_tls(&config, &pki).unwrap()),
            aggregator: Arc::new(aggregator.unwrap()),
        };
        let tls = Arc::new(Tls::load(&config, &pki, callers).unwrap());
        let url = "https://127.0.0.1:6443".to_owned();
        Keeper {
            pki: Arc::new(Mutex::new(pki)),
            directory: directory.to_owned(),
            url,
            tls,
        }
    }

    #[tokio::test]
    async fn a_certificate_that_is_due_is_exchanged_while_the_server_runs() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
        let keeper = keeper(home.path(), start);
        let look = async |days: i64| {
            keeper.clone().look(start + (days * 24).hours()).await.unwrap();
            let admin = std::fs::read_to_string(home.path().join(kubeconfigs::ADMIN)).unwrap();
            (keeper.tls.shown(), admin)
        };
        let first = look(0).await;
        assert_eq!(look(200).await, first);
        let second = look(250).await;
        assert_ne!(second.0, first.0, "the serving certificate");
        assert_ne!(second.1, first.1, "the administrator's kubeconfig");
        assert_eq!(look(251).await, second);
    }
}
