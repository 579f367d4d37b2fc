//! ginkgo's report in JSON, down to what came of each spec. Pure.

use serde::Deserialize;

/// A run as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// How many processes ran specs beside each other.
    pub(crate) processes: u64,
    /// How long it took.
    pub(crate) minutes: u64,
    /// What came of each spec that was to run, and of what goes before and after all of them where that failed.
    pub(crate) outcomes: Vec<Outcome>,
}

/// What came of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The special interest group that owns it.
    pub(crate) sig: String,
    /// Its name, without the group and without the labels that all of them have.
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

/// How a spec ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// With a reason in one line, which ends with the place in the suite's sources.
    Failed(String),
    /// It says itself that it cannot run here, or the run ended before its turn.
    NotRun(String),
}

/// The longest reason that is told, in characters.
const LONGEST_REASON: usize = 240;

/// The label of the specs that are to run.
const CONFORMANCE: &str = "Conformance";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    suite_config: SuiteConfig,
    /// In nanoseconds.
    run_time: u64,
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SuiteConfig {
    parallel_total: u64,
    focus_strings: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    leaf_node_labels: Option<Vec<String>>,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
    forwarded_panic: String,
    location: Location,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Location {
    file_name: String,
    line_number: u64,
}

/// Reads a report.
///
/// # Errors
/// When it is no JSON, or not ginkgo's.
pub(crate) fn parse(text: &str) -> serde_json::Result<Run> {
    let reports: Vec<Report> = serde_json::from_str(text)?;
    let mut run = Run {
        processes: 1,
        minutes: 0,
        outcomes: Vec::new(),
    };
    let mut nanoseconds = 0;
    for report in reports {
        run.processes = run.processes.max(report.suite_config.parallel_total);
        nanoseconds += report.run_time;
        let part = report
            .suite_config
            .focus_strings
            .is_some_and(|focus| !focus.is_empty());
        let specs = report.spec_reports.unwrap_or_default();
        run.outcomes
            .extend(specs.iter().filter_map(|spec| outcome(spec, part)));
    }
    run.minutes = nanoseconds.div_ceil(60_000_000_000);
    run.outcomes
        .sort_by(|one, other| (&one.sig, &one.name).cmp(&(&other.sig, &other.name)));
    Ok(run)
}

/// What came of a spec; nothing if it was not to run. Of the specs that a run of a `part` passes over, the report does not
/// tell those that were not asked for from those that it did not come to.
fn outcome(spec: &Spec, part: bool) -> Option<Outcome> {
    let failure = &spec.failure;
    let is_spec = spec.leaf_node_type == "It";
    let verdict = match spec.state.as_str() {
        "passed" if is_spec => Verdict::Passed,
        "passed" => return None,
        "skipped" | "pending" if !failure.message.is_empty() => Verdict::NotRun(one_line(&failure.message)),
        "skipped" | "pending" if part || !spec.is_conformance() => return None,
        "skipped" | "pending" => Verdict::NotRun("the run ended before its turn".to_owned()),
        state => Verdict::Failed(reason(state, failure)),
    };
    let (sig, name) = spec.title();
    Some(Outcome { sig, name, verdict })
}

impl Spec {
    fn is_conformance(&self) -> bool {
        self.leaf_node_labels
            .iter()
            .flatten()
            .any(|label| label == CONFORMANCE)
    }

    /// Group and name.
    fn title(&self) -> (String, String) {
        let mut words = self.container_hierarchy_texts.clone().unwrap_or_default();
        words.push(self.leaf_node_text.clone());
        let text = words
            .join(" ")
            .replace("[Conformance]", "")
            .replace("[NodeConformance]", "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let named = text.strip_prefix("[sig-").and_then(|rest| rest.split_once("] "));
        match named {
            Some((sig, name)) => (sig.to_owned(), name.to_owned()),
            None if text.is_empty() => ("suite".to_owned(), self.leaf_node_type.clone()),
            None => ("suite".to_owned(), text),
        }
    }
}

fn reason(state: &str, failure: &Failure) -> String {
    let message = match (failure.message.as_str(), failure.forwarded_panic.as_str()) {
        (message, "") => message.to_owned(),
        (message, panic) => format!("{message}: {panic}"),
    };
    let mut text = one_line(&message);
    if text.is_empty() || state == "interrupted" || state == "timedout" {
        text = format!("{state}: {text}");
    }
    let file = failure.location.file_name.rsplit('/').next().unwrap_or_default();
    if !file.is_empty() {
        text.push_str(&format!(" ({file}:{})", failure.location.line_number));
    }
    text
}

/// The beginning of a message, without the dumps of Go values that follow it.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.take_while(|line| !line.starts_with("<*") && !line.starts_with("{"));
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut short: String = text.chars().take(LONGEST_REASON).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(state: &str, message: &str) -> Value {
        json!({
            "ContainerHierarchyTexts": ["[sig-network] DNS"],
            "LeafNodeType": "It",
            "LeafNodeText": "should answer  [Conformance]",
            "LeafNodeLabels": ["Conformance"],
            "State": state,
            "Failure": { "Message": message, "Location": { "FileName": "k8s.io/e2e/network/dns.go", "LineNumber": 7 } },
        })
    }

    fn run(specs: &[Value], focus: &[&str]) -> Run {
        let report = json!([{
            "SuiteConfig": { "ParallelTotal": 6, "FocusStrings": focus },
            "RunTime": 61_000_000_000_u64,
            "SpecReports": specs,
        }]);
        parse(&report.to_string()).unwrap()
    }

    fn verdict(spec: &Value) -> Verdict {
        run(std::slice::from_ref(spec), &[]).outcomes[0].verdict.clone()
    }

    #[test]
    fn a_run_has_its_specs_by_group_and_name() {
        let run = run(&[spec("passed", "")], &[]);
        let outcome = Outcome {
            sig: "network".to_owned(),
            name: "DNS should answer".to_owned(),
            verdict: Verdict::Passed,
        };
        let expected = Run {
            processes: 6,
            minutes: 2,
            outcomes: vec![outcome],
        };
        assert_eq!(run, expected);
    }

    #[test]
    fn every_end_but_a_good_one_is_a_failure() {
        for (state, message, expected) in [
            ("failed", "no answer", "no answer (dns.go:7)"),
            (
                "failed",
                "Timed out.\n  Expected\n <*v1.Pod | 0xc0>: {}\nto be",
                "Timed out. Expected (dns.go:7)",
            ),
            ("panicked", "Test Panicked", "Test Panicked (dns.go:7)"),
            ("timedout", "suite", "timedout: suite (dns.go:7)"),
            ("interrupted", "", "interrupted:  (dns.go:7)"),
            ("a state of tomorrow", "", "a state of tomorrow:  (dns.go:7)"),
        ] {
            assert_eq!(
                verdict(&spec(state, message)),
                Verdict::Failed(expected.to_owned()),
                "{state}"
            );
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "é".repeat(LONGEST_REASON + 1);
        let expected = format!("{}…", "é".repeat(LONGEST_REASON));
        assert_eq!(one_line(&long), expected);
    }

    #[test]
    fn a_spec_that_did_not_run_is_told_apart_from_one_that_was_not_to() {
        let why = Verdict::NotRun("needs Windows".to_owned());
        assert_eq!(verdict(&spec("skipped", "needs Windows")), why);
        let ended = Verdict::NotRun("the run ended before its turn".to_owned());
        assert_eq!(verdict(&spec("skipped", "")), ended);
        assert_eq!(run(&[spec("skipped", "")], &["DNS"]).outcomes, []);
        let mut other = spec("skipped", "");
        other["LeafNodeLabels"] = json!(["Slow"]);
        assert_eq!(run(&[other], &[]).outcomes, []);
    }

    #[test]
    fn what_goes_before_all_specs_counts_where_it_failed() {
        let mut before = spec("failed", "no nodes");
        before["LeafNodeType"] = json!("SynchronizedBeforeSuite");
        before["LeafNodeText"] = json!("");
        before["ContainerHierarchyTexts"] = Value::Null;
        let seen = run(&[before.clone()], &["DNS"]);
        assert_eq!(seen.outcomes[0].sig, "suite");
        assert_eq!(seen.outcomes[0].name, "SynchronizedBeforeSuite");
        assert_eq!(
            seen.outcomes[0].verdict,
            Verdict::Failed("no nodes (dns.go:7)".to_owned())
        );
        before["State"] = json!("passed");
        assert_eq!(run(&[before], &[]).outcomes, []);
    }
}
