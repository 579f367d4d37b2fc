//! The user's kubeconfig: putting a cluster's context in, and taking it out again.
//!
//! Merging is pure and keeps whatever else the file holds. The file is locked as kubectl locks it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_yaml_ng::{Mapping, Value};

use super::process::wait_until;
use super::state::write_atomically;

const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// The file that kubectl reads first: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub(crate) fn default_path() -> PathBuf {
    let listed = std::env::var_os("KUBECONFIG")
        .and_then(|paths| std::env::split_paths(&paths).find(|path| !path.as_os_str().is_empty()));
    listed.unwrap_or_else(|| {
        std::env::var_os("HOME")
            .map_or_else(|| PathBuf::from("/root"), PathBuf::from)
            .join(".kube/config")
    })
}

/// Puts cluster, user and context `name` into the kubeconfig at `path`, taken from the one kubeconfig `admin` but reached at
/// `server`, and makes the context current.
///
/// # Errors
/// When a file cannot be read, is no kubeconfig, or cannot be written.
pub(crate) fn add(path: &Path, name: &str, server: &str, admin: &str) -> Result<()> {
    let mut admin: Value =
        serde_yaml_ng::from_str(admin).context("the cluster's own kubeconfig is damaged")?;
    if let Some(cluster) = admin["clusters"][0]["cluster"].as_mapping_mut() {
        cluster.insert("server".into(), server.into());
    }
    change(path, |config| merge(config, name, &admin))
}

/// Takes everything named `name` out of the kubeconfig at `path`; a file that then holds nothing is removed.
///
/// # Errors
/// When the file cannot be read, is no kubeconfig, or cannot be written.
pub(crate) fn remove(path: &Path, name: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    change(path, |config| {
        without(config, name);
        Ok(())
    })
}

fn change(path: &Path, edit: impl FnOnce(&mut Mapping) -> Result<()>) -> Result<()> {
    let _lock = Lock::take(path)?;
    let mut config = match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Mapping::new(),
        Ok(text) => serde_yaml_ng::from_str(&text)
            .with_context(|| format!("{} is not a kubeconfig: mend it or move it away", path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Mapping::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    edit(&mut config)?;
    let empty = LISTS.iter().all(|list| entries(&config, list).is_empty());
    if empty {
        return fs::remove_file(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        });
    }
    write_atomically(path, serde_yaml_ng::to_string(&config)?.as_bytes(), 0o600)
}

/// Replaces what `name` stands for in `config` by the first cluster and user of `admin`.
fn merge(config: &mut Mapping, name: &str, admin: &Value) -> Result<()> {
    without(config, name);
    config.entry("apiVersion".into()).or_insert_with(|| "v1".into());
    config.entry("kind".into()).or_insert_with(|| "Config".into());
    for (list, field) in [("clusters", "cluster"), ("users", "user")] {
        let content = admin[list][0][field].clone();
        anyhow::ensure!(
            content.is_mapping(),
            "the cluster's own kubeconfig has no {field}"
        );
        push(config, list, named(name, field, content));
    }
    let context: Mapping = [("cluster", name), ("user", name)]
        .map(|(key, value)| (key.into(), value.into()))
        .into_iter()
        .collect();
    push(config, "contexts", named(name, "context", context.into()));
    config.insert("current-context".into(), name.into());
    Ok(())
}

fn named(name: &str, field: &str, content: Value) -> Value {
    let entry: Mapping = [("name".into(), name.into()), (field.into(), content)]
        .into_iter()
        .collect();
    entry.into()
}

fn push(config: &mut Mapping, list: &str, entry: Value) {
    let slot = config.entry(list.into()).or_insert(Value::Null);
    match slot {
        Value::Sequence(entries) => entries.push(entry),
        other => *other = Value::Sequence(vec![entry]),
    }
}

fn entries<'a>(config: &'a Mapping, list: &str) -> &'a [Value] {
    config
        .get(list)
        .and_then(Value::as_sequence)
        .map_or(&[], Vec::as_slice)
}

fn without(config: &mut Mapping, name: &str) {
    for list in LISTS {
        if let Some(Value::Sequence(entries)) = config.get_mut(list) {
            entries.retain(|entry| entry["name"].as_str() != Some(name));
        }
    }
    if config.get("current-context").and_then(Value::as_str) == Some(name) {
        config.remove("current-context");
    }
}

/// The lock that kubectl takes: a file beside the kubeconfig that only one can make.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut file = path.as_os_str().to_owned();
        file.push(".lock");
        let file = PathBuf::from(file);
        let taken = wait_until(Duration::from_secs(10), || File::create_new(&file).is_ok());
        anyhow::ensure!(
            taken,
            "{} is held by another program; remove it if none runs",
            file.display()
        );
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind it only makes the next one wait and say so.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: &str = "clusters: [{name: x, cluster: {server: https://127.0.0.1:6443}}]\nusers: [{name: y, user: {token: t}}]\n";

    const SERVER: &str = "https://127.0.0.1:7443";

    #[test]
    fn a_context_comes_and_goes_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".kube/config");
        add(&path, "coracle-one", SERVER, ADMIN).unwrap();
        add(&path, "coracle-two", SERVER, ADMIN).unwrap();
        add(&path, "coracle-two", SERVER, ADMIN).unwrap();
        let config: Mapping = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(config["current-context"], "coracle-two");
        assert_eq!(entries(&config, "clusters")[1]["cluster"]["server"], SERVER);
        for list in LISTS {
            assert_eq!(entries(&config, list).len(), 2, "{list}");
        }
        remove(&path, "coracle-two").unwrap();
        let config: Mapping = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert!(!config.contains_key("current-context"));
        assert_eq!(entries(&config, "clusters")[0]["name"], "coracle-one");
        remove(&path, "coracle-one").unwrap();
        assert!(!path.exists(), "an empty file is no use to anyone");
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            0,
            "no lock is left"
        );
    }

    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, "just words").unwrap();
        let error = add(&path, "x", SERVER, ADMIN).unwrap_err().to_string();
        assert!(error.contains("is not a kubeconfig"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "just words");
    }
}
