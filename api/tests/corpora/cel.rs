//! CEL's conformance files (google/cel-spec): counted by file.

use crate::archive::files;
use crate::outcome::Outcome;

/// How many tests a file in protobuf's text form has: each opens a block of that name.
fn tests(text: &str) -> usize {
    let opens = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        (first == "test" || first == "test:") && words.next() == Some("{") || first == "test{"
    };
    text.lines().filter(|line| opens(line)).count()
}

#[test]
fn conformance() {
    let Some(files) = files("cel-conformance.tar.gz") else {
        return;
    };
    let mut outcome = Outcome::default();
    for (path, bytes) in files {
        if path.ends_with(".textproto") {
            outcome.unanswered("nothing evaluates CEL", tests(&String::from_utf8(bytes).unwrap()));
        }
    }
    outcome.conclude("CEL, conformance files", 1800, &[]);
}
