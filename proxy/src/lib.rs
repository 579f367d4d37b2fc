//! Services to kernel rules: what kube-proxy does in its iptables mode, with the same chains and the same semantics.
//!
//! The way through the crate: [`service`] and [`endpoint`] turn wire objects into facts, [`compile`] turns facts into
//! [`rules::Rules`], [`diff`] compares them with what the kernel is known to hold and gives the text of one
//! `iptables-restore`. All of that is pure. [`iptables`], [`conntrack`], [`health`] and [`sysctl`] do the IO, and
//! [`run`] drives them.
//!
//! What always holds: chains that did not change are not written again; a change is applied as one restore; rules stay in
//! the kernel when the process ends, so that traffic survives a restart, until [`cleanup`] takes them away.

pub mod chain;
pub mod cidr;
pub mod compile;
pub mod conntrack;
pub mod diff;
pub mod endpoint;
pub mod health;
pub mod iptables;
pub mod rules;
mod run;
pub mod service;
mod sysctl;
mod world;

pub use run::{Config, RunError, cleanup, run};
