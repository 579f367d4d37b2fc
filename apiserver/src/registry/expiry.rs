//! Events are kept for a while after they were last written (`--event-ttl`). Upstream leaves that to a lease in etcd; here somebody
//! looks from time to time. What was looked at once is not read again before it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::object::Fields as _;
use coracle_store::Txn;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Registry;
use super::served::Served;

/// How often events are looked at: this part of the time that they are kept, within bounds.
const LOOKS: u32 = 60;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// At which revision an event was seen, and when it was written, by its key.
pub(super) type Seen = BTreeMap<String, (u64, Timestamp)>;

impl Registry {
    /// Removes events that nobody has written for this long, until cancelled.
    pub(crate) async fn expire_events(self: Arc<Self>, kept: Duration, cancel: CancellationToken) {
        let Some(served) = self.catalog.stored("", "events") else {
            return;
        };
        let pause = (kept / LOOKS).clamp(PAUSE_MIN, PAUSE_MAX);
        let mut seen = Seen::new();
        while cancel
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            self.expire(&served, kept, self.now(), &mut seen).await;
        }
    }

    /// Removes what was written last before that time.
    pub(super) async fn expire(&self, served: &Served, kept: Duration, now: Timestamp, seen: &mut Seen) {
        let entries = served.cache.snapshot().entries;
        let mut there = Seen::new();
        for entry in entries.with_prefix("") {
            let key = served.key(entry.namespace(), entry.name());
            let known = seen
                .get(&key)
                .filter(|(revision, _)| *revision == entry.revision());
            let written = known.map(|(_, written)| *written).or_else(|| {
                let metadata: Option<Value> = serde_json::from_slice(&entry.metadata()).ok();
                written(&metadata?)
            });
            // What does not say when it was written is kept from now on.
            let written = written.unwrap_or(now);
            let age = now.duration_since(written);
            if SignedDuration::try_from(kept).is_ok_and(|kept| age < kept) {
                there.insert(key, (entry.revision(), written));
            } else if let Err(error) = self.remove(served, &key, entry.revision(), Txn::new()).await {
                warn!(error = error.message(), key, "an event could not be removed");
            }
        }
        *seen = there;
    }
}

/// When an object was last written, by what its metadata says.
fn written(metadata: &Value) -> Option<Timestamp> {
    let managed = metadata.items("managedFields").iter();
    let times = managed.map(|entry| entry.text("time"));
    times
        .chain([metadata.text("creationTimestamp")])
        .filter_map(|time| time.parse().ok())
        .max()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use serde_json::json;

    use super::*;
    use crate::registry::tests::Fixture;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const EVENTS: &str = "/api/v1/namespaces/default/events";

    #[tokio::test]
    async fn events_go_when_nobody_has_written_them_for_long() {
        let fixture = Fixture::new().await;
        let event =
            json!({"metadata": {"name": "a"}, "reason": "Tried", "involvedObject": {"namespace": "default"}});
        fixture.create(EVENTS, event).await;
        let served = fixture.registry.catalog.stored("", "events").unwrap();
        let (now, mut seen) = (Timestamp::now(), Seen::new());
        for (minutes, code) in [(0, 200), (58, 200), (61, 404)] {
            let at = now + minutes.minutes();
            fixture.registry.expire(&served, HOUR, at, &mut seen).await;
            assert_eq!(fixture.get(&format!("{EVENTS}/a")).await.code, code, "{minutes}");
        }
        assert!(seen.is_empty());
    }

    #[test]
    fn every_write_begins_the_time_anew() {
        let metadata = json!({"creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [
            {"time": "2026-01-01T00:10:00Z"}, {"manager": "a"}, {"time": "2026-01-01T00:05:00Z"}]});
        assert_eq!(written(&metadata), "2026-01-01T00:10:00Z".parse().ok());
        assert_eq!(written(&json!({})), None);
    }
}
