//! The cluster's controllers: each a pure `plan` and a thin shell that acts.
//!
//! A controller sees the world through informers (one per kind, shared by the process), keeps the names of what may need
//! work in a queue, and for each name makes a plan from everything observed, never from the event that woke it. The shell
//! then acts with uid and resourceVersion preconditions and ends only when its informers show what it wrote, so a plan is
//! never made from a world older than the controller's own deeds.
//!
//! All IO of the room goes through [`kube::Client`]s that a [`ClientFactory`] gives. Modules named `plan`, and what they
//! use, import neither kube, tokio nor a clock.

mod certificates;
pub mod clients;
mod cluster;
pub mod config;
mod disruption;
mod garbage;
pub mod kubeconfig;
mod labels;
mod nodes;
mod observed;
mod owners;
mod run;
mod runtime;
mod services;
mod storage;
mod target;
mod workloads;

pub use certificates::{CertificateSigner, SigningOrder};
pub use clients::{ClientError, ClientFactory};
pub use cluster::tokens::{TokenOrder, TokenSigner};
pub use config::{Config, ControllerName};
pub use kubeconfig::KubeconfigClients;
pub use run::{RunError, run};
pub use runtime::clock::Clock;
