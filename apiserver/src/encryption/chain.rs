//! The providers of a resource: the first one writes, and each reads what begins with its own prefix.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ciphers::{Cipher, CipherError, Gcm};
use super::config::{EncryptionConfiguration, Keys, ProviderConfiguration, named};
use super::kms::{Kms, KmsError};
use super::{ENCRYPTED, Named};

/// Why a value was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransformError {
    /// No provider takes it for its own.
    #[error("no matching prefix found")]
    NoProvider,
    /// Its provider no longer has the key.
    #[error("no matching key was found for the provided {0} transformer")]
    NoKey(&'static str),
    /// It is encrypted, and is not to be.
    #[error("identity transformer tried to read encrypted data")]
    Identity,
    /// The cipher.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The key service.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// What several providers said.
    #[error("{0}")]
    Several(String),
}

/// A value as it was before it was encrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) bytes: Bytes,
    /// Whether it would be written otherwise now.
    pub(super) stale: bool,
}

enum Provider {
    Identity,
    Keys(KeyRing),
    Kms(Arc<Kms>),
}

/// Several keys of one cipher.
struct KeyRing {
    prefix: &'static str,
    name: &'static str,
    /// By what stands before the values of each: `NAME:`.
    keys: Vec<(String, Cipher)>,
}

impl KeyRing {
    fn new(
        (prefix, name): (&'static str, &'static str),
        keys: &Keys,
        make: impl Fn(&[u8]) -> Result<Cipher, CipherError>,
    ) -> Result<Self, String> {
        let keys = keys.keys.iter().map(|key| {
            let bytes = key.bytes().unwrap_or_default();
            let cipher = make(&bytes);
            let cipher = cipher.map_err(|error| {
                format!("error while creating cipher for named key {}: {error}", key.name)
            })?;
            Ok((format!("{}:", key.name), cipher))
        });
        let keys: Result<Vec<_>, String> = keys.collect();
        Ok(Self {
            prefix,
            name,
            keys: keys?,
        })
    }

