//! The clauses of an `Accept` header, in the order in which they are tried.

use super::Format;

/// One alternative of an `Accept` header.
#[derive(Clone)]
pub(super) struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next()?;
        let (main, sub) = match media_type.split_once('/') {
            Some((main, sub)) => (main.trim(), sub.trim()),
            None if media_type == "*" => ("*", "*"),
            None => return None,
        };
        let parameters: Vec<_> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q");
        let quality = quality.map_or(1.0, |(_, q)| q.parse::<f32>().unwrap_or(0.0));
        Some(Self {
            main,
            sub,
            parameters,
            quality: (quality.clamp(0.0, 1.0) * 1000.0) as u32,
        })
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut named = self.parameters.iter().filter(|(key, _)| *key == name);
        named.next().map(|(_, value)| *value)
    }

    /// Group, version and kind of the object that is asked for in place of the resource's own.
    pub(super) fn target(&self) -> Option<(&'a str, &'a str, &'a str)> {
        let of = |name| self.parameter(name);
        [of("as"), of("g"), of("v")].iter().any(Option::is_some).then(|| {
            let text = |name| of(name).unwrap_or_default();
            (text("g"), text("v"), text("as"))
        })
    }

    /// Whether what is asked for as a stream can be streamed, and no version of the server is asked for.
    pub(super) fn streams_in(&self, format: Format) -> bool {
        let streams = match self.parameter("stream").unwrap_or_default() {
            "" => true,
            stream => stream == "watch" && format != Format::Yaml,
        };
        streams && self.parameter("sv").unwrap_or_default().is_empty()
    }

    /// The formats that it stands for, in the server's order.
    pub(super) fn formats(&self) -> impl Iterator<Item = Format> + use<> {
        let matches = |format: Format| {
            let (main, sub) = format.media_type().split_once('/').unwrap_or_default();
            matches!((self.main, self.sub), ("*", "*"))
                || self.main == main && (self.sub == "*" || self.sub == sub)
        };
        let formats: Vec<Format> = [Format::Json, Format::Yaml, Format::Protobuf]
            .into_iter()
            .filter(|format| matches(*format))
            .collect();
        formats.into_iter()
    }

    /// Whether it is tried before another: by quality, and what is more exact first, however little it is liked, which is
    /// what the order of upstream's library comes to.
    fn goes_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || self.main != "*" && other.main == "*"
            || self.sub != "*" && other.sub == "*"
    }
}

/// The alternatives, in the order in which they are tried.
pub(super) fn clauses(header: &str) -> Vec<Clause<'_>> {
    let texts = header.split(',').map(str::trim).filter(|text| !text.is_empty());
    let mut clauses: Vec<Clause<'_>> = Vec::new();
    // The order is no total one, so the way of sorting is upstream's too: insertion.
    for clause in texts.take(MOST_CLAUSES).filter_map(Clause::parse) {
        let mut at = clauses.len();
        while at > 0 && clause.goes_before(&clauses[at - 1]) {
            at -= 1;
        }
        clauses.insert(at, clause);
    }
    clauses
}

/// As many alternatives are read; no client sends as many.
const MOST_CLAUSES: usize = 64;
