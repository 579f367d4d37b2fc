//! Questions for the addresses of Services.

use super::{Named, Scale, share_out};
use crate::cluster::{self, Call};
use crate::side::Target;
use anyhow::{Context, ensure};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, timeout};

const NAMESPACE: &str = "coracle-bench-dns";
const SERVICES: usize = 1000;
const QUESTIONS: usize = 100_000;
const CLIENTS: usize = 32;
const LIMIT: Duration = Duration::from_secs(5);
const START_LIMIT: Duration = Duration::from_secs(60);

/// A Service's name, and the address that it has.
pub(crate) type Known = (Name, Ipv4Addr);

/// Makes Services, and answers what there is to be asked for.
pub(crate) async fn fill(target: &Target, scale: Scale) -> anyhow::Result<Vec<Known>> {
    cluster::make_namespace(&target.client, NAMESPACE).await?;
    let path = &format!("/api/v1/namespaces/{NAMESPACE}/services");
    share_out(CLIENTS, scale.of(SERVICES), |number| async move {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": format!("service-{number}")},
            "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]},
        });
        Call::post(path.clone(), &service).succeed(&target.client).await?;
        Ok(Duration::ZERO)
    })
    .await?;
    let services = Call::get(path).object(&target.client).await?;
    let services = services["items"].as_array().context("Services")?;
    services.iter().map(known).collect()
}

fn known(service: &Value) -> anyhow::Result<Known> {
    let name = service["metadata"]["name"].as_str().context("a name")?;
    let address = service["spec"]["clusterIP"].as_str().context("an address")?;
    let name = Name::from_ascii(format!("{name}.{NAMESPACE}.svc.cluster.local.")).context("a DNS name")?;
    Ok((name, address.parse().context("an address")?))
}

/// Asks a server for Services, again and again.
pub(crate) async fn run(
    target: &Target,
    server: SocketAddr,
    known: &[Known],
    scale: Scale,
) -> anyhow::Result<Vec<Named>> {
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("a socket")?;
        socket.connect(server).await.context("a socket")?;
        sockets.push(socket);
    }
    let ready = timeout(START_LIMIT, until_known(&sockets[0], known)).await;
    ready.context("the DNS server does not know every Service")?;
    let questions = scale.of(QUESTIONS);
    let work = async {
        let each = questions / CLIENTS;
        let clients = sockets.iter().enumerate().map(|(client, socket)| async move {
            let mut times = Vec::with_capacity(each);
            for number in 0..each {
                times.push(ask(socket, number, &known[(number * CLIENTS + client) % known.len()]).await?);
            }
            Ok::<_, anyhow::Error>(times)
        });
        Ok(futures::future::try_join_all(clients).await?.concat())
    };
    let sample = target.observe(work).await?;
    Ok(vec![(
        format!("{questions} DNS questions, {CLIENTS} clients"),
        sample,
    )])
}

/// Waits until a server has read the API.
async fn until_known(socket: &UdpSocket, known: &[Known]) {
    for service in known {
        while ask(socket, 0, service).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Asks for a Service's address, and looks at the answer.
async fn ask(socket: &UdpSocket, number: usize, (name, address): &Known) -> anyhow::Result<Duration> {
    let id = u16::try_from(number % 65_536).context("an id")?;
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), RecordType::A));
    let question = question.to_vec().context("write a question")?;
    let mut buffer = [0; 1500];
    let started = Instant::now();
    socket.send(&question).await.context("ask")?;
    let length = timeout(LIMIT, socket.recv(&mut buffer))
        .await
        .context("no answer")?;
    let took = started.elapsed();
    let answer = Message::from_vec(&buffer[..length.context("no answer")?]).context("read an answer")?;
    check(&answer, id, *address).with_context(|| name.to_string())?;
    Ok(took)
}

fn check(answer: &Message, id: u16, address: Ipv4Addr) -> anyhow::Result<()> {
    ensure!(answer.metadata.id == id, "an answer to another question");
    let code = answer.metadata.response_code;
    ensure!(code == ResponseCode::NoError, "the answer is {code}");
    let told: Vec<&RData> = answer.answers.iter().map(|record| &record.data).collect();
    ensure!(
        matches!(told[..], [RData::A(a)] if a.0 == address),
        "{address} was expected, not {told:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    #[test]
    fn only_the_right_answer_is_right() {
        let name = Name::from_ascii("a.b.svc.cluster.local.").expect("a name");
        let address = Ipv4Addr::new(10, 96, 0, 5);
        let answer = |address: Ipv4Addr| {
            let mut answer = Message::new(7, MessageType::Response, OpCode::Query);
            answer.add_answer(Record::from_rdata(name.clone(), 30, RData::A(A(address))));
            answer
        };
        assert!(check(&answer(address), 7, address).is_ok());
        assert!(check(&answer(address), 8, address).is_err());
        assert!(check(&answer(Ipv4Addr::LOCALHOST), 7, address).is_err());
        let mut refused = answer(address);
        refused.metadata.response_code = ResponseCode::NXDomain;
        assert!(check(&refused, 7, address).is_err());
        assert!(check(&Message::new(7, MessageType::Response, OpCode::Query), 7, address).is_err());
    }

    #[test]
    fn a_service_is_asked_for_by_its_name() {
        let service = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.0.5"}});
        let (name, address) = known(&service).expect("a Service");
        assert_eq!(name.to_string(), "a.coracle-bench-dns.svc.cluster.local.");
        assert_eq!(address, Ipv4Addr::new(10, 96, 0, 5));
        assert!(known(&json!({"metadata": {"name": "a"}, "spec": {"clusterIP": "None"}})).is_err());
    }
}
