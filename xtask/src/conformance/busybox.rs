//! busybox as its authors released it, built from the sources that Debian keeps.
//!
//! Debian's own build takes back that the shell passes variables on whose names no shell would allow, such as `data-1`, and
//! specs ask for these.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The program, built and kept in this folder where it is not there yet.
///
/// # Errors
/// When the sources cannot be had or built.
pub(crate) fn program(folder: &Path) -> Result<Vec<u8>> {
    let kept = folder.join("busybox-as-released");
    if !kept.exists() {
        eprintln!("Building busybox");
        let work = tempfile::tempdir().context("a folder for busybox")?;
        let built = build(&fetch(work.path())?)?;
        let fresh = kept.with_extension("new");
        fs::copy(built, &fresh).context("keeping busybox")?;
        fs::rename(&fresh, &kept).context("keeping busybox")?;
    }
    fs::read(&kept).with_context(|| format!("cannot read {}", kept.display()))
}

/// Fetches and unpacks the sources below this folder; Debian's changes are left out.
fn fetch(work: &Path) -> Result<PathBuf> {
    // The machine's own settings seldom name sources: asked for are those of all that it takes packages from.
    let mut targets = Command::new("apt-get");
    targets.args([
        "indextargets",
        "Created-By: Packages",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
    ]);
    let targets = targets
        .output()
        .context("cannot run apt-get; busybox is built of Debian's sources")?;
    let targets = String::from_utf8(targets.stdout).context("apt-get's words are text")?;
    let list = work.join("sources.list");
    fs::write(&list, source_list(&targets)).context("a list of sources")?;
    let lists = work.join("lists");
    fs::create_dir_all(lists.join("partial")).context("a folder for lists of sources")?;
    let settings = [
        format!("Dir::Etc::SourceList={}", list.display()),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State::Lists={}", lists.display()),
        // Unprivileged download does not reach into folders of root's.
        "APT::Sandbox::User=root".to_owned(),
    ];
    for arguments in [&["update"][..], &["source", "--download-only", "busybox"]] {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(arguments).current_dir(work);
        for setting in &settings {
            command.args(["-o", setting]);
        }
        run(&mut command)?;
    }
    let archive = released(work)?;
    let tree = work.join("busybox");
    fs::create_dir(&tree).context("a folder for busybox's sources")?;
    let mut unpack = Command::new("tar");
    unpack.arg("--extract").arg("--file").arg(archive);
    run(unpack.arg("--strip-components=1").arg("--directory").arg(&tree))?;
    Ok(tree)
}

/// The lines that name, for each place where there are packages, the sources beside them.
fn source_list(targets: &str) -> String {
    let mut lines: Vec<_> = targets
        .lines()
        .map(|target| format!("deb-src {target}\n"))
        .collect();
    lines.sort();
    lines.dedup();
    lines.concat()
}

/// The archive of its authors among what was fetched.
fn released(work: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(work).context("what was fetched")?;
    let mut archives = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.contains(".orig.tar.") && !name.ends_with(".asc")
        });
    archives.next().context("busybox's sources were not fetched")
}

fn build(tree: &Path) -> Result<PathBuf> {
    let make = || {
        let mut command = Command::new("make");
        command
            .current_dir(tree)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    run(make().arg("defconfig"))?;
    let config = tree.join(".config");
    let settings = fs::read_to_string(&config).context("busybox's settings")?;
    // It needs headers that newer kernels have no more.
    let settings = settings.replace("CONFIG_TC=y\n", "# CONFIG_TC is not set\n");
    fs::write(&config, settings).context("busybox's settings")?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    run(make().arg(format!("--jobs={jobs}")).arg("busybox"))?;
    Ok(tree.join("busybox"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} fails at busybox's sources");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_lie_beside_packages() {
        let targets =
            "one:/debian/ stable main\none:/debian/ stable main\none:/debian/ stable-updates main\n";
        assert_eq!(
            source_list(targets),
            "deb-src one:/debian/ stable main\ndeb-src one:/debian/ stable-updates main\n"
        );
    }

    #[test]
    fn changes_are_told_from_what_was_released() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b_1.debian.tar.xz",
            "b_1.dsc",
            "b_1.orig.tar.bz2",
            "b_1.orig.tar.bz2.asc",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(
            released(folder.path()).unwrap(),
            folder.path().join("b_1.orig.tar.bz2")
        );
    }
}
