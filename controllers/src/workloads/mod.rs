//! Controllers that keep pods running: Deployment, ReplicaSet and ReplicationController.

pub(crate) mod deployment;
pub(crate) mod pods;
pub(crate) mod replicaset;
#[cfg(test)]
mod simulation;
