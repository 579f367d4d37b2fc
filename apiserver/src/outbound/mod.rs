//! Connections that this server opens: to node agents, to pods, to webhooks and extension API servers.
//!
//! `service` says where a Service is reached (pure), `tls` whom to believe, `connect` opens the connection. An address is
//! resolved once for each connection, and what was resolved is what is dialled. Nobody here follows a redirect.

mod connect;
pub(crate) mod service;
mod tls;

pub(crate) use self::connect::{Place, connect, drive};
pub(crate) use self::tls::{ClientCertificate, TlsError, Trust, client_config, config_under, roots};
