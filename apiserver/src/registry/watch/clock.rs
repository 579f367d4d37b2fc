//! When a watch tells how far it has come, and when it ends.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::when_woken::WhenWoken;

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// One timer for both, which is not looked at when it is a change that wakes the watch.
pub(super) struct Clock {
    /// When the next bookmark is due, where any is asked for.
    bookmark: Option<Instant>,
    deadline: Instant,
    alarm: WhenWoken<Pin<Box<Sleep>>>,
}

impl Clock {
    /// The clock of a watch that begins now.
    pub(super) fn new(bookmarks: bool, time: Duration) -> Self {
        let now = Instant::now();
        let (bookmark, deadline) = (bookmarks.then(|| now + BOOKMARK_EVERY), now + time);
        Self {
            bookmark,
            deadline,
            alarm: alarm(bookmark, deadline),
        }
    }

    /// Waits until something is due; whether that is the end. May be given up and begun anew.
    pub(super) async fn strike(&mut self) -> bool {
        (&mut self.alarm).await;
        let now = Instant::now();
        let is_over = now >= self.deadline;
        if !is_over {
            self.bookmark = self.bookmark.map(|_| now + BOOKMARK_EVERY);
            self.alarm = alarm(self.bookmark, self.deadline);
        }
        is_over
    }
}

fn alarm(bookmark: Option<Instant>, deadline: Instant) -> WhenWoken<Pin<Box<Sleep>>> {
    let first = bookmark.map_or(deadline, |bookmark| bookmark.min(deadline));
    WhenWoken::new(Box::pin(sleep_until(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn strikes(bookmarks: bool) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut clock = Clock::new(bookmarks, Duration::from_secs(150));
        let mut strikes = Vec::new();
        loop {
            // Given up in between, as by a change that comes first.
            let soon = tokio::time::timeout(Duration::from_secs(7), clock.strike());
            if let Ok(is_over) = soon.await {
                strikes.push((start.elapsed().as_secs(), is_over));
                if is_over {
                    return strikes;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bookmark_every_minute_and_an_end() {
        assert_eq!(strikes(true).await, [(60, false), (120, false), (150, true)]);
        assert_eq!(strikes(false).await, [(150, true)]);
    }
}
