//! Waiting until a cluster is ready: by watching what its parts say of themselves.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use futures::StreamExt;
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::cluster::state::State;

/// Waits until all nodes are ready. What those `started` since `begun` had said before does not count.
///
/// # Errors
/// When the deadline passes, or the API goes away.
pub(super) async fn nodes(
    client: &Client,
    state: &State,
    started: &[String],
    begun: Timestamp,
    deadline: Instant,
) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let waits = state.nodes.iter().map(|node| {
        let since = started.contains(&node.name).then_some(begun);
        let ready = await_condition(api.clone(), &node.name, move |node: Option<&Node>| {
            ready_condition(node).is_some_and(|ready| since.is_none_or(|since| was_said(ready, since)))
        });
        within(deadline, ready, || format!("{} is not ready in time", node.name))
    });
    try_join_all(waits).await.map(drop)
}

fn ready_condition(node: Option<&Node>) -> Option<&NodeCondition> {
    let conditions = node?.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether a condition was written at this time or later. Times in the API are whole seconds.
fn was_said(condition: &NodeCondition, since: Timestamp) -> bool {
    let said = condition.last_heartbeat_time.as_ref();
    said.is_some_and(|said| said.0.as_second() >= since.as_second())
}

/// Waits until the DNS server of every node stands among the service's endpoints.
///
/// # Errors
/// When the deadline passes, or the API goes away.
pub(super) async fn dns(client: &Client, state: &State, deadline: Instant) -> Result<()> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), "kube-system");
    let of_dns = kube::runtime::watcher::Config::default().labels("kubernetes.io/service-name=kube-dns");
    let serves = async {
        let mut missing: BTreeSet<&str> = state.nodes.iter().map(|node| node.name.as_str()).collect();
        let slices = kube::runtime::watcher(api, of_dns).default_backoff();
        let mut slices = std::pin::pin!(slices.applied_objects());
        while let Some(slice) = slices.next().await {
            for node in slice.iter().flat_map(serving_nodes) {
                missing.remove(node);
            }
            if missing.is_empty() {
                return Ok(());
            }
        }
        Err(anyhow::anyhow!("the watch of cluster DNS has ended"))
    };
    within(deadline, serves, || "cluster DNS is not ready in time".to_owned()).await
}

/// The nodes of a slice's ready endpoints.
fn serving_nodes(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    let endpoints = slice.endpoints.iter().flatten();
    let ready = endpoints.filter(|endpoint| {
        endpoint
            .conditions
            .as_ref()
            .is_some_and(|conditions| conditions.ready == Some(true))
    });
    ready.filter_map(|endpoint| endpoint.node_name.as_deref())
}

async fn within<T, E: Into<anyhow::Error>>(
    deadline: Instant,
    wait: impl Future<Output = Result<T, E>>,
    late: impl Fn() -> String,
) -> Result<()> {
    match tokio::time::timeout_at(deadline, wait).await {
        Ok(outcome) => outcome.map(drop).map_err(Into::into),
        Err(_) => bail!(
            "{}: `coracle logs` and `coracle status` show why; --wait gives it longer",
            late()
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn node(status: &str, heartbeat: i64) -> Node {
        let condition = NodeCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            last_heartbeat_time: Some(Time(Timestamp::from_second(heartbeat).unwrap())),
            ..NodeCondition::default()
        };
        let mut node = Node::default();
        node.status.get_or_insert_default().conditions = Some(vec![condition]);
        node
    }

    #[test]
    fn what_a_node_said_before_its_start_does_not_count() {
        let begun = Timestamp::from_millisecond(7_900).unwrap();
        let ready =
            |node: &Node| ready_condition(Some(node)).is_some_and(|condition| was_said(condition, begun));
        assert!(!ready(&node("True", 6)));
        assert!(ready(&node("True", 7)), "the API cuts fractions of a second off");
        assert!(ready(&node("True", 8)));
        assert!(!ready(&node("False", 8)));
        assert!(ready_condition(None).is_none());
    }
}
