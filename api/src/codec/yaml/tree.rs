//! A document as a tree of nodes, before anything in it means something: as Go's `yaml.v2` parses it.
//!
//! The tree has no depth to recurse into and no node more than the text has tokens; aliases are edges.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::tabs::Tabs;
use super::words;
use crate::codec::DecodeError;

/// How deep collections may be nested in each other, as Go's scanner bounds it.
const MAX_OPEN: usize = 10_000;

/// What our parser says of too many open brackets.
const TOO_DEEP: &str = "recursion limit exceeded";

/// A node's place in its tree.
pub(super) type Place = usize;

pub(super) struct Node<'t> {
    /// The line that it starts in, from 1.
    pub(super) line: usize,
    pub(super) content: Content<'t>,
}

pub(super) enum Content<'t> {
    Scalar {
        text: Cow<'t, str>,
        tag: Option<Box<str>>,
        /// Written without quotes and not as a block.
        plain: bool,
    },
    List(Vec<Place>),
    /// Keys and values by turns.
    Map(Vec<Place>),
    /// Stands for another node.
    Alias(Place),
}

/// The nodes of the first document of a text, its root first; none where there is no document.
pub(super) fn read(text: &str) -> Result<Vec<Node<'_>>, DecodeError> {
    let mut reading = Reading::default();
    // Our parser takes the end of the text for a line break, Go does not.
    let ends_within = !text.ends_with(['\n', '\r']);
    let end = text.chars().count();
    let mut events = Parser::new_from_str(text);
    let mut tabs = Tabs::of(text);
    while let Some(event) = events.next_event() {
        let read = reading.open.is_empty() && !reading.nodes.is_empty();
        if read && event.as_ref().is_err_and(words::is_behind_the_document) {
            break;
        }
        let (event, span) = event.map_err(|error| match error.info() {
            TOO_DEEP => DecodeError::TooDeep,
            _ => DecodeError::Yaml(
                tabs.fault_before(error.marker().index())
                    .unwrap_or_else(|| words::fault(&error, text)),
            ),
        })?;
        if let Some(fault) = tabs.fault_before(span.start.index()) {
            return Err(DecodeError::Yaml(fault));
        }
        tabs.pass(&event, &span);
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
            Event::StreamEnd | Event::DocumentEnd => break,
            Event::SequenceEnd | Event::MappingEnd => {
                reading.open.pop();
            }
            Event::Alias(anchor) => {
                let target = reading.anchors.get(&anchor).copied();
                // The parser has refused names that are not known.
                let target =
                    target.ok_or_else(|| DecodeError::Yaml(words::unknown_anchor(text, span.start)))?;
                if reading.open.contains(&target) {
                    return Err(DecodeError::Yaml(words::within_itself(text, span.start)));
                }
                reading.add(span.start.line(), Content::Alias(target), 0);
            }
            Event::Scalar(value, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let content = Content::Scalar {
                    text: if block && ends_within && span.end.index() >= end {
                        without_break(value)
                    } else {
                        value
                    },
                    tag: tag.map(|tag| full(&tag)),
                    plain: style == ScalarStyle::Plain,
                };
                reading.add(span.start.line(), content, anchor);
            }
            Event::SequenceStart(anchor, _) => {
                reading.open(span.start.line(), Content::List(Vec::new()), anchor)?;
            }
            Event::MappingStart(anchor, _) => {
                reading.open(span.start.line(), Content::Map(Vec::new()), anchor)?;
            }
        }
    }
    Ok(reading.nodes)
}

/// A block scalar that the text ends within, as far as it goes.
fn without_break(scalar: Cow<'_, str>) -> Cow<'_, str> {
    match scalar {
        Cow::Borrowed(scalar) => scalar.strip_suffix('\n').unwrap_or(scalar).into(),
        Cow::Owned(mut scalar) => {
            if scalar.ends_with('\n') {
                scalar.pop();
            }
            scalar.into()
        }
    }
}

fn full(tag: &Tag) -> Box<str> {
    format!("{}{}", tag.handle, tag.suffix).into()
}

#[derive(Default)]
struct Reading<'t> {
    nodes: Vec<Node<'t>>,
    /// The collections that have not ended, outermost first.
    open: Vec<Place>,
    anchors: HashMap<usize, Place>,
}

impl<'t> Reading<'t> {
    fn add(&mut self, line: usize, content: Content<'t>, anchor: usize) -> Place {
        let place = self.nodes.len();
        if let Some(parent) = self.open.last()
            && let Content::List(children) | Content::Map(children) = &mut self.nodes[*parent].content
        {
            children.push(place);
        }
        self.nodes.push(Node { line, content });
        if anchor != 0 {
            self.anchors.insert(anchor, place);
        }
        place
    }

    fn open(&mut self, line: usize, content: Content<'t>, anchor: usize) -> Result<(), DecodeError> {
        let place = self.add(line, content, anchor);
        self.open.push(place);
        if self.open.len() > MAX_OPEN {
            return Err(DecodeError::TooDeep);
        }
        Ok(())
    }
}
