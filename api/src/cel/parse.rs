//! From text to a syntax tree, by the parser of the `cel` crate with the macros that Kubernetes has.
//!
//! The crate's parser is used, and not its evaluator: that copies lists and maps whole where it passes them on, runs as long as
//! it likes, and knows neither costs nor types.

use std::sync::LazyLock;

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::{Env, ParseErrors};

use super::error::{Issue, Issues};
use super::macros;

/// Longer expressions are refused before they are read.
pub const SOURCE_MAX: usize = 100_000;
/// Deeper expressions are refused by the parser.
const DEPTH_MAX: u16 = 96;
/// Brackets within brackets that are refused before the parser, which calls itself for each, sees them.
const BRACKETS_MAX: usize = 48;
/// Deeper trees are refused before they are built.
const TREE_MAX: usize = 160;

/// A syntax tree and where its nodes stand.
pub(super) struct Parsed {
    pub root: IdedExpr,
    pub info: SourceInfo,
}

static ENVIRONMENT: LazyLock<Env> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for one in macros::all() {
        env.add_macro(one).expect("each macro is added once");
    }
    env
});

/// A fault of an expression as a whole.
pub(super) fn refused(message: String) -> Issues {
    Issues {
        expression: String::new(),
        issues: vec![Issue {
            line: 1,
            column: -1,
            message,
        }],
    }
}

/// Refuses what is too long or too deep to be read.
pub(super) fn within_limits(source: &str) -> Result<(), Issues> {
    if source.len() > SOURCE_MAX {
        return Err(refused(format!(
            "expression code point size exceeds limit: size: {}, limit {SOURCE_MAX}",
            source.chars().count()
        )));
    }
    if is_deep(source) {
        return Err(refused(format!(
            "expression recursion limit exceeded: {TREE_MAX}"
        )));
    }
    Ok(())
}

/// Reads an expression that is within the limits.
pub(super) fn parse(source: &str) -> Result<Parsed, Issues> {
    let parser = ENVIRONMENT
        .parser()
        .max_recursion_depth(DEPTH_MAX)
        .enable_ident_escape_syntax(true);
    let (root, info) = parser
        .parse_with_source_info(source)
        .map_err(|errors| issues(source, &errors))?;
    Ok(Parsed { root, info })
}

/// A bracket that is open, or the expression itself.
#[derive(Clone, Copy, Default)]
struct Level {
    /// How deep the operand on the left is by now: each operator puts what was before it one deeper.
    left: usize,
    /// How deep what was before the last comma, `&&` or `||` is.
    done: usize,
    /// Conditions that are not over before a comma.
    conditions: usize,
}

impl Level {
    fn depth(self) -> usize {
        self.left.max(self.done) + self.conditions + 1
    }

    fn separate(&mut self, conditions: bool) {
        self.done = self.left.max(self.done);
        self.left = 0;
        if conditions {
            self.done += self.conditions;
            self.conditions = 0;
        }
    }
}

/// How deep the tree of an expression may get, told without building it, since whatever walks a tree calls itself for each
/// branch. What is in quotes or after `//` does not count.
fn is_deep(source: &str) -> bool {
    let mut levels = vec![Level::default()];
    let mut chars = source.chars().peekable();
    let mut word = String::new();
    while let Some(c) = chars.next() {
        let Some(level) = levels.last_mut() else { break };
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if std::mem::take(&mut word) == "in" {
            level.left += 1;
        }
        match c {
            '"' | '\'' => skip_quoted(&mut chars, c),
            '/' if chars.peek() == Some(&'/') => while chars.next().is_some_and(|c| c != '\n') {},
            '(' | '[' | '{' => levels.push(Level::default()),
            ')' | ']' | '}' => {
                let inner = level.depth();
                if levels.len() > 1 {
                    levels.pop();
                }
                if let Some(outer) = levels.last_mut() {
                    outer.left = outer.left.max(inner) + 1;
                }
            }
            ',' => level.separate(true),
            '&' | '|' => level.separate(false),
            '?' => level.conditions += 1,
            '.' | '+' | '-' | '*' | '/' | '%' | '<' | '>' | '=' | '!' => level.left += 1,
            _ => {}
        }
        let depth = levels.iter().map(|level| level.depth()).max().unwrap_or(0);
        if levels.len() > BRACKETS_MAX || depth > TREE_MAX {
            return true;
        }
    }
    false
}

/// Skips to the end of a quoted text, which may be in triple quotes.
fn skip_quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) {
    let rest: Vec<char> = chars.clone().take(2).collect();
    let triple = rest == [quote, quote];
    if triple {
        chars.nth(1);
    }
    let mut run = 0;
    while let Some(c) = chars.next() {
        run = if c == quote { run + 1 } else { 0 };
        if c == '\\' {
            chars.next();
        } else if run == if triple { 3 } else { 1 } {
            return;
        }
    }
}

fn issues(source: &str, errors: &ParseErrors) -> Issues {
    let mut issues: Vec<Issue> = errors
        .errors
        .iter()
        .map(|error| Issue {
            line: usize::try_from(error.pos.0).unwrap_or(1).max(1),
            // Of what is empty, cel-go points before the start.
            column: i64::try_from(error.pos.1).unwrap_or(0) - if source.is_empty() { 2 } else { 1 },
            message: error.msg.clone(),
        })
        .collect();
    issues.sort_by_key(|issue| (issue.line, issue.column));
    Issues {
        expression: source.to_owned(),
        issues,
    }
}

/// The place of a node.
pub(super) fn place(parsed: &Parsed, id: u64) -> (usize, i64) {
    let offset = parsed.info.offset_for(id).map_or(0, |(start, _)| start as usize);
    let before: Vec<char> = parsed.info.source.chars().take(offset).collect();
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    let column = before.iter().rev().take_while(|c| **c != '\n').count();
    (line, i64::try_from(column).unwrap_or(i64::MAX))
}
