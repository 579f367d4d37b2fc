//! What pairs of measurements come to, as tables. Pure.

use crate::load::{Named, Sample};
use crate::report::Table;
use crate::stats::{Spread, percentile_ms};
use anyhow::ensure;

/// Something of a sample that can be compared.
type Facet = fn(&Sample) -> f64;

const FACETS: [(&str, Facet); 4] = [
    ("CPU s", |sample| sample.cpu.as_secs_f64()),
    ("p50 ms", |sample| percentile_ms(&sample.latencies, 0.5)),
    ("p99 ms", |sample| percentile_ms(&sample.latencies, 0.99)),
    ("peak MiB", |sample| sample.peak),
];

/// The samples of each row, both sides' of one pair together.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    rows: Vec<(String, Vec<[Sample; 2]>)>,
}

impl Pairs {
    /// Adds what both sides came to in one pair.
    pub(super) fn add(&mut self, ours: Vec<Named>, theirs: Vec<Named>) -> anyhow::Result<()> {
        ensure!(ours.len() == theirs.len(), "both sides do the same work");
        for ((name, ours), (same, theirs)) in ours.into_iter().zip(theirs) {
            ensure!(name == same, "{name} is measured against {same}");
            match self.rows.iter_mut().find(|(row, _)| *row == name) {
                Some((_, samples)) => samples.push([ours, theirs]),
                None => self.rows.push((name, vec![[ours, theirs]])),
            }
        }
        Ok(())
    }

    /// How many times more the peer takes than Coracle, and what both take.
    pub(super) fn tables(&self, pairs: usize) -> [Table; 2] {
        let heads = FACETS.map(|(name, _)| name);
        let note = format!(
            "How many times as much the peer takes for the same work as Coracle: CPU time of its servers, time of one \
             request (or of the whole, where it is one), and the most memory resident meanwhile. Above 1, Coracle is \
             better. The ratio is made pair by pair; {pairs} pairs: median (least–most)."
        );
        let head = std::iter::once("what").chain(heads.map(|name| name.split(' ').next().unwrap_or(name)));
        let mut ratios = Table::new("Ratios", &note, head);
        let head = std::iter::once("what".to_owned()).chain(heads.map(str::to_owned));
        let head: Vec<String> = head.collect();
        let note = "What the ratios are made of, Coracle : peer, median of all pairs.";
        let mut amounts = Table::new("Amounts", note, head.iter().map(String::as_str));
        for (name, samples) in &self.rows {
            let cells = FACETS.map(|(_, facet)| ratio(samples, facet));
            ratios.row(std::iter::once(name.clone()).chain(cells));
            let cells = FACETS.map(|(_, facet)| {
                let middle = |side: usize| Spread::of(samples.iter().map(|pair| facet(&pair[side]))).median();
                format!("{} : {}", middle(0), middle(1))
            });
            amounts.row(std::iter::once(name.clone()).chain(cells));
        }
        [ratios, amounts]
    }
}

fn ratio(samples: &[[Sample; 2]], facet: Facet) -> String {
    let ratios = samples.iter().map(|[ours, theirs]| facet(theirs) / facet(ours));
    format!("{} ×", Spread::of(ratios))
}

/// One cluster alone.
pub(super) fn alone(samples: &[Named]) -> Table {
    let head = std::iter::once("what").chain(FACETS.map(|(name, _)| name));
    let mut table = Table::new("One cluster", "", head);
    for (name, sample) in samples {
        let cells = FACETS.map(|(_, facet)| Spread::of([facet(sample)]).median());
        table.row(std::iter::once(name.clone()).chain(cells));
    }
    table
}

/// A sample in a line, for whoever waits.
pub(super) fn line(name: &str, sample: &Sample) -> String {
    let per_second = sample.latencies.len() as f64 / sample.took.as_secs_f64();
    let facets = FACETS.map(|(what, facet)| format!("{} {what}", Spread::of([facet(sample)]).median()));
    format!("{name}: {}, {per_second:.0}/s", facets.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(milliseconds: u64) -> Sample {
        Sample {
            cpu: Duration::from_millis(milliseconds),
            took: Duration::from_millis(10 * milliseconds),
            latencies: vec![Duration::from_millis(milliseconds); 3],
            peak: milliseconds as f64,
        }
    }

    fn named(milliseconds: u64) -> Vec<Named> {
        vec![("row".to_owned(), sample(milliseconds))]
    }

    #[test]
    fn ratios_are_made_pair_by_pair() {
        let mut pairs = Pairs::default();
        for (ours, theirs) in [(100, 400), (200, 1000), (100, 300)] {
            pairs.add(named(ours), named(theirs)).expect("the same row");
        }
        let [ratios, amounts] = pairs.tables(3);
        let cell = "4.00 (3.00–5.00) ×";
        assert!(
            ratios
                .to_string()
                .ends_with(&format!("| row | {cell} | {cell} | {cell} | {cell} |\n")),
            "{ratios}"
        );
        assert!(
            amounts
                .to_string()
                .ends_with("| row | 0.100 : 0.400 | 100 : 400 | 100 : 400 | 100 : 400 |\n"),
            "{amounts}"
        );
    }

    #[test]
    fn different_work_is_not_compared() {
        let mut pairs = Pairs::default();
        let other = vec![("other".to_owned(), sample(1))];
        assert!(pairs.add(named(1), other).is_err());
        assert!(pairs.add(named(1), Vec::new()).is_err());
    }
}
