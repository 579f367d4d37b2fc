//! The data directory is bounded by what is live and what is kept.

use crate::backend::{noise, open};
use coracle_store::{Revision, Store, Txn};
use std::path::Path;

const VALUE_BYTES: usize = 20_000;
const KEYS: u32 = 10;
const KEPT: u64 = 50;

fn bytes_in(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("a directory");
    // Files go while the directory is read.
    files
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[tokio::test]
async fn overwriting_with_compaction_does_not_grow_the_directory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let mut sizes = Vec::new();
    for number in 0..1500_u32 {
        store
            .txn(Txn::new().put(format!("k{}", number % KEYS), noise(number, VALUE_BYTES)))
            .await
            .expect("a transaction");
        if number % 10 == 0 {
            let current = store.revision().await.expect("a revision");
            store
                .compact(Revision(current.0.saturating_sub(KEPT).max(1)))
                .await
                .expect("compaction");
        }
        if number % 100 == 99 {
            sizes.push(bytes_in(dir.path()));
        }
    }
    let largest = sizes.iter().max().expect("measured");
    assert!(
        *largest < 16 << 20,
        "of 90 MB written, this much was there at times: {sizes:?}"
    );
}
