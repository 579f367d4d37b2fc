//! Indentation of JSON without parsing it: bytes in, bytes out, so that even a streamed list can be shown to a person.

/// Where the indenter stands inside a document; feed it the pieces in order.
#[derive(Debug, Default)]
pub(super) struct Indenter {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// A container was just opened; whether it stays on one line shows with the next byte.
    opened: bool,
}

impl Indenter {
    /// Indents a piece of valid, compact JSON by two spaces a level.
    pub(super) fn indent(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len() * 2);
        for &byte in piece {
            if self.in_string {
                out.push(byte);
                self.inside_string(byte);
            } else {
                self.outside_string(byte, &mut out);
            }
        }
        out
    }

    fn inside_string(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
        }
    }

    fn outside_string(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b' ' | b'\n' | b'\t' | b'\r' => {}
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if !std::mem::take(&mut self.opened) {
                    self.newline(out);
                }
                out.push(byte);
            }
            _ => {
                if std::mem::take(&mut self.opened) {
                    self.newline(out);
                }
                out.push(byte);
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => {
                        self.depth += 1;
                        self.opened = true;
                    }
                    b',' => self.newline(out),
                    b':' => out.push(b' '),
                    _ => {}
                }
            }
        }
    }

    fn newline(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', self.depth * 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_as_a_pretty_printer_whatever_the_pieces() {
        let value = serde_json::json!({"a": [], "b": {}, "c": [1, {"d": "x, y: {\\\""}, null], "e": {"f": {"g": [[]]}}});
        let compact = serde_json::to_vec(&value).unwrap();
        let want = serde_json::to_string_pretty(&value).unwrap();
        for size in 1..compact.len() {
            let mut indenter = Indenter::default();
            let got: Vec<u8> = compact
                .chunks(size)
                .flat_map(|piece| indenter.indent(piece))
                .collect();
            assert_eq!(String::from_utf8(got).unwrap(), want);
        }
    }
}
