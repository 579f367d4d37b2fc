//! Tabs where Go's `yaml.v2` has none: before a token that begins a line or follows the sign of an item. Our parser reads
//! many of them, as YAML 1.2 allows.

use saphyr_parser::{Event, ScalarStyle, Span};

use super::words::OF_INDENT;

const NO_TOKEN: &str = "found character that cannot start any token";

/// Follows the tokens of a text and looks at what stands between them. A text without tabs costs nothing.
#[derive(Default)]
pub(super) struct Tabs {
    text: Vec<char>,
    /// Where the last token ended.
    at: usize,
    /// Whether a key may begin here: Go's scanner passes over tabs only where none may.
    starts: bool,
    /// Whether the last token is a plain scalar, which might go on in the next line.
    may_go_on: bool,
    /// The columns of the open block collections; none for a flow collection.
    open: Vec<Option<usize>>,
}

impl Tabs {
    pub(super) fn of(text: &str) -> Self {
        let text = if text.contains('\t') {
            text.chars().collect()
        } else {
            Vec::new()
        };
        Self {
            text,
            starts: true,
            ..Self::default()
        }
    }

    /// What is wrong between the last token and a place, in Go's words.
    pub(super) fn fault_before(&mut self, end: usize) -> Option<String> {
        let end = end.min(self.text.len());
        if self.at >= end || self.in_flow() {
            return None;
        }
        let fault = self.scan(end);
        self.at = end;
        let (place, words) = fault?;
        Some(match self.text[..place].iter().filter(|c| **c == '\n').count() {
            0 => format!("yaml: {words}"),
            line => format!("yaml: line {}: {words}", line + 1),
        })
    }

    /// Goes on behind a token.
    pub(super) fn pass(&mut self, event: &Event<'_>, span: &Span) {
        if self.text.is_empty() {
            return;
        }
        let (start, end) = (span.start.index(), span.end.index().min(self.text.len()));
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                let flow = matches!(self.text.get(start), Some('[' | '{'));
                self.open.push((!flow).then(|| span.start.col()));
                if flow {
                    self.at = start + 1;
                    self.may_go_on = false;
                }
            }
            Event::SequenceEnd | Event::MappingEnd if self.open.pop() == Some(None) => {
                self.behind(start, end, false)
            }
            Event::Scalar(_, style, ..) => {
                let plain = *style == ScalarStyle::Plain && end > start;
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                self.behind(start, end, block);
                self.may_go_on = plain;
            }
            Event::Alias(_) => self.behind(start, end, false),
            _ => {}
        }
    }

    fn behind(&mut self, start: usize, end: usize, block: bool) {
        let mut end = end;
        while !block && end > start && self.text[end - 1].is_whitespace() {
            end -= 1;
        }
        self.at = end;
        self.starts = block;
        self.may_go_on = false;
    }

    fn in_flow(&self) -> bool {
        self.open.last().is_some_and(Option::is_none)
    }

    fn scan(&mut self, end: usize) -> Option<(usize, &'static str)> {
        let indent = self
            .open
            .iter()
            .rev()
            .find_map(|column| *column)
            .map_or(0, |column| column + 1);
        let (mut place, mut column) = (self.at, usize::MAX);
        while place < end {
            let (letter, next) = (self.text[place], self.text.get(place + 1));
            let ends_word = next.is_none_or(|next| next.is_whitespace());
            match letter {
                '\n' | '\r' => (self.starts, column) = (true, 0),
                '\t' if self.may_go_on && column < indent => return Some((place, OF_INDENT)),
                '\t' if self.starts && !self.may_go_on => return Some((place, NO_TOKEN)),
                ' ' | '\t' => column = column.saturating_add(1),
                '#' | '%'
                    if column < usize::MAX || self.text[..place].last().is_none_or(|c| c.is_whitespace()) =>
                {
                    while place + 1 < end && self.text[place + 1] != '\n' {
                        place += 1;
                    }
                    self.may_go_on = false;
                }
                '-' | '?' if ends_word => (self.starts, self.may_go_on) = (true, false),
                ':' if ends_word => self.may_go_on = false,
                _ => (self.starts, self.may_go_on) = (false, false),
            }
            place += 1;
        }
        None
    }
}
