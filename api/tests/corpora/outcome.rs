//! What came of a corpus.

use std::collections::BTreeMap;

/// The cases of a corpus, counted.
#[derive(Default)]
pub(crate) struct Outcome {
    passed: usize,
    /// What went wrong, by the case's name.
    failed: BTreeMap<String, String>,
    /// Cases that nothing here answers yet, and why.
    unanswered: BTreeMap<String, usize>,
}

impl Outcome {
    /// Counts a case: passed when nothing is wrong with it.
    pub(crate) fn count(&mut self, name: &str, wrong: Option<String>) {
        match wrong {
            None => self.passed += 1,
            Some(wrong) => drop(self.failed.insert(name.to_owned(), wrong)),
        }
    }

    /// Counts a case that nothing answers, because of `why`.
    pub(crate) fn unanswered(&mut self, why: &str, cases: usize) {
        *self.unanswered.entry(why.to_owned()).or_default() += cases;
    }

    fn cases(&self) -> usize {
        self.passed + self.failed.len() + self.unanswered.values().sum::<usize>()
    }

    /// Prints the line of the corpus, and fails when it has fewer cases than `at_least` or a case failed that is not
    /// among those `known` to.
    pub(crate) fn conclude(self, corpus: &str, at_least: usize, known: &[&str]) {
        let mut remarks: Vec<String> = self.failed.keys().cloned().collect();
        let unanswered = self.unanswered.iter();
        remarks.extend(unanswered.map(|(why, cases)| format!("{cases} not answered: {why}")));
        println!(
            "| {corpus} | {} | {} | {} |",
            self.cases(),
            self.passed,
            remarks.join("; ")
        );
        let new: Vec<_> = self
            .failed
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .collect();
        assert!(new.is_empty(), "{corpus}: {} fail: {new:#?}", new.len());
        assert!(
            self.cases() >= at_least,
            "{corpus}: only {} cases were read",
            self.cases()
        );
        for name in known {
            assert!(
                self.failed.contains_key(*name),
                "{corpus}: {name} passes by now: strike it off"
            );
        }
    }
}
