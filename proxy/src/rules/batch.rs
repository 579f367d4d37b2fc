//! The changes that lead from one state to another, as the input of `iptables-restore --noflush`.
//!
//! A chain named in the input (`:CHAIN - [0:0]`) is made or emptied, then filled; one that is no longer wanted is emptied and
//! deleted (`-X`). Everything that packets can meet changes in the table's last commit, so none sees a state in between.

use std::fmt;

use super::edit::Edit;
use crate::rules::chain::Chain;
use crate::rules::{Body, Jump, Table};

/// How many new chains a commit may bring when there are stages. `iptables-restore` over nf_tables keeps the names that a commit
/// mentions in a list and goes through it for every rule; in one of 3000 chains that is most of the time.
const STAGE: usize = 128;

/// The changes that lead from one state to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    pub(super) write: Vec<Write<'a>>,
    pub(super) edit: Vec<(Table, Edit<'a>)>,
    pub(super) delete: Vec<(Table, &'a Chain)>,
    pub(super) jumps: Vec<&'a Jump>,
}

/// A chain that is written whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Write<'a> {
    pub(super) table: Table,
    pub(super) chain: &'a Chain,
    pub(super) body: &'a Body,
    /// It is not there yet, so no rule leads to it.
    pub(super) is_new: bool,
}

impl Batch<'_> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.edit.is_empty() && self.delete.is_empty() && self.jumps.is_empty()
    }

    /// How many chains are written whole.
    pub fn chains_written(&self) -> usize {
        self.write.len()
    }

    /// How many rules come into chains or go out of them that are not written whole.
    pub fn rules_edited(&self) -> usize {
        let edits = self.edit.iter();
        edits.map(|(_, edit)| edit.remove.len() + edit.insert.len()).sum()
    }

    /// The batch with new chains put into the kernel by and by, before the commit that leads packets to them.
    pub fn in_stages(&self) -> impl fmt::Display {
        Staged(self)
    }

    /// Tables without a change are left out. Up to `stage` new chains need no commit of their own.
    fn render(&self, f: &mut fmt::Formatter<'_>, stage: usize) -> fmt::Result {
        for table in Table::ALL {
            let writes: Vec<_> = self.write.iter().filter(|write| write.table == table).collect();
            let (mut early, last): (Vec<_>, Vec<_>) = writes
                .iter()
                .copied()
                .partition(|write| write.is_new && write.chain.depth().is_some());
            if early.len() <= stage {
                self.last(f, table, &writes)?;
                continue;
            }
            // A chain comes after those that it leads to.
            early.sort_by_key(|write| (write.chain.depth(), write.chain));
            for chains in early.chunks(stage) {
                writeln!(f, "*{table}")?;
                declare(f, chains)?;
                fill(f, chains)?;
                writeln!(f, "COMMIT")?;
            }
            self.last(f, table, &last)?;
        }
        Ok(())
    }

    /// The commit that packets notice.
    fn last(&self, f: &mut fmt::Formatter<'_>, table: Table, writes: &[&Write<'_>]) -> fmt::Result {
        let edits = || {
            self.edit
                .iter()
                .filter(|(of, _)| *of == table)
                .map(|(_, edit)| edit)
        };
        let delete = || self.delete.iter().filter(|(of, _)| *of == table);
        let jumps = || self.jumps.iter().filter(|jump| jump.table == table);
        if writes.is_empty()
            && edits().next().is_none()
            && delete().next().is_none()
            && jumps().next().is_none()
        {
            return Ok(());
        }
        writeln!(f, "*{table}")?;
        declare(f, writes)?;
        delete().try_for_each(|(_, chain)| writeln!(f, ":{chain} - [0:0]"))?;
        jumps().try_for_each(
            |Jump {
                 from, to, matches, ..
             }| writeln!(f, "-I {from} {matches} -j {to}"),
        )?;
        fill(f, writes)?;
        for Edit { remove, insert } in edits() {
            remove.iter().try_for_each(|rule| writeln!(f, "-D {rule}"))?;
            insert.iter().try_for_each(|rule| writeln!(f, "-I {rule}"))?;
        }
        delete().try_for_each(|(_, chain)| writeln!(f, "-X {chain}"))?;
        writeln!(f, "COMMIT")
    }
}

/// See [`Batch::in_stages`].
struct Staged<'a>(&'a Batch<'a>);

impl fmt::Display for Staged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.render(f, STAGE)
    }
}

/// The batch with one commit a table.
impl fmt::Display for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f, usize::MAX)
    }
}

fn declare(f: &mut fmt::Formatter<'_>, writes: &[&Write<'_>]) -> fmt::Result {
    writes
        .iter()
        .try_for_each(|write| writeln!(f, ":{} - [0:0]", write.chain))
}

fn fill(f: &mut fmt::Formatter<'_>, writes: &[&Write<'_>]) -> fmt::Result {
    writes.iter().try_for_each(|write| f.write_str(write.body))
}
