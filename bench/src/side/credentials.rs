//! Who the benchmarks and the peer's parts are: static tokens, which both sides take, so that every request is
//! authenticated and authorized in the same way.

use anyhow::Context;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// The user that loads come from: cluster-admin by a binding, so that RBAC decides on each request.
pub(crate) const LOAD_USER: &str = "load";
/// May do anything, without being asked about.
pub(crate) const ADMINISTRATOR: &str = "administrator";
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
pub(crate) const SCHEDULER: &str = "system:kube-scheduler";

/// Every user, with the group it is in besides those of everybody.
const USERS: [(&str, &str); 4] = [
    (LOAD_USER, ""),
    (ADMINISTRATOR, "system:masters"),
    (CONTROLLER_MANAGER, ""),
    (SCHEDULER, ""),
];

/// A folder with a token file, and with kubeconfigs that are made from it.
pub(crate) struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    pub(crate) fn in_folder(folder: &Path) -> anyhow::Result<Credentials> {
        fs::create_dir_all(folder).context("make a folder for credentials")?;
        let lines = USERS.iter().enumerate().map(|(uid, (user, group))| {
            let group = if group.is_empty() {
                String::new()
            } else {
                format!(",\"{group}\"")
            };
            format!("{},{user},{uid}{group}\n", token(user))
        });
        let credentials = Credentials {
            folder: folder.to_owned(),
        };
        fs::write(credentials.token_file(), lines.collect::<String>()).context("write the token file")?;
        Ok(credentials)
    }

    /// For `--token-auth-file`.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    /// Writes a kubeconfig for a user.
    pub(crate) fn kubeconfig(&self, user: &str, server: &str, ca_file: &Path) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(format!("{}.conf", user.replace(':', "-")));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority": ca_file}}],
            "users": [{"name": user, "user": {"token": token(user)}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": user}}],
            "current-context": "it",
        });
        fs::write(&file, config.to_string()).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }
}

/// Guards nothing: the servers that take it listen on loopback for as long as a benchmark runs.
fn token(user: &str) -> String {
    format!("bench-{}", user.replace(':', "-"))
}
