//! A process that dies at every named step of a commit, a compaction, a checkpoint and an opening.

use crate::backend::open;
use crate::crash::{Acknowledged, LAG_VARIABLE, check, start_child, whole};
use crate::history::Replay;
use coracle_store::{Revision, Store};
use std::path::{Path, PathBuf};

/// Every failpoint of the store.
const FAILPOINTS: [&str; 13] = [
    "open/begun",
    "open/done",
    "commit/begun",
    "commit/staged",
    "commit/written",
    "commit/published",
    "commit/answered-one",
    "commit/answered",
    "compact/begun",
    "compact/marked",
    "compact/dropped",
    "checkpoint/begun",
    "checkpoint/copied",
];

/// At which of its passings a process dies.
const PASSINGS: [u32; 3] = [1, 4, 17];

/// More acknowledgements than it takes to come to any of these.
const ENOUGH: u64 = 20_000;

#[tokio::test]
async fn killed_at_any_step_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let dir = folder.path().join("store");
    let mut acknowledged = Acknowledged::default();
    let mut replay = Replay::new(Revision::FIRST, Vec::new());
    for name in FAILPOINTS {
        for passing in PASSINGS {
            // A process opens its store once.
            if name.starts_with("open") && passing > 1 {
                continue;
            }
            let failpoint = format!("{name}@{passing}");
            let variables = [("CORACLE_FAILPOINT", failpoint.as_str()), (LAG_VARIABLE, "100")];
            let mut child = start_child(&dir, &variables);
            let heard = acknowledged.listen(&mut child, ENOUGH);
            assert!(heard < ENOUGH, "{failpoint} was not come by");
            check(&dir, &acknowledged, &mut replay, false).await;
            check_checkpoints(folder.path()).await;
        }
    }
}

/// A checkpoint that has its name is whole, whenever the process died.
async fn check_checkpoints(folder: &Path) {
    for dir in checkpoints(folder) {
        let named = dir.to_string_lossy().rsplit('-').next().map(str::to_owned);
        let revision: u64 = named.expect("a name").parse().expect("it ends in a revision");
        let store = open(&dir);
        let found = store.revision().await.expect("a revision");
        assert!(found.0 >= revision, "{} is at {found}", dir.display());
        for writer in 0..8 {
            whole(&store, writer).await;
        }
        drop(store);
        std::fs::remove_dir_all(dir).expect("it is there");
    }
}

fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("a directory")
        .map(|entry| entry.expect("an entry"));
    let named = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Until it is whole it has another name.
        name.starts_with("checkpoint-") && name.chars().last().is_some_and(|last| last.is_ascii_digit())
    });
    named.map(|entry| entry.path()).collect()
}
