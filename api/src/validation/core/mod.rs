//! Rules of the core group, but for pods, and of the groups that grew out of it.

pub(super) mod config;
pub(super) mod endpoints;
pub(super) mod node;
pub(super) mod quota;
pub(super) mod service;
pub(super) mod storage;
