//! `docs/security.md` names tests as `` `file::test` ``; a row whose test is gone would be a promise that nobody keeps.

use std::path::Path;

use anyhow::Context;

/// The page, from the root.
pub(crate) const PAGE: &str = "docs/security.md";

/// What is wrong with the page: a row of the table of attacks without a test, and tests that are not there.
///
/// # Errors
/// When the page cannot be read.
pub(crate) fn faults(root: &Path) -> anyhow::Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let source = |file: &str| std::fs::read_to_string(root.join(file)).ok();
    Ok(judge(&page, source))
}

/// Pure: `source` gives a file's text, where there is one.
fn judge(page: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (attack, tests) in rows(page) {
        let named: Vec<_> = tests
            .split('`')
            .filter_map(|word| word.split_once(".rs::"))
            .collect();
        if named.is_empty() {
            faults.push(format!("{PAGE}: no test holds \"{attack}\""));
        }
        for (file, test) in named {
            let is_there = source(&format!("{file}.rs")).is_some_and(|text| has_test(&text, test));
            if !is_there {
                faults.push(format!("{PAGE}: {file}.rs has no test {test}"));
            }
        }
    }
    if faults.is_empty() && rows(page).next().is_none() {
        faults.push(format!("{PAGE}: the table of attacks is not where it was"));
    }
    faults
}

/// First and last column of the table of attacks.
fn rows(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let section = page.split("\n## ").find(|section| section.starts_with("Attacks"));
    let lines = section
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2);
    lines.filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        Some((cells.next()?, cells.next_back()?))
    })
}

/// Whether the source has a function of that name below an attribute that makes it a test.
fn has_test(source: &str, name: &str) -> bool {
    let start = format!("fn {name}(");
    source.match_indices(&start).any(|(at, _)| {
        let before = source[..at].lines().rev().skip_while(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with("async") || line.starts_with("pub")
        });
        before
            .take_while(|line| line.trim_start().starts_with(['#', '/']))
            .any(|line| line.contains("test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "#[test]\nfn holds() {}\n\nfn helps() {}\n\n/// Why.\n#[tokio::test]\nasync fn holds_too() {}\n";

    fn judged(cell: &str) -> Vec<String> {
        let page = format!(
            "# A\n\n## Attacks\n\n| attack | what | tests |\n|---|---|---|\n| bombs | no | {cell} |\n\n## B\n"
        );
        judge(&page, |file| (file == "a/b.rs").then(|| SOURCE.to_owned()))
    }

    #[test]
    fn a_row_names_tests_that_are_there() {
        assert!(judged("`a/b.rs::holds`, `a/b.rs::holds_too`").is_empty());
        assert_eq!(judged("`a/b.rs::helps`").len(), 1, "a function is no test");
        assert_eq!(judged("`a/b.rs::gone`, `a/c.rs::holds`").len(), 2);
        assert_eq!(judged("trust us").len(), 1);
        assert_eq!(judge("# A\n", |_| None).len(), 1);
    }
}
