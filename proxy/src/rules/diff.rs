//! What the kernel holds against what it should hold. Only chains that differ are written, and of long ones only the rules that
//! differ.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::batch::{Batch, Write};
use super::edit::{self, EDITED_FROM, edit};
use crate::rules::chain::Chain;
use crate::rules::{Body, JUMPS, Jump, Rules, Table};

/// What the kernel is known to hold of ours, for one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    chains: BTreeMap<Table, BTreeMap<Chain, Contents>>,
    jumps: Vec<FoundJump>,
}

/// What is known of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Contents {
    /// It holds exactly this, as we wrote it; after an edit perhaps in another order, which then means nothing.
    Known(Body),
    /// It exists: an earlier process wrote it.
    Unknown,
}

/// A jump into one of our chains as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FoundJump {
    table: Table,
    to: Chain,
    /// The rule without its leading `-A `, chain first.
    rule: String,
}

impl FoundJump {
    fn is(&self, jump: &Jump) -> bool {
        let from = self.rule.split_whitespace().next();
        self.table == jump.table && self.to == jump.to && from == Some(jump.from)
    }
}

impl Installed {
    /// Adds what `iptables-save -t TABLE` tells. Chains and jumps that are not ours are passed over.
    pub fn observe(&mut self, table: Table, saved: &str) {
        for line in saved.lines() {
            if let Some(chain) = line.strip_prefix(':') {
                let name = chain.split_whitespace().next().unwrap_or_default();
                if let Some(chain) = Chain::recognise(name) {
                    self.chains
                        .entry(table)
                        .or_default()
                        .insert(chain, Contents::Unknown);
                }
            } else if let Some(rule) = line.strip_prefix("-A ") {
                self.jumps.extend(found_jump(table, rule));
            }
        }
    }

    /// The state after [`diff`]'s batch was applied.
    pub fn after(mut rules: Rules) -> Self {
        let mut installed = Self::default();
        for table in Table::ALL {
            let chains = std::mem::take(rules.table_mut(table)).into_iter();
            let known = chains
                .map(|(chain, body)| (chain, Contents::Known(body)))
                .collect();
            installed.chains.insert(table, known);
        }
        for Jump {
            table,
            from,
            to,
            matches,
        } in &JUMPS
        {
            let rule = format!("{from} {matches} -j {to}");
            installed.jumps.push(FoundJump {
                table: *table,
                to: to.clone(),
                rule,
            });
        }
        installed
    }

    /// Whether every jump into the rule set that `table` should hold is there.
    pub fn has_jumps(&self, table: Table, from: &str) -> bool {
        let mut wanted = JUMPS
            .iter()
            .filter(|jump| jump.table == table && jump.from == from);
        wanted.all(|jump| self.jumps.iter().any(|found| found.is(jump)))
    }

    /// Chains that are long enough to be edited, with the number of rules that each should have. Of what another program has done
    /// to them the next change would not find out.
    pub fn edited_chains(&self) -> impl Iterator<Item = (Table, &Chain, usize)> {
        let tables = self.chains.iter();
        let chains =
            tables.flat_map(|(table, chains)| chains.iter().map(|(chain, body)| (*table, chain, body)));
        chains
            .filter(|(_, chain, _)| chain.is_shared())
            .filter_map(|(table, chain, contents)| match contents {
                Contents::Known(body) => Some((table, chain, edit::amount(body))),
                Contents::Unknown => None,
            })
            .filter(|(.., amount)| *amount >= EDITED_FROM)
    }

    /// The restore input that removes every chain and jump of ours; nothing when there is none.
    pub fn removal(&self) -> Option<String> {
        use fmt::Write;
        let mut text = String::new();
        for table in Table::ALL {
            let chains: Vec<_> = self
                .chains
                .get(&table)
                .into_iter()
                .flat_map(BTreeMap::keys)
                .collect();
            let jumps: Vec<_> = self.jumps.iter().filter(|jump| jump.table == table).collect();
            if chains.is_empty() && jumps.is_empty() {
                continue;
            }
            let mut write = |line: fmt::Arguments<'_>| writeln!(text, "{line}").expect("a String takes all");
            write(format_args!("*{table}"));
            chains
                .iter()
                .for_each(|chain| write(format_args!(":{chain} - [0:0]")));
            jumps
                .iter()
                .for_each(|jump| write(format_args!("-D {}", jump.rule)));
            chains.iter().for_each(|chain| write(format_args!("-X {chain}")));
            write(format_args!("COMMIT"));
        }
        (!text.is_empty()).then_some(text)
    }
}

