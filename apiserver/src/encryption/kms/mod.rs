//! KMS v2: values are encrypted with keys that are derived from a seed, and the seed is encrypted by another process
//! (`storage/value/encrypt/envelope/kmsv2` and `server/options/encryptionconfig` upstream).
//!
//! `wire` has what goes over the socket and what is stored, `service` does the calls. A value is read with the seed that
//! stands beside it, which is asked for once; what is written takes the current seed, which is renewed when the service
//! says that it has another key. Without word from the service writes go on for three minutes, reads with known seeds for ever.

mod service;
pub(super) mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::service::{Fault, Service};
use self::wire::{EncryptedObject, Invalid, SourceType};
use super::chain::Opened;
use super::ciphers::{self, CipherError, Gcm, SEED, Seed};
use super::config::KmsConfiguration;

/// How long an answer of the health check counts, and how often the service is asked in the background.
const GOOD_FOR: Duration = Duration::from_secs(20);
const BAD_FOR: Duration = Duration::from_secs(3);
const LOOK_AT_WELL: Duration = Duration::from_secs(60);
const LOOK_AT_ILL: Duration = Duration::from_secs(10);
/// How long a seed may be written with after the service last stood by it (`kmsv2PluginWriteDEKSourceMaxTTL`).
const WRITES_FOR: SignedDuration = SignedDuration::from_mins(3);
/// How long a seed is remembered that nobody reads with (`cacheTTL`), and how many are at most.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
const REMEMBERED_MAX: usize = 10_000;

/// Why a value was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KmsError {
    /// The service never was well.
    #[error("got unexpected nil transformer")]
    NoSeed,
    /// It has not been for too long.
    #[error("encryptedDEKSource with keyID hash {key_id:?} expired at {until} (current time is {now})")]
    Expired {
        key_id: String,
        until: Timestamp,
        now: Timestamp,
    },
    /// What is stored cannot be read as what it should be.
    #[error("proto: cannot parse invalid wire-format data")]
    Form,
    /// Or breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The service does not decrypt the seed.
    #[error("failed to decrypt DEK, error: {0}")]
    Seed(Fault),
    /// The cipher.
    #[error(transparent)]
    Cipher(CipherError),
}

/// Decrypts what was written with one seed, or with one key of an older form.
enum Source {
    Key(Gcm),
    Seed(Seed),
}

impl Source {
    fn new(kind: SourceType, secret: &[u8]) -> Result<Self, CipherError> {
        match kind {
            SourceType::AesGcmKey => Gcm::new(secret).map(Self::Key),
            SourceType::HkdfSha256XnonceAesGcmSeed => Seed::new(secret).map(Self::Seed),
        }
    }

    fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Key(key) => key.open(data, place),
            Self::Seed(seed) => seed.open(data, place),
        }
    }
}

/// What is written with now.
struct Current {
    seed: Arc<Source>,
    /// The stored form without the data.
    envelope: EncryptedObject,
    until: Timestamp,
}

impl Current {
    fn check(&self, now: Timestamp) -> Result<(), KmsError> {
        if now <= self.until {
            return Ok(());
        }
        Err(KmsError::Expired {
            key_id: hash(&self.envelope.key_id),
            until: self.until,
            now,
        })
    }
}

struct Remembered {
    source: Arc<Source>,
    used: Instant,
}

/// What the health check found out last.
#[derive(Default)]
struct Probe {
    last: Option<(Instant, Result<(), String>)>,
    version: Option<String>,
}

/// A key service.
pub(super) struct Kms {
    name: String,
    prefix: String,
    service: Service,
    current: ArcSwapOption<Current>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    probe: tokio::sync::Mutex<Probe>,
}

impl Kms {
    /// A service that is not asked anything yet.
    ///
    /// # Errors
    /// Where it is of the first version, which upstream no longer serves unless its feature gate is on.
    pub(super) fn new(configuration: &KmsConfiguration) -> Result<Self, String> {
        if configuration.api_version == "v1" {
            return Err(
                "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set \
                 --feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
                    .to_owned(),
            );
        }
        let socket = configuration.socket().unwrap_or_default();
        Ok(Self {
            name: configuration.name.clone(),
            prefix: format!("k8s:enc:kms:v2:{}:", configuration.name),
            service: Service::new(socket, configuration.timeout()),
            current: ArcSwapOption::empty(),
            remembered: Mutex::default(),
            probe: tokio::sync::Mutex::default(),
        })
    }

