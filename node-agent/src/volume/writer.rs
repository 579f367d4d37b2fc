//! Writes a set of files so that a reader sees all of the old ones or all of the new ones.
//!
//! Upstream's layout: the files lie in a directory of their own, `..data` is a symbolic link to it, and every visible
//! name is a link through `..data`; replacing that one link replaces everything. Blocking.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::content::{File, Payload};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Makes `dir` show exactly `payload`. Nothing is touched if it does already.
pub(super) fn write(dir: &Path, payload: &Payload, fs_group: Option<u32>) -> io::Result<()> {
    let current = fs::read_link(dir.join(DATA)).ok();
    if let Some(current) = &current
        && shows(&dir.join(current), payload, fs_group)
    {
        return link_names(dir, payload);
    }
    let fresh = fresh_directory(dir)?;
    for (path, file) in payload {
        write_file(&dir.join(&fresh), path, file, fs_group)?;
    }
    let next = dir.join(DATA_NEXT);
    let _ = fs::remove_file(&next);
    symlink(&fresh, &next)?;
    fs::rename(&next, dir.join(DATA))?;
    link_names(dir, payload)?;
    remove_stale(dir, &fresh, payload)
}

/// A directory that pods with any user may write to, or those of the group.
pub(super) fn open_for_all(dir: &Path, fs_group: Option<u32>) -> io::Result<()> {
    if let Some(group) = fs_group {
        chown(dir, None, Some(group))?;
        return fs::set_permissions(dir, fs::Permissions::from_mode(0o2777));
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
}

fn mode_with_group(mode: u32, fs_group: Option<u32>) -> u32 {
    if fs_group.is_some() { mode | 0o440 } else { mode }
}

fn shows(data: &Path, payload: &Payload, fs_group: Option<u32>) -> bool {
    let mut found = 0;
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        let Ok(entries) = fs::read_dir(data.join(&below)) else {
            return false;
        };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            let Ok(meta) = entry.metadata() else { return false };
            if meta.is_dir() {
                directories.push(path);
                continue;
            }
            let Some(want) = path.to_str().and_then(|p| payload.get(p)) else {
                return false;
            };
            let mode = meta.permissions().mode() & 0o777;
            let same = mode == mode_with_group(want.mode, fs_group)
                && fs::read(data.join(&path)).is_ok_and(|data| data == want.data);
            if !same {
                return false;
            }
            found += 1;
        }
    }
    found == payload.len()
}

/// A directory with a name that none had before, for a name in use must never change its content.
fn fresh_directory(dir: &Path) -> io::Result<PathBuf> {
    let stamp = crate::clock::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for attempt in 0_u32.. {
        let name = format!("{stamp}.{attempt}");
        match fs::create_dir(dir.join(&name)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
            Ok(()) => {
                fs::set_permissions(dir.join(&name), fs::Permissions::from_mode(0o755))?;
                return Ok(PathBuf::from(name));
            }
        }
    }
    Err(io::Error::other("no free name for a data directory"))
}

fn write_file(data: &Path, path: &str, file: &File, fs_group: Option<u32>) -> io::Result<()> {
    let target = data.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&target, &file.data)?;
    if fs_group.is_some() {
        chown(&target, None, fs_group)?;
    }
    fs::set_permissions(
        &target,
        fs::Permissions::from_mode(mode_with_group(file.mode, fs_group)),
    )
}

fn first_parts(payload: &Payload) -> BTreeSet<&str> {
    payload
        .keys()
        .map(|path| path.split('/').next().unwrap_or(path))
        .collect()
}

fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    for name in first_parts(payload) {
        let target = Path::new(DATA).join(name);
        match symlink(&target, dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn remove_stale(dir: &Path, current: &Path, payload: &Payload) -> io::Result<()> {
    let names = first_parts(payload);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(text) = name.to_str() else { continue };
        if text == DATA || Path::new(text) == current || names.contains(text) {
            continue;
        }
        if text.starts_with("..") && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn files(list: &[(&str, &str)]) -> Payload {
        list.iter()
            .map(|(path, data)| {
                (
                    (*path).into(),
                    File {
                        data: data.as_bytes().to_vec(),
                        mode: 0o644,
                    },
                )
            })
            .collect()
    }

    fn visible(dir: &Path) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        while let Some(below) = open.pop() {
            for entry in fs::read_dir(dir.join(&below)).unwrap().flatten() {
                let path = below.join(entry.file_name());
                if path.to_str().unwrap().starts_with("..") {
                    continue;
                }
                if dir.join(&path).is_dir() {
                    open.push(path);
                } else {
                    let text = fs::read_to_string(dir.join(&path)).unwrap();
                    out.insert(path.to_str().unwrap().to_owned(), text);
                }
            }
        }
        out
    }

    #[test]
    fn an_unchanged_payload_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let payload = files(&[("a", "1"), ("d/b", "2")]);
        write(dir.path(), &payload, None).unwrap();
        let before = fs::read_link(dir.path().join(DATA)).unwrap();
        write(dir.path(), &payload, None).unwrap();
        assert_eq!(fs::read_link(dir.path().join(DATA)).unwrap(), before);
    }

    #[test]
    fn a_reader_that_holds_the_old_directory_sees_the_old_files_until_the_link_moves() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &files(&[("a", "1"), ("b", "1")]), None).unwrap();
        let old = fs::canonicalize(dir.path().join("a")).unwrap();
        write(dir.path(), &files(&[("a", "2"), ("b", "2")]), None).unwrap();
        let new = fs::canonicalize(dir.path().join("a")).unwrap();
        assert_ne!(
            old.parent(),
            new.parent(),
            "all files moved at once with their directory"
        );
        assert!(!old.exists());
    }

    #[test]
    fn modes_are_set() {
        let dir = tempfile::tempdir().unwrap();
        let payload = Payload::from([(
            "a".into(),
            File {
                data: vec![],
                mode: 0o400,
            },
        )]);
        write(dir.path(), &payload, None).unwrap();
        let mode = fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o400);
    }

    fn payloads() -> impl Strategy<Value = Vec<BTreeMap<String, String>>> {
        let path = prop::sample::select(vec!["a", "b", "c", "d/x", "d/y", "e/f/g"]).prop_map(str::to_owned);
        prop::collection::vec(prop::collection::btree_map(path, "[a-z]{0,4}", 0..5), 1..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn after_any_history_the_last_payload_is_what_is_seen(history in payloads()) {
            let dir = tempfile::tempdir().unwrap();
            for step in &history {
                let list: Vec<_> = step.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                write(dir.path(), &files(&list), None).unwrap();
                prop_assert_eq!(&visible(dir.path()), step);
            }
            let directories = fs::read_dir(dir.path()).unwrap().flatten()
                .filter(|e| e.file_type().unwrap().is_dir()).count();
            prop_assert_eq!(directories, 1, "old data directories are removed");
        }
    }
}
