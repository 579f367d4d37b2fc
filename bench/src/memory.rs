//! The memory of whole families of processes: of a cluster on this machine, with its nodes and containers.

use crate::process::{self, Memory};
use crate::report::Table;
use anyhow::Context;
use std::collections::BTreeMap;

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// The processes that count, with all their descendants: the control plane's, and the first of each node
    #[arg(long, value_delimiter = ',', required = true)]
    pid: Vec<u32>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Table> {
    let note = "A cluster with one node and the example (three pods), idle: the control plane and, in the node's \
                namespaces, everything there is.";
    let mut table = Table::new(
        "Memory of a cluster",
        note,
        ["processes", "number", "RSS MiB", "PSS MiB"],
    );
    let mut by_name: BTreeMap<String, (usize, Memory)> = BTreeMap::new();
    let mut total = (0, Memory::default());
    for pid in process::families(&args.pid)? {
        let memory = process::memory(pid).context("a process of the cluster")?;
        let name = process::name(pid)?;
        for sum in [by_name.entry(name).or_default(), &mut total] {
            sum.0 += 1;
            sum.1 += memory;
        }
    }
    by_name.insert("together".to_owned(), total);
    let mut rows: Vec<_> = by_name.into_iter().collect();
    rows.sort_by(|(_, (_, a)), (_, (_, b))| a.proportional.total_cmp(&b.proportional));
    for (name, (number, sum)) in rows {
        table.row([
            name,
            number.to_string(),
            format!("{:.1}", sum.resident),
            format!("{:.1}", sum.proportional),
        ]);
    }
    Ok(table)
}
