//! Whether a text is one address of electronic mail, as Go's `net/mail` decides, by which upstream judges the format `email`:
//! RFC 5322 with the older forms that are still about, text beyond ASCII (RFC 6532), groups of one, and names in encoded words
//! (RFC 2047) of an alphabet that Go knows.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// It is none, for whichever reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused;

type Read<T> = Result<T, Refused>;

/// Whether a text is one address, with or without a name.
pub(super) fn is_address(text: &str) -> bool {
    let mut rest = Rest(text.as_bytes());
    rest.single().is_ok()
}

/// What an encoded word comes to.
enum Word {
    /// It is none, but text as it stands.
    Plain,
    /// It stands for so many letters or more.
    Encoded { is_empty: bool },
    /// It is in an alphabet that is not known.
    Unknown,
}

/// What has not been read so far. Specials are ASCII, so that bytes do: those of longer letters are letters of words.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn consume(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.0 = &self.0[1..];
        }
    }

    fn single(&mut self) -> Read<()> {
        let addresses = self.address(true)?;
        self.skip_comments()?;
        (addresses == 1 && self.0.is_empty()).then_some(()).ok_or(Refused)
    }

    /// An address, or a group where there may be one. How many addresses it was.
    fn address(&mut self, may_be_group: bool) -> Read<usize> {
        self.skip_space();
        if self.0.is_empty() {
            return Err(Refused);
        }
        if self.spec().is_ok() {
            self.skip_space();
            if self.consume(b'(') {
                self.name_in_comment()?;
            }
            return Ok(1);
        }
        if self.peek() != Some(b'<') {
            self.phrase()?;
        }
        self.skip_space();
        if may_be_group && self.consume(b':') {
            return self.group();
        }
        if !self.consume(b'<') {
            return Err(Refused);
        }
        self.spec()?;
        self.consume(b'>').then_some(1).ok_or(Refused)
    }

    /// The addresses of a group up to its end, after its colon.
    fn group(&mut self) -> Read<usize> {
        self.skip_space();
        if self.consume(b';') {
            self.skip_comments()?;
            return Ok(0);
        }
        let mut addresses = 0;
        loop {
            addresses += self.address(false)?;
            self.skip_comments()?;
            if self.consume(b';') {
                self.skip_comments()?;
                return Ok(addresses);
            }
            if !self.consume(b',') {
                return Err(Refused);
            }
        }
    }

    /// Whose address it is and where. Nothing is read where it is none.
    fn spec(&mut self) -> Read<()> {
        let mut rest = *self;
        rest.skip_space();
        match rest.peek() {
            Some(b'"') => {
                if rest.quoted()? == 0 {
                    return Err(Refused);
                }
            }
            _ => rest.dotted_atom()?,
        }
        if !rest.consume(b'@') {
            return Err(Refused);
        }
        rest.skip_space();
        match rest.peek() {
            Some(b'[') => rest.literal()?,
            _ => rest.dotted_atom()?,
        }
        *self = rest;
        Ok(())
    }

    /// A name: words with comments between them. What follows is left for others, once there has been one.
    fn phrase(&mut self) -> Read<()> {
        let (mut words, mut joined) = (false, false);
        loop {
            // Encoded words are joined, and count as one once another has come.
            if words {
                self.skip_comments()?;
            }
            self.skip_space();
            let word = match self.peek() {
                None => break,
                Some(b'"') => self.quoted().map(|_| Word::Plain),
                Some(_) => self.atom().map(decoded),
            };
            match word {
                Ok(Word::Plain) => words = true,
                Ok(Word::Encoded { is_empty }) => joined |= !is_empty,
                Ok(Word::Unknown) | Err(Refused) => {
                    return (words || joined).then_some(()).ok_or(Refused);
                }
            }
        }
        Ok(())
    }

    /// Text in quotes. How long it is without them, in letters or more.
    fn quoted(&mut self) -> Read<usize> {
        let (mut escaped, mut length) = (false, 0);
        for (at, byte) in self.0.iter().copied().enumerate().skip(1) {
            match byte {
                _ if escaped && is_text(byte) => (escaped, length) = (false, length + 1),
                _ if escaped => return Err(Refused),
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(length);
                }
                b'\\' => escaped = true,
                _ if is_text(byte) => length += 1,
                _ => return Err(Refused),
            }
        }
        Err(Refused)
    }

    /// Letters and dots.
    fn atom(&mut self) -> Read<&'a [u8]> {
        let end = self.0.iter().position(|byte| !is_atom(*byte));
        let (atom, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        if atom.is_empty() {
            return Err(Refused);
        }
        self.0 = rest;
        Ok(atom)
    }

    /// An atom with something before, between and after its dots.
    fn dotted_atom(&mut self) -> Read<()> {
        let atom = self.atom()?;
        let whole = atom.split(|byte| *byte == b'.').all(|part| !part.is_empty());
        whole.then_some(()).ok_or(Refused)
    }

    /// An address of the network in brackets.
    fn literal(&mut self) -> Read<()> {
        let inside = self.0.get(1..).unwrap_or_default();
        let end = inside.iter().position(|byte| *byte == b']').ok_or(Refused)?;
        let text = std::str::from_utf8(&inside[..end]).map_err(|_| Refused)?;
        text.parse::<IpAddr>().map_err(|_| Refused)?;
        self.0 = &inside[end + 1..];
        Ok(())
    }

    fn skip_comments(&mut self) -> Read<()> {
        self.skip_space();
        while self.consume(b'(') {
            self.comment()?;
            self.skip_space();
        }
        Ok(())
    }

    /// The rest of a comment, which may have others inside.
    fn comment(&mut self) -> Read<Vec<u8>> {
        let (mut depth, mut text) = (1, Vec::new());
        while depth > 0 {
            match self.peek().ok_or(Refused)? {
                b'\\' if self.0.len() > 1 => self.0 = &self.0[1..],
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth > 0 {
                text.push(self.0[0]);
            }
            self.0 = &self.0[1..];
        }
        Ok(text)
    }

    /// The rest of a comment that stands for a name.
    fn name_in_comment(&mut self) -> Read<()> {
        let comment = self.comment()?;
        let mut words = comment.split(|byte| matches!(byte, b' ' | b'\t'));
        let known = words.all(|word| !matches!(decoded(word), Word::Unknown));
        known.then_some(()).ok_or(Refused)
    }
}

