//! Services into the kernel. One is there when a connection to its address is taken by one of its endpoints, which is what a
//! proxy's rules are for, whatever they look like.

use super::{Named, Sample, Scale, share_out};
use crate::cluster::{self, Call};
use crate::namespace::NODE_IP;
use crate::process;
use crate::side::Target;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

const NAMESPACE: &str = "coracle-bench-services";
/// Besides the one that every cluster has.
const SERVICES: usize = 1000;
const MORE: usize = 30;
const CLIENTS: usize = 32;
const ENDPOINTS: usize = 2;
const PORT: u16 = 80;
const ENDPOINT_PORT: u16 = 8080;
/// Of the cluster's pod network; the next ones follow.
const FIRST_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 129, 0, 0);

/// How long a connection may take on loopback. It is the error of a measurement: without a rule nobody answers.
const ANSWER_LIMIT: Duration = Duration::from_millis(5);
/// The same where a rule is to be expected, for another Service has just answered: being late is not being absent.
const PATIENCE: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(60);

/// A Service: its number, and the address that it was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known {
    number: usize,
    address: Ipv4Addr,
}

/// Makes the node that is proxied for, and Services with their endpoints.
pub(crate) async fn fill(target: &Target, node: &str, scale: Scale) -> anyhow::Result<Vec<Known>> {
    Call::post("/api/v1/nodes", &node_object(node))
        .succeed(&target.client)
        .await?;
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    let amount = scale.of(SERVICES);
    share_out(CLIENTS, amount, |number| async move {
        make(target, number).await?;
        Ok(Duration::ZERO)
    })
    .await?;
    let mut known = Vec::new();
    for number in 0..amount {
        let path = format!("{}/{}", services(), name(number));
        known.push(read(number, &Call::get(path).object(&target.client).await?)?);
    }
    Ok(known)
}

/// Looks at a proxy that was just started, until the kernel has every Service; then adds more.
pub(crate) async fn run(
    target: &Target,
    started: Instant,
    known: &[Known],
    scale: Scale,
) -> anyhow::Result<Vec<Named>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ENDPOINT_PORT)).await;
    let listener = listener.context("listen for the endpoints")?;
    let work = async {
        let all = all(target, started, known).await?;
        let more = more(target, known.len(), scale.of(MORE)).await?;
        Ok(vec![all, more])
    };
    tokio::select! {
        samples = work => samples,
        Err(error) = answer(&listener) => Err(error),
    }
}

async fn all(target: &Target, started: Instant, known: &[Known]) -> anyhow::Result<Named> {
    let present = timeout(LIMIT, until_present(known)).await;
    let present = present.context("the kernel does not have every Service")??;
    let took = present.duration_since(started);
    let sample = Sample {
        cpu: process::cpu_time_of(&target.pids)?,
        took,
        latencies: vec![took],
        peak: process::peak_of(&target.pids)?,
    };
    Ok((
        format!("{} services into the kernel, from the proxy's start", known.len()),
        sample,
    ))
}

async fn more(target: &Target, before: usize, amount: usize) -> anyhow::Result<Named> {
    let work = async {
        let mut times = Vec::with_capacity(amount);
        for number in before..before + amount {
            let asked = Instant::now();
            let service = make(target, number).await?;
            let present = timeout(LIMIT, until_present(&[service])).await;
            let present = present.context("the kernel does not have a new Service")??;
            times.push(present.duration_since(asked));
        }
        Ok(times)
    };
    let sample = target.observe(work).await?;
    Ok((
        format!("one more service beside {before}, {amount} times"),
        sample,
    ))
}

/// Waits until every Service is there, and answers when the last of them came. Asking those that are there already takes
/// time, which is not the proxy's: only those that had to be asked again are looked at.
async fn until_present(known: &[Known]) -> anyhow::Result<Instant> {
    let mut last: Option<Instant> = None;
    for service in known {
        while !is_present(service, last.map_or(ANSWER_LIMIT, |_| PATIENCE)).await? {
            last = None;
        }
        last.get_or_insert_with(Instant::now);
    }
    last.context("no Service was asked for")
}

async fn is_present(service: &Known, limit: Duration) -> anyhow::Result<bool> {
    let asked = Instant::now();
    let answer = timeout(limit, ask(service.address)).await;
    if let Ok(Ok(endpoint)) = answer {
        if endpoints(service.number).contains(&endpoint) {
            return Ok(true);
        }
        bail!("a connection to {} went to {endpoint}", name(service.number));
    }
    // Refused at once, as a Service without endpoints is: no reason to ask more often than one that is not there.
    sleep(ANSWER_LIMIT.saturating_sub(asked.elapsed())).await;
    Ok(false)
}

