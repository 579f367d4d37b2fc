//! Images made on the spot, as archives for `coracle load`.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Writes an OCI archive of an image with this name, whose one layer holds one small file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_archive(file: &Path, name: &str) -> Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "name", name.as_bytes())?;
    let layer = layer.into_inner()?;
    let mut layout = tar::Builder::new(
        std::fs::File::create(file).with_context(|| format!("cannot write {}", file.display()))?,
    );
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let layer = blob(&mut layout, &layer, "application/vnd.oci.image.layer.v1.tar")?;
    let config = blob(
        &mut layout,
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    )?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer] });
    let mut manifest = blob(&mut layout, manifest.to_string().as_bytes(), media_type)?;
    manifest["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    append(&mut layout, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut layout, "index.json", index.to_string().as_bytes())?;
    layout.finish()?;
    Ok(())
}

/// Adds a blob to a layout, and gives its descriptor.
fn blob(layout: &mut tar::Builder<std::fs::File>, bytes: &[u8], media_type: &str) -> Result<Value> {
    let digest = digest(bytes);
    append(layout, &format!("blobs/{}", digest.replace(':', "/")), bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}

fn append<W: io::Write>(archive: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, path, bytes)?)
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
