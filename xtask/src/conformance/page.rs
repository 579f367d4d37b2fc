//! What came of a run, as a page. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::outcome::{Outcome, Run, Verdict};

/// How many specs of a group ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) not_run: usize,
}

impl Count {
    fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::NotRun(_) => &mut self.not_run,
        } += 1;
    }

    fn all(self) -> usize {
        self.passed + self.failed + self.not_run
    }
}

/// How the run ended as a whole.
pub(crate) fn count(run: &Run) -> Count {
    let mut count = Count::default();
    run.outcomes
        .iter()
        .for_each(|outcome| count.add(&outcome.verdict));
    count
}

/// A few lines for whoever waits for a run: each failure, and the count.
pub(crate) fn summary(run: &Run) -> String {
    let mut text = String::new();
    for Outcome { sig, name, verdict } in &run.outcomes {
        if let Verdict::Failed(reason) = verdict {
            let _ = writeln!(text, "✗ [sig-{sig}] {name}: {reason}");
        }
    }
    let Count {
        passed,
        failed,
        not_run,
    } = count(run);
    let _ = writeln!(
        text,
        "{passed} passed, {failed} failed, {not_run} not run, in {} minutes",
        run.minutes
    );
    text
}

/// The whole page; `stand_ins` tells for each image what it is made of.
pub(crate) fn render(run: &Run, stand_ins: &[(&str, &str)]) -> String {
    let total = count(run);
    let mut page = String::from("# Conformance\n\n");
    let _ = write!(
        page,
        "{} of {} specs of the conformance suite of Kubernetes v1.36.3 pass, on a fresh cluster of two nodes, with {} processes \
         in {} minutes. `make conformance` writes this page; `make conformance FOCUS=REGEX` runs a part of it.\n\n",
        total.passed,
        total.all(),
        run.processes,
        run.minutes
    );
    page.push_str(&table(run, total));
    for (title, verdict) in [
        ("Failed", failed as fn(&Verdict) -> Option<&str>),
        ("Not run", not_run),
    ] {
        page.push_str(&section(run, title, verdict));
    }
    page.push_str(
        "\n## Images\n\nThe suite's images are built on the spot and loaded into the nodes; none is pulled. All are stand-ins:\n\n\
         | image | what it is here |\n|---|---|\n",
    );
    for (name, instead) in stand_ins {
        let _ = writeln!(page, "| {name} | {instead} |");
    }
    page
}

fn table(run: &Run, total: Count) -> String {
    let mut groups: BTreeMap<&str, Count> = BTreeMap::new();
    for outcome in &run.outcomes {
        groups.entry(&outcome.sig).or_default().add(&outcome.verdict);
    }
    let mut text = String::from("| SIG | specs | passed | failed | not run |\n|---|--:|--:|--:|--:|\n");
    for (sig, count) in groups.into_iter().chain([("all", total)]) {
        let Count {
            passed,
            failed,
            not_run,
        } = count;
        let _ = writeln!(
            text,
            "| {sig} | {} | {passed} | {failed} | {not_run} |",
            count.all()
        );
    }
    text
}

fn failed(verdict: &Verdict) -> Option<&str> {
    if let Verdict::Failed(reason) = verdict {
        Some(reason)
    } else {
        None
    }
}

fn not_run(verdict: &Verdict) -> Option<&str> {
    if let Verdict::NotRun(reason) = verdict {
        Some(reason)
    } else {
        None
    }
}

/// The specs that ended in one way, by group, with reasons; nothing where there are none.
fn section(run: &Run, title: &str, reason: fn(&Verdict) -> Option<&str>) -> String {
    let mut text = String::new();
    let mut group = "";
    for outcome in &run.outcomes {
        let Some(reason) = reason(&outcome.verdict) else {
            continue;
        };
        if text.is_empty() {
            let _ = writeln!(text, "\n## {title}");
        }
        if group != outcome.sig {
            group = &outcome.sig;
            let _ = writeln!(text, "\n### {group}\n");
        }
        let _ = writeln!(text, "- {}: {}", plain(&outcome.name), plain(reason));
    }
    text
}

/// Text that Markdown does not take for markup.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        if matches!(character, '<' | '>' | '*' | '_' | '`' | '[' | ']' | '|' | '\\') {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sig: &str, name: &str, verdict: Verdict) -> Outcome {
        let (sig, name) = (sig.to_owned(), name.to_owned());
        Outcome { sig, name, verdict }
    }

    fn run() -> Run {
        let outcomes = vec![
            outcome(
                "apps",
                "Job should run",
                Verdict::Failed("no <Job> (job.go:1)".to_owned()),
            ),
            outcome("network", "DNS should answer", Verdict::Passed),
            outcome(
                "network",
                "Proxy should proxy",
                Verdict::Failed("502 (proxy.go:2)".to_owned()),
            ),
            outcome(
                "node",
                "Pods should rest",
                Verdict::NotRun("needs Windows".to_owned()),
            ),
        ];
        Run {
            processes: 6,
            minutes: 44,
            outcomes,
        }
    }

    #[test]
    fn a_page_counts_by_group_and_names_what_failed() {
        let expected = "\
# Conformance

1 of 4 specs of the conformance suite of Kubernetes v1.36.3 pass, on a fresh cluster of two nodes, with 6 processes in 44 minutes. \
`make conformance` writes this page; `make conformance FOCUS=REGEX` runs a part of it.

| SIG | specs | passed | failed | not run |
|---|--:|--:|--:|--:|
| apps | 1 | 0 | 1 | 0 |
| network | 2 | 1 | 1 | 0 |
| node | 1 | 0 | 0 | 1 |
| all | 4 | 1 | 2 | 1 |

## Failed

### apps

- Job should run: no \\<Job\\> (job.go:1)

### network

- Proxy should proxy: 502 (proxy.go:2)

## Not run

### node

- Pods should rest: needs Windows

## Images

The suite's images are built on the spot and loaded into the nodes; none is pulled. All are stand-ins:

| image | what it is here |
|---|---|
| pause | another |
";
        assert_eq!(render(&run(), &[("pause", "another")]), expected);
    }

    #[test]
    fn a_summary_names_what_failed() {
        let expected = "✗ [sig-apps] Job should run: no <Job> (job.go:1)\n\
            ✗ [sig-network] Proxy should proxy: 502 (proxy.go:2)\n\
            1 passed, 2 failed, 1 not run, in 44 minutes\n";
        assert_eq!(summary(&run()), expected);
    }
}