/// What stands in words: whatever can be seen, save specials; dots are taken apart elsewhere.
fn is_atom(byte: u8) -> bool {
    is_visible(byte) && !b"()<>[]:;@\\,\"".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    is_visible(byte) || matches!(byte, b' ' | b'\t')
}

fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0x80..)
}

/// A word, after Go's `mime.WordDecoder`.
fn decoded(word: &[u8]) -> Word {
    let inside = word.strip_prefix(b"=?").and_then(|word| word.strip_suffix(b"?="));
    let parts: Vec<&[u8]> = inside.unwrap_or_default().split(|byte| *byte == b'?').collect();
    let [alphabet, encoding, text] = parts[..] else {
        return Word::Plain;
    };
    let sound = match encoding {
        b"B" | b"b" => STANDARD.decode(text).is_ok(),
        b"Q" | b"q" => is_quoted_printable(text),
        _ => false,
    };
    if alphabet.is_empty() || !sound {
        return Word::Plain;
    }
    let known: [&[u8]; 3] = [b"utf-8", b"iso-8859-1", b"us-ascii"];
    if known.iter().any(|known| alphabet.eq_ignore_ascii_case(known)) {
        let is_empty = text.is_empty();
        Word::Encoded { is_empty }
    } else {
        Word::Unknown
    }
}

fn is_quoted_printable(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'=', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (b' '..=b'<' | b'>'..=b'~' | b'\n' | b'\r' | b'\t', after) => after,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_go_takes_for_one() {
        for text in [
            "jane@example.com",
            "  jane@example.com",
            "jane@example",
            "jane@ example.com",
            "j.a.n.e+tag@sub.example.com",
            "\u{fc}ber@b\u{fc}cher.example",
            "\"jane doe\"@example.com",
            "\"j\\\"d\"@example.com",
            "jane@[192.0.2.1]",
            "jane@[2001:db8::1]",
            "<jane@example.com>",
            "< jane@example.com>",
            "Jane Doe <jane@example.com>",
            "Jane. Q. .Doe.. <jane@example.com>",
            "\"Doe, Jane\" <jane@example.com>",
            "\"\" <jane@example.com>",
            "Jane (the (only) one) Doe <jane@example.com>",
            "jane@example.com (Jane Doe)",
            "jane@example.com (Jane\\) Doe) (again)",
            "=?utf-8?q?J=C3=B6rg?= <j@example.com>",
            "=?ISO-8859-1?B?SvZyZw==?= Doe <j@example.com>",
            "=?utf-8?x?no_such_encoding?= <j@example.com>",
            "=?utf-8?q?broken=Z?= <j@example.com>",
            "Jane =?utf-8?q?Doe?= <j@example.com>",
            "group: jane@example.com;",
            "group: Jane <jane@example.com> (c) ; (c)",
        ] {
            assert!(is_address(text), "{text}");
        }
    }

    #[test]
    fn what_go_refuses_is_none() {
        for text in [
            "",
            " ",
            "jane",
            "jane.doe",
            "Jane Doe",
            "@example.com",
            "jane@",
            "jane @example.com",
            ".jane@example.com",
            "jane.@example.com",
            "ja..ne@example.com",
            "jane@example.com.",
            "jane@.example.com",
            "jane@exa mple.com",
            "\"\"@example.com",
            "\"jane@example.com",
            "\"ja\nne\"@example.com",
            "\"ja\\\u{1}ne\"@example.com",
            "jane@[192.0.2.256]",
            "jane@[192.0.2.1",
            "jane@[[192.0.2.1]",
            "jane@[fe80::1%eth0]",
            "jane@[example]",
            "<jane@example.com",
            "<jane#example.com>",
            "<jane@example.com >",
            "Jane <middle> Doe <jane@example.com>",
            "Jane Doe@example.com",
            "(Jane) Doe <jane@example.com>",
            "Jane (open <jane@example.com>",
            "jane@example.com (open",
            "jane@example.com joe@example.com",
            "jane@example.com, joe@example.com",
            "jane@example.com\n",
            "group: ;",
            "group: jane@example.com",
            "group: jane@example.com, joe@example.com;",
            "group: inner: jane@example.com;;",
            "group: jane@example.com; (open",
            "=?iso-8859-2?Q?Bogl=E1rka?= <j@example.com>",
            "jane@example.com (=?iso-8859-2?Q?Bogl=E1rka?=)",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}
