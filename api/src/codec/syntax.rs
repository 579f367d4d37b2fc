//! What Go's JSON scanner says about text that is not JSON. Runs only once reading has failed.

use crate::quote::quote;

/// How many open brackets are followed; beyond that another message will do.
const MAX_DEPTH: usize = 10_000;

const END: &str = "unexpected end of JSON input";

/// The first fault in Go's words, or nothing where Go would find none.
pub(super) fn fault(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.document().err()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    List,
    Object,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        self.value(&mut open)?;
        while let Some(innermost) = open.last().copied() {
            let (close, after) = match innermost {
                Open::List => (b']', "after array element"),
                Open::Object => (b'}', "after object key:value pair"),
            };
            match self.token()? {
                b',' if innermost == Open::Object => {
                    self.key("looking for beginning of object key string")?;
                    self.value(&mut open)?;
                }
                b',' => self.value(&mut open)?,
                byte if byte == close => {
                    open.pop();
                }
                _ => return Err(self.invalid(after)),
            }
        }
        match self.token() {
            Ok(_) => Err(self.invalid("after top-level value")),
            Err(_) => Ok(()),
        }
    }

    /// A value; of lists and objects that are not empty only the first element or pair, with `open` one longer.
    fn value(&mut self, open: &mut Vec<Open>) -> Result<(), String> {
        loop {
            if open.len() > MAX_DEPTH {
                return Err("exceeded max depth".to_owned());
            }
            match self.token()? {
                b'[' => {
                    open.push(Open::List);
                    if self.peek()? == b']' {
                        return Ok(());
                    }
                }
                b'{' => {
                    open.push(Open::Object);
                    if self.peek()? == b'}' {
                        return Ok(());
                    }
                    self.key("looking for beginning of object key string")?;
                }
                b'"' => return self.string(),
                b't' => return self.literal("true"),
                b'f' => return self.literal("false"),
                b'n' => return self.literal("null"),
                byte @ (b'-' | b'0'..=b'9') => return self.number(byte),
                _ => return Err(self.invalid("looking for beginning of value")),
            }
        }
    }

    fn key(&mut self, place: &str) -> Result<(), String> {
        if self.token()? != b'"' {
            return Err(self.invalid(place));
        }
        self.string()?;
        if self.token()? != b':' {
            return Err(self.invalid("after object key"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            if !self.next()?.is_ascii_hexdigit() {
                                return Err(self.invalid("in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    _ => return Err(self.invalid("in string escape code")),
                },
                0..=0x1f => return Err(self.invalid("in string literal")),
                _ => {}
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.chars().skip(1) {
            if char::from(self.next()?) != expected {
                return Err(self.invalid(&format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8) -> Result<(), String> {
        let mut first = first;
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return Err(self.invalid("in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.skip_if(|byte| byte == b'.') {
            if !self.next()?.is_ascii_digit() {
                return Err(self.invalid("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if self.skip_if(|byte| matches!(byte, b'e' | b'E')) {
            self.skip_if(|byte| matches!(byte, b'+' | b'-'));
            if !self.next()?.is_ascii_digit() {
                return Err(self.invalid("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.skip_if(|byte| byte.is_ascii_digit()) {}
    }

    fn skip_if(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let found = self.bytes.get(self.at).copied().is_some_and(wanted);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or(END)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next byte that is no space.
    fn token(&mut self) -> Result<u8, String> {
        while self.skip_if(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {}
        self.next()
    }

    /// The next byte that is no space, without passing it.
    fn peek(&mut self) -> Result<u8, String> {
        let byte = self.token()?;
        self.at -= 1;
        Ok(byte)
    }

    /// The byte just passed is wrong. Go prints it as Latin-1.
    fn invalid(&self, place: &str) -> String {
        let byte = char::from(self.bytes[self.at - 1]);
        let shown = match byte {
            '\'' => "'\\''".to_owned(),
            '"' => "'\"'".to_owned(),
            _ => format!("'{}'", quote(&byte.to_string()).trim_matches('"')),
        };
        format!("invalid character {shown} {place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_s_words() {
        let table = [
            (r#"{"kind":"#, "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("<a/>", "invalid character '<' looking for beginning of value"),
            (
                "{a: 1}",
                "invalid character 'a' looking for beginning of object key string",
            ),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (
                r#"{"a": 1 "b"}"#,
                "invalid character '\"' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            (
                r#"{"a": 1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            ("nul", "unexpected end of JSON input"),
            ("nulx", "invalid character 'x' in literal null (expecting 'l')"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            ("{} {}", "invalid character '{' after top-level value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            (r#""\q""#, "invalid character 'q' in string escape code"),
        ];
        for (text, message) in table {
            assert_eq!(fault(text.as_bytes()).as_deref(), Some(message), "{text}");
        }
    }

    #[test]
    fn finds_nothing_in_json() {
        for text in [
            r#"{"a": [1, -2.5e3, true, null, {}, []], "b": {"c": "\u00e9\n"}}"#,
            " 0 ",
        ] {
            assert_eq!(fault(text.as_bytes()), None, "{text}");
        }
    }
}
