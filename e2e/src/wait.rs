//! Waiting for what is to come about.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How long most things may take on a small machine that has other work.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The first and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Looks again and again until there is something to see, and gives it.
///
/// # Errors
/// When there is not within the deadline: then with what was to be seen and why it could not be, by the last look.
pub async fn await_condition<T>(
    what: impl Display,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = PAUSES.0;
    loop {
        let seen = look().await;
        if let Ok(Some(seen)) = seen {
            return Ok(seen);
        }
        if Instant::now() >= end {
            match seen {
                Err(error) => bail!("{what}: not within {deadline:?}; the last look failed: {error:#}"),
                Ok(_) => bail!("{what}: not within {deadline:?}"),
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looks_until_there_is_something() {
        let mut looks = 0;
        let seen = await_condition("the third look", DEADLINE, async || {
            looks += 1;
            if looks == 1 {
                bail!("not yet")
            } else {
                Ok((looks == 3).then_some(looks))
            }
        });
        assert_eq!(seen.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_never_came() {
        let seen = await_condition::<()>("a miracle", Duration::ZERO, async || bail!("no sign of it"));
        let error = seen.await.unwrap_err().to_string();
        assert!(
            error.contains("a miracle") && error.contains("no sign of it"),
            "{error}"
        );
    }
}
