//! Images made at test time from static programs with nothing but the standard library inside, and a registry of them.

use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine as _;
use coracle_images::registry::Registry;
use coracle_images::{Image, Settings};

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
            let file = std::fs::File::create(&path).expect("archive made");
            coracle_images::write(&images, file).expect("archive written");
            (dir, path)
        })
        .1
}

fn image(dir: &Path, name: &str, source: &str, reference: &str) -> Image {
    let code = dir.join(format!("{name}.rs"));
    std::fs::write(&code, source).expect("source written");
    let binary = dir.join(name);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let options = [
        "--edition",
        "2021",
        "-O",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "strip=symbols",
    ];
    let built = Command::new(rustc)
        .args(options)
        .arg("-o")
        .arg(&binary)
        .arg(&code)
        .status()
        .expect("rustc runs");
    assert!(built.success(), "{name} compiles");
    let program = std::fs::read(&binary).expect("program read");
    Image::of_program(reference, name, &program, Settings::default()).expect("image made")
}

/// Where the test's registry is found by the runtime that it serves.
pub(crate) const REGISTRY: &str = "127.0.0.1:5000";

/// Serves the images in the network namespace of this process, at [`REGISTRY`] and under these credentials, as long as the
/// test's process lives.
pub(crate) fn serve(pid: &str, user: &str, password: &str) {
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let archive = std::fs::File::open(archive()).expect("archive opens");
    let registry = Registry::of(archive)
        .expect("archive read")
        .guarded_by(&format!("Basic {credentials}"));
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("the runtime's network");
    let (listens, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET).expect("network entered");
        let listener = std::net::TcpListener::bind(REGISTRY).expect("registry listens");
        listens.send(()).expect("somebody waits");
        let server = tiny_http::Server::from_listener(listener, None).expect("registry serves");
        coracle_images::registry::serve(&registry, &server, |place| {
            let mut file = std::fs::File::open(self::archive())?;
            file.seek(SeekFrom::Start(place.offset))?;
            Ok(file)
        });
    });
    listening.recv().expect("registry starts");
}
