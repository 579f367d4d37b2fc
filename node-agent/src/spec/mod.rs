//! From a pod's spec to what the runtime is asked for: sandbox and container configurations, DNS, hosts file. Pure.

pub(crate) mod container;
pub(crate) mod dns;
pub(crate) mod hosts;
pub(crate) mod sandbox;
pub(crate) mod security;
