//! What the files of configMap, secret, downwardAPI and projected volumes say. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};

use super::claim::Found;
use crate::env::field::{self, Surroundings};
use crate::env::{FieldError, References};

const DEFAULT_MODE: i32 = 0o644;
/// A token is its owner's alone where the pod says who that is.
const PRIVATE_MODE: u32 = 0o600;

/// One file of a volume.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
}

impl std::fmt::Debug for File {
    /// Shows no content: it may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {:o}", self.data.len(), self.mode)
    }
}

/// A volume's files by relative path, each path clean: no `..`, not absolute.
pub(crate) type Payload = BTreeMap<String, File>;

/// What volumes are filled from.
pub(crate) struct Sources<'a> {
    pub(crate) references: &'a References,
    pub(crate) around: &'a Surroundings,
    /// Tokens that were asked for, by (volume, path).
    pub(crate) tokens: &'a BTreeMap<(String, String), String>,
    /// What the runtime calls the images of volumes, by volume.
    pub(crate) images: &'a BTreeMap<String, String>,
    /// What there is for the claims that volumes name, by volume.
    pub(crate) claims: &'a BTreeMap<String, Found>,
}

/// Why a volume's content cannot be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ContentError {
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    #[error("references non-existent config key: {0}")]
    NoKey(String),
    #[error("references non-existent secret key: {0}")]
    NoSecretKey(String),
    #[error("path \"{0}\" must be relative and must not contain '..'")]
    Path(String),
    #[error("no service account token yet for path \"{0}\"")]
    NoToken(String),
    #[error("projected source is not supported by this node: {0}")]
    Projection(&'static str),
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The files of a volume.
pub(crate) fn payload(pod: &Pod, volume: &Volume, sources: &Sources<'_>) -> Result<Payload, ContentError> {
    let mut out = Payload::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let wanted = Wanted {
            items: source.items.as_deref(),
            mode,
            optional: source.optional == Some(true),
        };
        config_map(&source.name, &wanted, sources, &mut out)?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let wanted = Wanted {
            items: source.items.as_deref(),
            mode,
            optional: source.optional == Some(true),
        };
        secret(
            source.secret_name.as_deref().unwrap_or_default(),
            &wanted,
            sources,
            &mut out,
        )?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward(
            pod,
            source.items.as_deref().unwrap_or_default(),
            mode,
            sources,
            &mut out,
        )?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in source.sources.iter().flatten() {
            project(pod, &volume.name, projection, mode, sources, &mut out)?;
        }
    }
    out.keys().try_for_each(|path| check_path(path))?;
    Ok(out)
}

struct Wanted<'a> {
    items: Option<&'a [KeyToPath]>,
    mode: i32,
    optional: bool,
}

fn project(
    pod: &Pod,
    volume: &str,
    projection: &VolumeProjection,
    mode: i32,
    sources: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), ContentError> {
    if let Some(source) = &projection.config_map {
        let wanted = Wanted {
            items: source.items.as_deref(),
            mode,
            optional: source.optional == Some(true),
        };
        config_map(&source.name, &wanted, sources, out)
    } else if let Some(source) = &projection.secret {
        let wanted = Wanted {
            items: source.items.as_deref(),
            mode,
            optional: source.optional == Some(true),
        };
        secret(&source.name, &wanted, sources, out)
    } else if let Some(source) = &projection.downward_api {
        downward(
            pod,
            source.items.as_deref().unwrap_or_default(),
            mode,
            sources,
            out,
        )
    } else if let Some(source) = &projection.service_account_token {
        let key = (volume.to_owned(), source.path.clone());
        let token = sources
            .tokens
            .get(&key)
            .ok_or_else(|| ContentError::NoToken(source.path.clone()))?;
        let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
        let owned = context.is_some_and(|c| c.fs_group.is_some());
        let mode = if owned { PRIVATE_MODE } else { mode_of(None, mode) };
        out.insert(
            source.path.clone(),
            File {
                data: token.clone().into_bytes(),
                mode,
            },
        );
        Ok(())
    } else if projection.cluster_trust_bundle.is_some() {
        Err(ContentError::Projection("clusterTrustBundle"))
    } else if projection.pod_certificate.is_some() {
        Err(ContentError::Projection("podCertificate"))
    } else {
        Ok(())
    }
}

fn config_map(
    name: &str,
    wanted: &Wanted<'_>,
    sources: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), ContentError> {
    let Some(map) = sources.references.config_maps.get(name) else {
        return if wanted.optional {
            Ok(())
        } else {
            Err(ContentError::NoConfigMap(name.into()))
        };
    };
    select(config_map_data(map), wanted, ContentError::NoKey, out)
}

fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map
        .binary_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

fn secret(
    name: &str,
    wanted: &Wanted<'_>,
    sources: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), ContentError> {
    let Some(secret) = sources.references.secrets.get(name) else {
        return if wanted.optional {
            Ok(())
        } else {
            Err(ContentError::NoSecret(name.into()))
        };
    };
    select(secret_data(secret), wanted, ContentError::NoSecretKey, out)
}

fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()))
        .collect()
}

