//! Folders of this machine that volumes are made of. All lie below `/tmp`.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Where they lie.
const ROOT: &str = "/tmp";

/// Makes the folder; one that is there is as good.
pub(super) async fn make(path: &str) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || fs::DirBuilder::new().recursive(true).mode(0o750).create(path)).await
}

/// Removes the folder and what it holds; one that is not there is as good. No link leads out of where such folders lie: anybody
/// may put one there.
pub(super) async fn remove(path: &str) -> io::Result<()> {
    let path = path.to_owned();
    blocking(move || remove_below(Path::new(ROOT), Path::new(&path))).await
}

fn remove_below(root: &Path, path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let parent = path.parent().unwrap_or(root).canonicalize()?;
    if !parent.starts_with(root.canonicalize()?) {
        let why = format!("{} is not below {}", path.display(), root.display());
        return Err(io::Error::other(why));
    }
    if found.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_by_way_of_a_link() {
        let all = tempfile::tempdir().unwrap();
        let (root, outside) = (all.path().join("root"), all.path().join("outside"));
        fs::create_dir_all(root.join("volume/data")).unwrap();
        fs::create_dir_all(outside.join("precious")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        remove_below(&root, &root.join("volume")).unwrap();
        remove_below(&root, &root.join("volume")).unwrap();
        assert!(!root.join("volume").exists());
        remove_below(&root, &root.join("link/precious")).unwrap_err();
        assert!(outside.join("precious").exists());
        remove_below(&root, &root.join("link")).unwrap();
        assert!(outside.exists());
    }
}