    /// What the values that it encrypted begin with.
    pub(super) fn prefix(&self) -> &[u8] {
        self.prefix.as_bytes()
    }

    /// Encrypts a value with the current seed.
    pub(super) fn seal(&self, data: &[u8], place: &[u8]) -> Result<Bytes, KmsError> {
        let current = self.current.load_full().ok_or(KmsError::NoSeed)?;
        current.check(Timestamp::now())?;
        let Source::Seed(seed) = &*current.seed else {
            return Err(KmsError::NoSeed);
        };
        let sealed = EncryptedObject {
            encrypted_data: seed.seal(data, place).map_err(KmsError::Cipher)?,
            ..current.envelope.clone()
        };
        sealed.check()?;
        Ok([self.prefix(), &sealed.encode_to_vec()].concat().into())
    }

    /// Decrypts what stands behind the prefix.
    pub(super) async fn open(&self, data: &[u8], place: &[u8]) -> Result<Opened, KmsError> {
        let stored = EncryptedObject::decode(data).map_err(|_| KmsError::Form)?;
        stored.check()?;
        let current = self.current.load_full().ok_or(KmsError::NoSeed)?;
        let source = self.source(&stored).await?;
        let opened = source
            .open(&stored.encrypted_data, place)
            .map_err(KmsError::Cipher)?;
        let as_now = stored.key_id == current.envelope.key_id
            && stored.encrypted_dek_source_type == current.envelope.encrypted_dek_source_type;
        Ok(Opened {
            bytes: opened.into(),
            stale: !as_now,
        })
    }

    /// The seed that a value was written with: a remembered one, or one that the service decrypts.
    async fn source(&self, stored: &EncryptedObject) -> Result<Arc<Source>, KmsError> {
        let key = identity(stored);
        if let Some(source) = self.remembered(&key) {
            return Ok(source);
        }
        let secret = self
            .service
            .decrypt(stored, uid())
            .await
            .map_err(KmsError::Seed)?;
        let kind = stored.source_type()?;
        let source = Arc::new(Source::new(kind, &secret).map_err(KmsError::Cipher)?);
        self.remember(key, &source);
        Ok(source)
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Arc<Source>> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.get_mut(key)?;
        found.used = Instant::now();
        Some(Arc::clone(&found.source))
    }

