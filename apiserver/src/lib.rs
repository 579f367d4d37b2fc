//! The wire: what every client of the cluster speaks to.
//!
//! A request passes, in this order and each once: connection and TLS (`http`), who asks (`authn`), may they (`authz`), and
//! then either the registry, which serves every stored resource from one generic implementation, or one of the few
//! handlers that store nothing (reviews, tokens, streams to a node, discovery, health).
//!
//! Always holds: nothing of a body is read before its sender is authorized; every failure is a `Status`; the store is
//! opened here and nowhere else.

pub mod reader;
pub mod request;
