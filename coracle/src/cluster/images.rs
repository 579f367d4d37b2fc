//! The images that Coracle carries in itself, as OCI archives made on the spot.
//!
//! Pure but for [`load`], which hands an archive to a node's containerd. Archives are byte-stable: same programs, same
//! digests.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The name that node agents and containerd's own settings give the pause image.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.10";
/// The image of the example, in the two versions between which it is rolled.
pub(crate) const HELLO: [&str; 2] = ["coracle.dev/hello:1", "coracle.dev/hello:2"];

const PAUSE_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
const HELLO_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// One static program as an image.
struct Image {
    names: Vec<String>,
    path: &'static str,
    program: &'static [u8],
    environment: Vec<String>,
    arguments: &'static [&'static str],
    user: &'static str,
}

/// Every image that a new node gets, as one OCI archive.
///
/// # Errors
/// Only what writing to memory can give.
pub(crate) fn built_in() -> io::Result<Vec<u8>> {
    let mut images = vec![Image {
        names: vec![PAUSE.to_owned()],
        path: "pause",
        program: PAUSE_PROGRAM,
        environment: Vec::new(),
        arguments: &[],
        user: "65535:65535",
    }];
    for (index, name) in HELLO.iter().enumerate() {
        images.push(Image {
            names: vec![(*name).to_owned()],
            path: "hello",
            program: HELLO_PROGRAM,
            environment: vec![format!("HELLO_VERSION={}", index + 1)],
            arguments: &["serve"],
            user: "",
        });
    }
    archive(&images)
}

/// An OCI image layout in a tar file, by the OCI image specification 1.1; names stand in annotations as containerd reads
/// them.
fn archive(images: &[Image]) -> io::Result<Vec<u8>> {
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    for image in images {
        let layer = layer(image)?;
        let layer_digest = digest(&layer);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Env": std::iter::once("PATH=/".to_owned()).chain(image.environment.iter().cloned()).collect::<Vec<_>>(),
                "Entrypoint": [format!("/{}", image.path)],
                "Cmd": image.arguments,
                "User": image.user,
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        });
        let config = layout.add_json(&config, "application/vnd.oci.image.config.v1+json")?;
        let layer = layout.add(&layer, "application/vnd.oci.image.layer.v1.tar")?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        });
        let manifest = layout.add_json(&manifest, "application/vnd.oci.image.manifest.v1+json")?;
        for name in &image.names {
            let mut named = manifest.clone();
            named["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
            manifests.push(named);
        }
    }
    layout.finish(&json!({ "schemaVersion": 2, "manifests": manifests }))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let mut text = String::from("sha256:");
    for byte in hash {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The image's one layer: the program, and the folders that a container expects to find.
fn layer(image: &Image) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (folder, mode) in [("etc/", 0o755), ("tmp/", 0o1777)] {
        let mut header = header(0, mode);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, folder, io::empty())?;
    }
    tar.append_data(&mut header(image.program.len(), 0o755), image.path, image.program)?;
    tar.into_inner()
}

fn header(size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

/// An OCI layout while it is written: each blob once.
#[derive(Default)]
struct Layout {
    written: std::collections::BTreeSet<String>,
    tar: Option<tar::Builder<Vec<u8>>>,
}

impl Layout {
    fn file(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let tar = self.tar.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        tar.append_data(&mut header(bytes.len(), 0o644), path, bytes)
    }

    /// Adds a blob and gives its descriptor.
    fn add(&mut self, bytes: &[u8], media_type: &str) -> io::Result<Value> {
        let digest = digest(bytes);
        if self.written.insert(digest.clone()) {
            self.file(&format!("blobs/{}", digest.replace(':', "/")), bytes)?;
        }
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    fn add_json(&mut self, value: &Value, media_type: &str) -> io::Result<Value> {
        self.add(value.to_string().as_bytes(), media_type)
    }

    fn finish(mut self, index: &Value) -> io::Result<Vec<u8>> {
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file("index.json", index.to_string().as_bytes())?;
        self.tar.map_or_else(|| Ok(Vec::new()), tar::Builder::into_inner)
    }
}

/// Imports an OCI or Docker archive into the containerd that listens on `socket`, where node agents look for images.
///
/// # Errors
/// When `ctr` is missing, or does not take the archive; its own words are part of the error.
pub(crate) fn load(socket: &Path, mut archive: impl Read) -> anyhow::Result<()> {
    let mut child = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args([
            "--namespace",
            "k8s.io",
            "images",
            "import",
            "--no-unpack=false",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| anyhow::anyhow!("cannot run ctr, which comes with containerd: {error}"))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let copied = io::copy(&mut archive, &mut input).and_then(|_| input.flush());
    drop(input);
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "containerd does not take the archive: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    copied?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        files
    }

    #[test]
    fn every_blob_has_the_digest_that_names_it() {
        let files = entries(&built_in().unwrap());
        let blobs: Vec<_> = files
            .iter()
            .filter(|(path, _)| path.starts_with("blobs/"))
            .collect();
        assert_eq!(
            blobs.len(),
            2 + 3 + 3,
            "two layers, three configs, three manifests"
        );
        for (path, bytes) in blobs {
            assert_eq!(*path, format!("blobs/{}", digest(bytes).replace(':', "/")));
        }
    }

    #[test]
    fn the_index_names_each_image_and_its_manifest_is_there() {
        let files = entries(&built_in().unwrap());
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let names: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|manifest| {
                let digest = manifest["digest"].as_str().unwrap().replace(':', "/");
                assert!(files.contains_key(&format!("blobs/{digest}")));
                manifest["annotations"]["io.containerd.image.name"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(names, [PAUSE, HELLO[0], HELLO[1]]);
    }

    #[test]
    fn an_archive_is_byte_stable() {
        assert_eq!(built_in().unwrap(), built_in().unwrap());
    }
}
