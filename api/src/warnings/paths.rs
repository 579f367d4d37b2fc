//! Files of a volume that lie in each other's way.

use serde_json::Value;

use super::Warnings;
use crate::object::Fields;
use crate::quote::quote;

/// A file and where it comes from.
#[derive(Clone, PartialEq)]
struct Origin {
    path: String,
    from: String,
}

impl Origin {
    fn new(path: &str, from: &str) -> Self {
        Self {
            path: path.trim_end_matches('/').to_owned(),
            from: from.to_owned(),
        }
    }

    fn shown(&self) -> String {
        match self.from.as_str() {
            "" => quote(&self.path),
            from => format!("{} ({from})", quote(&self.path)),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let holds = |folder: &str, file: &str| {
            file.strip_prefix(folder)
                .is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        holds(&self.path, &other.path) || holds(&other.path, &self.path)
    }
}

/// Says which of these files overlap with earlier ones, and adds them to these.
fn add(volume: &str, what: &str, files: Vec<Origin>, before: &mut Vec<Origin>, found: &mut Warnings) {
    for file in files {
        let others = before.iter().filter(|_| !file.path.is_empty());
        for other in others.filter(|other| !other.path.is_empty() && file.overlaps(other)) {
            let (volume, file, other) = (quote(volume), file.shown(), other.shown());
            found.add(format!(
                "volume {volume} ({what}): overlapping paths: {file} with {other}"
            ));
        }
        before.push(file);
    }
}

fn items(source: &Value, from: &str) -> Vec<Origin> {
    let paths = source.items("items").iter().map(|item| item.text("path"));
    paths.map(|path| Origin::new(path, from)).collect()
}

/// The files of one volume.
pub(super) fn volume(volume: &Value, found: &mut Warnings) {
    let name = volume.text("name");
    let named = |kind: &str, name: &str| format!("{kind} {}", quote(name));
    let (config, secret) = (&volume["configMap"], &volume["secret"]);
    let simple: [(&Value, &dyn Fn() -> String); 3] = [
        (config, &|| named("ConfigMap", config.text("name"))),
        (secret, &|| named("Secret", secret.text("secretName"))),
        (&volume["downwardAPI"], &|| "DownwardAPI".to_owned()),
    ];
    for (source, what) in simple {
        let files = items(source, "");
        if !files.is_empty() {
            add(name, &what(), files, &mut Vec::new(), found);
        }
    }
    let mut all = Vec::new();
    for source in volume["projected"].items("sources") {
        if source
            .as_object()
            .is_none_or(|source| source.values().all(Value::is_null))
        {
            found.add(format!(
                "volume {} (Projected) has no sources provided",
                quote(name)
            ));
            continue;
        }
        add(name, "Projected", projected(source), &mut all, found);
    }
}

fn projected(source: &Value) -> Vec<Origin> {
    let named = |kind: &str, name: &str| format!("{kind} {}", quote(name));
    let (config, secret) = (&source["configMap"], &source["secret"]);
    if config.has("items") {
        items(config, &named("ConfigMap", config.text("name")))
    } else if secret.has("items") {
        items(secret, &named("Secret", secret.text("name")))
    } else if source["downwardAPI"].has("items") {
        items(&source["downwardAPI"], "DownwardAPI")
    } else if let Some(token) = source.field("serviceAccountToken") {
        vec![Origin::new(token.text("path"), "ServiceAccountToken")]
    } else if let Some(bundle) = source.field("clusterTrustBundle") {
        let name = match bundle.text("name") {
            "" => bundle.text("signerName"),
            name => name,
        };
        vec![Origin::new(
            bundle.text("path"),
            &named("ClusterTrustBundle", name),
        )]
    } else if let Some(certificate) = source.field("podCertificate") {
        let files = [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ];
        let given = files
            .into_iter()
            .filter(|(name, _)| !certificate.text(name).is_empty());
        given
            .map(|(name, from)| Origin::new(certificate.text(name), from))
            .collect()
    } else {
        Vec::new()
    }
}
