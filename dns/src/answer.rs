//! Questions to answers: the Kubernetes DNS-Based Service Discovery specification 1.1.
//!
//! Names under the cluster domain (rightmost labels first):
//! `svc` › namespace › service › endpoint, or › `_protocol` › `_port`; `pod` › namespace › address with dashes;
//! `dns-version`. A name that exists without a record of the asked type is answered with nothing (NODATA), a name that does
//! not exist with NXDOMAIN, both with the zone's SOA so that resolvers may remember it.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::zone::{Endpoint, Kind, Port, Service, Zone, undashed};

/// Seconds for which an answer may be kept: kubeadm's setting for CoreDNS.
pub const TTL_SECONDS: u32 = 30;

/// The version of the specification, which `dns-version.<domain>` tells.
const SPECIFICATION_VERSION: &str = "1.1.0";

/// The Service whose addresses are those of the name server.
const SERVER_SERVICE: [&str; 2] = ["kube-system", "kube-dns"];

/// The most services that a chain of ExternalNames leads through.
const MOST_ALIASES: usize = 8;

/// A question about one name.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name asked for, in the case it was asked in.
    pub name: Name,
    /// The type asked for.
    pub kind: RecordType,
    /// Where to start in a list of addresses, so that each takes its turn at the head.
    pub turn: usize,
}

/// What the zone has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer.
    Complete(Response),
    /// The name is an alias of one outside the cluster, whose records belong into the answer as well.
    Continue(Response, Name),
    /// The name is not the zone's to answer.
    Foreign,
}

/// The records of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The name does not exist.
    pub name_error: bool,
    /// What was asked for.
    pub answers: Vec<Record>,
    /// The SOA, when there is no answer.
    pub authorities: Vec<Record>,
    /// Addresses of the targets in an SRV answer.
    pub additionals: Vec<Record>,
}

/// What stands at a name.
enum Found {
    /// These records, all of one type; none of another type is there.
    Records(Vec<Record>),
    /// SRV records and the addresses of their targets.
    Services(Vec<Record>, Vec<Record>),
    /// The name is an alias.
    Alias(Name),
    /// No such name.
    Nothing,
}

/// Answers a question from the zone.
pub fn answer(zone: &Zone, question: &Question) -> Answer {
    if !zone.origin.zone_of(&question.name) {
        return reverse(zone, question);
    }
    let mut response = Response::default();
    let mut name = question.name.clone();
    for _ in 0..MOST_ALIASES {
        let lookup = Lookup {
            zone,
            name: &name,
            kind: question.kind,
        };
        match lookup.find(&relative_labels(zone, &name)) {
            Found::Records(mut records) => {
                rotate(&mut records, question.turn);
                response.answers.extend(records);
                break;
            }
            Found::Services(records, addresses) => {
                response.answers.extend(records);
                response.additionals = addresses;
                break;
            }
            Found::Alias(target) => {
                let alias = RData::CNAME(CNAME(target.clone()));
                response
                    .answers
                    .push(Record::from_rdata(name, TTL_SECONDS, alias));
                if question.kind == RecordType::CNAME {
                    break;
                }
                if !zone.origin.zone_of(&target) {
                    return Answer::Continue(response, target);
                }
                name = target;
            }
            Found::Nothing => {
                response.name_error = true;
                break;
            }
        }
    }
    if response.name_error || response.answers.is_empty() {
        response.authorities.push(soa(zone));
    }
    Answer::Complete(response)
}

/// Names of an address, for the addresses the zone knows. All others are somebody else's to tell.
fn reverse(zone: &Zone, question: &Question) -> Answer {
    let network = question.name.parse_arpa_name().ok();
    let address = network
        .filter(|network| network.prefix_len() == network.max_prefix_len())
        .map(|one| one.addr());
    let Some(names) = address.and_then(|address| zone.reverse.get(&address)) else {
        return Answer::Foreign;
    };
    let mut response = Response::default();
    if matches!(question.kind, RecordType::PTR | RecordType::ANY) {
        let pointer = |name: &Name| RData::PTR(PTR(name.clone()));
        let record = |name| Record::from_rdata(question.name.clone(), TTL_SECONDS, pointer(name));
        response.answers = names.iter().map(record).collect();
    } else {
        response.authorities.push(soa(zone));
    }
    Answer::Complete(response)
}

/// The labels between a name and the cluster domain, in lower case, rightmost first.
fn relative_labels(zone: &Zone, name: &Name) -> Vec<String> {
    let under = usize::from(name.num_labels()) - usize::from(zone.origin.num_labels());
    let labels = name
        .iter()
        .take(under)
        .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase());
    let mut labels: Vec<String> = labels.collect();
    labels.reverse();
    labels
}