/// All keys, or those that the items name, under the paths that they give.
fn select(
    mut data: BTreeMap<String, Vec<u8>>,
    wanted: &Wanted<'_>,
    missing: impl Fn(String) -> ContentError,
    out: &mut Payload,
) -> Result<(), ContentError> {
    let Some(items) = wanted.items.filter(|i| !i.is_empty()) else {
        let mode = mode_of(None, wanted.mode);
        out.extend(data.into_iter().map(|(path, data)| (path, File { data, mode })));
        return Ok(());
    };
    for item in items {
        let Some(content) = data.get_mut(&item.key) else {
            if wanted.optional {
                continue;
            }
            return Err(missing(item.key.clone()));
        };
        out.insert(
            item.path.clone(),
            File {
                data: content.clone(),
                mode: mode_of(item.mode, wanted.mode),
            },
        );
    }
    Ok(())
}

fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    sources: &Sources<'_>,
    out: &mut Payload,
) -> Result<(), ContentError> {
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field::pod_field(pod, &field.field_path, sources.around)?
        } else if let Some(selector) = &item.resource_field_ref {
            field::resource_field(pod, None, selector, sources.around)?
        } else {
            continue;
        };
        out.insert(
            item.path.clone(),
            File {
                data: text.into_bytes(),
                mode: mode_of(item.mode, mode),
            },
        );
    }
    Ok(())
}

fn mode_of(own: Option<i32>, default: i32) -> u32 {
    u32::try_from(own.unwrap_or(default)).unwrap_or(0) & 0o777
}

fn check_path(path: &str) -> Result<(), ContentError> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.contains('\0')
        || path
            .split('/')
            .any(|part| part == ".." || part == "." || part.is_empty());
    if bad {
        Err(ContentError::Path(path.into()))
    } else {
        Ok(())
    }
}

/// A service account token that a pod's volumes want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenWanted {
    pub(crate) volume: String,
    pub(crate) path: String,
    /// None means the API server's own audience.
    pub(crate) audience: Option<String>,
    pub(crate) expiration_seconds: i64,
}

/// All tokens that the pod's projected volumes want.
pub(crate) fn tokens_wanted(pod: &Pod) -> Vec<TokenWanted> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes
        .flat_map(|v| {
            v.projected
                .iter()
                .flat_map(|p| p.sources.iter().flatten())
                .map(move |s| (&v.name, s))
        })
        .filter_map(|(volume, source)| {
            let token = source.service_account_token.as_ref()?;
            Some(TokenWanted {
                volume: volume.clone(),
                path: token.path.clone(),
                audience: token.audience.clone().filter(|a| !a.is_empty()),
                expiration_seconds: token.expiration_seconds.unwrap_or(3600),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"containers": []}}),
        )
        .unwrap()
    }

    fn show(volume: serde_json::Value) -> String {
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let references = References {
            config_maps: serde_json::from_value(
                json!({"cm": {"data": {"a": "1", "b": "2"}, "binaryData": {"c": "/w=="}}}),
            )
            .unwrap(),
            secrets: serde_json::from_value(json!({"s": {"data": {"k": "dg=="}}})).unwrap(),
        };
        let tokens = BTreeMap::from([(("v".to_owned(), "token".to_owned()), "t0".to_owned())]);
        let sources = Sources {
            references: &references,
            around: &Surroundings::default(),
            tokens: &tokens,
            images: &BTreeMap::new(),
            claims: &BTreeMap::new(),
        };
        match payload(&pod(), &volume, &sources) {
            Err(error) => error.to_string(),
            Ok(files) => files
                .iter()
                .map(|(path, f)| format!("{path}={}:{:o}", String::from_utf8_lossy(&f.data), f.mode))
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn files_of_volumes() {
        for (volume, want) in [
            (
                json!({"name": "v", "configMap": {"name": "cm"}}),
                "a=1:644 b=2:644 c=\u{fffd}:644",
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 256,
                    "items": [{"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 511}]}}),
                "x/y=1:400 z=2:777",
            ),
            (
                json!({"name": "v", "configMap": {"name": "none", "optional": true}}),
                "",
            ),
            (
                json!({"name": "v", "configMap": {"name": "none"}}),
                "configmap \"none\" not found",
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "n", "path": "p"}]}}),
                "references non-existent config key: n",
            ),
            (json!({"name": "v", "secret": {"secretName": "s"}}), "k=v:644"),
            (
                json!({"name": "v", "secret": {"secretName": "none"}}),
                "secret \"none\" not found",
            ),
            (
                json!({"name": "v", "downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
                "n=web:644",
            ),
            (
                json!({"name": "v", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "cm", "items": [{"key": "a", "path": "ca"}]}},
                    {"secret": {"name": "s"}},
                    {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}),
                "ca=1:644 k=v:644 l=a=\"b\":644 token=t0:644",
            ),
            (
                json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "other"}}]}}),
                "no service account token yet for path \"other\"",
            ),
        ] {
            assert_eq!(show(volume.clone()), want, "{volume}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["../x", "/x", "a/../b", "..data", "a//b", ""] {
            let volume =
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "a", "path": path}]}});
            assert!(show(volume).contains("must be relative"), "{path}");
        }
    }
}
