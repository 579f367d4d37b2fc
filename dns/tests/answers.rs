//! Answers to questions about a small cluster, and what holds for every packet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use coracle_dns::answer::{Answer, Question, Response, answer};
use coracle_dns::message::{Refusal, Request, Transport};
use coracle_dns::zone::Zone;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};

fn service(namespace: &str, name: &str, spec: Value) -> Arc<Service> {
    let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn slice(namespace: &str, service: &str, ports: Value, endpoints: Value) -> Arc<EndpointSlice> {
    let labels = json!({"kubernetes.io/service-name": service});
    let object = json!({"metadata": {"namespace": namespace, "name": service, "labels": labels},
                        "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    Arc::new(serde_json::from_value(object).unwrap())
}

fn cluster() -> Zone {
    let namespaces = ["default", "empty", "kube-system"].map(|name| {
        Arc::new(serde_json::from_value::<Namespace>(json!({"metadata": {"name": name}})).unwrap())
    });
    let web = json!([{"name": "http", "port": 80}, {"name": "metrics", "port": 9100}]);
    let services = [
        service(
            "default",
            "web",
            json!({"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"], "ports": web}),
        ),
        service(
            "default",
            "db",
            json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}),
        ),
        service(
            "default",
            "idle",
            json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        ),
        service(
            "default",
            "outside",
            json!({"type": "ExternalName", "externalName": "api.example.org"}),
        ),
        service(
            "default",
            "inside",
            json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}),
        ),
        service(
            "default",
            "ring",
            json!({"type": "ExternalName", "externalName": "ring.default.svc.cluster.local"}),
        ),
        service(
            "kube-system",
            "kube-dns",
            json!({"clusterIP": "10.96.0.10",
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]}),
        ),
    ];
    let slices = [
        slice(
            "default",
            "web",
            json!([{"name": "http", "port": 8080}]),
            json!([{"addresses": ["10.244.0.2"]}]),
        ),
        slice(
            "default",
            "db",
            json!([{"name": "sql", "port": 5432}]),
            json!([
            {"addresses": ["10.244.0.3"], "hostname": "db-0"}, {"addresses": ["10.244.0.4"]},
            {"addresses": ["10.244.0.5"], "hostname": "db-2", "conditions": {"ready": false}}]),
        ),
        slice(
            "default",
            "idle",
            json!([{"port": 80}]),
            json!([{"addresses": ["10.244.0.6"], "conditions": {"ready": false}}]),
        ),
    ];
    let origin = Zone::empty("cluster.local").unwrap().origin().clone();
    Zone::build(&origin, 7, &namespaces, &services, &slices)
}

fn ask(zone: &Zone, name: &str, kind: RecordType, turn: usize) -> Answer {
    answer(
        zone,
        &Question {
            name: Name::from_ascii(name).unwrap(),
            kind,
            turn,
        },
    )
}

/// An answer as `dig` would show it, shorter.
fn shown(answer: &Answer) -> String {
    let (response, then) = match answer {
        Answer::Complete(response) => (response, String::new()),
        Answer::Continue(response, target) => (response, format!("  then ask for {target}\n")),
        Answer::Foreign => return "  foreign\n".to_owned(),
    };
    let Response {
        name_error,
        answers,
        authorities,
        additionals,
    } = response;
    let mut text = if *name_error {
        "  NXDOMAIN\n".to_owned()
    } else {
        String::new()
    };
    for (section, records) in [
        ("", answers),
        ("authority: ", authorities),
        ("additional: ", additionals),
    ] {
        for record in records {
            writeln!(text, "  {section}{record}").unwrap();
        }
    }
    text + &then
}

