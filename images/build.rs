//! Compiles the static programs of the pause and example images, so that a binary can carry them and a cluster needs no
//! registry. They use the standard library only; a C library to link statically comes with every C toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 2] = ["pause", "hello"];

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
        .join("programs");
    for program in PROGRAMS {
        let source = sources.join(program).with_extension("rs");
        println!("cargo::rerun-if-changed={}", source.display());
        let status = Command::new(std::env::var_os("RUSTC").expect("cargo sets RUSTC"))
            .args([
                "--edition",
                "2024",
                "-C",
                "opt-level=s",
                "-C",
                "target-feature=+crt-static",
                "-C",
                "panic=abort",
            ])
            .args(["-C", "strip=symbols", "-C", "lto=fat", "-C", "codegen-units=1"])
            .arg("-o")
            .arg(out.join(program))
            .arg(&source)
            .status()
            .expect("rustc starts");
        assert!(status.success(), "{} does not compile", source.display());
    }
}
