//! DNS packets.

use std::sync::{Arc, LazyLock};

use coracle_dns::answer::{Answer, Question, answer};
use coracle_dns::message::{LARGEST_MESSAGE, LARGEST_UDP_PAYLOAD, Refusal, Request, Transport};
use coracle_dns::zone::Zone;
use hickory_proto::op::{Message, ResponseCode};
use serde_json::{from_value, json};

/// The length of a message's head.
const HEADER_BYTES: usize = 12;

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let empty = Zone::empty("cluster.local").expect("it is a domain name");
    let namespace = json!({"metadata": {"name": "default"}});
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"name": "http", "port": 80}]},
    });
    let namespace = Arc::new(from_value(namespace).expect("it is a namespace"));
    let service = Arc::new(from_value(service).expect("it is a service"));
    Zone::build(empty.origin(), 1, &[namespace], &[service], &[])
});

/// Whatever can be answered is, within what its transport takes, and the answer can be read.
pub fn check(packet: &[u8]) -> bool {
    let request = match Request::read(packet) {
        Ok(request) => request,
        Err(Refusal::Reply(bytes)) => {
            assert!(bytes.len() >= HEADER_BYTES);
            return false;
        }
        Err(Refusal::Silence) => return false,
    };
    is_readable(&request.fail(ResponseCode::ServFail), LARGEST_MESSAGE);
    let question = Question {
        name: request.query.name().clone(),
        kind: request.query.query_type(),
        turn: packet.len(),
    };
    let response = match answer(&ZONE, &question) {
        Answer::Complete(response) | Answer::Continue(response, _) => response,
        Answer::Foreign => return true,
    };
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    is_readable(
        &request.respond(response.clone(), udp),
        usize::from(LARGEST_UDP_PAYLOAD),
    );
    is_readable(&request.respond(response, tcp), LARGEST_MESSAGE);
    true
}

fn is_readable(packet: &[u8], most: usize) {
    assert!(packet.len() <= most);
    Message::from_vec(packet).expect("what was answered can be read");
}
