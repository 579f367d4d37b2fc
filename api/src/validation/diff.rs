//! The difference of two texts, as messages show it: what Python's difflib makes of them, which upstream's Go port follows.

use std::collections::HashMap;

/// Lines that stay around a change.
const CONTEXT: usize = 3;
/// From how many lines on a text is a long one.
const LONG: usize = 200;

/// What became of a run of lines: its ends in the one text and in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    same: bool,
    a: (usize, usize),
    b: (usize, usize),
}

/// A unified difference without a head; empty where there is none.
pub(super) fn unified(a: &str, b: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let mut text = String::new();
    for hunk in hunks(&runs(&a, &b)) {
        let (first, last) = (hunk[0], hunk[hunk.len() - 1]);
        let (of_a, of_b) = (range(first.a.0, last.a.1), range(first.b.0, last.b.1));
        text.push_str(&format!("@@ -{of_a} +{of_b} @@\n"));
        let mut write = |sign: char, lines: &[&str]| {
            for line in lines {
                text.push(sign);
                text.push_str(line);
                text.push('\n');
            }
        };
        for run in hunk {
            if run.same {
                write(' ', &a[run.a.0..run.a.1]);
            } else {
                write('-', &a[run.a.0..run.a.1]);
                write('+', &b[run.b.0..run.b.1]);
            }
        }
    }
    text
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => (start + 1).to_string(),
        0 => format!("{start},0"),
        lines => format!("{},{lines}", start + 1),
    }
}

/// The texts as runs of lines that are the same and that differ, by turns.
fn runs(a: &[&str], b: &[&str]) -> Vec<Run> {
    let mut blocks = Vec::new();
    Texts::new(a, b).matching((0, a.len()), (0, b.len()), &mut blocks);
    blocks.push((a.len(), b.len(), 0));
    let (mut at_a, mut at_b) = (0, 0);
    let mut runs: Vec<Run> = Vec::new();
    for (in_a, in_b, size) in blocks {
        if at_a < in_a || at_b < in_b {
            runs.push(Run {
                same: false,
                a: (at_a, in_a),
                b: (at_b, in_b),
            });
        }
        (at_a, at_b) = (in_a + size, in_b + size);
        match runs.last_mut() {
            _ if size == 0 => {}
            Some(last) if last.same => (last.a.1, last.b.1) = (at_a, at_b),
            _ => runs.push(Run {
                same: true,
                a: (in_a, at_a),
                b: (in_b, at_b),
            }),
        }
    }
    runs
}

/// Two texts to be compared, and where the lines of the second one stand.
struct Texts<'a> {
    a: &'a [&'a str],
    b: &'a [&'a str],
    places: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Texts<'a> {
    /// In a long text, lines that stand in many places begin no block; they only lengthen one.
    fn new(a: &'a [&'a str], b: &'a [&'a str]) -> Self {
        let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, line) in b.iter().enumerate() {
            places.entry(line).or_default().push(index);
        }
        if b.len() >= LONG {
            places.retain(|_, places| places.len() <= b.len() / 100 + 1);
        }
        Self { a, b, places }
    }

    /// The longest block of same lines, and those on both sides of it.
    fn matching(&self, in_a: (usize, usize), in_b: (usize, usize), blocks: &mut Vec<(usize, usize, usize)>) {
        let (start_a, start_b, size) = self.longest(in_a, in_b);
        if size == 0 {
            return;
        }
        self.matching((in_a.0, start_a), (in_b.0, start_b), blocks);
        blocks.push((start_a, start_b, size));
        self.matching((start_a + size, in_a.1), (start_b + size, in_b.1), blocks);
    }

    /// The first of the longest.
    fn longest(&self, in_a: (usize, usize), in_b: (usize, usize)) -> (usize, usize, usize) {
        let mut best = (in_a.0, in_b.0, 0);
        // How long the block is that ends at a line of `b` and the line of `a` before.
        let mut before: HashMap<usize, usize> = HashMap::new();
        for i in in_a.0..in_a.1 {
            let mut here = HashMap::new();
            let places = self.places.get(self.a[i]).into_iter().flatten().copied();
            for j in places.filter(|j| (in_b.0..in_b.1).contains(j)) {
                let size = 1 + j
                    .checked_sub(1)
                    .and_then(|j| before.get(&j))
                    .copied()
                    .unwrap_or_default();
                here.insert(j, size);
                if size > best.2 {
                    best = (i + 1 - size, j + 1 - size, size);
                }
            }
            before = here;
        }
        let (mut start_a, mut start_b, mut size) = best;
        while start_a > in_a.0 && start_b > in_b.0 && self.a[start_a - 1] == self.b[start_b - 1] {
            (start_a, start_b, size) = (start_a - 1, start_b - 1, size + 1);
        }
        while start_a + size < in_a.1
            && start_b + size < in_b.1
            && self.a[start_a + size] == self.b[start_b + size]
        {
            size += 1;
        }
        (start_a, start_b, size)
    }
}

/// Changes that stand close together, with some of the same around them.
fn hunks(runs: &[Run]) -> Vec<Vec<Run>> {
    let mut runs = runs.to_vec();
    let tail = |run: &mut Run| {
        run.a.0 = run.a.0.max(run.a.1.saturating_sub(CONTEXT));
        run.b.0 = run.b.0.max(run.b.1.saturating_sub(CONTEXT));
    };
    let head = |run: &mut Run| {
        run.a.1 = run.a.1.min(run.a.0 + CONTEXT);
        run.b.1 = run.b.1.min(run.b.0 + CONTEXT);
    };
    runs.first_mut().filter(|run| run.same).into_iter().for_each(tail);
    runs.last_mut().filter(|run| run.same).into_iter().for_each(head);
    let (mut hunks, mut hunk) = (Vec::new(), Vec::new());
    for mut run in runs {
        if run.same && run.a.1 - run.a.0 > 2 * CONTEXT {
            let mut end = run;
            head(&mut end);
            hunk.push(end);
            hunks.push(std::mem::take(&mut hunk));
            tail(&mut run);
        }
        hunk.push(run);
    }
    hunks.push(hunk);
    hunks.retain(|hunk| hunk.iter().any(|run| !run.same));
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_what_is_around_them() {
        let numbers: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
        let a = numbers.join("\n");
        let b = a.replace("\n5\n", "\nfive\n").replace("\n18\n19\n", "\n");
        assert_eq!(
            unified(&a, &b),
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -15,6 +15,4 @@\n 15\n 16\n 17\n-18\n-19\n 20\n"
        );
        assert_eq!(unified(&a, &a), "");
        assert_eq!(unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
    }

    #[test]
    fn in_long_texts_common_lines_only_lengthen_blocks() {
        let common = ["x"; 20].join("\n");
        let numbers: Vec<String> = (1..=200).map(|number| number.to_string()).collect();
        let numbers = numbers.join("\n");
        let (a, b) = (
            format!("{numbers}\nx\n{common}"),
            format!("{numbers}\ny\n{common}"),
        );
        assert_eq!(
            unified(&a, &b),
            "@@ -198,24 +198,24 @@\n 198\n 199\n 200\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n-x\n+y\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n+x\n"
        );
    }
}
