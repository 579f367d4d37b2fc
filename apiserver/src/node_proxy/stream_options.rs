//! The options of exec, attach and port-forward, in the names that a kubelet gives them.

use crate::http::request_info::is_true;

/// What a client calls a stream, and what a kubelet calls it.
const STREAMS: [(&str, &str); 4] = [
    ("stdin", "input"),
    ("stdout", "output"),
    ("stderr", "error"),
    ("tty", "tty"),
];

/// The query of an exec (with its command) or attach.
pub(super) fn query(asked: &[(String, String)], with_command: bool) -> String {
    let streams = STREAMS.iter().filter(|(name, _)| {
        asked
            .iter()
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| is_true(value))
    });
    let streams = streams.map(|(_, theirs)| (*theirs, "1"));
    let command = asked.iter().filter(|(key, _)| with_command && key == "command");
    encode(streams.chain(command.map(|(_, word)| ("command", word.as_str()))))
}

/// The query of a port-forward; the ports stand in the query only where a WebSocket carries them.
pub(super) fn ports(asked: &[(String, String)]) -> String {
    let ports = asked.iter().filter(|(key, _)| key == "ports" || key == "port");
    encode(ports.map(|(_, port)| ("port", port.as_str())))
}

/// Names and values as a query string.
pub(super) fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request_info::parse_query;

    #[test]
    fn options_get_the_names_a_kubelet_knows() {
        let asked = parse_query(Some(
            "command=sh&command=-c&command=echo+%26&stdin=true&stdout=true&stderr=false&tty",
        ));
        assert_eq!(
            query(&asked, true),
            "input=1&output=1&tty=1&command=sh&command=-c&command=echo+%26"
        );
        assert_eq!(query(&asked, false), "input=1&output=1&tty=1");
        assert_eq!(ports(&parse_query(Some("ports=80&ports=81"))), "port=80&port=81");
    }
}
