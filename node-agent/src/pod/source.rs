//! The watch of the pods that are bound to this node.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};

use super::context::Context;
use super::directory::Directory;

/// Feeds the directory until shutdown. While the API is away, what was known stays.
pub(super) async fn follow(context: Arc<Context>, directory: Directory) {
    let api: Api<Pod> = Api::all(context.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", context.config.node_name));
    let mut stream = std::pin::pin!(kube::runtime::watcher(api, config).default_backoff());
    let mut listed: Option<BTreeSet<String>> = None;
    loop {
        let event = tokio::select! {
            () = context.shutdown.cancelled() => return,
            event = stream.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => tracing::warn!(%error, "watch of this node's pods interrupted, trying again"),
            Some(Ok(Event::Init)) => listed = Some(BTreeSet::new()),
            Some(Ok(Event::InitApply(pod))) => {
                if let Some(listed) = &mut listed {
                    listed.extend(pod.metadata.uid.clone());
                }
                directory.apply(&context, pod);
            }
            Some(Ok(Event::InitDone)) => {
                if let Some(listed) = listed.take() {
                    let gone = directory.uids().into_iter().filter(|uid| !listed.contains(uid));
                    gone.for_each(|uid| forget(&context, &directory, &uid));
                    directory.set_synced();
                }
            }
            Some(Ok(Event::Apply(pod))) => directory.apply(&context, pod),
            Some(Ok(Event::Delete(pod))) => {
                if let Some(uid) = &pod.metadata.uid {
                    forget(&context, &directory, uid);
                }
            }
        }
    }
}

/// The API no longer has the pod. What it held may be another's from now on, who may be the next in the watch.
fn forget(context: &Context, directory: &Directory, uid: &str) {
    context.allocations.remove(uid);
    directory.remove(uid);
}
