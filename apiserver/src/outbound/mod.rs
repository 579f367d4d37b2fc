//! Connections that this server opens: to node agents, to pods, to webhooks and extension API servers.
//!
//! `service` says where a Service is reached (pure), `tls` whom to believe, `connect` opens the connection, `pool` keeps it,
//! `relay` passes a request on. An address is resolved once for each connection, and what was resolved is what is dialled.
//! Nobody here follows a redirect. `remote` is a service named by a kubeconfig, which is asked by reviews; `expiring` remembers answers.

mod connect;
mod expiring;
mod pool;
mod relay;
mod remote;
pub(crate) mod service;
mod tls;

pub(crate) use self::connect::{Place, connect, drive};
pub(crate) use self::expiring::Expiring;
pub(crate) use self::pool::{Connection, Pool, Reached};
#[cfg(test)]
pub(crate) use self::relay::fixtures;
pub(crate) use self::relay::{PATH_ESCAPES, body_of, is_upgrading, outgoing, raw_query, returned};
pub(crate) use self::remote::Remote;
pub use self::remote::RemoteError;
pub(crate) use self::tls::{ClientCertificate, TlsError, Trust, client_config, config_under, roots};