/// Connects to a Service, and reads which endpoint has taken the connection.
async fn ask(service: Ipv4Addr) -> std::io::Result<Ipv4Addr> {
    let mut stream = TcpStream::connect((service, PORT)).await?;
    Ok(Ipv4Addr::from(stream.read_u32().await?))
}

/// Is every endpoint: tells who connects the address at which the connection has arrived.
async fn answer(listener: &TcpListener) -> anyhow::Result<Infallible> {
    loop {
        let (mut stream, _) = listener.accept().await.context("accept a connection")?;
        let address = stream.local_addr().context("the address of an endpoint")?;
        if let std::net::IpAddr::V4(address) = address.ip() {
            // Whoever asked may have given up.
            let _ = stream.write_u32(u32::from(address)).await;
        }
    }
}

/// Makes a Service, and its endpoints as their controller would.
async fn make(target: &Target, number: usize) -> anyhow::Result<Known> {
    let service = Call::post(services(), &service(number))
        .object(&target.client)
        .await?;
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
    Call::post(path, &slice(number)).succeed(&target.client).await?;
    read(number, &service)
}

fn services() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/services")
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

/// No two endpoints share an address.
fn endpoints(number: usize) -> [Ipv4Addr; ENDPOINTS] {
    let first = u32::from(FIRST_ENDPOINT) + (number * ENDPOINTS) as u32;
    std::array::from_fn(|index| Ipv4Addr::from(first + index as u32))
}

fn read(number: usize, service: &Value) -> anyhow::Result<Known> {
    ensure!(
        service["metadata"]["name"] == *name(number),
        "not the Service that was asked for: {service}"
    );
    let address = service["spec"]["clusterIP"].as_str().context("an address")?;
    let address = address.parse().context("an address")?;
    Ok(Known { number, address })
}

fn service(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name(number)},
        "spec": {"ports": [{"name": "http", "port": PORT, "targetPort": ENDPOINT_PORT}]},
    })
}

fn slice(number: usize) -> Value {
    let ready = json!({"ready": true, "serving": true, "terminating": false});
    let endpoint = |address: Ipv4Addr| json!({"addresses": [address], "conditions": ready});
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name(number), "labels": {"kubernetes.io/service-name": name(number)}},
        "addressType": "IPv4",
        "endpoints": endpoints(number).map(endpoint),
        "ports": [{"name": "http", "port": ENDPOINT_PORT, "protocol": "TCP"}],
    })
}

fn node_object(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE_IP}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_endpoints_share_an_address() {
        let all: std::collections::BTreeSet<_> = (0..SERVICES + MORE).flat_map(endpoints).collect();
        assert_eq!(all.len(), (SERVICES + MORE) * ENDPOINTS);
        assert_eq!(
            endpoints(200),
            [Ipv4Addr::new(10, 129, 1, 144), Ipv4Addr::new(10, 129, 1, 145)]
        );
    }

    #[test]
    fn a_slice_is_its_services() {
        let slice = slice(7);
        assert_eq!(
            slice["metadata"]["labels"]["kubernetes.io/service-name"],
            "service-7"
        );
        assert_eq!(slice["endpoints"][1]["addresses"], json!(["10.129.0.15"]));
        assert_eq!(service(7)["metadata"]["name"], "service-7");
    }

    #[test]
    fn a_service_has_the_address_that_it_was_given() {
        let mut given = service(7);
        assert!(read(7, &given).is_err(), "no address yet");
        given["spec"]["clusterIP"] = json!("10.96.0.5");
        let address = Ipv4Addr::new(10, 96, 0, 5);
        assert_eq!(read(7, &given).expect("a Service"), Known { number: 7, address });
        assert!(read(8, &given).is_err(), "another Service");
    }

    #[tokio::test]
    async fn who_connects_is_told_where_the_connection_arrived() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a listener");
        let to = listener.local_addr().expect("an address");
        let asked = async { TcpStream::connect(to).await.expect("taken").read_u32().await };
        tokio::select! {
            address = asked => assert_eq!(address.expect("an answer"), u32::from(Ipv4Addr::LOCALHOST)),
            failed = answer(&listener) => panic!("{failed:?}"),
        }
    }
}