    fn open(&self, data: &[u8], place: &[u8]) -> Result<Opened, TransformError> {
        let mut faults = Vec::new();
        for (index, (prefix, cipher)) in self.keys.iter().enumerate() {
            let Some(rest) = data.strip_prefix(prefix.as_bytes()) else {
                continue;
            };
            match cipher.open(rest, place) {
                Ok(bytes) => {
                    return Ok(Opened {
                        bytes: bytes.into(),
                        stale: index != 0,
                    });
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
        Err(reduced(faults).map_or(TransformError::NoKey(self.name), TransformError::Several))
    }

    fn seal(&self, data: &[u8], place: &[u8]) -> Result<Bytes, TransformError> {
        let (name, cipher) = self.keys.first().ok_or(TransformError::NoKey(self.name))?;
        let sealed = cipher.seal(data, place)?;
        Ok([self.prefix.as_bytes(), name.as_bytes(), &sealed].concat().into())
    }
}

/// The providers of a resource, in order.
#[derive(Clone, Default)]
pub(super) struct Chain(Vec<Arc<Provider>>);

impl Chain {
    /// Encrypts a value for the place it is stored at.
    pub(super) fn seal(&self, data: &Bytes, place: &[u8]) -> Result<Bytes, TransformError> {
        match self.0.first().map(|provider| &**provider) {
            None | Some(Provider::Identity) => Ok(data.clone()),
            Some(Provider::Keys(keys)) => keys.seal(data, place),
            Some(Provider::Kms(service)) => Ok(service.seal(data, place)?),
        }
    }

    /// Decrypts what is stored at a place.
    pub(super) async fn open(&self, data: &Bytes, place: &[u8]) -> Result<Opened, TransformError> {
        let plain = |stale| Opened {
            bytes: data.clone(),
            stale,
        };
        if self.0.is_empty() {
            return if data.starts_with(ENCRYPTED) {
                Err(TransformError::Identity)
            } else {
                Ok(plain(false))
            };
        }
        let mut faults = Vec::new();
        for (index, provider) in self.0.iter().enumerate() {
            let opened = match &**provider {
                Provider::Identity if data.starts_with(ENCRYPTED) => continue,
                Provider::Identity => Ok(plain(false)),
                Provider::Keys(keys) => match data.strip_prefix(keys.prefix.as_bytes()) {
                    Some(rest) => keys.open(rest, place),
                    None => continue,
                },
                Provider::Kms(service) => match data.strip_prefix(service.prefix()) {
                    Some(rest) => service.open(rest, place).await.map_err(TransformError::from),
                    None => continue,
                },
            };
            match opened {
                Ok(opened) => {
                    return Ok(Opened {
                        stale: opened.stale || index != 0,
                        ..opened
                    });
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
        Err(reduced(faults).map_or(TransformError::NoProvider, TransformError::Several))
    }
}

/// Several messages as upstream's aggregate says them: each once, in brackets where there is more than one.
pub(super) fn reduced(faults: Vec<String>) -> Option<String> {
    let mut once: Vec<String> = Vec::new();
    for fault in faults {
        if !once.contains(&fault) {
            once.push(fault);
        }
    }
    match once.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}

/// The chain of every resource.
pub(super) struct Chains {
    by_resource: HashMap<Named, Chain>,
    none: Chain,
}

impl Chains {
    /// Makes providers as a configuration that has been found valid says; beside them the key services among them.
    ///
    /// # Errors
    /// What keeps them from being made.
    pub(super) fn of(configuration: &EncryptionConfiguration) -> Result<(Self, Vec<Arc<Kms>>), String> {
        let mut by_resource: HashMap<Named, Chain> = HashMap::new();
        let mut services = Vec::new();
        for entry in &configuration.resources {
            let mut providers = Vec::new();
            for provider in &entry.providers {
                let provider = Provider::of(provider)?;
                if let Provider::Kms(service) = &provider {
                    services.push(Arc::clone(service));
                }
                providers.push(Arc::new(provider));
            }
            for resource in &entry.resources {
                let key = named(resource);
                let group = (key.0.clone(), "*".to_owned());
                let everything = ("*".to_owned(), "*".to_owned());
                for mask in [group, everything] {
                    if by_resource.contains_key(&mask) {
                        let (masked, mask) = (shown(&key), shown(&mask));
                        return Err(format!("resource {masked:?} is masked by earlier rule {mask:?}"));
                    }
                }
                by_resource
                    .entry(key)
                    .or_default()
                    .0
                    .extend(providers.iter().cloned());
            }
        }
        let chains = Self {
            by_resource,
            none: Chain::default(),
        };
        Ok((chains, services))
    }

    /// The chain of a resource: its own, its group's, that of everything, or one that encrypts nothing.
    pub(super) fn chain(&self, resource: &Named) -> &Chain {
        let any = || "*".to_owned();
        self.by_resource
            .get(resource)
            .or_else(|| self.by_resource.get(&(resource.0.clone(), any())))
            .or_else(|| self.by_resource.get(&(any(), any())))
            .unwrap_or(&self.none)
    }
}

fn shown((group, resource): &Named) -> String {
    match (group.as_str(), resource.as_str()) {
        ("", "*") => "*.".to_owned(),
        ("", _) => resource.clone(),
        _ => format!("{resource}.{group}"),
    }
}

impl Provider {
    fn of(configuration: &ProviderConfiguration) -> Result<Self, String> {
        const GCM: (&str, &str) = ("k8s:enc:aesgcm:v1:", "AES");
        const CBC: (&str, &str) = ("k8s:enc:aescbc:v1:", "AES");
        const SECRETBOX: (&str, &str) = ("k8s:enc:secretbox:v1:", "Secretbox");
        Ok(if let Some(keys) = &configuration.aesgcm {
            Self::Keys(KeyRing::new(GCM, keys, |key| Gcm::new(key).map(Cipher::Gcm))?)
        } else if let Some(keys) = &configuration.aescbc {
            Self::Keys(KeyRing::new(CBC, keys, Cipher::cbc)?)
        } else if let Some(keys) = &configuration.secretbox {
            Self::Keys(KeyRing::new(SECRETBOX, keys, Cipher::secretbox)?)
        } else if let Some(service) = &configuration.kms {
            Self::Kms(Arc::new(Kms::new(service)?))
        } else {
            Self::Identity
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::read;
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    /// What a kube-apiserver 1.36.3 stored under these keys.
    const UPSTREAM_SECRETBOX: (&str, &str) = (
        "/registry/secrets/default/up",
        "\
         azhzOmVuYzpzZWNyZXRib3g6djE6b25lOiUrpohKq2U0Yvud8bsLtTV1MrRIA6ExWa74gAA7x1e5OGzgVlY90RqnkIe1ZI1uc6Bb\
         jv7TL77H9Yu3+p8j7HPaRr4lr3PafLyPbjgtWjzkMVIL70miyQLuKEbROhUe6idtpIw8JL1MAYjIZTLxFL48BefOWCZ8dD/a8JUN\
         pt/PVs9cRrrVV/F6C16iiHEUOi2zYmCBXNWMuc9zspEYPk69rfOEu0SpXid0ywa/4YTSH985jT9suR4uOBxbauYSOc0mI62713VO\
         9P07n6R6gspoGh9EPACIOqvrRGwpjkH6BkVs0tTNqCJfpgu8BzU1OA==",
    );
    const UPSTREAM_GCM: (&str, &str) = (
        "/registry/configmaps/default/up",
        "\
         azhzOmVuYzphZXNnY206djE6dHdvOpHeAvDlE+PBt1zlUVibuN19fnhpEA6dsxkIctDXUo/gcVI8UoDwdhlbNLwpqIySgAynSDeF\
         vZtF2u2cv4yIZzplBfyHV4XK5/OaqjZvLzfYvoqFPVv6OSLO4aw5k7zmBVzyozYti5RQPvvjLVwSkiqjn5V7xR10WAdPFa4JGyD3\
         a3qvTGQ1+IBO34+cYxJWCpaCf3RjiIKl8oPI+kXqTbtaIRu6gWCTJVEsDXi0Iav4RGeBMrZ0ef5ZyWR10LhXI2mocvD5Za08wYvw\
         0wreCjUlAIQ=",
    );
    const UPSTREAM_CBC: (&str, &str) = (
        "/registry/storageclasses/up",
        "\
         azhzOmVuYzphZXNjYmM6djE6dGhyZWU6wzn4hDghBSJqNDG+OV4aJR3apiu3kDJ4Ec+xWno+4HcP2hHhsZJ+25w31oGcR7v1OulI\
         sebHaplybi4Suuy2HRjk4+NbckUz5bFE0zJyheaxvilEh3zn/hklLv4e7kqsIZkD2p5POtsiyV1VY9d/3xB+pkSCa9+THHHxBSGF\
         QpVTeIic/fHctF02+fADN9DgaKdjVF8Yic5q3iTYBnrI67yt6Jmxkqm44S3+YIl244+fWRDeSBqUyA7yhrBMKTnt4dmkcBxJPwVk\
         LHWjKMablqu+AyWLL4S+y+4bvrjWxlz475GgIM4mjVC93FjEgMouDP6CP+YgwN/2VggMl17VjssSchfhTY508UyyeIMHUb/Kdz0x\
         F2pwFRMut/pEgUUh",
    );

    fn chains(resources: &str) -> Result<Chains, String> {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources}]"
        );
        Chains::of(&read(text.as_bytes()).unwrap()).map(|(chains, _)| chains)
    }

    fn resource(group: &str, resource: &str) -> Named {
        (group.to_owned(), resource.to_owned())
    }

    fn ring(cipher: &str, names: &[&str]) -> String {
        let keys: Vec<_> = names
            .iter()
            .map(|name| format!("{{name: {name}, secret: {KEY}}}"))
            .collect();
        format!("{{{cipher}: {{keys: [{}]}}}}", keys.join(", "))
    }

    fn secrets(providers: &[String]) -> Chain {
        let chains = chains(&format!(
            "{{resources: [secrets], providers: [{}]}}",
            providers.join(", ")
        ));
        chains.unwrap().chain(&resource("", "secrets")).clone()
    }

    #[tokio::test]
    async fn the_first_provider_writes_and_all_read() {
        let (place, data) = (b"/registry/secrets/a/b", Bytes::from_static(b"k8s\0secret"));
        let old = secrets(&[ring("aescbc", &["one"]), "{identity: {}}".to_owned()]);
        let new = secrets(&[ring("secretbox", &["two", "one"]), ring("aescbc", &["one"])]);
        let written = old.seal(&data, place).unwrap();
        assert!(written.starts_with(b"k8s:enc:aescbc:v1:one:"));
        let read = |bytes: Bytes, stale| Opened { bytes, stale };
        assert_eq!(
            old.open(&written, place).await.unwrap(),
            read(data.clone(), false)
        );
        assert_eq!(
            old.open(&data, place).await.unwrap(),
            read(data.clone(), true),
            "not encrypted yet"
        );
        assert_eq!(new.open(&written, place).await.unwrap(), read(data.clone(), true));
        let rotated = new.seal(&data, place).unwrap();
        assert!(rotated.starts_with(b"k8s:enc:secretbox:v1:two:"));
        assert_eq!(new.open(&rotated, place).await.unwrap(), read(data, false));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_in_upstreams_words() {
        let (place, data) = (b"/registry/secrets/a/b", Bytes::from_static(b"k8s\0secret"));
        let written = secrets(&[ring("secretbox", &["one"])])
            .seal(&data, place)
            .unwrap();
        let table = [
            (
                secrets(&[ring("secretbox", &["two"])]),
                "no matching key was found for the provided Secretbox transformer",
            ),
            (secrets(&[ring("aesgcm", &["one"])]), "no matching prefix found"),
            (
                secrets(&["{identity: {}}".to_owned()]),
                "no matching prefix found",
            ),
            (
                Chain::default(),
                "identity transformer tried to read encrypted data",
            ),
        ];
        for (chain, message) in table {
            assert_eq!(
                chain.open(&written, place).await.unwrap_err().to_string(),
                message
            );
        }
        let plain = secrets(&[ring("secretbox", &["one"])]).open(&data, place).await;
        assert_eq!(plain.unwrap_err().to_string(), "no matching prefix found");
    }

    #[tokio::test]
    async fn what_upstream_wrote_can_be_read() {
        let at = |place: &'static str, stored: &str| {
            use base64::Engine;
            let stored = base64::engine::general_purpose::STANDARD.decode(stored).unwrap();
            (place.as_bytes(), Bytes::from(stored))
        };
        let table = [
            (
                ring("secretbox", &["one"]),
                at(UPSTREAM_SECRETBOX.0, UPSTREAM_SECRETBOX.1),
            ),
            (ring("aesgcm", &["two"]), at(UPSTREAM_GCM.0, UPSTREAM_GCM.1)),
            (ring("aescbc", &["three"]), at(UPSTREAM_CBC.0, UPSTREAM_CBC.1)),
        ];
        for (provider, (place, stored)) in table {
            let opened = secrets(std::slice::from_ref(&provider))
                .open(&stored, place)
                .await
                .unwrap();
            assert!(opened.bytes.starts_with(b"k8s\0"), "{provider}");
        }
    }

    #[test]
    fn the_narrowest_rule_counts_and_none_may_be_masked() {
        let both = format!(
            "{{resources: [secrets], providers: [{}]}}, {{resources: ['*.'], providers: [{}]}}, \
             {{resources: ['*.*'], providers: [{{identity: {{}}}}]}}",
            ring("aesgcm", &["one"]),
            ring("aescbc", &["two"]),
        );
        let chains_of_both = chains(&both).unwrap();
        let prefix = |group, plural| {
            let sealed = chains_of_both
                .chain(&resource(group, plural))
                .seal(&Bytes::from_static(b"k8s\0"), b"/");
            String::from_utf8_lossy(&sealed.unwrap()[..8]).into_owned()
        };
        let written = chains_of_both
            .chain(&resource("", "secrets"))
            .seal(&Bytes::new(), b"/")
            .unwrap();
        assert!(written.starts_with(b"k8s:enc:aesgcm:v1:one:"));
        assert_eq!(prefix("", "pods"), "k8s:enc:");
        let plain = chains_of_both
            .chain(&resource("apps", "deployments"))
            .seal(&Bytes::new(), b"/");
        assert_eq!(plain.unwrap(), Bytes::new());
        let masked = chains(
            "{resources: ['*.apps'], providers: [{identity: {}}]}, {resources: [deployments.apps], providers: [{identity: {}}]}",
        );
        assert_eq!(
            masked.err().unwrap(),
            "resource \"deployments.apps\" is masked by earlier rule \"*.apps\""
        );
    }
}
