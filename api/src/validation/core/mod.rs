//! Rules of the core group, but for pods.

pub(super) mod config;