    fn remember(&self, key: [u8; 32], source: &Arc<Source>) {
        let used = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, other| used.duration_since(other.used) < REMEMBERED_FOR);
        if remembered.len() >= REMEMBERED_MAX {
            let oldest = remembered
                .iter()
                .min_by_key(|(_, other)| other.used)
                .map(|(key, _)| *key);
            oldest.map(|oldest| remembered.remove(&oldest));
        }
        let source = Arc::clone(source);
        remembered.insert(key, Remembered { source, used });
    }

    /// Asks once, so that a service which is there is used from the first write on.
    pub(super) async fn prime(&self) {
        let _ = self.look().await;
    }

    /// Asks the service again and again, so that a new key of its is noticed and the current seed stays good.
    pub(super) async fn keep(self: Arc<Self>, cancel: CancellationToken) {
        loop {
            let well = matches!(&self.probe.lock().await.last, Some((_, Ok(()))));
            let pause = if well { LOOK_AT_WELL } else { LOOK_AT_ILL };
            if tokio::time::timeout(pause, cancel.cancelled()).await.is_ok() {
                return;
            }
            let _ = self.look().await;
        }
    }

    async fn look(&self) -> Result<(), String> {
        let found = self.check().await;
        if let Err(error) = &found {
            tracing::warn!(name = self.name, %error, "a key service failed its health check");
        }
        found
    }

    /// How the service is; it is asked where the last answer is old.
    pub(super) async fn check(&self) -> Result<(), String> {
        let mut probe = self.probe.lock().await;
        if let Some((at, found)) = &probe.last {
            let good_for = if found.is_ok() { GOOD_FOR } else { BAD_FOR };
            if at.elapsed() < good_for {
                return found.clone();
            }
        }
        let found = self.ask(&mut probe).await;
        probe.last = Some((Instant::now(), found.clone()));
        found
    }

    async fn ask(&self, probe: &mut Probe) -> Result<(), String> {
        let status = self.service.status().await.map_err(|error| {
            let name = &self.name;
            format!("failed to perform status section of the healthz check for KMS Provider {name}, error: {error}")
        })?;
        let mut faults = Vec::new();
        if status.healthz != "ok" {
            faults.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            faults.push(format!("expected KMSv2 API version v2, got {}", status.version));
        } else {
            let first = probe.version.get_or_insert_with(|| status.version.clone());
            if *first != status.version {
                faults.push(format!(
                    "KMSv2 API version should not change after the initial status response version {first}, got {}",
                    status.version
                ));
            }
        }
        match wire::check_key_id(&status.key_id) {
            Err(error) => faults.push(format!(
                "got invalid KMSv2 KeyID hash {:?}: {error}",
                hash(&status.key_id)
            )),
            Ok(()) => faults.extend(self.rotate(&status.key_id).await.err()),
        }
        match super::chain::reduced(faults) {
            None => Ok(()),
            Some(faults) => Err(format!(
                "kmsv2 Provider {} is not healthy, error: {faults}",
                self.name
            )),
        }
    }

    /// Makes a new seed where the service has another key than the current one was encrypted with; otherwise lets the
    /// current one count for longer. On failure the current one stays for as long as it is good.
    async fn rotate(&self, key_id: &str) -> Result<(), String> {
        let until = Timestamp::now() + WRITES_FOR;
        let current = self.current.load_full();
        if let Some(current) = current.filter(|current| current.envelope.key_id == key_id) {
            self.current.store(Some(Arc::new(Current {
                seed: Arc::clone(&current.seed),
                envelope: current.envelope.clone(),
                until,
            })));
            return Ok(());
        }
        let uid = uid();
        let (why, encrypted_with) = match self.generate(&uid).await {
            Ok((seed, envelope)) if envelope.key_id == key_id => {
                let seed = Arc::new(seed);
                self.remember(identity(&envelope), &seed);
                self.current.store(Some(Arc::new(Current {
                    seed,
                    envelope,
                    until,
                })));
                return Ok(());
            }
            Ok((_, envelope)) => ("<nil>".to_owned(), envelope.key_id),
            Err(error) => (error, String::new()),
        };
        let (asked, used) = (hash(key_id), hash(&encrypted_with));
        Err(format!(
            "failed to rotate DEK uid={uid:?}, errGen={why}, statusKeyIDHash={asked:?}, encryptKeyIDHash={used:?}"
        ))
    }

    async fn generate(&self, uid: &str) -> Result<(Source, EncryptedObject), String> {
        let secret = ciphers::random::<SEED>().map_err(|error| error.to_string())?;
        let answer = self.service.encrypt(&secret, uid.to_owned()).await;
        let answer = answer.map_err(|error| format!("failed to encrypt DEK, error: {error}"))?;
        let envelope = EncryptedObject {
            encrypted_data: Vec::new(),
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            encrypted_dek_source_type: SourceType::HkdfSha256XnonceAesGcmSeed as i32,
        };
        envelope.check_source().map_err(|error| error.to_string())?;
        let seed = Seed::new(&secret).map_err(|error| error.to_string())?;
        Ok((Source::Seed(seed), envelope))
    }
}

fn uid() -> String {
    Uuid::new_v4().to_string()
}

/// What a key is called in messages: nobody is told its name.
fn hash(key_id: &str) -> String {
    if key_id.is_empty() {
        return String::new();
    }
    let digest = Sha256::digest(key_id.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What tells seeds apart: all that stands beside a value but the value.
fn identity(stored: &EncryptedObject) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(stored.encrypted_dek_source_type.to_be_bytes());
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(&stored.encrypted_dek_source);
    part(stored.key_id.as_bytes());
    for (name, value) in &stored.annotations {
        part(name.as_bytes());
        part(value);
    }
    digest.finalize().into()
}
