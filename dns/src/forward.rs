//! Names outside the cluster: the node's own resolvers are asked.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tracing::warn;

use crate::message::{LARGEST_UDP_PAYLOAD, upstream_question};

/// Where resolvers listen.
const DNS_PORT: u16 = 53;

/// Resolvers taken from a file; CoreDNS takes as many.
const MOST_RESOLVERS: usize = 15;

/// A resolv.conf larger than this is none.
const LARGEST_RESOLV_CONF: u64 = 64 * 1024;

/// How long one resolver may take.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long all of them may take: about as long as clients wait.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a name outside the cluster has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The node has no resolver to ask.
    #[error("there is no upstream resolver")]
    NoResolver,
    /// None of them answered.
    #[error("no upstream resolver answered in time")]
    Timeout,
    /// The last of them could not be talked to.
    #[error("the upstream resolver {resolver} cannot be asked")]
    Exchange {
        /// Its address.
        resolver: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The last of them refused or failed.
    #[error("the upstream resolver {resolver} answers {code}")]
    Refused {
        /// Its address.
        resolver: SocketAddr,
        /// With this.
        code: ResponseCode,
    },
}

/// The resolvers that a resolv.conf names, in its order.
pub fn resolvers(resolv_conf: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A scope such as `%eth0` belongs to the machine that wrote it.
        let address = words
            .next()
            .and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
        found.extend(address.map(|address| SocketAddr::new(address, DNS_PORT)));
    }
    found.truncate(MOST_RESOLVERS);
    found
}

/// Asks the resolvers of a resolv.conf.
#[derive(Debug)]
pub struct Forwarder {
    resolv_conf: PathBuf,
    /// Addresses of this server: asking those would never end.
    own: BTreeSet<IpAddr>,
    resolvers: ArcSwap<Vec<SocketAddr>>,
}

impl Forwarder {
    /// A forwarder to the resolvers in a file, but for addresses of this server itself. [`Forwarder::refresh`] reads it.
    pub fn new(resolv_conf: PathBuf, own: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            resolv_conf,
            own: own.into_iter().collect(),
            resolvers: ArcSwap::default(),
        }
    }

    /// A forwarder to these resolvers.
    pub fn to(resolvers: Vec<SocketAddr>) -> Self {
        Self {
            resolv_conf: PathBuf::new(),
            own: BTreeSet::new(),
            resolvers: ArcSwap::from_pointee(resolvers),
        }
    }

    /// Reads the file again. One that cannot be read leaves the resolvers as they were.
    pub async fn refresh(&self) {
        let read = async {
            let file = tokio::fs::File::open(&self.resolv_conf).await?;
            let mut text = String::new();
            file.take(LARGEST_RESOLV_CONF)
                .read_to_string(&mut text)
                .await
                .map(|_| text)
        };
        match read.await {
            Ok(text) => {
                let mut found = resolvers(&text);
                found.retain(|resolver| !self.own.contains(&resolver.ip()));
                self.resolvers.store(found.into());
            }
            Err(error) => {
                warn!(file = %self.resolv_conf.display(), %error, "upstream resolvers cannot be read")
            }
        }
    }

    /// Asks one resolver after the other until one knows.
    ///
    /// # Errors
    /// When none does.
    pub async fn resolve(&self, query: &Query) -> Result<Message, ForwardError> {
        let resolvers = self.resolvers.load_full();
        let ask_all = async {
            let mut failure = ForwardError::NoResolver;
            for resolver in resolvers.iter().copied() {
                failure = match tokio::time::timeout(RESOLVER_TIMEOUT, ask(resolver, query)).await {
                    Ok(Ok(message)) => match message.metadata.response_code {
                        ResponseCode::NoError | ResponseCode::NXDomain => return Ok(message),
                        code => ForwardError::Refused { resolver, code },
                    },
                    Ok(Err(source)) => ForwardError::Exchange { resolver, source },
                    Err(_) => ForwardError::Timeout,
                };
            }
            Err(failure)
        };
        tokio::time::timeout(TOTAL_TIMEOUT, ask_all)
            .await
            .unwrap_or(Err(ForwardError::Timeout))
    }
}

/// Asks over UDP, and over TCP when the answer is too long for that.
async fn ask(resolver: SocketAddr, query: &Query) -> io::Result<Message> {
    let question = upstream_question(random_id(), query);
    let packet = question.to_vec().map_err(io::Error::other)?;
    let answer = ask_udp(resolver, &question, &packet).await?;
    if answer.metadata.truncation {
        ask_tcp(resolver, &question, &packet).await
    } else {
        Ok(answer)
    }
}

/// A socket of its own for each question, on a port that the kernel picks: a forger has to guess port and number.
async fn ask_udp(resolver: SocketAddr, question: &Message, packet: &[u8]) -> io::Result<Message> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; usize::from(LARGEST_UDP_PAYLOAD)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer_to(question, &buffer[..length]) {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, question: &Message, packet: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(packet).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    answer_to(question, &answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// A packet read as the answer to a question; nothing when it is something else.
fn answer_to(question: &Message, packet: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(packet).ok()?;
    let belongs = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries;
    belongs.then_some(answer)
}

fn random_id() -> u16 {
    let [low, high, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u16::from_ne_bytes([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_in_order() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n\
                    nameserver\tfe80::1%eth0\nnameserver nonsense\noptions ndots:5\n";
        let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[fe80::1]:53"]);
        assert_eq!(
            resolvers(&"nameserver 192.0.2.1\n".repeat(100)).len(),
            MOST_RESOLVERS
        );
    }

    #[tokio::test]
    async fn the_server_never_asks_itself() {
        let file = std::env::temp_dir().join(format!("coracle-dns-{}.conf", std::process::id()));
        std::fs::write(&file, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n").unwrap();
        let forwarder = Forwarder::new(file.clone(), ["192.0.2.1".parse().unwrap()]);
        forwarder.refresh().await;
        std::fs::remove_file(&file).unwrap();
        forwarder.refresh().await;
        let known = forwarder.resolvers.load_full();
        assert_eq!(
            *known,
            ["192.0.2.2:53".parse().unwrap()],
            "and a file that went away changes nothing"
        );
    }
}
