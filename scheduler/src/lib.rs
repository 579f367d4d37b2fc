//! Decides which node a pod runs on, and binds it there.
//!
//! [`schedule()`] is a pure function of a [`Snapshot`] and a pod. [`cluster`] keeps the snapshot and the queue, also purely;
//! [`run()`] is the only part that does IO: it follows pods, nodes and disruption budgets, binds, displaces pods where room
//! must be made, and tells why a pod goes nowhere.

mod affinity;
pub mod budgets;
pub mod cluster;
pub mod config;
mod displace;
mod events;
mod features;
pub mod filters;
#[cfg(test)]
mod fixtures;
pub mod leader;
pub mod nominations;
pub mod placed;
pub mod preemption;
mod provide;
pub mod queue;
mod relist;
pub mod resources;
mod run;
pub mod schedule;
mod scores;
pub mod snapshot;
mod status;
mod taints;
pub mod volumes;

pub use config::{Config, LeaderElection};
pub use run::{RunError, run};
pub use schedule::{Placement, Unschedulable, schedule};
pub use snapshot::Snapshot;
