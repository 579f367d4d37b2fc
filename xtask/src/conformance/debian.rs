//! Debian's packages as file trees, fetched and unpacked by Debian's own tools.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use coracle_images::{Content, Entry, Layer};
use tar::EntryType;

/// Folders that Debian 12 has as links into `usr`, while some packages still name them.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What no container needs.
const LEFT_OUT: [&str; 8] = [
    "usr/share/bug/",
    "usr/share/doc/",
    "usr/share/info/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/bash-completion/",
    "etc/init.d/",
];

/// A folder in which packages are kept.
pub(crate) struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// The shelf at this folder, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.to_owned();
        Ok(Self { folder })
    }

    /// The files of these packages and of the libraries that they are linked to.
    ///
    /// # Errors
    /// When a package cannot be had or read.
    pub(crate) fn unpack(&self, packages: &[&str]) -> Result<Layer> {
        let mut layer = Layer::default();
        for (from, to) in MERGED.map(|name| (name, format!("usr/{name}"))) {
            layer = layer.folder(&to, 0o755).link(from, &to);
        }
        let mut seen = BTreeSet::new();
        let mut next: BTreeSet<String> = packages.iter().map(|&name| name.to_owned()).collect();
        while !next.is_empty() {
            self.fetch(&next)?;
            let mut found = BTreeSet::new();
            for name in &next {
                let file = self
                    .file(name)?
                    .with_context(|| format!("{name} was not fetched"))?;
                for kind in ["Depends", "Pre-Depends"] {
                    found.extend(libraries(&field(&file, kind)?));
                }
                add(&mut layer, &file)?;
            }
            seen.append(&mut next);
            next = found.difference(&seen).cloned().collect();
        }
        Ok(layer)
    }

    /// Where packages are kept, and what is built of them.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The package's file, where it is here.
    fn file(&self, name: &str) -> Result<Option<PathBuf>> {
        let start = format!("{name}_");
        for entry in fs::read_dir(&self.folder).context("the folder of packages")? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&start) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }

    /// Fetches those that are not here.
    fn fetch(&self, names: &BTreeSet<String>) -> Result<()> {
        let mut missing = Vec::new();
        for name in names {
            if self.file(name)?.is_none() {
                missing.push(name.as_str());
            }
        }
        if missing.is_empty() || self.download(&missing)? {
            return Ok(());
        }
        // The machine's list of packages may be missing, or older than what is on offer.
        let updated = Command::new("apt-get")
            .args(["update", "-qq"])
            .stdout(Stdio::null())
            .status();
        ensure!(
            updated.context("cannot run apt-get")?.success(),
            "apt-get update fails"
        );
        ensure!(
            self.download(&missing)?,
            "apt-get does not download {}",
            missing.join(" ")
        );
        Ok(())
    }

    fn download(&self, names: &[&str]) -> Result<bool> {
        let mut command = Command::new("apt-get");
        // Unprivileged download does not reach into folders of root's.
        command
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(names);
        let output = command
            .current_dir(&self.folder)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status();
        Ok(output
            .context("cannot run apt-get; the suite's images are made of Debian's packages")?
            .success())
    }
}

fn field(package: &Path, name: &str) -> Result<String> {
    let output = Command::new("dpkg-deb").arg("-f").arg(package).arg(name).output();
    let output = output.context("cannot run dpkg-deb")?;
    ensure!(output.status.success(), "{} is no package", package.display());
    String::from_utf8(output.stdout).context("package fields are text")
}

/// The libraries among what a package depends on; of alternatives, the first.
fn libraries(depends: &str) -> BTreeSet<String> {
    let names = depends
        .split(',')
        .filter_map(|clause| clause.split(['|', '(', ':']).next())
        .map(str::trim);
    let is_library =
        |name: &&str| name.starts_with("lib") || name.starts_with("zlib") || name.ends_with("-libs");
    names.filter(is_library).map(str::to_owned).collect()
}

/// Adds what a package brings to the tree.
fn add(layer: &mut Layer, package: &Path) -> Result<()> {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let output = child.stdout.take().context("the output is a pipe")?;
    let read = read_tar(layer, output);
    let status = child.wait()?;
    read.with_context(|| format!("cannot unpack {}", package.display()))?;
    ensure!(status.success(), "cannot unpack {}", package.display());
    Ok(())
}

