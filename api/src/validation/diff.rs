//! The difference of two texts, as messages show it: what Python's difflib makes of them, which upstream's Go port follows.

/// Lines that stay around a change.
const CONTEXT: usize = 3;

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
    matching(a, b, (0, a.len()), (0, b.len()), &mut blocks);
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

/// The longest block of same lines, and those on both sides of it.
fn matching(
    a: &[&str],
    b: &[&str],
    in_a: (usize, usize),
    in_b: (usize, usize),
    blocks: &mut Vec<(usize, usize, usize)>,
) {
    let (start_a, start_b, size) = longest(a, b, in_a, in_b);
    if size == 0 {
        return;
    }
    matching(a, b, (in_a.0, start_a), (in_b.0, start_b), blocks);
    blocks.push((start_a, start_b, size));
    matching(a, b, (start_a + size, in_a.1), (start_b + size, in_b.1), blocks);
}

/// The first of the longest.
fn longest(a: &[&str], b: &[&str], in_a: (usize, usize), in_b: (usize, usize)) -> (usize, usize, usize) {
    let mut best = (in_a.0, in_b.0, 0);
    // How long the block is that ends at a line of `b` and the line of `a` before.
    let mut before = vec![0; b.len() + 1];
    for (i, line) in a.iter().enumerate().take(in_a.1).skip(in_a.0) {
        let mut here = vec![0; b.len() + 1];
        for j in in_b.0..in_b.1 {
            if b[j] == *line {
                let size = before[j] + 1;
                here[j + 1] = size;
                if size > best.2 {
                    best = (i + 1 - size, j + 1 - size, size);
                }
            }
        }
        before = here;
    }
    best
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
}
