//! The CRI log format: `<RFC 3339 time> <stdout|stderr> <F|P>[:…] <content>\n`. Pure.

use jiff::Timestamp;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The `stream` parameter of a log request; anything but a single stream means both.
pub(crate) fn stream_named(name: Option<&str>) -> Option<Stream> {
    match name {
        Some("Stdout") => Some(Stream::Stdout),
        Some("Stderr") => Some(Stream::Stderr),
        _ => None,
    }
}

/// One record of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// As written, with nanoseconds.
    pub(crate) time_text: &'a [u8],
    pub(crate) time: Timestamp,
    pub(crate) stream: Stream,
    /// The container's line goes on in the next record.
    pub(crate) partial: bool,
    pub(crate) content: &'a [u8],
}

/// Takes a record apart, without its newline. None if it is not one.
pub(crate) fn parse(record: &[u8]) -> Option<Line<'_>> {
    let (time_text, rest) = split_blank(record)?;
    let (stream, rest) = split_blank(rest)?;
    let (tags, content) = split_blank(rest).unwrap_or((rest, &[]));
    let time = std::str::from_utf8(time_text).ok()?.parse().ok()?;
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let partial = match tags.split(|b| *b == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Line {
        time_text,
        time,
        stream,
        partial,
        content,
    })
}

fn split_blank(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// What a reader wants to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    pub(crate) stream: Option<Stream>,
    /// Bytes that may still be sent.
    pub(crate) limit: Option<u64>,
    /// The last record was partial, so that the next one continues its line.
    continued: bool,
}

impl Filter {
    pub(crate) fn new(
        since: Option<Timestamp>,
        timestamps: bool,
        stream: Option<Stream>,
        limit: Option<u64>,
    ) -> Self {
        Self {
            since,
            timestamps,
            stream,
            limit,
            continued: false,
        }
    }

    /// Whether the byte limit is used up.
    pub(crate) fn is_spent(&self) -> bool {
        self.limit == Some(0)
    }

    /// Adds to `out` what the reader sees of a record.
    pub(crate) fn take(&mut self, record: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(record) else { return };
        let unwanted = self.since.is_some_and(|since| line.time < since)
            || self.stream.is_some_and(|stream| line.stream != stream);
        if unwanted {
            return;
        }
        if self.timestamps && !self.continued {
            self.put(line.time_text, out);
            self.put(b" ", out);
        }
        self.put(line.content, out);
        if !line.partial {
            self.put(b"\n", out);
        }
        self.continued = line.partial;
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(limit) = &mut self.limit else {
            return out.extend_from_slice(bytes);
        };
        let room = usize::try_from(*limit).unwrap_or(usize::MAX).min(bytes.len());
        out.extend_from_slice(&bytes[..room]);
        *limit -= room as u64;
    }
}

/// The content of the last `count` records of a piece of a log file.
pub(crate) fn last_lines(log: &[u8], count: usize) -> Vec<u8> {
    let records: Vec<&[u8]> = log
        .split(|b| *b == b'\n')
        .filter(|r| parse(r).is_some())
        .collect();
    let mut filter = Filter::default();
    let mut out = Vec::new();
    for record in &records[records.len().saturating_sub(count)..] {
        filter.take(record, &mut out);
    }
    out
}

/// Where the last `count` records of `log` begin; a last record without newline counts.
pub(crate) fn tail_offset(log: &[u8], count: u64) -> usize {
    if count == 0 {
        return log.len();
    }
    let body = log.strip_suffix(b"\n").unwrap_or(log);
    let newlines = body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n');
    let nth = usize::try_from(count - 1).unwrap_or(usize::MAX);
    newlines.map(|(at, _)| at + 1).nth(nth).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: &str = "2026-01-02T03:04:05.678901234Z";

    fn show(records: &[&str], mut filter: Filter) -> String {
        let mut out = Vec::new();
        records.iter().for_each(|r| filter.take(r.as_bytes(), &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records() {
        let full = format!("{T} stdout F hello world");
        let line = parse(full.as_bytes()).unwrap();
        assert_eq!(
            (line.stream, line.partial, line.content),
            (Stream::Stdout, false, &b"hello world"[..])
        );
        let partial = format!("{T} stderr P:tag x");
        assert!(parse(partial.as_bytes()).is_some_and(|l| l.partial && l.stream == Stream::Stderr));
        let empty = format!("{T} stdout F");
        assert!(parse(empty.as_bytes()).is_some_and(|l| l.content.is_empty()));
        for bad in [
            "",
            "x",
            "x stdout F y",
            &format!("{T} other F y"),
            &format!("{T} stdout Q y"),
            T,
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn partial_records_join_and_bear_one_timestamp() {
        let records = [
            format!("{T} stdout P ab"),
            format!("{T} stdout F cd"),
            format!("{T} stdout F e"),
        ];
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        assert_eq!(show(&records, Filter::default()), "abcd\ne\n");
        let stamped = Filter {
            timestamps: true,
            ..Filter::default()
        };
        assert_eq!(show(&records, stamped), format!("{T} abcd\n{T} e\n"));
        let limited = Filter {
            limit: Some(6),
            ..Filter::default()
        };
        assert_eq!(show(&records, limited), "abcd\ne");
    }

    #[test]
    fn since_and_stream_choose() {
        let records = [
            "2026-01-02T03:04:05Z stdout F a",
            "2026-01-02T03:04:06Z stderr F b",
        ];
        let since = Filter {
            since: Some("2026-01-02T03:04:06Z".parse().unwrap()),
            ..Filter::default()
        };
        assert_eq!(show(&records, since), "b\n");
        let stdout = Filter {
            stream: Some(Stream::Stdout),
            ..Filter::default()
        };
        assert_eq!(show(&records, stdout), "a\n");
    }

    #[test]
    fn tails() {
        for (log, count, want) in [
            ("a\nb\nc\n", 0, ""),
            ("a\nb\nc\n", 1, "c\n"),
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("", 1, ""),
        ] {
            assert_eq!(
                &log[tail_offset(log.as_bytes(), count)..],
                want,
                "{log:?} {count}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(log in prop::collection::vec(any::<u8>(), 0..300), count in 0..5usize) {
            last_lines(&log, count);
            let offset = tail_offset(&log, count as u64);
            prop_assert!(offset <= log.len());
        }

        #[test]
        fn what_a_container_writes_comes_back(lines in prop::collection::vec("[^\n]{0,20}", 0..8), cut in 1..5usize) {
            let mut log = Vec::new();
            for line in &lines {
                let bytes = line.as_bytes();
                let mut parts: Vec<&[u8]> = bytes.chunks(cut).collect();
                let last = parts.pop().unwrap_or(&[]);
                for part in parts {
                    log.extend([T.as_bytes(), b" stdout P ", part, b"\n"].concat());
                }
                log.extend([T.as_bytes(), b" stdout F ", last, b"\n"].concat());
            }
            let want: Vec<u8> = lines.iter().flat_map(|l| [l.as_bytes(), b"\n"].concat()).collect();
            prop_assert_eq!(last_lines(&log, usize::MAX), want);
        }
    }
}
