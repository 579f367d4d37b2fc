//! Holds every input of `corpus/` against what must hold, and the corpora against what they are for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use coracle_fuzz::CHECKS;

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A corpus in which nothing can be decoded, or everything, is not where a search should begin.
#[test]
fn every_corpus_holds_and_has_good_and_bad_inputs() {
    for (name, check) in CHECKS {
        let outcomes: BTreeSet<bool> = entries(&corpus().join(name))
            .iter()
            .map(|path| {
                let input = std::fs::read(path).expect("it can be read");
                eprintln!("{}", path.display());
                check(&input)
            })
            .collect();
        assert_eq!(outcomes.len(), 2, "{name}: all inputs are decoded: {outcomes:?}");
    }
}

#[test]
fn every_check_has_a_target_and_a_corpus() {
    let checks: BTreeSet<String> = CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        entries(&folder).iter().filter_map(stem).collect()
    };
    assert_eq!(names(corpus()), checks);
    assert_eq!(
        names(Path::new(env!("CARGO_MANIFEST_DIR")).join("targets")),
        checks
    );
}
