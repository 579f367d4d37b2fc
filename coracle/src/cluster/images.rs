//! The images that Coracle carries in itself, as an OCI archive made on the spot.
//!
//! Pure but for [`load`], which hands an archive to a node's containerd.

use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use coracle_images::{Image, Settings, programs};

/// The name that node agents and containerd's own settings give the pause image.
pub(crate) const PAUSE: &str = "registry.k8s.io/pause:3.10";
/// The image of the example, in the two versions between which it is rolled.
pub(crate) const HELLO: [&str; 2] = ["coracle.dev/hello:1", "coracle.dev/hello:2"];

/// Every image that a new node gets, as one OCI archive.
///
/// # Errors
/// Only what writing to memory can give.
pub(crate) fn built_in() -> io::Result<Vec<u8>> {
    let mut images = vec![Image::pause(PAUSE)?];
    for (index, name) in HELLO.iter().enumerate() {
        let settings = Settings {
            environment: vec![format!("HELLO_VERSION={}", index + 1)],
            arguments: vec!["serve".to_owned()],
            ..Settings::default()
        };
        images.push(Image::of_program(name, "hello", programs::HELLO, settings)?);
    }
    let mut archive = Vec::new();
    coracle_images::write(&images, &mut archive)?;
    Ok(archive)
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

    #[test]
    fn a_node_gets_every_image_that_its_settings_name() {
        let archive = built_in().unwrap();
        let mut index = String::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap().ends_with("index.json") {
                entry.read_to_string(&mut index).unwrap();
            }
        }
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let names = index["manifests"].as_array().unwrap().iter();
        let names: Vec<_> = names
            .map(|manifest| {
                manifest["annotations"]["io.containerd.image.name"]
                    .as_str()
                    .unwrap()
            })
            .collect();
        assert_eq!(names, [PAUSE, HELLO[0], HELLO[1]]);
    }
}
