//! Where the published files are, and what is in them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The folder of corpora: in `$SHARED`, or beside the repository.
fn folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SHARED").map_or(beside, PathBuf::from);
    shared.join("corpora")
}

/// The bytes of a published file; none where the folder is absent, which fails where it is required.
pub(crate) fn file(name: &str) -> Option<Vec<u8>> {
    let path = folder().join(name);
    let required = std::env::var("CORPORA").is_ok_and(|asked| asked == "required");
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if required => panic!("{}: {error}", path.display()),
        Err(_) => {
            println!("{name} is not beside the repository: nothing is read");
            None
        }
    }
}

/// The files of a published archive by their paths.
pub(crate) fn files(name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let bytes = file(name)?;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()))
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if entry.header().entry_type().is_file() {
            files.insert(path, bytes);
        }
    }
    Some(files)
}
