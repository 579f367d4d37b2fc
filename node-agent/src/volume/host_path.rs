//! hostPath volumes: what must be there, and what is made where it may be missing. Blocking.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks, or makes, the path as its type demands; the error is upstream's words.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let text = &source.path;
    let kind = fs::metadata(path).map(|m| m.file_type()).ok();
    let expect = |ok: bool, what: &str| {
        if ok {
            Ok(())
        } else {
            Err(format!("{text} is not a {what}"))
        }
    };
    match source.type_.as_deref().unwrap_or_default() {
        "" => Ok(()),
        "DirectoryOrCreate" if kind.is_none() => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(|e| e.to_string()),
        "FileOrCreate" if kind.is_none() => fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
            .map_err(|e| e.to_string()),
        "DirectoryOrCreate" | "Directory" => expect(kind.is_some_and(|k| k.is_dir()), "directory"),
        "FileOrCreate" | "File" => expect(kind.is_some_and(|k| k.is_file()), "file"),
        "Socket" => expect(kind.is_some_and(|k| k.is_socket()), "socket file"),
        "CharDevice" => expect(kind.is_some_and(|k| k.is_char_device()), "character device"),
        "BlockDevice" => expect(kind.is_some_and(|k| k.is_block_device()), "block device"),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for (name, kind, ok) in [
            ("none", "", true),
            ("none", "Directory", false),
            ("none", "File", false),
            ("none", "Socket", false),
            ("file", "File", true),
            ("file", "Directory", false),
            ("made/deep", "DirectoryOrCreate", true),
            ("made/deep", "Directory", true),
            ("made/file", "FileOrCreate", true),
            ("made/file", "File", true),
            ("file", "CharDevice", false),
            ("file", "Nonsense", false),
        ] {
            let path = dir.path().join(name).to_string_lossy().into_owned();
            let source = HostPathVolumeSource {
                path,
                type_: Some(kind.into()),
            };
            assert_eq!(check(&source).is_ok(), ok, "{name} {kind}");
        }
        let null = HostPathVolumeSource {
            path: "/dev/null".into(),
            type_: Some("CharDevice".into()),
        };
        assert_eq!(check(&null), Ok(()));
    }
}
