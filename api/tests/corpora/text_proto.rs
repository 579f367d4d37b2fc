//! Protobuf's text form, as far as CEL's conformance files use it.

/// A field's value.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A number, a name, or text with its escapes resolved.
    Scalar(Vec<u8>),
    /// A message: its fields in order.
    Message(Vec<(String, Node)>),
}

impl Node {
    /// The first field of that name.
    pub(crate) fn get<'a>(&'a self, name: &'a str) -> Option<&'a Node> {
        self.all(name).next()
    }

    /// All fields of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        let fields: &[(String, Node)] = match self {
            Node::Message(fields) => fields,
            Node::Scalar(_) => &[],
        };
        fields
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, node)| node)
    }

    /// The fields.
    pub(crate) fn fields(&self) -> &[(String, Node)] {
        match self {
            Node::Message(fields) => fields,
            Node::Scalar(_) => &[],
        }
    }

    /// The bytes of a scalar.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Node::Scalar(bytes) => bytes,
            Node::Message(_) => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> Node {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        at: 0,
    };
    Node::Message(reader.fields())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at)? {
                b'#' => {
                    while self.bytes.get(self.at).is_some_and(|b| *b != b'\n') {
                        self.at += 1;
                    }
                }
                byte if byte.is_ascii_whitespace() || matches!(byte, b',' | b';') => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    fn fields(&mut self) -> Vec<(String, Node)> {
        let mut fields = Vec::new();
        while let Some(byte) = self.peek() {
            if matches!(byte, b'}' | b'>') {
                break;
            }
            let name = self.word();
            if self.peek() == Some(b':') {
                self.at += 1;
            }
            match self.peek() {
                Some(b'[') => {
                    self.at += 1;
                    while self.peek().is_some_and(|byte| byte != b']') {
                        let value = self.value();
                        fields.push((name.clone(), value));
                    }
                    self.at += 1;
                }
                _ => {
                    let value = self.value();
                    fields.push((name, value));
                }
            }
        }
        fields
    }

    /// A name; one in brackets is that of a type.
    fn word(&mut self) -> String {
        let start = self.at;
        if self.bytes[self.at] == b'[' {
            while self.bytes[self.at] != b']' {
                self.at += 1;
            }
            self.at += 1;
            return String::from_utf8_lossy(&self.bytes[start + 1..self.at - 1]).into_owned();
        }
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte);
        while self.bytes.get(self.at).is_some_and(part) {
            self.at += 1;
        }
        assert!(self.at > start, "a name at byte {start}");
        String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()
    }

    fn value(&mut self) -> Node {
        match self.peek() {
            Some(b'{' | b'<') => {
                self.at += 1;
                let fields = self.fields();
                self.at += 1;
                Node::Message(fields)
            }
            Some(b'"' | b'\'') => {
                let mut bytes = Vec::new();
                while let Some(quote @ (b'"' | b'\'')) = self.peek() {
                    self.quoted(quote, &mut bytes);
                }
                Node::Scalar(bytes)
            }
            _ => Node::Scalar(self.word().into_bytes()),
        }
    }

    fn quoted(&mut self, quote: u8, into: &mut Vec<u8>) {
        self.at += 1;
        while self.bytes[self.at] != quote {
            let byte = self.bytes[self.at];
            self.at += 1;
            if byte != b'\\' {
                into.push(byte);
                continue;
            }
            let escape = self.bytes[self.at];
            self.at += 1;
            match escape {
                b'n' => into.push(b'\n'),
                b'r' => into.push(b'\r'),
                b't' => into.push(b'\t'),
                b'a' => into.push(7),
                b'b' => into.push(8),
                b'f' => into.push(12),
                b'v' => into.push(11),
                b'x' | b'X' => into.push(self.number(16, 2) as u8),
                b'u' => self.code_point(4, into),
                b'U' => self.code_point(8, into),
                b'0'..=b'7' => {
                    self.at -= 1;
                    into.push(self.number(8, 3) as u8);
                }
                other => into.push(other),
            }
        }
        self.at += 1;
    }

    fn number(&mut self, base: u32, digits: usize) -> u32 {
        let mut number = 0;
        for _ in 0..digits {
            let Some(digit) = char::from(self.bytes[self.at]).to_digit(base) else {
                break;
            };
            number = number * base + digit;
            self.at += 1;
        }
        number
    }

    fn code_point(&mut self, digits: usize, into: &mut Vec<u8>) {
        let c = char::from_u32(self.number(16, digits)).unwrap_or(char::REPLACEMENT_CHARACTER);
        into.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