/// A rule of a chain that is not ours, leading to one that is.
fn found_jump(table: Table, rule: &str) -> Option<FoundJump> {
    let from = rule.split_whitespace().next()?;
    let target = rule.rsplit_once(" -j ")?.1.split_whitespace().next()?;
    let to = Chain::recognise(target)?;
    Chain::recognise(from).is_none().then(|| FoundJump {
        table,
        to,
        rule: rule.to_owned(),
    })
}

/// Compares what is installed with what should be.
pub fn diff<'a>(installed: &'a Installed, rules: &'a Rules) -> Batch<'a> {
    let mut batch = Batch::default();
    for table in Table::ALL {
        let known = installed.chains.get(&table);
        for (chain, body) in rules.table(table) {
            let write = |is_new| Write {
                table,
                chain,
                body,
                is_new,
            };
            match known.and_then(|known| known.get(chain)) {
                Some(Contents::Known(known)) if same(known, body) => {}
                Some(Contents::Known(known)) if chain.is_shared() => match edit(known, body) {
                    Some(edit) => batch.edit.push((table, edit)),
                    None => batch.write.push(write(false)),
                },
                known => batch.write.push(write(known.is_none())),
            }
        }
        for chain in known.into_iter().flat_map(BTreeMap::keys) {
            if !rules.table(table).contains_key(chain) {
                batch.delete.push((table, chain));
            }
        }
    }
    let missing = |jump: &&Jump| !installed.jumps.iter().any(|found| found.is(jump));
    batch.jumps.extend(JUMPS.iter().filter(missing));
    batch
}

/// Most bodies are not only equal but shared with the rule set before.
fn same(one: &Body, other: &Body) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Draft;

    const SAVED: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:CNI-DN-1 - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-DN-1
-A KUBE-SERVICES -j KUBE-SEP-AAAAAAAAAAAAAAAA
COMMIT
";

    #[test]
    fn what_an_earlier_process_left_is_taken_over() {
        let mut installed = Installed::default();
        installed.observe(Table::Nat, SAVED);
        assert!(installed.has_jumps(Table::Nat, "PREROUTING"));
        assert!(!installed.has_jumps(Table::Nat, "OUTPUT"));
        let mut draft = Draft::default();
        draft.nat_rule(&Chain::SERVICES, format_args!("-j RETURN"));
        let rules = draft.finish();
        let batch = diff(&installed, &rules).to_string();
        assert!(
            batch.contains("-A KUBE-SERVICES -j RETURN\n-X KUBE-SEP-AAAAAAAAAAAAAAAA\n"),
            "{batch}"
        );
        assert!(batch.contains("-I OUTPUT"), "{batch}");
        assert!(!batch.contains("-I PREROUTING"), "{batch}");
    }

    #[test]
    fn removal_takes_jumps_and_chains_and_nothing_else() {
        let mut installed = Installed::default();
        installed.observe(Table::Nat, SAVED);
        assert_eq!(
            installed.removal().unwrap(),
            "*nat\n:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]\n:KUBE-SERVICES - [0:0]\n\
             -D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -X KUBE-SEP-AAAAAAAAAAAAAAAA\n-X KUBE-SERVICES\nCOMMIT\n"
        );
        assert_eq!(Installed::default().removal(), None);
    }

    #[test]
    fn nothing_changed_is_nothing_to_do() {
        let mut draft = Draft::default();
        draft.nat_rule(&Chain::SERVICES, format_args!("-j RETURN"));
        let rules = draft.finish();
        let installed = Installed::after(rules.clone());
        let batch = diff(&installed, &rules);
        assert!(batch.is_empty());
        assert_eq!(batch.to_string(), "");
    }
}
