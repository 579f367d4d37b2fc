//! The project's own tools: `cargo xtask generate` writes the type table, `cargo xtask check` guards the directions that
//! dependencies may take, `cargo xtask section` keeps one measurement's part of a page, `cargo xtask conformance` looks after
//! the conformance suite.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

mod check;
mod conformance;
mod generate;
mod page;
mod security;

/// The project's own tools.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the tables of types and resources under api/src from facts about a Kubernetes version.
    Generate {
        /// The folder with types.json, resources.json and printer-columns.json; ../shared/facts if not given.
        facts: Option<PathBuf>,
    },
    /// Fail if crates depend on each other the wrong way, or a pure module knows a clock or does IO.
    Check,
    /// Replace one section of a page, between its markers, by what comes in on standard input.
    Section {
        /// The page, as docs/figures.md.
        page: PathBuf,
        /// The section's name, as it stands in its markers.
        name: String,
    },
    /// Look after the conformance suite's images and the page that tells what came of it.
    #[command(subcommand)]
    Conformance(conformance::Task),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate { facts } => generate::write(&facts.unwrap_or_else(default_facts), &root()),
        Command::Check => check::run(&root()),
        Command::Section { page, name } => page::write_section(&page, &name, &page::standard_input()?),
        Command::Conformance(task) => conformance::run(&task),
    }
}

/// Where the facts lie when nothing else is said: beside the repository.
fn default_facts() -> PathBuf {
    root().join("../shared/facts")
}

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the root")
        .to_owned()
}
