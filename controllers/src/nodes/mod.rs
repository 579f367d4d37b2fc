//! Controllers that look after nodes: their networks, their health, and the pods on those that are unwell.

pub(crate) mod eviction;
pub(crate) mod ipam;
pub(crate) mod lifecycle;