#[test]
fn questions_about_a_cluster() {
    use RecordType::{A, AAAA, ANY, CNAME, MX, NS, PTR, SOA, SRV, TXT};
    let questions = [
        ("cluster.local.", SOA),
        ("cluster.local.", NS),
        ("cluster.local.", A),
        ("ns.dns.cluster.local.", A),
        ("dns-version.cluster.local.", TXT),
        ("dns-version.cluster.local.", A),
        ("svc.cluster.local.", A),
        ("nowhere.cluster.local.", A),
        ("default.svc.cluster.local.", A),
        ("empty.svc.cluster.local.", A),
        ("nowhere.svc.cluster.local.", A),
        ("web.default.svc.cluster.local.", A),
        ("WEB.Default.svc.Cluster.local.", AAAA),
        ("web.default.svc.cluster.local.", ANY),
        ("web.default.svc.cluster.local.", MX),
        ("web.default.svc.cluster.local.", SRV),
        ("web.empty.svc.cluster.local.", A),
        ("_http._tcp.web.default.svc.cluster.local.", SRV),
        ("_http._tcp.web.default.svc.cluster.local.", A),
        ("_http._udp.web.default.svc.cluster.local.", SRV),
        ("_tcp.web.default.svc.cluster.local.", A),
        ("_udp.web.default.svc.cluster.local.", A),
        ("10-244-0-2.web.default.svc.cluster.local.", A),
        ("db.default.svc.cluster.local.", A),
        ("db.default.svc.cluster.local.", AAAA),
        ("db-0.db.default.svc.cluster.local.", A),
        ("10-244-0-4.db.default.svc.cluster.local.", A),
        ("db-2.db.default.svc.cluster.local.", A),
        ("_sql._tcp.db.default.svc.cluster.local.", SRV),
        ("idle.default.svc.cluster.local.", A),
        ("outside.default.svc.cluster.local.", A),
        ("outside.default.svc.cluster.local.", CNAME),
        ("inside.default.svc.cluster.local.", A),
        ("10-244-0-2.default.pod.cluster.local.", A),
        ("10-244-0-2.default.pod.cluster.local.", AAAA),
        ("10-244-0-2.nowhere.pod.cluster.local.", A),
        ("web.default.pod.cluster.local.", A),
        ("5.0.96.10.in-addr.arpa.", PTR),
        ("3.0.244.10.in-addr.arpa.", PTR),
        ("2.0.244.10.in-addr.arpa.", PTR),
        ("96.10.in-addr.arpa.", PTR),
        ("example.org.", A),
        ("local.", A),
    ];
    let zone = cluster();
    let mut text = String::new();
    for (name, kind) in questions {
        write!(text, "{name} {kind}\n{}", shown(&ask(&zone, name, kind, 0))).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_name_that_leads_to_itself_has_an_end() {
    let Answer::Complete(response) = ask(&cluster(), "ring.default.svc.cluster.local.", RecordType::A, 0)
    else {
        panic!("the name is the zone's");
    };
    assert!(response.answers.len() <= 8, "{response:?}");
}

#[test]
fn every_address_takes_its_turn_at_the_head() {
    let zone = cluster();
    let first = |turn| match ask(&zone, "db.default.svc.cluster.local.", RecordType::A, turn) {
        Answer::Complete(response) => response.answers[0].data.to_string(),
        other => panic!("{other:?}"),
    };
    let heads: BTreeSet<String> = (0..4).map(first).collect();
    assert_eq!(heads, ["10.244.0.3", "10.244.0.4"].map(str::to_owned).into());
}

fn packet(name: &str, kind: RecordType, edns_payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = edns_payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// The zone's response to a packet.
fn respond(zone: &Zone, packet: &[u8], transport: Transport) -> Message {
    let request = Request::read(packet).unwrap();
    let question = Question {
        name: request.query.name().clone(),
        kind: request.query.query_type(),
        turn: 0,
    };
    match answer(zone, &question) {
        Answer::Complete(response) => Message::from_vec(&request.respond(response, transport)).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A cluster with a headless service of many endpoints.
fn crowd(size: u8) -> Zone {
    let services = [service(
        "default",
        "crowd",
        json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}),
    )];
    let endpoints: Vec<Value> = (0..size)
        .map(|host| json!({"addresses": [format!("10.244.0.{host}")]}))
        .collect();
    let slices = [slice(
        "default",
        "crowd",
        json!([{"name": "http", "port": 80}]),
        json!(endpoints),
    )];
    let origin = Zone::empty("cluster.local").unwrap().origin().clone();
    Zone::build(&origin, 7, &[], &services, &slices)
}

#[test]
fn long_answers_are_cut_to_what_the_client_takes() {
    let zone = crowd(200);
    let name = "crowd.default.svc.cluster.local.";
    for (payload, limit) in [
        (None, 512),
        (Some(100), 512),
        (Some(1232), 1232),
        (Some(65535), 4096),
    ] {
        let packet = packet(name, RecordType::A, payload);
        let response = respond(&zone, &packet, Transport::Udp);
        assert!(response.to_vec().unwrap().len() <= limit, "{payload:?}");
        assert_eq!(
            response.metadata.truncation,
            response.answers.len() < 200,
            "{payload:?}"
        );
        assert!(!response.answers.is_empty(), "{payload:?}");
        assert_eq!(response.edns.is_some(), payload.is_some());
    }
    let response = respond(&zone, &packet(name, RecordType::A, None), Transport::Tcp);
    assert_eq!(
        (response.answers.len(), response.metadata.truncation),
        (200, false)
    );
}

#[test]
fn additional_records_go_before_answers_do() {
    let zone = crowd(6);
    let packet = packet(
        "_http._tcp.crowd.default.svc.cluster.local.",
        RecordType::SRV,
        None,
    );
    let response = respond(&zone, &packet, Transport::Udp);
    assert_eq!((response.answers.len(), response.additionals.len()), (6, 0));
    assert!(!response.metadata.truncation);
    assert_eq!(respond(&zone, &packet, Transport::Tcp).additionals.len(), 6);
}

#[test]
fn a_response_repeats_the_question_and_says_who_answers() {
    let response = respond(
        &cluster(),
        &packet("WEB.default.svc.cluster.local.", RecordType::A, None),
        Transport::Udp,
    );
    assert_eq!(response.metadata.id, 4711);
    assert!(response.metadata.authoritative && response.metadata.recursion_available);
    assert!(response.metadata.recursion_desired);
    assert_eq!(
        response.queries[0].name().to_ascii(),
        "WEB.default.svc.cluster.local.",
        "in the client's own case"
    );
}

#[test]
fn what_is_no_question_is_refused() {
    let code = |packet: &[u8]| match Request::read(packet) {
        Err(Refusal::Reply(reply)) => {
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.metadata.id, 4711);
            Some(reply.metadata.response_code)
        }
        Err(Refusal::Silence) => None,
        Ok(request) => panic!("{request:?}"),
    };
    let good = packet("web.default.svc.cluster.local.", RecordType::A, None);
    assert_eq!(code(&[]), None);
    assert_eq!(code(&good[..11]), None, "a head that is cut");
    assert_eq!(
        code(&good[..20]),
        Some(ResponseCode::FormErr),
        "a question that is cut"
    );
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(code(&response), None, "a response must not be responded to");
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert_eq!(code(&update), Some(ResponseCode::NotImp));
    let mut chaos = good.clone();
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(code(&chaos), Some(ResponseCode::Refused));
    let mut many = Message::from_vec(&good).unwrap();
    many.add_query(many.queries[0].clone());
    assert_eq!(code(&many.to_vec().unwrap()), Some(ResponseCode::FormErr));
    let mut future = Message::from_vec(&good).unwrap();
    let mut edns = Edns::new();
    edns.set_version(1);
    future.set_edns(edns);
    assert_eq!(
        code(&future.to_vec().unwrap()),
        Some(ResponseCode::from(1, 0)),
        "BADVERS, whose number is 16"
    );
}

/// Any labels over the zone's words, so that many names come near to existing.
fn near_name() -> impl Strategy<Value = Name> {
    let word = prop_oneof![
        Just("svc"),
        Just("pod"),
        Just("default"),
        Just("web"),
        Just("db"),
        Just("db-0"),
        Just("_http"),
        Just("_tcp"),
        Just("_"),
        Just("10-244-0-2"),
        Just("ring"),
        Just("dns"),
        Just("inside"),
        Just("outside"),
        Just("ÿ"),
    ];
    prop::collection::vec(word, 0..6).prop_map(|words| {
        let labels = words
            .iter()
            .map(|word| word.as_bytes())
            .chain([b"cluster".as_slice(), b"local".as_slice()]);
        let mut name = Name::from_labels(labels).unwrap();
        name.set_fqdn(true);
        name
    })
}

proptest! {
    #[test]
    fn no_packet_makes_the_server_panic(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Err(Refusal::Reply(reply)) = Request::read(&packet) {
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }

    #[test]
    fn no_damage_to_a_packet_does_either(at in 0_usize..60, byte in any::<u8>(), cut in 0_usize..60) {
        let mut packet = packet("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV, Some(1232));
        let at = at % packet.len();
        packet[at] = byte;
        packet.truncate(packet.len() - cut % packet.len());
        if let Ok(request) = Request::read(&packet) {
            let question = Question { name: request.query.name().clone(), kind: request.query.query_type(), turn: 1 };
            if let Answer::Complete(response) = answer(&cluster(), &question) {
                prop_assert!(Message::from_vec(&request.respond(response, Transport::Udp)).is_ok());
            }
        }
    }

    #[test]
    fn names_without_an_answer_come_with_the_soa(name in near_name(), kind in 0_u16..70, turn in any::<usize>()) {
        let zone = cluster();
        let question = Question { name, kind: RecordType::from(kind), turn };
        match answer(&zone, &question) {
            Answer::Complete(response) => {
                prop_assert_eq!(response.answers.is_empty() || response.name_error, !response.authorities.is_empty());
            }
            Answer::Continue(response, _) => prop_assert!(!response.answers.is_empty()),
            Answer::Foreign => prop_assert!(false, "every name is under the cluster domain"),
        }
    }
}
