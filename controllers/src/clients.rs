//! Where the controllers' clients come from.
//!
//! Every controller acts as a service account of its own, so that the bootstrap roles bound to it say all it may do. The
//! informers are shared, so they watch as the process itself.

use async_trait::async_trait;
use thiserror::Error;

/// A client could not be had.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The API server refused or did not answer while the controller's credentials were made.
    #[error("could not get a token for service account kube-system/{controller}")]
    Token {
        /// The controller's name, which is its service account's.
        controller: String,
        /// What the API server or the connection said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The answer held no token that can stand in a header.
    #[error("the API server gave no usable token for service account kube-system/{0}")]
    UnusableToken(String),
    /// The client itself could not be built.
    #[error("could not build a client for {controller}")]
    Build {
        /// The controller's name.
        controller: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Gives each controller a client that acts as its own service account.
#[async_trait]
pub trait ClientFactory: Send + Sync {
    /// A client for the shared informers: the process's own identity (`system:kube-controller-manager`), which may list and
    /// watch everything.
    async fn shared(&self) -> Result<kube::Client, ClientError>;

    /// A client that acts as `system:serviceaccount:kube-system:<controller>`.
    ///
    /// # Errors
    /// When credentials for that service account cannot be made.
    async fn client(&self, controller: &str) -> Result<kube::Client, ClientError>;
}
