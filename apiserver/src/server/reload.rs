//! Files that are taken anew when they change: what is in use stays where the new contents cannot be used.
//!
//! Counted under upstream's names, for each file by the room that it belongs to.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// Why new contents are not in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// They never will be.
    ForGood(String),
    /// They may be tried again.
    ForNow(String),
}

/// Whoever uses what a file says.
pub(super) trait Taken: Send + Sync + 'static {
    /// Uses it from now on.
    ///
    /// # Errors
    /// Why that cannot be.
    fn take(&self, contents: &str) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// A file, and what was seen in it last.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) contents: String,
}

/// What is counted of reloads.
pub(super) struct Reloads {
    total: IntCounterVec,
    last: GaugeVec,
    in_use: IntGaugeVec,
    /// Of this server.
    id: String,
}

impl Reloads {
    /// Under the name of a room: `authentication`.
    pub(super) fn new(room: &str, server: &str, registry: &Registry) -> Self {
        let valid = "names and labels are constants that Prometheus takes";
        let name = |what: &str| format!("apiserver_{room}_config_controller_{what}");
        let labels = ["status", "apiserver_id_hash"];
        let of = format!("of {room} configuration split by status and apiserver identity.");
        let total = Opts::new(
            name("automatic_reloads_total"),
            format!("Total number of automatic reloads {of}"),
        );
        let last = Opts::new(
            name("automatic_reload_last_timestamp_seconds"),
            format!("Timestamp of the last automatic reload {of}"),
        );
        let in_use = Opts::new(
            name("last_config_info"),
            format!(
                "Information about the last applied {room} configuration with hash as label, split by apiserver identity."
            ),
        );
        let reloads = Self {
            total: IntCounterVec::new(total, &labels).expect(valid),
            last: GaugeVec::new(last, &labels).expect(valid),
            in_use: IntGaugeVec::new(in_use, &["apiserver_id_hash", "hash"]).expect(valid),
            id: hash(server),
        };
        let once = "each room has one file";
        registry.register(Box::new(reloads.total.clone())).expect(once);
        registry.register(Box::new(reloads.last.clone())).expect(once);
        registry.register(Box::new(reloads.in_use.clone())).expect(once);
        reloads
    }

    fn count(&self, status: &str, now: Timestamp) {
        let labels = [status, self.id.as_str()];
        self.total.with_label_values(&labels).inc();
        let seconds = now.as_duration().as_secs_f64();
        self.last.with_label_values(&labels).set(seconds);
    }

    fn uses(&self, contents: &str) {
        self.in_use.reset();
        let labels = [self.id.as_str(), &hash(contents)];
        self.in_use.with_label_values(&labels).set(1);
    }
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hexadecimal}")
}

/// Looks at a file again and again until the server ends.
pub(super) async fn follow(
    mut file: File,
    taken: impl Taken,
    reloads: Reloads,
    every: Duration,
    shutdown: CancellationToken,
) {
    reloads.uses(&file.contents);
    while tokio::time::timeout(every, shutdown.cancelled()).await.is_err() {
        let looking = look(&mut file, &taken, &reloads);
        if shutdown.run_until_cancelled(looking).await.is_none() {
            return;
        }
    }
}

async fn look(file: &mut File, taken: &impl Taken, reloads: &Reloads) {
    let path = file.path.display();
    let refused = match tokio::fs::read_to_string(&file.path).await {
        Ok(contents) if contents == file.contents => return,
        Ok(contents) => match taken.take(&contents).await {
            Ok(()) => {
                tracing::info!(%path, "what the file says now is in use");
                reloads.uses(&contents);
                reloads.count("success", Timestamp::now());
                file.contents = contents;
                return;
            }
            Err(Refused::ForGood(why)) => {
                file.contents = contents;
                why
            }
            Err(Refused::ForNow(why)) => why,
        },
        Err(error) => error.to_string(),
    };
    tracing::error!(%path, error = refused, "what the file said before stays in use");
    reloads.count("failure", Timestamp::now());
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Uses numbers, and none above nine for now.
    struct Numbers(Arc<Mutex<Vec<u8>>>);

    impl Taken for Numbers {
        async fn take(&self, contents: &str) -> Result<(), Refused> {
            let number: u8 = contents
                .parse()
                .map_err(|_| Refused::ForGood("no number".to_owned()))?;
            if number > 9 {
                return Err(Refused::ForNow("too large".to_owned()));
            }
            self.0.lock().unwrap().push(number);
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_cannot_be_used_leaves_what_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let (used, registry) = (Arc::default(), Registry::new());
        let (numbers, reloads) = (Numbers(Arc::clone(&used)), Reloads::new("test", "one", &registry));
        let mut file = File {
            path: path.clone(),
            contents: "1".to_owned(),
        };
        // Written, and how often it was refused and used so far after two looks.
        let table = [("1", 0, 0), ("x", 1, 0), ("12", 3, 0), ("2", 3, 1), ("2", 3, 1)];
        for (contents, failures, successes) in table {
            std::fs::write(&path, contents).unwrap();
            look(&mut file, &numbers, &reloads).await;
            look(&mut file, &numbers, &reloads).await;
            let counted = |status: &str| {
                let labels = [status, reloads.id.as_str()];
                reloads.total.with_label_values(&labels).get()
            };
            assert_eq!(
                (counted("failure"), counted("success")),
                (failures, successes),
                "{contents}"
            );
        }
        assert_eq!(*used.lock().unwrap(), [2]);
        std::fs::remove_file(&path).unwrap();
        look(&mut file, &numbers, &reloads).await;
        assert_eq!(file.contents, "2");
    }
}
