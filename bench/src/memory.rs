//! The memory of all processes of some names: of a whole cluster on this machine.

use crate::process::{self, Memory};
use crate::report::Table;

const NAMES: [&str; 3] = ["coracle", "containerd", "containerd-shim-runc-v2"];

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// The names of the processes
    #[arg(long, value_delimiter = ',', default_values = NAMES)]
    names: Vec<String>,
}

impl Default for Args {
    fn default() -> Args {
        Args {
            names: NAMES.map(str::to_owned).to_vec(),
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Table> {
    let note = "All processes of these names on the machine.";
    let mut table = Table::new("Memory", note, ["processes", "number", "RSS MiB", "PSS MiB"]);
    let mut total = Memory::default();
    for name in &args.names {
        let pids = process::named(std::slice::from_ref(name))?;
        let mut sum = Memory::default();
        for &pid in &pids {
            sum += process::memory(pid)?;
        }
        total += sum;
        table.row([
            name.clone(),
            pids.len().to_string(),
            mebibytes(sum.resident),
            mebibytes(sum.proportional),
        ]);
    }
    table.row([
        "together".to_owned(),
        String::new(),
        mebibytes(total.resident),
        mebibytes(total.proportional),
    ]);
    Ok(table)
}

fn mebibytes(amount: f64) -> String {
    format!("{amount:.1}")
}
