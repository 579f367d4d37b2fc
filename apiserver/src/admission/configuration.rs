//! What plugins are told: `--admission-control-config-file`, an `AdmissionConfiguration` that holds the configuration of each
//! plugin or names a file that does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coracle_api::codec::yaml;
use coracle_api::object::Fields;
use serde_json::Value;

use super::chain::Chain;

/// Which admission plugins run, and what they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// Plugins that run besides those that are on by default (`--enable-admission-plugins`).
    pub enable: Vec<String>,
    /// Plugins that do not run though they are on by default (`--disable-admission-plugins`).
    pub disable: Vec<String>,
    /// The file of an `AdmissionConfiguration` (`--admission-control-config-file`).
    pub config_file: Option<PathBuf>,
}

/// Why admission cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// A flag names a plugin that there is not.
    #[error("{flag} plugin {name:?} is unknown")]
    Unknown {
        /// Which flag.
        flag: &'static str,
        /// What it names.
        name: String,
    },
    /// Plugins are switched on and off at once.
    #[error("[{0}] in enable-admission-plugins and disable-admission-plugins overlapped")]
    Overlap(String),
    /// A file cannot be read.
    #[error("unable to read admission control configuration from {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("failed to read plugin config: {}: {why}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A plugin cannot take what it is told, or does not run here.
    #[error("couldn't init admission plugin {name:?}: {why}")]
    Plugin {
        /// Which plugin.
        name: String,
        /// Why.
        why: String,
    },
}

/// What each plugin is told.
#[derive(Debug, Default)]
pub(super) struct Told {
    plugins: BTreeMap<String, Value>,
}

impl Told {
    /// The configuration of a plugin.
    pub(super) fn of(&self, name: &str) -> Option<&Value> {
        self.plugins.get(name)
    }
}

impl AdmissionOptions {
    /// Makes the plugins. Reads the files that are named.
    pub(crate) fn chain(&self) -> Result<Chain, AdmissionError> {
        let told = match &self.config_file {
            None => Told::default(),
            Some(path) => told(path)?,
        };
        Chain::new(&self.enable, &self.disable, &told)
    }
}

fn told(path: &Path) -> Result<Told, AdmissionError> {
    let configuration = document(path)?;
    let entries = entries(&configuration).map_err(|why| AdmissionError::Configuration {
        path: path.to_owned(),
        why,
    })?;
    let mut plugins = BTreeMap::new();
    for (name, source) in entries {
        let value = match source {
            Source::Here(value) => value.clone(),
            // Where a file lies is told from where the configuration lies.
            Source::File(file) => document(&path.parent().unwrap_or(Path::new("")).join(file))?,
            Source::Nowhere => continue,
        };
        // The first one of a name counts.
        plugins.entry(name.to_owned()).or_insert(value);
    }
    Ok(Told { plugins })
}

fn document(path: &Path) -> Result<Value, AdmissionError> {
    let bytes = std::fs::read(path).map_err(|source| AdmissionError::File {
        path: path.to_owned(),
        source,
    })?;
    let faulty = |why: String| AdmissionError::Configuration {
        path: path.to_owned(),
        why,
    };
    let parsed = yaml::parse(&bytes).map_err(|error| faulty(error.to_string()))?;
    match parsed.duplicates.first() {
        Some(duplicate) => Err(faulty(duplicate.clone())),
        None => Ok(parsed.value),
    }
}

/// Where the configuration of a plugin stands.
#[derive(Debug, PartialEq)]
enum Source<'a> {
    Here(&'a Value),
    File(&'a str),
    Nowhere,
}

/// The plugins that an `AdmissionConfiguration` names, strictly read.
fn entries(configuration: &Value) -> Result<Vec<(&str, Source<'_>)>, String> {
    expect_kind(
        configuration,
        &["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"],
        "AdmissionConfiguration",
    )?;
    only(configuration, &["apiVersion", "kind", "plugins"], "")?;
    let mut entries = Vec::new();
    for (index, plugin) in configuration.items("plugins").iter().enumerate() {
        let place = format!("plugins[{index}].");
        only(plugin, &["name", "path", "configuration"], &place)?;
        let source = match (plugin.field("configuration"), plugin.text("path")) {
            (Some(value), _) => Source::Here(value),
            (None, "") => Source::Nowhere,
            (None, path) => Source::File(path),
        };
        entries.push((plugin.text("name"), source));
    }
    Ok(entries)
}

/// Whether an object is of a kind, in one of the versions that are read.
pub(super) fn expect_kind(object: &Value, versions: &[&str], kind: &str) -> Result<(), String> {
    let (version, found) = (object.text("apiVersion"), object.text("kind"));
    if versions.contains(&version) && found == kind {
        return Ok(());
    }
    Err(format!(
        "no kind {found:?} is registered for version {version:?}; write {kind} in {}",
        versions.join(" or ")
    ))
}

/// Whether an object has no other fields than these.
pub(super) fn only(object: &Value, fields: &[&str], place: &str) -> Result<(), String> {
    let Some(map) = object.as_object() else {
        let place = place.trim_end_matches('.');
        return Err(format!("strict decoding error: {place} is no object"));
    };
    match map.keys().find(|name| !fields.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!("strict decoding error: unknown field \"{place}{name}\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_holds_or_names_what_plugins_are_told() {
        let configuration = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [
            {"name": "PodSecurity", "configuration": {"kind": "X"}}, {"name": "EventRateLimit", "path": "limits.yaml"},
            {"name": "ResourceQuota"}]});
        let (here, file) = (json!({"kind": "X"}), Source::File("limits.yaml"));
        assert_eq!(
            entries(&configuration).unwrap(),
            [
                ("PodSecurity", Source::Here(&here)),
                ("EventRateLimit", file),
                ("ResourceQuota", Source::Nowhere),
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let head = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"});
        let with = |field: &str, value: Value| {
            let mut configuration = head.clone();
            configuration[field] = value;
            entries(&configuration).unwrap_err()
        };
        assert_eq!(
            with("plugin", json!([])),
            "strict decoding error: unknown field \"plugin\""
        );
        assert_eq!(
            with("plugins", json!([{"nam": "x"}])),
            "strict decoding error: unknown field \"plugins[0].nam\""
        );
        assert!(with("kind", json!("Pod")).contains("no kind \"Pod\""));
    }

    #[test]
    fn files_are_looked_for_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
                    - {name: PodSecurity, path: pods.yaml}\n";
        std::fs::write(&path, text).unwrap();
        let options = AdmissionOptions {
            config_file: Some(path),
            ..Default::default()
        };
        assert!(matches!(options.chain(), Err(AdmissionError::File { .. })));
        let pods = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n\
                    defaults: {enforce: strict}\n";
        std::fs::write(folder.path().join("pods.yaml"), pods).unwrap();
        let error = options.chain().unwrap_err().to_string();
        assert!(
            error.starts_with(
                "couldn't init admission plugin \"PodSecurity\": defaults.enforce: Invalid value: \"strict\""
            ),
            "{error}"
        );
        std::fs::write(
            folder.path().join("pods.yaml"),
            pods.replace("strict", "baseline"),
        )
        .unwrap();
        assert!(options.chain().is_ok());
    }
}
