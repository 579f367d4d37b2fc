//! Image archives as other tools write them, made on the spot around one static program: nothing is pulled.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What `docker save` wrote before it knew OCI: a `manifest.json`, a configuration, a layer as plain tar.
    Docker,
    /// What `podman save --format oci-archive` writes: an OCI layout, named by the standard annotation, a gzipped layer.
    Oci,
}

/// Writes an archive of one image, whose one layer is the program as `/hello`.
///
/// # Errors
/// When the archive cannot be written.
pub fn write(archive: &Path, form: Form, name: &str, program: &[u8]) -> Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_data(&mut header(program.len(), 0o755), "hello", program)?;
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {"Env": ["PATH=/", format!("HELLO_VERSION={name}")], "Entrypoint": ["/hello"], "Cmd": ["serve"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex_digest(&layer))]},
    });
    let mut tar = tar::Builder::new(File::create(archive)?);
    match form {
        Form::Docker => docker(&mut tar, name, &layer, &config)?,
        Form::Oci => oci(&mut tar, name, &layer, &config)?,
    }
    tar.into_inner()?.sync_all().context("the archive")
}

fn docker(tar: &mut tar::Builder<File>, name: &str, layer: &[u8], config: &Value) -> io::Result<()> {
    let config = config.to_string();
    let config_path = format!("{}.json", hex_digest(config.as_bytes()));
    let layer_path = format!("{}/layer.tar", hex_digest(layer));
    let manifest = json!([{"Config": config_path, "RepoTags": [name], "Layers": [layer_path]}]);
    for (path, bytes) in [
        (layer_path.as_str(), layer),
        (config_path.as_str(), config.as_bytes()),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        tar.append_data(&mut header(bytes.len(), 0o644), path, bytes)?;
    }
    Ok(())
}

fn oci(tar: &mut tar::Builder<File>, name: &str, layer: &[u8], config: &Value) -> io::Result<()> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(layer)?;
    let mut blob = |bytes: &[u8], kind: &str| {
        let digest = hex_digest(bytes);
        let path = format!("blobs/sha256/{digest}");
        tar.append_data(&mut header(bytes.len(), 0o644), path, bytes)?;
        let media_type = format!("application/vnd.oci.image.{kind}");
        io::Result::Ok(
            json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}),
        )
    };
    let layer = blob(&gzip.finish()?, "layer.v1.tar+gzip")?;
    let config = blob(config.to_string().as_bytes(), "config.v1+json")?;
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let mut manifest = blob(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    for (path, bytes) in [
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
        ("index.json", index.as_bytes()),
    ] {
        tar.append_data(&mut header(bytes.len(), 0o644), path, bytes)?;
    }
    Ok(())
}

fn header(size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header
}

fn hex_digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
