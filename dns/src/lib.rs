//! Cluster DNS: services and pods to answers.
//!
//! The names and records are those of the Kubernetes DNS-Based Service Discovery specification, version 1.1; where it
//! leaves a choice, this crate answers as CoreDNS does in kubeadm's configuration. [`zone`] makes a [`zone::Zone`] out of
//! API objects, [`answer`] answers a question from it, [`message`] reads and writes packets: pure, all of them.
//! [`forward`] asks the node's own resolvers about all other names, [`registration`] keeps this server among the endpoints of the Service
//! `kube-dns`, `server` holds the sockets, and [`run`] joins them.
//!
//! What always holds: a packet never makes the server panic, wait without an end, or grow without a bound.

pub mod answer;
pub mod forward;
pub mod message;
pub mod registration;
mod run;
mod server;
pub mod zone;

pub use run::{Config, RunError, run};
