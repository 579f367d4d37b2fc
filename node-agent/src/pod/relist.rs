//! Looks at the runtime every second and tells the workers whose pods changed; finds pods that belong to nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::context::Context;
use super::directory::Directory;
use crate::cri::Glimpse;

const PERIOD: Duration = Duration::from_secs(1);
/// How often directories and cgroups of pods that are gone are looked for, in periods.
const SWEEP_EVERY: u32 = 60;

/// Whether the runtime can be seen; the node's Ready condition tells others.
#[derive(Clone)]
pub(crate) struct RuntimeWatch {
    fault: watch::Sender<Option<String>>,
}

impl Default for RuntimeWatch {
    fn default() -> Self {
        Self {
            fault: watch::Sender::new(Some(
                "container runtime status check may not have completed yet".into(),
            )),
        }
    }
}

impl RuntimeWatch {
    /// Why the runtime cannot be seen; none if it can.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Told whenever the answer of [`Self::fault`] changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.fault.subscribe()
    }

    fn set(&self, fault: Option<String>) {
        self.fault.send_if_modified(|now| {
            let changed = *now != fault;
            *now = fault;
            changed
        });
    }
}

/// Runs until shutdown.
pub(super) async fn follow(context: Arc<Context>, directory: Directory, watch: RuntimeWatch) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: BTreeMap<String, Glimpse> = BTreeMap::new();
    let mut rounds: u32 = 0;
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = match context.cri.glimpse_all().await {
            Ok(now) => now,
            Err(error) => {
                if watch.fault().is_none() {
                    tracing::warn!(%error, "container runtime cannot be asked, trying again every second");
                }
                watch.set(Some(error.to_string()));
                continue;
            }
        };
        let back = watch.fault().is_some();
        watch.set(None);
        compare(&context, &directory, &before, &now, back);
        before = now;
        if rounds.is_multiple_of(SWEEP_EVERY) && directory.is_synced() {
            sweep(&context, &directory).await;
        }
        if directory.is_synced() {
            rounds = rounds.wrapping_add(1);
        }
    }
}

fn compare(
    context: &Arc<Context>,
    directory: &Directory,
    before: &BTreeMap<String, Glimpse>,
    now: &BTreeMap<String, Glimpse>,
    back: bool,
) {
    for (uid, glimpse) in now {
        let known = if back || before.get(uid) != Some(glimpse) {
            directory.look(uid)
        } else {
            // Looked up for orphans only: the API may have been listed since.
            !directory.is_synced() || directory.contains(uid)
        };
        if !known && directory.is_synced() {
            tracing::info!(pod = %glimpse.identity.name, namespace = %glimpse.identity.namespace, "removing a pod that the API does not have");
            directory.adopt_orphan(context, glimpse.identity.clone());
        }
    }
    for uid in before.keys().filter(|uid| !now.contains_key(*uid)) {
        directory.look(uid);
    }
}

/// Removes directories and cgroups of pods that neither the API nor the runtime knows.
async fn sweep(context: &Arc<Context>, directory: &Directory) {
    let known = directory.uids();
    let context = context.clone();
    let swept = tokio::task::spawn_blocking(move || {
        let entries = std::fs::read_dir(context.config.root_dir.join("pods"));
        let uids = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok());
        for uid in uids.filter(|uid| !known.contains(uid)) {
            if let Err(error) = crate::volume::tear_down(&context.config.pod_dir(&uid)) {
                tracing::warn!(uid, %error, "directory of a pod that is gone stays");
            }
        }
        for (uid, path) in context.cgroups.pods(&context.config.cgroup_root) {
            if !known.contains(&uid)
                && let Err(error) = context.cgroups.remove(&path)
            {
                tracing::warn!(uid, %error, "cgroup of a pod that is gone stays");
            }
        }
        sweep_logs(&context, &known);
    });
    if let Err(error) = swept.await {
        tracing::warn!(%error, "sweep of old pods failed");
    }
}

fn sweep_logs(context: &Context, known: &[String]) {
    let entries = std::fs::read_dir(&context.config.pod_log_dir);
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let uid = name
            .to_str()
            .and_then(|n| n.rsplit('_').next())
            .unwrap_or_default();
        if !known.iter().any(|k| k == uid)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(uid, %error, "logs of a pod that is gone stay");
        }
    }
}
