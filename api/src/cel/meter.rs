//! What an evaluation has cost, and where it has to stop.
//!
//! The cost is counted as upstream counts it, so that an expression is too costly here when it is there. Beyond that, memory
//! and comparisons are counted: both have costs that upstream's counting does not see (it shares lists that are joined, and
//! has a deadline), and neither may depend on what a client sends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use regex::Regex;

use super::error::EvalError;

/// What one expression may cost (`PerCallLimit`).
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all expressions of one policy and binding, or of one custom resource, may cost together (`RuntimeCELCostBudget`).
pub const BUDGET: u64 = 10_000_000;
/// What the match conditions of one webhook or policy may cost together (`RuntimeCELCostBudgetMatchConditions`).
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

/// Bytes that one evaluation may make, whether or not it keeps them.
const MEMORY: u64 = 64 << 20;
/// Elementary steps (comparisons, characters of patterns) that cost nothing upstream.
const WORK: u64 = 10_000_000;
/// How many patterns that are not literal are kept.
const PATTERNS: usize = 16;
/// How large a compiled pattern may get.
const PATTERN_SIZE: usize = 1 << 20;

/// Counts what an evaluation costs.
#[derive(Debug)]
pub(super) struct Meter {
    cost: Cell<u64>,
    limit: u64,
    memory: Cell<u64>,
    work: Cell<u64>,
    patterns: RefCell<HashMap<String, Rc<Regex>>>,
}

impl Meter {
    /// Nothing spent yet.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            cost: Cell::new(0),
            limit,
            memory: Cell::new(MEMORY),
            work: Cell::new(WORK),
            patterns: RefCell::default(),
        }
    }

    /// What was spent.
    pub(super) fn cost(&self) -> u64 {
        self.cost.get()
    }

    /// Spends.
    pub(super) fn charge(&self, cost: u64) -> Result<(), EvalError> {
        let sum = self.cost.get().saturating_add(cost);
        self.cost.set(sum);
        if sum > self.limit {
            return Err(EvalError::TooCostly);
        }
        Ok(())
    }

    /// Takes memory.
    pub(super) fn allocate(&self, bytes: usize) -> Result<(), EvalError> {
        take(&self.memory, bytes as u64)
    }

    /// Takes steps.
    pub(super) fn work(&self, steps: u64) -> Result<(), EvalError> {
        take(&self.work, steps)
    }

    /// A pattern, compiled once.
    pub(super) fn pattern(&self, pattern: &str) -> Result<Rc<Regex>, EvalError> {
        if let Some(compiled) = self.patterns.borrow().get(pattern) {
            return Ok(Rc::clone(compiled));
        }
        self.work(10_000 + 1_000 * pattern.len() as u64)?;
        let compiled = Rc::new(compile(pattern).map_err(EvalError::new)?);
        let mut patterns = self.patterns.borrow_mut();
        if patterns.len() == PATTERNS {
            patterns.clear();
        }
        patterns.insert(pattern.to_owned(), Rc::clone(&compiled));
        Ok(compiled)
    }
}

fn take(from: &Cell<u64>, amount: u64) -> Result<(), EvalError> {
    let left = from.get().checked_sub(amount);
    from.set(left.unwrap_or(0));
    left.map(|_| ()).ok_or(EvalError::TooCostly)
}

/// A pattern in RE2's syntax.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(PATTERN_SIZE)
        .build()
        .map_err(|error| {
            let all = error.to_string();
            let last = all.lines().last().unwrap_or_default();
            format!(
                "error parsing regexp: {}: `{pattern}`",
                last.trim_start_matches("error: ")
            )
        })
}
