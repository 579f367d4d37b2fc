//! Pods, one by one: every verb, with one client and with many.

use super::{Named, Scale, read, share_out, timed};
use crate::cluster::{self, APPLY, Call, NAMESPACE, STRATEGIC};
use crate::side::Target;
use anyhow::ensure;
use serde_json::{Value, json};
use std::time::Duration;

/// How many clients there are at once, and how many pods they work on.
const LOADS: [(usize, usize); 2] = [(1, 500), (32, 3000)];

const TURN: &str = "bench.coracle.dev/turn";

pub(super) async fn run(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    let mut samples = Vec::new();
    for (clients, amount) in LOADS {
        let amount = scale.of(amount);
        for verb in Verb::ALL {
            let work = share_out(clients, amount, |number| {
                once(target, verb, format!("pod-{clients}-{number}"))
            });
            let plural = if clients == 1 { "client" } else { "clients" };
            let name = format!("{} a pod, {clients} {plural}", verb.as_str());
            samples.push((name, target.observe(work).await?));
        }
    }
    Ok(samples)
}

#[derive(Clone, Copy)]
enum Verb {
    Create,
    Get,
    Patch,
    Apply,
    Delete,
}

impl Verb {
    const ALL: [Verb; 5] = [Verb::Create, Verb::Get, Verb::Patch, Verb::Apply, Verb::Delete];

    fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Get => "get",
            Verb::Patch => "patch",
            Verb::Apply => "apply",
            Verb::Delete => "delete",
        }
    }

    fn call(self, name: &str) -> Call {
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let pod = format!("{pods}/{name}");
        match self {
            Verb::Create => Call::post(pods, &cluster::unscheduled_pod(name)),
            Verb::Get => Call::get(pod),
            Verb::Patch => {
                let patch = json!({"metadata": {"annotations": {TURN: "patched"}}});
                Call::patch(pod, STRATEGIC, &patch)
            }
            Verb::Apply => {
                let mut object = cluster::unscheduled_pod(name);
                object["metadata"]["annotations"] = json!({TURN: "applied"});
                Call::patch(format!("{pod}?fieldManager=bench&force=true"), APPLY, &object)
            }
            Verb::Delete => Call::delete(format!("{pod}?gracePeriodSeconds=0")),
        }
    }

    fn check(self, name: &str, answer: &[u8]) -> anyhow::Result<()> {
        let pod = match self {
            Verb::Create | Verb::Get | Verb::Delete => read::object(answer, name),
            Verb::Patch => read::annotated(answer, name, TURN, "patched"),
            Verb::Apply => read::annotated(answer, name, TURN, "applied"),
        }?;
        // Defaults were filled in, so it was not merely handed back.
        let policy = pod["spec"]["restartPolicy"].as_str();
        ensure!(policy == Some("Always"), "{name} has no defaults: {pod}");
        if matches!(self, Verb::Apply) {
            let managers = pod["metadata"]["managedFields"].as_array();
            let applied = |entry: &Value| entry["manager"] == "bench" && entry["operation"] == "Apply";
            ensure!(
                managers.is_some_and(|entries| entries.iter().any(applied)),
                "{name} was not applied: {pod}"
            );
        }
        Ok(())
    }
}

async fn once(target: &Target, verb: Verb, name: String) -> anyhow::Result<Duration> {
    let (answer, took) = timed(verb.call(&name).succeed(&target.client)).await?;
    verb.check(&name, &answer)?;
    Ok(took)
}

/// Fills a namespace with pods, each labelled with one of a hundred groups.
pub(crate) async fn fill(target: &Target, namespace: &str, amount: usize) -> anyhow::Result<()> {
    cluster::make_namespace(&target.client, namespace).await?;
    let path = &format!("/api/v1/namespaces/{namespace}/pods");
    share_out(32, amount, |number| async move {
        let mut pod = cluster::unscheduled_pod(&format!("filler-{number}"));
        pod["metadata"]["labels"]["group"] = Value::from(format!("group-{}", number % 100));
        Call::post(path.clone(), &pod).succeed(&target.client).await?;
        Ok(Duration::ZERO)
    })
    .await?;
    Ok(())
}