/// Adds what a tar file holds to the tree.
fn read_tar(layer: &mut Layer, file: impl Read) -> Result<()> {
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let Some(path) = place(&path) else { continue };
        let target = || -> Result<String> {
            let target = entry.link_name()?.context("a link without a target")?;
            Ok(target.to_string_lossy().into_owned())
        };
        let content = match entry.header().entry_type() {
            EntryType::Directory if layer.get(&path).is_some() => continue,
            EntryType::Directory => Content::Folder,
            EntryType::Symlink => Content::Link(target()?),
            EntryType::Link => {
                let target = place(&target()?).context("a link to what is left out")?;
                layer
                    .get(&target)
                    .context("a link to what is not there")?
                    .content
                    .clone()
            }
            EntryType::Regular => Content::File(Vec::new()),
            other => bail!("{path} is of a kind that no package should have: {other:?}"),
        };
        let (mode, owner) = (
            entry.header().mode()?,
            (entry.header().uid()?, entry.header().gid()?),
        );
        let content = match content {
            Content::File(mut bytes) if bytes.is_empty() => {
                entry.read_to_end(&mut bytes)?;
                Content::File(bytes)
            }
            other => other,
        };
        layer.insert(&path, Entry { content, mode, owner });
    }
    Ok(())
}

/// Where a package's file lies in an image, unless it is left out.
fn place(path: &str) -> Option<String> {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let path = if MERGED.contains(&first) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    };
    let kept = !path.is_empty()
        && !LEFT_OUT
            .iter()
            .any(|folder| format!("{path}/").starts_with(folder));
    // Tables for character sets that no test speaks; they are half of libc6.
    (kept && !path.contains("/gconv")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_other_dependencies() {
        let depends = "libc6 (>= 2.36), libpcre2-8-0:any, debconf (>= 0.5) | debconf-2.0, libssl3 | libssl1.1, perl, bind9-libs (= 1), zlib1g";
        let found: Vec<_> = libraries(depends).into_iter().collect();
        assert_eq!(
            found,
            ["bind9-libs", "libc6", "libpcre2-8-0", "libssl3", "zlib1g"]
        );
    }

    #[test]
    fn files_lie_where_links_lead() {
        let places = [
            "./bin/sh",
            "./usr/bin/dig",
            "./lib64/",
            "./etc/nginx/",
            "./usr/share/doc/x",
            "./",
            "./libx",
        ];
        let expected = [
            Some("usr/bin/sh"),
            Some("usr/bin/dig"),
            Some("usr/lib64"),
            Some("etc/nginx"),
            None,
            None,
            Some("libx"),
        ];
        assert_eq!(places.map(place), expected.map(|path| path.map(str::to_owned)));
    }

    #[test]
    fn a_tar_file_becomes_a_tree() {
        let packed = |entries: &[(&str, EntryType, &str)]| {
            let mut tar = tar::Builder::new(Vec::new());
            for &(path, kind, what) in entries {
                let mut header = tar::Header::new_gnu();
                header.set_mode(0o755);
                header.set_uid(7);
                header.set_gid(8);
                header.set_entry_type(kind);
                if kind == EntryType::Regular {
                    header.set_size(what.len() as u64);
                    tar.append_data(&mut header, path, what.as_bytes()).unwrap();
                } else {
                    header.set_size(0);
                    tar.append_link(&mut header, path, what).unwrap();
                }
            }
            tar.into_inner().unwrap()
        };
        let mut layer = Layer::default();
        let file = packed(&[
            ("./bin/one", EntryType::Regular, "program"),
            ("./bin/two", EntryType::Link, "./bin/one"),
            ("./bin/three", EntryType::Symlink, "one"),
            ("./usr/share/man/one.1", EntryType::Regular, "left out"),
        ]);
        read_tar(&mut layer, file.as_slice()).unwrap();
        let one = layer.get("usr/bin/one").unwrap();
        assert_eq!(one.content, Content::File(b"program".to_vec()));
        assert_eq!((one.mode, one.owner), (0o755, (7, 8)));
        assert_eq!(layer.get("usr/bin/two").unwrap().content, one.content);
        assert_eq!(
            layer.get("usr/bin/three").unwrap().content,
            Content::Link("one".to_owned())
        );
        assert_eq!(layer.get("usr/share/man/one.1"), None);
    }
}
