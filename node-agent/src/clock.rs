//! The one place where the agent's shells read the wall clock.

/// The present, as pure code takes it for an argument.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
