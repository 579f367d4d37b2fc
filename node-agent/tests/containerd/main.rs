//! The agent against a real containerd. Each test has a containerd in namespaces of its own and leaves nothing behind.
//! Skipped, with a word, where there is no root or no containerd.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, a panic with the line is the message"
)]

mod content;
mod image_volume;
mod life;
mod probes;
mod pulls;
mod resize;
mod server;
mod states;
mod support;

use serde_json::Value;
use support::api::FakeApi;
use support::cluster::{Agent, assign_range, is_ready};
use support::runtime::Containerd;

pub(crate) const NS: &str = "default";

pub(crate) async fn node(name: &str) -> (FakeApi, Containerd, Agent) {
    let api = FakeApi::new();
    let runtime = Containerd::start(name).await;
    let agent = Agent::start(&api, &runtime, None);
    assign_range(&api).await;
    api.wait_for("node is ready", "nodes", "", support::cluster::NODE, is_ready)
        .await;
    (api, runtime, agent)
}

pub(crate) fn log(runtime: &Containerd, pod: &Value, container: &str, attempt: u32) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let meta = &pod["metadata"];
    let dir = format!(
        "{}_{}_{}",
        text(&meta["namespace"]),
        text(&meta["name"]),
        text(&meta["uid"])
    );
    let path = runtime
        .dir
        .join("logs")
        .join(dir)
        .join(container)
        .join(format!("{attempt}.log"));
    let raw = std::fs::read_to_string(path).unwrap_or_default();
    raw.lines()
        .filter_map(|l| l.splitn(4, ' ').nth(3))
        .map(|l| format!("{l}\n"))
        .collect()
}

pub(crate) fn reasons(api: &FakeApi) -> Vec<String> {
    let mut events = api.all("events");
    events.sort_by_key(|e| {
        e["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|r| r.parse::<u64>().ok())
    });
    events
        .iter()
        .map(|e| e["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

pub(crate) async fn wait_for_text(read: impl Fn() -> String, want: &str) -> String {
    let wait = async {
        loop {
            let text = read();
            if text.contains(want) {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(std::time::Duration::from_secs(30), wait).await {
        Ok(text) => text,
        Err(_) => panic!("{want:?} does not appear in {:?}", read()),
    }
}
