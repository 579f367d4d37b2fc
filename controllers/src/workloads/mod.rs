//! Controllers that keep pods running: Deployment, ReplicaSet, ReplicationController and Job.

mod amounts;
mod claims;
mod control;
pub(crate) mod deployment;
mod hash;
pub(crate) mod job;
pub(crate) mod pods;
pub(crate) mod replicaset;
#[cfg(test)]
mod simulation;
