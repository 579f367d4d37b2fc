//! An image of ordinary programs: this machine's own, with the libraries that they are linked to. `kubectl cp` needs a `tar` in
//! the container, and no registry is there to have an image from.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use coracle_images::{Image, Layer, Settings};

use crate::cluster::Cluster;
use crate::program::Program;

/// The image's name.
pub const IMAGE: &str = "example.test/toolbox:1";

/// What lies in its `/bin`.
const PROGRAMS: [&str; 8] = [
    "/bin/sh",
    "/bin/tar",
    "/bin/cat",
    "/bin/ls",
    "/bin/sleep",
    "/bin/mkdir",
    "/bin/tail",
    "/bin/test",
];

/// Loads the image into every node of a cluster.
///
/// # Errors
/// When a program is missing here, or the cluster does not take the image.
pub async fn load(cluster: &Cluster) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("toolbox.tar");
    let settings = Settings {
        environment: vec!["PATH=/bin".to_owned()],
        entrypoint: vec!["/bin/sh".to_owned()],
        ..Settings::default()
    };
    let image = Image {
        names: vec![IMAGE.to_owned()],
        layers: vec![layer().await?.pack()?],
        settings,
    };
    coracle_images::write(&[image], File::create(&archive)?)?;
    let archive = archive.to_str().context("the path is text")?;
    let load = ["load", "--name", cluster.name(), archive];
    cluster.coracle().text(&load).await.map(drop)
}

async fn layer() -> Result<Layer> {
    let mut libraries = BTreeSet::new();
    let mut layer = Layer::default().folder("tmp", 0o1777).folder("bin", 0o755);
    for program in PROGRAMS {
        layer = layer.file(program.trim_matches('/'), 0o755, read(program)?);
        libraries.extend(linked(program).await?);
    }
    for library in &libraries {
        layer = layer.file(library.trim_matches('/'), 0o755, read(library)?);
    }
    Ok(layer)
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.to_owned())
}

/// The files that the dynamic linker loads for a program, itself among them.
async fn linked(program: &str) -> Result<Vec<String>> {
    let listed = Program::new("ldd").text(&[program]).await?;
    let paths = listed.lines().filter_map(|line| {
        let words = line.split_whitespace();
        words.into_iter().find(|word| word.starts_with('/'))
    });
    let paths: Vec<String> = paths.map(str::to_owned).collect();
    ensure!(paths.iter().all(|path| Path::new(path).is_file()), "{listed}");
    Ok(paths)
}
