//! Services to kernel rules: what kube-proxy does in its iptables mode, with the same chains and the same semantics.
//!
//! The way through the crate: [`facts`] are what wire objects come to, [`rules::compile`] turns them into [`rules::Rules`],
//! [`rules::diff`] compares those with what the kernel is known to hold and gives the [`rules::batch`] for one `iptables-restore`. All
//! of that is pure. [`kernel`] and [`health`] do the IO, and [`run()`] drives them.
//!
//! What always holds: chains that did not change are not written again, and of a long one only what changed; a change is applied as
//! one restore; when that is refused, and every hour, everything is read and written anew; rules stay in the kernel when the process
//! ends, so that traffic survives a restart, until [`cleanup()`] takes them away.

pub mod facts;
mod family;
pub mod health;
pub mod kernel;
pub mod rules;
mod run;
mod schedule;
mod world;

pub use run::{Config, RunError, cleanup, run};
