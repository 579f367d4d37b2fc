//! Which resources the API server serves, as the controllers of all kinds need to know it.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::discovery::verbs;
use kube::discovery::{Discovery, Scope};

/// One served resource, in its group's preferred version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    verbs: Vec<String>,
}

impl Served {
    /// Whether the resource takes this verb.
    pub(crate) fn takes(&self, verb: &str) -> bool {
        self.verbs.iter().any(|taken| taken == verb)
    }

    /// Whether objects of it can be seen to come and go, and be deleted.
    pub(crate) fn is_collectable(&self) -> bool {
        [verbs::LIST, verbs::WATCH, verbs::DELETE]
            .iter()
            .all(|verb| self.takes(verb))
    }

    /// The resource in one namespace, or cluster-wide where it has none.
    pub(crate) fn api<K>(&self, client: kube::Client, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = ApiResource>,
        K: kube::Resource<Scope = <DynamicObject as kube::Resource>::Scope>,
    {
        if self.namespaced {
            Api::namespaced_with(client, namespace, &self.resource)
        } else {
            Api::all_with(client, &self.resource)
        }
    }
}

/// Asks for everything that is served: all at once where the server can, else group by group.
pub(crate) async fn discover(client: &kube::Client) -> Result<Vec<Served>, kube::Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(error) => {
            tracing::debug!(%error, "no aggregated discovery");
            Discovery::new(client.clone()).run().await?
        }
    };
    let mut served = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            served.push(Served {
                resource,
                namespaced: capabilities.scope == Scope::Namespaced,
                verbs: capabilities.operations,
            });
        }
    }
    Ok(served)
}
