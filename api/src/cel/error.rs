//! What can go wrong.

use std::fmt;

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression failed; `||`, `&&` and macros may yet do without it.
    #[error("{0}")]
    Failed(String),
    /// It would have cost more than it may; nothing can do without it.
    #[error("operation cancelled: actual cost limit exceeded")]
    TooCostly,
}

impl EvalError {
    /// A failure of these words.
    pub fn new(message: impl Into<String>) -> Self {
        EvalError::Failed(message.into())
    }
}

/// A fault of an expression, at a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 0; -1 where there is nothing to point at.
    pub column: i64,
    /// What is wrong.
    pub message: String,
}

/// All that is wrong with an expression, as cel-go writes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Issues {
    /// The expression.
    pub expression: String,
    /// In the order of their places.
    pub issues: Vec<Issue>,
}

/// Longer lines are not shown.
const SNIPPET_MAX: usize = 16_384;

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.issues.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(
                f,
                "ERROR: <input>:{}:{}: {}",
                issue.line,
                issue.column + 1,
                issue.message
            )?;
            let line = self.expression.split('\n').nth(issue.line.saturating_sub(1));
            let Some(line) = line.filter(|line| line.len() <= SNIPPET_MAX && !self.expression.is_empty())
            else {
                continue;
            };
            let line = line.replace('\t', " ");
            write!(f, "\n | {line}\n | ")?;
            let wide = |c: char| c.len_utf8() > 1;
            let column = usize::try_from(issue.column).unwrap_or(0);
            for c in line.chars().take(column) {
                f.write_str(if wide(c) { "\u{ff0e}" } else { "." })?;
            }
            let at = line.chars().nth(column);
            f.write_str(if at.is_some_and(wide) { "\u{ff3e}" } else { "^" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_shown() {
        let issue = Issue {
            line: 1,
            column: 5,
            message: "undefined field 'x'".to_owned(),
        };
        let issues = Issues {
            expression: "self.x".to_owned(),
            issues: vec![issue],
        };
        assert_eq!(
            issues.to_string(),
            "ERROR: <input>:1:6: undefined field 'x'\n | self.x\n | .....^"
        );
    }
}
