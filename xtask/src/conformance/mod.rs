//! What the conformance suite needs besides a cluster: its images, and a page that tells what came of a run.
//!
//! [`debian`] reads Debian's packages, [`busybox`] builds one from its sources, [`suite`] makes the suite's images of them; [`outcome`] reads ginkgo's report, [`page`]
//! writes it down (pure).

use std::fs::{self, File};
use std::io::{BufWriter, Seek as _, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use coracle_images::registry::{self, Registry};

mod busybox;
mod debian;
mod outcome;
mod page;
mod suite;

/// The conformance suite's tools.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Make one archive of the images that the suite asks for, of Debian's packages and the suite's own programs.
    Images {
        /// The folder with the suite's programs: e2e.test, agnhost and the others.
        programs: PathBuf,
        /// The module of Kubernetes' sources, for the files that its images carry.
        kubernetes: PathBuf,
        /// Where Debian's packages are kept once they are fetched.
        packages: PathBuf,
        /// The archive.
        archive: PathBuf,
    },
    /// Serve an archive's images as a registry does, until it is killed.
    Registry {
        /// The archive.
        archive: PathBuf,
        /// Where to listen.
        address: SocketAddr,
    },
    /// Write the page that tells what came of a run.
    Page {
        /// ginkgo's report in JSON.
        report: PathBuf,
        /// The page, in Markdown.
        page: PathBuf,
    },
    /// Tell in a few lines what came of a run; fail when a spec failed or too few passed.
    Verdict {
        /// How many specs have to pass.
        #[arg(long, default_value_t = 1)]
        at_least: usize,
        /// ginkgo's report in JSON.
        report: PathBuf,
    },
}

/// Does what is asked.
pub(crate) fn run(task: &Task) -> Result<()> {
    match task {
        Task::Images {
            programs,
            kubernetes,
            packages,
            archive,
        } => make_images(programs, kubernetes, packages, archive),
        Task::Registry { archive, address } => serve_images(archive, *address),
        Task::Page { report, page } => {
            let text = page::render(&read(report)?, &suite::stand_ins());
            fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
        }
        Task::Verdict { at_least, report } => {
            let run = read(report)?;
            eprint!("{}", page::summary(&run));
            let count = page::count(&run);
            ensure!(count.failed == 0, "not all specs passed");
            ensure!(count.passed >= *at_least, "{at_least} specs were to pass");
            Ok(())
        }
    }
}

fn read(report: &Path) -> Result<outcome::Run> {
    let text = fs::read_to_string(report).with_context(|| format!("cannot read {}", report.display()))?;
    outcome::parse(&text).with_context(|| format!("{} is no report of ginkgo's", report.display()))
}

fn serve_images(archive: &Path, address: SocketAddr) -> Result<()> {
    let opened = || File::open(archive).with_context(|| format!("cannot read {}", archive.display()));
    let registry = Registry::of(opened()?).with_context(|| format!("cannot read {}", archive.display()))?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let server = tiny_http::Server::from_listener(listener, None).map_err(anyhow::Error::from_boxed)?;
    registry::serve(&registry, &server, |place| {
        let mut file = File::open(archive)?;
        file.seek(SeekFrom::Start(place.offset))?;
        Ok(file)
    });
    Ok(())
}

fn make_images(programs: &Path, kubernetes: &Path, packages: &Path, archive: &Path) -> Result<()> {
    let output = Command::new(programs.join("e2e.test"))
        .arg("--list-images")
        .output()
        .context("cannot run e2e.test")?;
    ensure!(
        output.status.success(),
        "e2e.test lists no images: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout).context("names of images are text")?;
    let sources = suite::Sources {
        programs,
        kubernetes,
        shelf: debian::Shelf::new(packages)?,
    };
    let images = suite::images(&listed, &sources)?;
    // Under its own name only once it is whole.
    let unfinished = archive.with_extension("unfinished");
    let file = File::create(&unfinished).with_context(|| format!("cannot write {}", unfinished.display()))?;
    coracle_images::write(&images, BufWriter::new(file))?;
    fs::rename(&unfinished, archive).with_context(|| format!("cannot write {}", archive.display()))
}
