//! Packets: requests are read, responses are written, both within bounds.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};

use crate::answer::Response;

/// The largest response over UDP, also for a client that would take more: larger ones fragment too much.
pub const LARGEST_UDP_PAYLOAD: u16 = 4096;

/// The size every client takes (RFC 1035).
const SMALLEST_UDP_PAYLOAD: u16 = 512;

/// The largest message over TCP, whose length stands in two bytes.
pub const LARGEST_MESSAGE: usize = u16::MAX as usize;

/// The length of a message's head.
const HEADER_BYTES: usize = 12;

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The client's number for it.
    pub id: u16,
    /// Its only question.
    pub query: Query,
    recursion_desired: bool,
    checking_disabled: bool,
    /// The largest UDP response that the client takes, when it speaks EDNS (RFC 6891).
    edns_payload: Option<u16>,
}

/// Why a packet is no request that can be answered.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// Not a request at all: an answer to it could be the start of a loop.
    Silence,
    /// The client is told.
    Reply(Vec<u8>),
}

/// Where a response goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram, cut short if need be.
    Udp,
    /// A stream.
    Tcp,
}

impl Request {
    /// Reads a packet from outside.
    ///
    /// # Errors
    /// With what is to be sent back instead of an answer.
    pub fn read(packet: &[u8]) -> Result<Self, Refusal> {
        let Some((id, response, opcode)) = head(packet) else {
            return Err(Refusal::Silence);
        };
        if response {
            return Err(Refusal::Silence);
        }
        let refuse = |code| Err(Refusal::Reply(bare_reply(id, opcode, code)));
        if opcode != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        let Ok(message) = Message::from_vec(packet) else {
            return refuse(ResponseCode::FormErr);
        };
        let [query] = message.queries.as_slice() else {
            return refuse(ResponseCode::FormErr);
        };
        let request = Self {
            id,
            query: query.clone(),
            recursion_desired: message.metadata.recursion_desired,
            checking_disabled: message.metadata.checking_disabled,
            edns_payload: message.edns.as_ref().map(Edns::max_payload),
        };
        if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
            return Err(Refusal::Reply(request.fail(ResponseCode::BADVERS)));
        }
        if !matches!(request.query.query_class(), DNSClass::IN | DNSClass::ANY) {
            return Err(Refusal::Reply(request.fail(ResponseCode::Refused)));
        }
        Ok(request)
    }

    /// The response with the zone's records.
    pub fn respond(&self, response: Response, transport: Transport) -> Vec<u8> {
        let mut message = self.reply();
        message.metadata.authoritative = true;
        if response.name_error {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        message.answers = response.answers;
        message.authorities = response.authorities;
        message.additionals = response.additionals;
        self.write(message, transport)
    }

    /// The response with what an upstream resolver says, behind an alias of the zone's where one led there.
    pub fn respond_upstream(&self, alias: Response, upstream: Message, transport: Transport) -> Vec<u8> {
        let mut message = self.reply();
        message.metadata.response_code = upstream.metadata.response_code;
        message.answers = alias.answers;
        message.answers.extend(upstream.answers);
        message.authorities = upstream.authorities;
        message.additionals = upstream.additionals;
        self.write(message, transport)
    }

    /// A response without records.
    pub fn fail(&self, code: ResponseCode) -> Vec<u8> {
        let mut message = self.reply();
        message.metadata.response_code = code;
        if code.high() != 0 {
            message
                .edns
                .get_or_insert_with(Edns::new)
                .set_rcode_high(code.high());
        }
        message
            .to_vec()
            .unwrap_or_else(|_| bare_reply(self.id, OpCode::Query, ResponseCode::ServFail))
    }

    fn reply(&self) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        if self.edns_payload.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_UDP_PAYLOAD).set_version(0);
            message.set_edns(edns);
        }
        message
    }

    /// The largest response that may go over a transport.
    fn limit(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => LARGEST_MESSAGE,
            Transport::Udp => {
                let payload = self.edns_payload.unwrap_or(SMALLEST_UDP_PAYLOAD);
                usize::from(payload.clamp(SMALLEST_UDP_PAYLOAD, LARGEST_UDP_PAYLOAD))
            }
        }
    }

    /// Writes a message, cut to the limit: additional records go first, unmarked (RFC 2181, section 9); then answers, and
    /// the client is told to ask over TCP.
    fn write(&self, mut message: Message, transport: Transport) -> Vec<u8> {
        let limit = self.limit(transport);
        let fits = |message: &Message| message.to_vec().ok().filter(|packet| packet.len() <= limit);
        if let Some(packet) = fits(&message) {
            return packet;
        }
        message.additionals.clear();
        if let Some(packet) = fits(&message) {
            return packet;
        }
        message.metadata.truncation = true;
        let answers: Vec<Record> = std::mem::take(&mut message.answers);
        let (mut some, mut too_many) = (0, answers.len() + 1);
        let mut best = None;
        while too_many - some > 1 {
            let tried = usize::midpoint(some, too_many);
            message.answers = answers[..tried].to_vec();
            match fits(&message) {
                Some(packet) => (some, best) = (tried, Some(packet)),
                None => too_many = tried,
            }
        }
        best.unwrap_or_else(|| {
            message.answers.clear();
            message.authorities.clear();
            fits(&message).unwrap_or_else(|| bare_reply(self.id, OpCode::Query, ResponseCode::ServFail))
        })
    }
}

/// The number, the response bit and the opcode of a packet that has a head.
fn head(packet: &[u8]) -> Option<(u16, bool, OpCode)> {
    let head = packet.get(..HEADER_BYTES)?;
    Some((
        u16::from_be_bytes([head[0], head[1]]),
        head[2] & 0x80 != 0,
        OpCode::from_u8((head[2] >> 3) & 0x0f),
    ))
}

/// A head alone, for a request whose question cannot be repeated.
fn bare_reply(id: u16, opcode: OpCode, code: ResponseCode) -> Vec<u8> {
    let mut message = Message::response(id, opcode);
    message.metadata.response_code = code;
    message.to_vec().unwrap_or_default()
}

/// A question to an upstream resolver.
pub(crate) fn upstream_question(id: u16, query: &Query) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_UDP_PAYLOAD).set_version(0);
    message.set_edns(edns);
    message
}
