//! Keeping log files small: a file over 10 MiB is put aside and the runtime told to open a new one.

use std::io;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::cri::Cri;

const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// Files kept per container, the open one counted.
const MAX_FILES: usize = 5;

/// Puts a running container's log aside if it is too long, and removes the oldest of those put aside.
pub(crate) async fn rotate(cri: &Cri, container_id: &str, path: &Path) -> io::Result<()> {
    match tokio::fs::metadata(path).await {
        Ok(meta) if meta.len() >= MAX_BYTES => {}
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    let aside = PathBuf::from(format!(
        "{}.{}",
        path.display(),
        clock::now().strftime("%Y%m%d-%H%M%S")
    ));
    tokio::fs::rename(path, &aside).await?;
    if let Err(error) = cri.reopen_log(container_id).await {
        // The runtime still writes to the old file: give it back its name, so that nothing is lost.
        tokio::fs::rename(&aside, path).await?;
        return Err(io::Error::other(error));
    }
    remove_oldest(path).await
}

async fn remove_oldest(path: &Path) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(());
    };
    let mut aside = Vec::new();
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        let other = entry.file_name();
        if other
            .to_str()
            .and_then(|o| o.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('.'))
        {
            aside.push(entry.path());
        }
    }
    aside.sort();
    let keep = MAX_FILES - 1;
    for old in aside.iter().take(aside.len().saturating_sub(keep)) {
        tokio::fs::remove_file(old).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_newest_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..8 {
            std::fs::write(dir.path().join(format!("0.log.2026010{i}-000000")), "").unwrap();
        }
        std::fs::write(dir.path().join("0.log"), "").unwrap();
        std::fs::write(dir.path().join("10.log.x"), "").unwrap();
        remove_oldest(&dir.path().join("0.log")).await.unwrap();
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let want = [
            "0.log",
            "0.log.20260104-000000",
            "0.log.20260105-000000",
            "0.log.20260106-000000",
            "0.log.20260107-000000",
            "10.log.x",
        ];
        assert_eq!(left, want);
    }
}