fn rotate(records: &mut [Record], turn: usize) {
    if !records.is_empty() {
        records.rotate_left(turn % records.len());
    }
}

fn soa(zone: &Zone) -> Record {
    let server = zone.name(&["ns", "dns"]).unwrap_or_else(Name::root);
    let contact = zone.name(&["hostmaster"]).unwrap_or_else(Name::root);
    let soa = SOA::new(server, contact, zone.serial, 7200, 1800, 86400, TTL_SECONDS);
    Record::from_rdata(zone.origin.clone(), TTL_SECONDS, RData::SOA(soa))
}

/// One name looked up in the zone.
struct Lookup<'a> {
    zone: &'a Zone,
    name: &'a Name,
    kind: RecordType,
}

impl Lookup<'_> {
    fn find(&self, labels: &[String]) -> Found {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] => self.apex(),
            ["svc" | "pod" | "dns"] => Found::Records(Vec::new()),
            ["dns-version"] => self.version(),
            ["dns", "ns"] => self.addresses(self.server_addresses()),
            ["pod", namespace, rest @ ..] => self.pod(namespace, rest),
            ["svc", namespace, rest @ ..] => self.service(namespace, rest),
            _ => Found::Nothing,
        }
    }

    fn wants(&self, kind: RecordType) -> bool {
        self.kind == kind || self.kind == RecordType::ANY
    }

    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), TTL_SECONDS, data)
    }

    /// Those of the addresses that are of the asked type.
    fn addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Found {
        let asked = addresses.into_iter().filter(|address| {
            self.wants(if address.is_ipv4() {
                RecordType::A
            } else {
                RecordType::AAAA
            })
        });
        Found::Records(asked.map(|address| self.record(address_data(address))).collect())
    }

    fn apex(&self) -> Found {
        let mut records = Vec::new();
        if self.wants(RecordType::SOA) {
            records.push(soa(self.zone));
        }
        if self.wants(RecordType::NS) {
            let server = self.zone.name(&["ns", "dns"]);
            records.extend(server.map(|server| self.record(RData::NS(NS(server)))));
        }
        Found::Records(records)
    }

    fn version(&self) -> Found {
        let text = || self.record(RData::TXT(TXT::new(vec![SPECIFICATION_VERSION.to_owned()])));
        Found::Records(self.wants(RecordType::TXT).then(text).into_iter().collect())
    }

    fn server_addresses(&self) -> Vec<IpAddr> {
        let [namespace, name] = SERVER_SERVICE;
        match self
            .zone
            .namespaces
            .get(namespace)
            .and_then(|services| services.get(name))
        {
            Some(Service {
                kind: Kind::ClusterIp { addresses, .. },
                ..
            }) => addresses.clone(),
            _ => Vec::new(),
        }
    }

    /// A pod's name says its address itself (CoreDNS' `pods insecure`); only its namespace must be there.
    fn pod(&self, namespace: &str, rest: &[&str]) -> Found {
        if !self.zone.namespaces.contains_key(namespace) {
            return Found::Nothing;
        }
        match rest {
            [] => Found::Records(Vec::new()),
            [label] => undashed(label).map_or(Found::Nothing, |address| self.addresses([address])),
            _ => Found::Nothing,
        }
    }

    fn service(&self, namespace: &str, rest: &[&str]) -> Found {
        let Some(services) = self.zone.namespaces.get(namespace) else {
            return Found::Nothing;
        };
        let (name, rest) = match rest {
            [] => return Found::Records(Vec::new()),
            [name, rest @ ..] => (name, rest),
        };
        let Some(service) = services.get(*name) else {
            return Found::Nothing;
        };
        if let Kind::ExternalName(target) = &service.kind {
            return if rest.is_empty() {
                Found::Alias(target.clone())
            } else {
                Found::Nothing
            };
        }
        let place = Place {
            lookup: self,
            namespace,
            name,
            service,
        };
        match rest {
            [] => place.at(&PortFilter::default()),
            [protocol] if protocol.starts_with('_') => {
                let filter = PortFilter {
                    protocol: Some(&protocol[1..]),
                    port: None,
                };
                // Not a name of its own, but one on the way to names.
                if place.has_port(&filter) {
                    Found::Records(Vec::new())
                } else {
                    Found::Nothing
                }
            }
            [protocol, port] if protocol.starts_with('_') && port.starts_with('_') => place.at(&PortFilter {
                protocol: Some(&protocol[1..]),
                port: Some(&port[1..]),
            }),
            [host] => place.endpoint(host),
            _ => Found::Nothing,
        }
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// The ports that a name such as `_http._tcp` means; all of them without such labels.
#[derive(Default)]
struct PortFilter<'a> {
    protocol: Option<&'a str>,
    port: Option<&'a str>,
}

