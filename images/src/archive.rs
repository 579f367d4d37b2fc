//! OCI image layouts in a tar file, by the OCI image specification 1.1. Names stand in annotations as containerd reads them.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};
use tar::Builder;

use crate::layer::{Layer, Packed, header};
use crate::{digest, programs};

/// An image: names, layers from the lowest up, and how a container of it starts.
#[derive(Clone, Debug)]
pub struct Image {
    /// Every name, with registry and tag.
    pub names: Vec<String>,
    /// What lies over what.
    pub layers: Vec<Packed>,
    /// How a container starts where a pod does not say otherwise.
    pub settings: Settings,
}

/// How a container starts where a pod does not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Variables, as `NAME=value`.
    pub environment: Vec<String>,
    /// The program, and arguments that a pod's `args` follow.
    pub entrypoint: Vec<String>,
    /// Arguments that a pod's `args` replace.
    pub arguments: Vec<String>,
    /// User, or user and group with a colon between, by number; root if empty.
    pub user: String,
}

impl Image {
    /// One static program as an image, with the folders that a container expects to find.
    ///
    /// # Errors
    /// When the path is too long for an archive.
    pub fn of_program(name: &str, path: &str, program: &[u8], mut settings: Settings) -> io::Result<Self> {
        let layer = Layer::default()
            .folder("etc", 0o755)
            .folder("tmp", 0o1777)
            .file(path, 0o755, program);
        settings.environment.insert(0, "PATH=/".to_owned());
        settings.entrypoint = vec![format!("/{path}")];
        Ok(Self {
            names: vec![name.to_owned()],
            layers: vec![layer.pack()?],
            settings,
        })
    }

    /// The pause image, under this name.
    ///
    /// # Errors
    /// Only what writing to memory can give.
    pub fn pause(name: &str) -> io::Result<Self> {
        let settings = Settings {
            user: "65535:65535".to_owned(),
            ..Settings::default()
        };
        Self::of_program(name, "pause", programs::PAUSE, settings)
    }
}

/// Writes an archive of all the images. A layer that several share is written once.
///
/// # Errors
/// Those of `output`.
pub fn write(images: &[Image], output: impl Write) -> io::Result<()> {
    let mut layout = Layout {
        written: BTreeSet::new(),
        tar: Builder::new(output),
    };
    let mut manifests = Vec::new();
    for image in images {
        let manifest = layout.add_image(image)?;
        for name in &image.names {
            let mut named = manifest.clone();
            named["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
            manifests.push(named);
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    layout.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    layout.file("index.json", index.to_string().as_bytes())?;
    layout.tar.into_inner()?.flush()
}

/// What images of this machine say they run on.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An OCI layout while it is written: each blob once.
struct Layout<W: Write> {
    written: BTreeSet<String>,
    tar: Builder<W>,
}

impl<W: Write> Layout<W> {
    /// Adds an image's blobs and gives its manifest's descriptor.
    fn add_image(&mut self, image: &Image) -> io::Result<Value> {
        let digests: Vec<_> = image.layers.iter().map(|layer| &layer.digest).collect();
        let settings = &image.settings;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Env": settings.environment,
                "Entrypoint": settings.entrypoint,
                "Cmd": settings.arguments,
                "User": settings.user,
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": digests },
        });
        let config = self.add_json(&config, "application/vnd.oci.image.config.v1+json")?;
        let mut layers = Vec::new();
        for layer in &image.layers {
            layers.push(self.add(
                &layer.digest,
                &layer.bytes,
                "application/vnd.oci.image.layer.v1.tar",
            )?);
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        self.add_json(&manifest, "application/vnd.oci.image.manifest.v1+json")
    }

    fn add_json(&mut self, value: &Value, media_type: &str) -> io::Result<Value> {
        let bytes = value.to_string().into_bytes();
        self.add(&digest(&bytes), &bytes, media_type)
    }

    /// Adds a blob and gives its descriptor.
    fn add(&mut self, digest: &str, bytes: &[u8], media_type: &str) -> io::Result<Value> {
        if self.written.insert(digest.to_owned()) {
            self.file(&format!("blobs/{}", digest.replace(':', "/")), bytes)?;
        }
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.tar.append_data(&mut header(bytes.len(), 0o644), path, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn image(name: &str, layers: &[&Layer]) -> Image {
        Image {
            names: vec![name.to_owned(), format!("{name}-too")],
            layers: layers.iter().map(|layer| layer.pack().unwrap()).collect(),
            settings: Settings {
                entrypoint: vec![format!("/{name}")],
                ..Settings::default()
            },
        }
    }

    fn two_images() -> Vec<u8> {
        let base = Layer::default().folder("etc", 0o755);
        let [one, two] = ["one", "two"].map(|name| Layer::default().file(name, 0o755, name));
        let mut bytes = Vec::new();
        write(
            &[image("one", &[&base, &one]), image("two", &[&base, &two])],
            &mut bytes,
        )
        .unwrap();
        bytes
    }

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let before = files.insert(entry.path().unwrap().display().to_string(), bytes);
            assert!(before.is_none(), "each file once");
        }
        files
    }

    #[test]
    fn every_blob_has_the_digest_that_names_it() {
        let files = entries(&two_images());
        let blobs: Vec<_> = files
            .iter()
            .filter(|(path, _)| path.starts_with("blobs/"))
            .collect();
        assert_eq!(blobs.len(), 3 + 2 + 2, "three layers, two configs, two manifests");
        for (path, bytes) in blobs {
            assert_eq!(*path, format!("blobs/{}", digest(bytes).replace(':', "/")));
        }
    }

    #[test]
    fn every_name_leads_to_a_program() {
        let files = entries(&two_images());
        let read = |path: &str| -> Value { serde_json::from_slice(&files[path]).unwrap() };
        let blob = |descriptor: &Value| {
            format!(
                "blobs/{}",
                descriptor["digest"].as_str().unwrap().replace(':', "/")
            )
        };
        let index = read("index.json");
        let found = index["manifests"].as_array().unwrap().iter().map(|descriptor| {
            let manifest = read(&blob(descriptor));
            let config = read(&blob(&manifest["config"]));
            let layers = manifest["layers"].as_array().unwrap();
            let digests: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
            assert_eq!(config["rootfs"]["diff_ids"], Value::from(digests));
            assert!(layers.iter().all(|layer| files.contains_key(&blob(layer))));
            let name = descriptor["annotations"]["io.containerd.image.name"]
                .as_str()
                .unwrap();
            (
                name.to_owned(),
                config["config"]["Entrypoint"][0].as_str().unwrap().to_owned(),
            )
        });
        let expected = [
            ("one", "/one"),
            ("one-too", "/one"),
            ("two", "/two"),
            ("two-too", "/two"),
        ];
        let expected = expected.map(|(name, program)| (name.to_owned(), program.to_owned()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_archive_is_byte_stable() {
        assert_eq!(two_images(), two_images());
    }
}
