//! The rule set of one family: tables of chains, each with the rules it holds. Pure, with everything below.
//!
//! [`compile`] makes a rule set, [`diff`] leads from one to another, [`batch`] writes that down, [`chain`] has the names, [`flows`]
//! knows what a change leaves behind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub mod batch;
pub mod chain;
pub mod compile;
pub mod diff;
mod edit;
pub mod flows;
mod port;

use chain::Chain;

/// A kernel table that the proxy writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Lets pass, drops and rejects.
    Filter,
    /// Translates addresses.
    Nat,
}

impl Table {
    /// Both tables, in the order in which they are written.
    pub const ALL: [Self; 2] = [Self::Filter, Self::Nat];

    /// The table's name for iptables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The rules of a chain as lines of an `iptables-restore` input (`-A CHAIN …`), each with its line end. One shared text instead
/// of a list keeps a rule set of tens of thousands of rules cheap to hold, to hand on and to compare.
pub type Body = Arc<str>;

/// The chains of one table.
pub type Chains = BTreeMap<Chain, Body>;

/// All chains that the kernel should hold for one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Chains of the filter table.
    pub filter: Chains,
    /// Chains of the nat table.
    pub nat: Chains,
}

impl Rules {
    /// The chains of a table.
    pub fn table(&self, table: Table) -> &Chains {
        match table {
            Table::Filter => &self.filter,
            Table::Nat => &self.nat,
        }
    }

    /// The chains of a table, to be changed.
    pub fn table_mut(&mut self, table: Table) -> &mut Chains {
        match table {
            Table::Filter => &mut self.filter,
            Table::Nat => &mut self.nat,
        }
    }

    /// Takes in the chains of another set.
    pub fn extend(&mut self, other: Self) {
        self.filter.extend(other.filter);
        self.nat.extend(other.nat);
    }
}

/// Chains that are being written.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    filter: BTreeMap<Chain, String>,
    nat: BTreeMap<Chain, String>,
}

impl Draft {
    /// Adds a rule at the end of a chain of the filter table.
    pub fn filter_rule(&mut self, chain: &Chain, rule: fmt::Arguments<'_>) {
        self.rule(Table::Filter, chain, rule);
    }

    /// Adds a rule at the end of a chain of the nat table.
    pub fn nat_rule(&mut self, chain: &Chain, rule: fmt::Arguments<'_>) {
        self.rule(Table::Nat, chain, rule);
    }

    /// Adds whole lines at the end of a chain, which is made if need be.
    pub fn append(&mut self, table: Table, chain: &Chain, lines: &str) {
        self.body(table, chain).push_str(lines);
    }

    /// The chains as they are now.
    pub fn finish(self) -> Rules {
        let finish = |chains: BTreeMap<Chain, String>| {
            chains
                .into_iter()
                .map(|(chain, body)| (chain, Body::from(body)))
                .collect()
        };
        Rules {
            filter: finish(self.filter),
            nat: finish(self.nat),
        }
    }

    fn rule(&mut self, table: Table, chain: &Chain, rule: fmt::Arguments<'_>) {
        use fmt::Write;
        writeln!(self.body(table, chain), "-A {chain} {rule}").expect("writing to a String does not fail");
    }

    fn body(&mut self, table: Table, chain: &Chain) -> &mut String {
        let chains = match table {
            Table::Filter => &mut self.filter,
            Table::Nat => &mut self.nat,
        };
        // Looked up before it is made: most rules go to a chain that is there, whose name need not be copied.
        if !chains.contains_key(chain) {
            chains.insert(chain.clone(), String::new());
        }
        chains
            .get_mut(chain)
            .expect("the chain was made if it was not there")
    }
}

/// The whole set as `iptables-restore` reads it.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in Table::ALL {
            writeln!(f, "*{table}")?;
            for chain in self.table(table).keys() {
                writeln!(f, ":{chain} - [0:0]")?;
            }
            for body in self.table(table).values() {
                f.write_str(body)?;
            }
            writeln!(f, "COMMIT")?;
        }
        Ok(())
    }
}

/// A rule in one of the kernel's own chains that leads to one of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jump {
    /// The table of both chains.
    pub table: Table,
    /// The kernel's chain, such as `PREROUTING`.
    pub from: &'static str,
    /// Our chain.
    pub to: Chain,
    /// What a packet must match, comment included.
    pub matches: &'static str,
}

/// Matches only the first packet of a connection: later ones follow conntrack.
const NEW_PORTALS: &str = "-m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\"";
const NEW_EXTERNAL: &str =
    "-m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\"";
const NEW_FIREWALL: &str =
    "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\"";
const PORTALS: &str = "-m comment --comment \"kubernetes service portals\"";

/// The jumps that lead traffic into the rule set. Each is put at the head of its chain, in this order: the last one of a
/// chain comes to stand first.
pub static JUMPS: [Jump; 13] = {
    use Table::{Filter, Nat};
    const fn jump(table: Table, from: &'static str, to: Chain, matches: &'static str) -> Jump {
        Jump {
            table,
            from,
            to,
            matches,
        }
    }
    [
        jump(Filter, "INPUT", Chain::EXTERNAL_SERVICES, NEW_EXTERNAL),
        jump(Filter, "FORWARD", Chain::EXTERNAL_SERVICES, NEW_EXTERNAL),
        jump(
            Filter,
            "INPUT",
            Chain::NODE_PORTS,
            "-m comment --comment \"kubernetes health check service ports\"",
        ),
        jump(Filter, "FORWARD", Chain::SERVICES, NEW_PORTALS),
        jump(Filter, "OUTPUT", Chain::SERVICES, NEW_PORTALS),
        jump(
            Filter,
            "FORWARD",
            Chain::FORWARD,
            "-m comment --comment \"kubernetes forwarding rules\"",
        ),
        jump(Filter, "INPUT", Chain::FIREWALL, NEW_FIREWALL),
        jump(Filter, "OUTPUT", Chain::FIREWALL, NEW_FIREWALL),
        jump(Filter, "FORWARD", Chain::FIREWALL, NEW_FIREWALL),
        jump(Nat, "OUTPUT", Chain::SERVICES, PORTALS),
        jump(Nat, "PREROUTING", Chain::SERVICES, PORTALS),
        jump(
            Nat,
            "POSTROUTING",
            Chain::POD_MASQUERADE,
            "-m comment --comment \"coracle pod masquerade\"",
        ),
        jump(
            Nat,
            "POSTROUTING",
            Chain::POSTROUTING,
            "-m comment --comment \"kubernetes postrouting rules\"",
        ),
    ]
};
