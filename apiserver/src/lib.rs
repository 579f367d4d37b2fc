//! The wire: what every client of the cluster speaks to.
//!
//! A request passes, in this order and each once: connection and TLS (`http`), who asks (`authn`), may they (`authz`), and
//! then either the registry, which serves every stored resource from one generic implementation, or one of the few
//! handlers that store nothing (reviews, tokens, streams to a node, discovery, health).
//!
//! Always holds: nothing of a body is read before its sender is authorized; every failure is a `Status`; the store is
//! opened here and nowhere else.

mod admission;
mod aggregation;
mod audit;
pub mod authn;
pub mod authz;
mod bootstrap;
mod cache;
pub mod components;
pub mod config;
pub mod discovery;
mod encryption;
mod flow_control;
mod health;
pub mod http;
pub mod metrics;
mod node_proxy;
pub mod openapi;
mod outbound;
pub mod pki;
pub mod reader;
pub mod registry;
pub mod request;
mod resource_metrics;
pub mod reviews;
mod server;
mod tables;
pub mod tokens;
pub mod version;
mod webhook;
mod when_woken;
mod zpages;

pub use admission::{AdmissionError, AdmissionOptions};
pub use audit::{AuditError, AuditFlags, BatchLimits, Format, LogFlags, Mode, Truncation, WebhookFlags};
pub use config::Config;
pub use encryption::{EncryptionError, EncryptionFlags};
pub use node_proxy::{Translation, TranslationError};
pub use outbound::RemoteError;
pub use server::{ApiServer, Resources, Running, StartError};
