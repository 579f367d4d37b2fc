//! Images made at test time from static programs: no registry, nothing but the standard library inside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;
use sha2::{Digest, Sha256};

/// Waits for ever, as the first process of a sandbox.
const PAUSE: &str = "fn main() { loop { std::thread::park(); } }";

/// One program for all tests: its first argument says what to do.
const WORK: &str = r##"
use std::io::{Read, Write};
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize| args.get(i).cloned().unwrap_or_default();
    match arg(0).as_str() {
        "sleep" => loop { std::thread::park(); },
        "exit" => std::process::exit(arg(1).parse().unwrap()),
        "say" => { println!("{}", arg(1)); loop { std::thread::park(); } }
        "last-words" => {
            std::fs::write("/dev/termination-log", arg(1)).unwrap();
            std::process::exit(3);
        }
        "cat" => {
            let text = std::fs::read_to_string(arg(1)).unwrap_or_else(|e| e.to_string());
            print!("{text}");
        }
        "env" => for (k, v) in std::env::vars() { println!("{k}={v}"); },
        "show" => {
            for (k, v) in std::env::vars() { println!("{k}={v}"); }
            for path in &args[1..] {
                println!("{path}: {}", std::fs::read_to_string(path).unwrap_or_else(|e| e.to_string()).trim());
            }
            loop { std::thread::park(); }
        }
        "serve" => {
            let listener = std::net::TcpListener::bind(("0.0.0.0", arg(1).parse::<u16>().unwrap())).unwrap();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut head = [0; 1024];
                let _ = stream.read(&mut head);
                let sick = std::path::Path::new("/tmp/sick").exists();
                let code = if sick { "500 Sick" } else { "200 OK" };
                let _ = stream.write_all(format!("HTTP/1.1 {code}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").as_bytes());
            }
        }
        "exists" => std::process::exit(i32::from(!std::path::Path::new(&arg(1)).exists())),
        "touch" => { let _ = std::fs::create_dir_all("/tmp"); std::fs::write(arg(1), "").unwrap(); }
        other => { eprintln!("unknown work {other}"); std::process::exit(64); }
    }
}
"##;

/// Name of the image whose program does what its arguments say.
pub(crate) const WORK_IMAGE: &str = "coracle.test/work:1";
/// Name of the sandbox image.
pub(crate) const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";

/// An archive with both images, made once per test process.
pub(crate) fn archive() -> &'static Path {
    static ARCHIVE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &ARCHIVE
        .get_or_init(|| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let images = [
                image(dir.path(), "pause", PAUSE, PAUSE_IMAGE),
                image(dir.path(), "work", WORK, WORK_IMAGE),
            ];
            let path = dir.path().join("images.tar");
            write_archive(&path, images.into_iter().collect());
            (dir, path)
        })
        .1
}

struct Image {
    reference: &'static str,
    blobs: Vec<Vec<u8>>,
    manifest: Vec<u8>,
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

fn image(dir: &Path, name: &str, source: &str, reference: &'static str) -> Image {
    let code = dir.join(format!("{name}.rs"));
    std::fs::write(&code, source).expect("source written");
    let binary = dir.join(name);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let built = Command::new(rustc)
        .args([
            "--edition",
            "2021",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
            "-o",
        ])
        .arg(&binary)
        .arg(&code)
        .status()
        .expect("rustc runs");
    assert!(built.success(), "{name} compiles");
    let mut layer = tar::Builder::new(Vec::new());
    let program = std::fs::read(&binary).expect("program read");
    append(&mut layer, name, &program, 0o755);
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o1777);
    folder.set_size(0);
    layer
        .append_data(&mut folder, "tmp/", std::io::empty())
        .expect("directory added");
    let layer = layer.into_inner().expect("layer finished");
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "config": {"Entrypoint": [format!("/{name}")]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{}", digest(&config)), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{}", digest(&layer)), "size": layer.len()}],
    });
    Image {
        reference,
        blobs: vec![layer, config],
        manifest: manifest.to_string().into_bytes(),
    }
}

fn write_archive(path: &Path, images: Vec<Image>) {
    let mut archive = tar::Builder::new(std::fs::File::create(path).expect("archive made"));
    let manifests: Vec<_> = images
        .iter()
        .map(|i| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", digest(&i.manifest)),
                "size": i.manifest.len(), "annotations": {"io.containerd.image.name": i.reference}})
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion": "1.0.0"}"#,
        0o644,
    );
    append(&mut archive, "index.json", index.to_string().as_bytes(), 0o644);
    for image in &images {
        for blob in image.blobs.iter().chain([&image.manifest]) {
            append(
                &mut archive,
                &format!("blobs/sha256/{}", digest(blob)),
                blob,
                0o644,
            );
        }
    }
    archive.finish().expect("archive finished");
}

fn append<W: std::io::Write>(archive: &mut tar::Builder<W>, path: &str, data: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, data).expect("file added");
}