impl PortFilter<'_> {
    fn admits(&self, port: &Port) -> bool {
        self.protocol.is_none_or(|protocol| protocol == port.protocol)
            && self.port.is_none_or(|name| name == port.name)
    }

    fn is_open(&self) -> bool {
        self.protocol.is_none() && self.port.is_none()
    }
}

/// A service that a question is about.
struct Place<'a> {
    lookup: &'a Lookup<'a>,
    namespace: &'a str,
    name: &'a str,
    service: &'a Service,
}

impl Place<'_> {
    fn has_port(&self, filter: &PortFilter<'_>) -> bool {
        match &self.service.kind {
            Kind::ClusterIp { ports, .. } => ports.iter().any(|port| filter.admits(port)),
            Kind::Headless => self.endpoints(filter).next().is_some(),
            Kind::ExternalName(_) => false,
        }
    }

    /// Endpoints that have such a port, or any endpoint where no port is asked for.
    fn endpoints<'a>(&'a self, filter: &'a PortFilter<'a>) -> impl Iterator<Item = &'a Endpoint> {
        let serves = move |endpoint: &&Endpoint| {
            filter.is_open() || endpoint.ports.iter().any(|port| filter.admits(port))
        };
        self.service.endpoints.iter().filter(serves)
    }

    /// The service's own name, or one of its ports' names. A headless service without ready endpoints has no name.
    fn at(&self, filter: &PortFilter<'_>) -> Found {
        match &self.service.kind {
            Kind::ClusterIp { addresses, ports } => {
                if !filter.is_open() && !self.has_port(filter) {
                    return Found::Nothing;
                }
                if self.lookup.kind == RecordType::SRV {
                    let ports: Vec<_> = ports.iter().filter(|port| filter.admits(port)).collect();
                    return self.cluster_ip_services(addresses, &ports);
                }
                self.lookup.addresses(addresses.iter().copied())
            }
            Kind::Headless => {
                let endpoints: Vec<_> = self.endpoints(filter).collect();
                if endpoints.is_empty() {
                    return Found::Nothing;
                }
                if self.lookup.kind == RecordType::SRV {
                    return self.endpoint_services(&endpoints, filter);
                }
                self.lookup
                    .addresses(endpoints.iter().map(|endpoint| endpoint.address))
            }
            Kind::ExternalName(target) => Found::Alias(target.clone()),
        }
    }

    fn endpoint(&self, host: &str) -> Found {
        let endpoints: Vec<_> = self
            .service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.host == host)
            .collect();
        if endpoints.is_empty() {
            return Found::Nothing;
        }
        if self.lookup.kind == RecordType::SRV {
            return self.endpoint_services(&endpoints, &PortFilter::default());
        }
        self.lookup
            .addresses(endpoints.iter().map(|endpoint| endpoint.address))
    }

    fn cluster_ip_services(&self, addresses: &[IpAddr], ports: &[&Port]) -> Found {
        let Some(target) = self.lookup.zone.name(&[self.name, self.namespace, "svc"]) else {
            return Found::Nothing;
        };
        let weight = weight(ports.len());
        let service = |port: &&Port| RData::SRV(SRV::new(0, weight, port.number, target.clone()));
        let records = ports
            .iter()
            .map(service)
            .map(|data| self.lookup.record(data))
            .collect();
        let addresses = addresses.iter().map(|address| address_data(*address));
        Found::Services(
            records,
            addresses
                .map(|data| Record::from_rdata(target.clone(), TTL_SECONDS, data))
                .collect(),
        )
    }

    fn endpoint_services(&self, endpoints: &[&Endpoint], filter: &PortFilter<'_>) -> Found {
        let admitted = |endpoint: &Endpoint| endpoint.ports.iter().filter(|port| filter.admits(port)).count();
        let weight = weight(endpoints.iter().map(|endpoint| admitted(endpoint)).sum());
        let (mut records, mut addresses) = (Vec::new(), Vec::new());
        for endpoint in endpoints {
            let target = self
                .lookup
                .zone
                .name(&[&endpoint.host, self.name, self.namespace, "svc"]);
            let Some(target) = target else { continue };
            for port in endpoint.ports.iter().filter(|port| filter.admits(port)) {
                let data = RData::SRV(SRV::new(0, weight, port.number, target.clone()));
                records.push(self.lookup.record(data));
            }
            addresses.push(Record::from_rdata(
                target,
                TTL_SECONDS,
                address_data(endpoint.address),
            ));
        }
        Found::Services(records, addresses)
    }
}

/// All records share a hundred, as CoreDNS has it.
fn weight(records: usize) -> u16 {
    let share = 100 / records.max(1);
    u16::try_from(share.max(1)).unwrap_or(1)
}
