//! Heartbeats: every node of a large cluster renews its lease.

use super::{Named, Scale, read, share_out, timed};
use crate::cluster::Call;
use crate::side::Target;
use anyhow::ensure;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::time::Duration;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const NODES: usize = 5000;
const CLIENTS: usize = 32;

pub(super) async fn run(target: &Target, scale: Scale) -> anyhow::Result<Vec<Named>> {
    let amount = scale.of(NODES);
    let held: Vec<Mutex<Value>> = (0..amount).map(|_| Mutex::default()).collect();
    let create = share_out(CLIENTS, amount, |number| {
        let held = &held[number];
        async move {
            let lease = lease(number);
            let call = Call::post(LEASES, &lease).object(&target.client);
            let (created, took) = timed(call).await?;
            *held.lock().expect("nobody panics") = created;
            Ok(took)
        }
    });
    create.await?;
    let renew = share_out(CLIENTS, amount, |number| renew(target, number, &held[number]));
    let sample = target.observe(renew).await?;
    Ok(vec![(
        format!("{amount} lease updates, {CLIENTS} clients"),
        sample,
    )])
}

fn name(number: usize) -> String {
    format!("bench-node-{number}")
}

fn lease(number: usize) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name(number)},
        "spec": {
            "holderIdentity": name(number),
            "leaseDurationSeconds": 40,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    })
}

async fn renew(target: &Target, number: usize, held: &Mutex<Value>) -> anyhow::Result<Duration> {
    const NOW: &str = "2026-01-01T00:00:10.000000Z";
    let mut lease = held.lock().expect("nobody panics").clone();
    let before = lease["metadata"]["resourceVersion"].clone();
    lease["spec"]["renewTime"] = Value::from(NOW);
    let call = Call::put(format!("{LEASES}/{}", name(number)), &lease);
    let (answer, took) = timed(call.succeed(&target.client)).await?;
    let renewed = read::object(&answer, &name(number))?;
    let moved_on = renewed["metadata"]["resourceVersion"] != before;
    ensure!(
        renewed["spec"]["renewTime"] == NOW && moved_on,
        "the lease was not renewed: {renewed}"
    );
    Ok(took)
}
