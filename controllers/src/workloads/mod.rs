//! Controllers that keep pods running: Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet, Job and CronJob.

pub(crate) mod amounts;
mod claims;
mod control;
pub(crate) mod cronjob;
pub(crate) mod daemonset;
pub(crate) mod deployment;
pub(crate) mod expiry;
mod hash;
mod history;
pub(crate) mod job;
pub(crate) mod pods;
pub(crate) mod replicaset;
#[cfg(test)]
mod simulation;
pub(crate) mod statefulset;
