//! Guards the house's two rules about directions (ARCHITECTURE.md): crates depend on each other one way only, and pure
//! modules know neither clocks nor anything that does IO. And what [`crate::security`] says of the page on security.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

/// Which crates of the workspace a crate may be built on. A crate that does not stand here may use none.
const MAY_USE: &[(&str, &[&str])] = &[
    ("coracle-api", &[]),
    ("coracle-store", &[]),
    ("coracle-apiserver", &["coracle-api", "coracle-store"]),
    ("coracle-controllers", &["coracle-api"]),
    ("coracle-scheduler", &["coracle-api"]),
    ("coracle-node-agent", &["coracle-api"]),
    ("coracle-proxy", &["coracle-api"]),
    ("coracle-dns", &["coracle-api"]),
    ("coracle-images", &[]),
    ("coracle", PARTS),
    ("coracle-e2e", PARTS),
    ("coracle-bench", PARTS),
    ("coracle-fuzz", PARTS),
    ("xtask", &["coracle-images"]),
];

/// All that the binary is put together from.
const PARTS: &[&str] = &[
    "coracle-api",
    "coracle-store",
    "coracle-apiserver",
    "coracle-controllers",
    "coracle-scheduler",
    "coracle-node-agent",
    "coracle-proxy",
    "coracle-dns",
    "coracle-images",
];

/// What pure code must not name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio::", "runs on an executor"),
    ("tokio_util::", "runs on an executor"),
    ("kube::", "talks to an apiserver"),
    ("kube_runtime::", "talks to an apiserver"),
    ("tonic::", "talks to a server"),
    ("rocksdb::", "writes to a disk"),
    ("std::fs", "reads a disk"),
    ("std::net::Tcp", "opens a socket"),
    ("std::net::Udp", "opens a socket"),
    ("std::process", "starts processes"),
    ("SystemTime::now", "asks a clock"),
    ("Instant::now", "asks a clock"),
    ("Timestamp::now", "asks a clock"),
    ("Zoned::now", "asks a clock"),
    ("rand::", "is not reproducible"),
    ("Uuid::new_v", "is not reproducible"),
];

/// Looks for offences in the workspace at `root`; fails when there are any, naming each.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let metadata = metadata(root)?;
    let mut faults = wrong_dependencies(&metadata.packages);
    for file in pure_files(root, &metadata)? {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        faults.extend(
            impurities(&text)
                .into_iter()
                .map(|fault| format!("{name}:{fault}")),
        );
    }
    faults.extend(crate::security::faults(root)?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults:\n{}", faults.len(), faults.join("\n"))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    /// `[workspace.metadata]` of the root manifest.
    metadata: Option<WorkspaceMetadata>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct WorkspaceMetadata {
    coracle: Option<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    /// Files and folders, from the root, that are pure beside those that are so by their names.
    pure: Vec<PathBuf>,
}

fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("cannot understand cargo metadata")
}

/// Dependencies among the workspace's own crates that go the wrong way; tests may use what they like.
fn wrong_dependencies(packages: &[Package]) -> Vec<String> {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let is_own = |name: &str| packages.iter().any(|package| package.name == name);
    let mut faults = Vec::new();
    for package in packages {
        let allowed = may_use.get(package.name.as_str()).copied().unwrap_or_default();
        for dependency in &package.dependencies {
            let counts = dependency.kind.as_deref() != Some("dev") && is_own(&dependency.name);
            if counts && !allowed.contains(&dependency.name.as_str()) {
                faults.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    faults
}

/// The sources that have to be pure: those of the manifest, and everywhere what is called `plan…` or `rules`.
fn pure_files(root: &Path, metadata: &Metadata) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let manifest = metadata
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.coracle.as_ref());
    for path in manifest.into_iter().flat_map(|manifest| &manifest.pure) {
        let path = root.join(path);
        if !path.exists() {
            bail!(
                "the manifest calls {} pure, but there is no such file or folder",
                path.display()
            );
        }
        collect(&path, true, &mut files)?;
    }
    for package in &metadata.packages {
        let folder = package
            .manifest_path
            .parent()
            .context("a manifest lies in a folder")?;
        collect(&folder.join("src"), false, &mut files)?;
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Adds the Rust sources at or below `path` that are pure, all of them where `pure` is set.
fn collect(path: &Path, pure: bool, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let pure = pure || stem.starts_with("plan") || stem == "rules";
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            collect(&entry?.path(), pure, files)?;
        }
    } else if pure && path.extension().is_some_and(|extension| extension == "rs") && stem != "tests" {
        files.push(path.to_owned());
    }
    Ok(())
}

/// Lines of a pure source that name what they must not, up to its tests.
fn impurities(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for (name, why) in IMPURE {
            if names(code, name) {
                faults.push(format!("{}: {name} {why}", at + 1));
            }
        }
    }
    faults
}

/// Whether code names something, and not only something whose name ends alike.
fn names(code: &str, name: &str) -> bool {
    let starts_word =
        |at: usize| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    code.match_indices(name).any(|(at, _)| starts_word(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
        });
        Package {
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: dependencies.collect(),
        }
    }

    #[test]
    fn finds_a_dependency_that_goes_the_wrong_way() {
        let packages = [
            package("coracle-api", &[("serde", None), ("coracle-store", None)]),
            package("coracle-store", &[("coracle-api", Some("dev"))]),
            package(
                "coracle-apiserver",
                &[("coracle-api", None), ("coracle-store", None)],
            ),
            package("coracle-scheduler", &[("coracle-controllers", None)]),
            package("coracle-controllers", &[]),
            package("newcomer", &[("coracle-api", Some("build"))]),
        ];
        assert_eq!(
            wrong_dependencies(&packages),
            [
                "coracle-api must not depend on coracle-store",
                "coracle-scheduler must not depend on coracle-controllers",
                "newcomer must not depend on coracle-api",
            ]
        );
    }

    #[test]
    fn finds_what_is_not_pure() {
        let text = "use std::time::Duration;\nuse tokio::sync::mpsc;\n// kube::Client would be wrong\n\
                    let now = jiff::Timestamp::now();\nmy_tokio::spawn();\n#[cfg(test)]\nuse std::fs;\n";
        assert_eq!(
            impurities(text),
            ["2: tokio:: runs on an executor", "4: Timestamp::now asks a clock"]
        );
    }

    #[test]
    fn finds_pure_files_by_name_and_by_manifest() {
        let root = crate::root();
        let metadata = metadata(&root).unwrap();
        let files = pure_files(&root, &metadata).unwrap();
        let has = |path: &str| files.contains(&root.join(path));
        assert!(has("api/src/table/mod.rs"));
        assert!(!has("api/src/table/tests.rs"));
        assert!(!has("apiserver/src/request.rs"));
    }

    #[test]
    fn the_workspace_is_in_order() {
        run(&crate::root()).unwrap();
    }
}
