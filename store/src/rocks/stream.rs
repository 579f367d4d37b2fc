//! The stream of one watcher.

use super::engine::Engine;
use super::hub::{Step, WatcherId};
use super::run_blocking;
use crate::{Batch, Fault, KeyRange, Revision, WatchError, WatchItem, WatchRequest, WatchStream};
use futures::{StreamExt, stream};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;

/// About how many bytes of the log a watcher that catches up reads at once.
const LOG_CHUNK_BYTES: usize = 1 << 20;

pub(super) fn open(engine: Arc<Engine>, request: WatchRequest) -> Result<WatchStream, WatchError> {
    engine.hub.check_open()?;
    if let Some(after) = request.after {
        let current = engine.hub.published();
        if after > current {
            return Err(WatchError::FutureRevision { after, current });
        }
        engine.check_watchable(after)?;
    }
    let (id, after, wake) = engine.hub.register(request.range.clone(), request.after);
    let opening = request.after.is_none().then_some(WatchItem::Progress(after));
    let watcher = Watcher {
        engine,
        id,
        range: request.range,
        wake,
        ready: opening.into_iter().collect(),
    };
    Ok(stream::unfold(Some(watcher), next).boxed())
}

struct Watcher {
    engine: Arc<Engine>,
    id: WatcherId,
    range: KeyRange,
    wake: Arc<Notify>,
    /// What has been taken and not yet delivered.
    ready: VecDeque<WatchItem>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.engine.hub.deregister(self.id);
    }
}

/// Waits for the next item. Without a watcher to go on with, the stream has ended.
async fn next(watcher: Option<Watcher>) -> Option<(Result<WatchItem, WatchError>, Option<Watcher>)> {
    let mut watcher = watcher?;
    loop {
        if let Some(item) = watcher.ready.pop_front() {
            return Some((Ok(item), Some(watcher)));
        }
        if let Err(error) = watcher.refill().await {
            return Some((Err(error), None));
        }
    }
}

impl Watcher {
    /// Takes more to deliver, if there is any, or waits.
    async fn refill(&mut self) -> Result<(), WatchError> {
        match self.engine.hub.step(self.id) {
            Step::Deliver(batches) => self.take(batches.iter().map(Arc::as_ref)),
            Step::ReadLog { after, until } => self.read_log(after, until).await?,
            Step::Progress(revision) => self.ready.push_back(WatchItem::Progress(revision)),
            Step::Wait => self.wake.notified().await,
            Step::Closed => return Err(Fault::Closed.into()),
        }
        Ok(())
    }

    async fn read_log(&mut self, after: Revision, until: Revision) -> Result<(), WatchError> {
        let engine = self.engine.clone();
        let read = run_blocking(move || engine.read_log(after, until, LOG_CHUNK_BYTES)).await??;
        self.take(read.iter());
        let seen = read.last().map_or(after, |batch| batch.revision);
        self.engine.hub.caught_up(self.id, seen);
        Ok(())
    }

    fn take<'a>(&mut self, batches: impl Iterator<Item = &'a Batch>) {
        let concerned = batches.filter_map(|batch| batch.within(&self.range));
        self.ready.extend(concerned.map(WatchItem::Changes));
    }
}
