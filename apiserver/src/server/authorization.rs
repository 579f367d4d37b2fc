//! Putting together who decides what is allowed, by the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use super::StartError;
use super::certificates::read;
use super::reload::{Refused, Taken};
use crate::authz::config::{self, AuthorizerConfig, Connection};
use crate::authz::{AccessWebhook, AuthorizationMode, Authorizer, Link, Policies};
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
    Ok(Arc::new(Authorizer::new(links(chain).await?, reader)))
}

async fn links(chain: &[AuthorizerConfig]) -> Result<Vec<Link>, StartError> {
    let mut links = Vec::new();
    for one in chain {
        links.push(link(one).await?);
    }
    Ok(links)
}

/// Has whoever a file names decide from when it names them.
pub(super) struct Deciders {
    authorizer: Arc<Authorizer>,
    policy_file: Option<PathBuf>,
    first: Vec<AuthorizerConfig>,
}

impl Deciders {
    /// In place of those that decided at first.
    pub(super) fn new(
        authorizer: Arc<Authorizer>,
        policy_file: Option<PathBuf>,
        first: Vec<AuthorizerConfig>,
    ) -> Self {
        Self {
            authorizer,
            policy_file,
            first,
        }
    }
}

impl Taken for Deciders {
    /// Webhooks may come and go; of the others those that decided at first have to stay, and what reads objects or files for its
    /// decisions does so from the start or not at all.
    async fn take(&self, contents: &str) -> Result<(), Refused> {
        let chain =
            config::parse(contents.as_bytes(), self.policy_file.as_deref()).map_err(Refused::ForGood)?;
        if let Some(missing) = missing(&self.first, &chain) {
            return Err(Refused::ForGood(format!(
                "authorizer type {missing} was there at first, and has to stay"
            )));
        }
        if let Some(new) = missing(&chain, &self.first).filter(|mode| matches!(*mode, "Node" | "ABAC")) {
            let why = format!(
                "authorizer type {new} is not allowed if it was not enabled at initial server startup"
            );
            return Err(Refused::ForGood(why));
        }
        let links = links(&chain).await;
        self.authorizer
            .replace(links.map_err(|error| Refused::ForGood(error.to_string()))?);
        Ok(())
    }
}

/// The first that is in one chain and not in the other, webhooks aside.
fn missing(of: &[AuthorizerConfig], other: &[AuthorizerConfig]) -> Option<&'static str> {
    let named = |chain: &[AuthorizerConfig]| chain.iter().filter_map(mode).collect::<Vec<_>>();
    let others = named(other);
    named(of).into_iter().find(|mode| !others.contains(mode))
}

fn mode(config: &AuthorizerConfig) -> Option<&'static str> {
    Some(match config {
        AuthorizerConfig::Mode(AuthorizationMode::Rbac) => "RBAC",
        AuthorizerConfig::Mode(AuthorizationMode::Node) => "Node",
        AuthorizerConfig::Mode(AuthorizationMode::AlwaysAllow) => "AlwaysAllow",
        AuthorizerConfig::Mode(AuthorizationMode::AlwaysDeny) => "AlwaysDeny",
        AuthorizerConfig::Abac(_) => "ABAC",
        AuthorizerConfig::Webhook(..) => return None,
    })
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::authz::Attributes;
    use crate::reader::memory::MemoryReader;
    use crate::request::UserInfo;

    const HEAD: &str =
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n";

    fn file(modes: &[&str]) -> String {
        let entry = |mode: &&str| format!("- {{type: {mode}, name: {}}}\n", mode.to_lowercase());
        HEAD.to_owned() + &modes.iter().map(entry).collect::<String>()
    }

    #[tokio::test]
    async fn who_decides_may_change_within_what_was_there_at_first() {
        let first = config::parse(file(&["RBAC"]).as_bytes(), None).unwrap();
        let reader = Arc::new(MemoryReader::default());
        let authorizer = authorizer(&first, reader).await.unwrap();
        let deciders = Deciders::new(authorizer.clone(), None, first);
        let user = UserInfo {
            name: "jane".to_owned(),
            ..UserInfo::default()
        };
        let allowed = async || {
            let attributes = Attributes::path(&user, "get", "/healthz");
            authorizer.decide(&attributes).await.is_allowed()
        };
        let before = Timestamp::now();
        assert!(!allowed().await, "{before}");
        for refused in [
            file(&["AlwaysAllow"]),
            file(&["RBAC", "Node"]),
            "nonsense".to_owned(),
        ] {
            assert!(
                matches!(deciders.take(&refused).await, Err(Refused::ForGood(_))),
                "{refused}"
            );
        }
        assert!(!allowed().await);
        deciders.take(&file(&["RBAC", "AlwaysAllow"])).await.unwrap();
        assert!(allowed().await);
        deciders.take(&file(&["RBAC"])).await.unwrap();
        assert!(!allowed().await);
    }
}
