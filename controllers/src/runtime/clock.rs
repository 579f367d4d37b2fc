//! What time it is: the system's, or one that goes with tokio's own clock, which tests can pause and wind on.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where controllers ask for the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// A moment, and when tokio's clock was there; absent for the system's time.
    started: Option<(Timestamp, Instant)>,
}

impl Clock {
    /// The system's time.
    #[must_use]
    pub const fn system() -> Self {
        Self { started: None }
    }

    /// It is `start` now, and goes on as tokio's clock does.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            started: Some((start, Instant::now())),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.started {
            None => Timestamp::now(),
            Some((start, began)) => {
                let passed = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX);
                start.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn goes_with_tokio_s_clock() {
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), Timestamp::from_second(90).unwrap());
    }

    #[test]
    fn is_the_system_s_by_default() {
        let before = Timestamp::now();
        assert!(Clock::default().now() >= before);
    }
}
