//! Putting together who decides what is allowed, by the configuration.

use std::sync::Arc;

use super::StartError;
use super::certificates::read;
use crate::authz::config::{AuthorizerConfig, Connection};
use crate::authz::{AccessWebhook, Authorizer, Link, Policies};
use crate::outbound::Remote;
use crate::reader::ObjectReader;

/// The path at which an API server answers SubjectAccessReviews.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Everybody who decides, in the given order.
///
/// # Errors
/// Names the file that cannot be used.
pub(super) async fn authorizer(
    chain: &[AuthorizerConfig],
    reader: Arc<dyn ObjectReader>,
) -> Result<Arc<Authorizer>, StartError> {
    let mut links = Vec::new();
    for one in chain {
        links.push(link(one).await?);
    }
    Ok(Arc::new(Authorizer::new(links, reader)))
}

async fn link(config: &AuthorizerConfig) -> Result<Link, StartError> {
    Ok(match config {
        AuthorizerConfig::Mode(mode) => Link::Mode(*mode),
        AuthorizerConfig::Abac(path) => {
            let what = path.display().to_string();
            let policies = Policies::parse(&what, &read(path)?);
            Link::Abac(policies.map_err(|reason| StartError::Access { what, reason })?)
        }
        AuthorizerConfig::Webhook(settings, connection) => {
            let remote = match connection {
                Connection::Kubeconfig(path) => Remote::from_kubeconfig(path).await?,
                Connection::InCluster => Remote::in_cluster(REVIEWS)?,
            };
            let what = "the match conditions of an authorization webhook".to_owned();
            let webhook = AccessWebhook::new(settings.clone(), remote);
            let webhook = webhook.map_err(|reason| StartError::Access { what, reason })?;
            Link::Webhook(Box::new(webhook))
        }
    })
}
