//! Encryption at rest: what stands between the registry and the store where `--encryption-provider-config` is given.
//!
//! `config` reads an `EncryptionConfiguration`, `chain` finds the providers of a resource (the first writes, all read),
//! `ciphers` are those that hold their keys themselves, `kms` the one whose keys another process guards, `store` puts it
//! all between the watch cache and the store. Stored forms and words are upstream's
//! (`k8s.io/apiserver/pkg/storage/value`), so that either server reads what the other wrote.
//!
//! Always holds: what no provider can read is told to whoever asks for it, never served and never dropped; a configuration
//! that cannot be used takes nobody's place.

mod chain;
mod ciphers;
mod config;
mod kms;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use chain::Chains;
use kms::Kms;
pub(crate) use store::{EncryptedStore, UNREADABLE};

/// What every encrypted value begins with; nothing else that is stored does.
pub(crate) const ENCRYPTED: &[u8] = b"k8s:enc:";

/// How long new key services have to be well before their configuration is taken (upstream's `minKMSPluginCloseGracePeriod`).
const HEALTH_PATIENCE: Duration = Duration::from_secs(10);
/// How often they are asked meanwhile.
const HEALTH_PAUSE: Duration = Duration::from_millis(100);

/// Where the configuration stands, and whether its changes are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionFlags {
    /// `--encryption-provider-config`.
    pub file: PathBuf,
    /// `--encryption-provider-config-automatic-reload`.
    pub reload: bool,
    /// How often the file is looked at where its changes are followed; upstream's minute.
    pub look_every: Duration,
}

impl EncryptionFlags {
    /// A file whose changes are not followed.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            reload: false,
            look_every: Duration::from_secs(60),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The file cannot be read.
    #[error(
        "error while parsing file: error while loading file: error reading encryption provider configuration file {path:?}"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error(
        "error while parsing file: error while loading file: encryption provider configuration file {path:?} is empty"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is no `EncryptionConfiguration`.
    #[error(
        "error while parsing file: error decoding encryption provider configuration file {path:?}: {why}"
    )]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is one that may not be.
    #[error("error while parsing file: {0}")]
    Invalid(String),
    /// Its providers cannot be made.
    #[error("error while building transformers: {0}")]
    Build(String),
    /// A key service that it names is not well.
    #[error("health check for new transformers failed: {0}")]
    Unhealthy(String),
}

/// A group and a plural name, as a configuration names them; either may be `*`.
pub(crate) type Named = (String, String);

/// Encryption at rest, as the configuration has it now.
pub(crate) struct Encryption {
    flags: EncryptionFlags,
    current: ArcSwap<Loaded>,
    /// The resources of keys that do not name them, by what stands before namespace and name.
    prefixes: BTreeMap<String, Named>,
    generation: watch::Sender<u64>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// One configuration, ready for use. What it started ends with it.
struct Loaded {
    chains: Chains,
    services: Vec<Arc<Kms>>,
    hash: [u8; 32],
    _alive: DropGuard,
}

impl Encryption {
    /// Reads a configuration. Key services that are not there yet are waited for in the background.
    ///
    /// # Errors
    /// Where the configuration cannot be used.
    pub(crate) async fn open(
        flags: EncryptionFlags,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, EncryptionError> {
        let bytes = read(&flags.file).await?;
        let loaded = load(&flags, &bytes, &tasks, &shutdown).await?;
        let encryption = Arc::new(Self {
            current: ArcSwap::from_pointee(loaded),
            prefixes: store::built_in_prefixes(),
            generation: watch::Sender::new(0),
            tasks: tasks.clone(),
            shutdown,
            flags,
        });
        if encryption.flags.reload {
            tasks.spawn(Arc::clone(&encryption).follow());
        }
        Ok(encryption)
    }

    /// Changes whenever another configuration has been taken.
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Whether there is a health check of key services: where there are any, and where there may be some later.
    pub(crate) fn is_checked(&self) -> bool {
        self.flags.reload || !self.current.load().services.is_empty()
    }

    /// How the key services are (`/healthz/kms-providers`).
    pub(crate) async fn check(&self) -> Result<(), String> {
        check(&self.current.load_full().services).await
    }

    /// Looks at the file again and again until the server ends.
    async fn follow(self: Arc<Self>) {
        let shutdown = self.shutdown.clone();
        while tokio::time::timeout(self.flags.look_every, shutdown.cancelled())
            .await
            .is_err()
        {
            match self.look().await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(file = %self.flags.file.display(), "a new encryption configuration is in use")
                }
                Err(error) => tracing::error!(%error, "the encryption configuration in use is kept"),
            }
        }
    }

    /// Takes the configuration of the file where it has changed and can be used.
    async fn look(&self) -> Result<bool, EncryptionError> {
        let bytes = read(&self.flags.file).await?;
        if hash_of(&bytes) == self.current.load().hash {
            return Ok(false);
        }
        let loaded = load(&self.flags, &bytes, &self.tasks, &self.shutdown).await?;
        let deadline = Instant::now() + HEALTH_PATIENCE;
        while let Err(why) = check(&loaded.services).await {
            if Instant::now() >= deadline {
                return Err(EncryptionError::Unhealthy(why));
            }
            tokio::time::sleep(HEALTH_PAUSE).await;
        }
        self.current.store(Arc::new(loaded));
        self.generation.send_modify(|generation| *generation += 1);
        Ok(true)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, EncryptionError> {
    let path = || file.to_owned();
    let bytes = tokio::fs::read(file).await;
    let bytes = bytes.map_err(|source| EncryptionError::Read { path: path(), source })?;
    if bytes.is_empty() {
        return Err(EncryptionError::Empty { path: path() });
    }
    Ok(bytes)
}

fn hash_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

async fn load(
    flags: &EncryptionFlags,
    bytes: &[u8],
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Loaded, EncryptionError> {
    let path = || flags.file.clone();
    let configuration = config::read(bytes).map_err(|why| EncryptionError::Decode { path: path(), why })?;
    let errors = config::validate(&configuration, flags.reload);
    if !errors.is_empty() {
        return Err(EncryptionError::Invalid(errors.aggregate()));
    }
    let (chains, services) = Chains::of(&configuration).map_err(EncryptionError::Build)?;
    let alive = shutdown.child_token();
    for service in &services {
        service.prime().await;
        tasks.spawn(Arc::clone(service).keep(alive.clone()));
    }
    Ok(Loaded {
        chains,
        services,
        hash: hash_of(bytes),
        _alive: alive.drop_guard(),
    })
}

async fn check(services: &[Arc<Kms>]) -> Result<(), String> {
    let mut faults = Vec::new();
    for (index, service) in services.iter().enumerate() {
        if let Err(error) = service.check().await {
            faults.push(format!("kms-provider-{index}: {error}"));
        }
    }
    chain::reduced(faults).map_or(Ok(()), Err)
}
