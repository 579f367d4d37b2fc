//! A disk that is full: a file system of its own, in memory. Needs to be root.

use crate::backend::noise;
use crate::history;
use coracle_store::rocks::{RocksOptions, RocksStore};
use coracle_store::{Fault, Revision, Store, Txn, TxnError, TxnOutcome};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file system of some size, gone when dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    fn new(mebibytes: usize) -> SmallDisk {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={mebibytes}m");
        mount(
            Some("tmpfs"),
            dir.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .expect("a file system is mounted; this test runs as root");
        SmallDisk { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also if something in it is still open because a test has failed.
        umount2(self.dir.path(), MntFlags::MNT_DETACH).expect("the file system is unmounted");
    }
}

fn open(dir: &Path, min_free_bytes: u64) -> RocksStore {
    let options = RocksOptions {
        min_free_bytes,
        write_buffer_bytes: 256 << 10,
        block_cache_bytes: 1 << 20,
    };
    RocksStore::open(dir, options).expect("the store opens")
}

/// Writes until that fails; answers how many were acknowledged, and the error.
async fn fill(store: &dyn Store) -> (u32, TxnError) {
    for number in 0.. {
        match store
            .txn(Txn::new().put(key(number), noise(number, 16_000)))
            .await
        {
            Ok(TxnOutcome::Committed { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => return (number, error),
        }
    }
    panic!("the disk never fills");
}

fn key(number: u32) -> String {
    format!("{number:08}")
}

/// All that was acknowledged is there, and at most one more, of which it was not known.
async fn check(store: &dyn Store, acknowledged: u32) {
    let contents = history::contents(store, None).await;
    let keys: Vec<_> = contents.iter().map(|kv| &kv.key[..]).collect();
    let expected: Vec<String> = (0..contents.len() as u32).map(key).collect();
    assert_eq!(keys, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
    assert!(
        (acknowledged..=acknowledged + 1).contains(&(contents.len() as u32)),
        "{}",
        contents.len()
    );
    let changes = history::changes(store, coracle_store::KeyRange::all(), Revision::FIRST).await;
    assert_eq!(changes.expect("a watch").len(), contents.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_disk_is_full_writes_are_refused_and_reads_go_on() {
    let disk = SmallDisk::new(48);
    std::fs::write(disk.path("ballast"), vec![1; 24 << 20]).expect("there is space");
    let dir = disk.path("data");
    let store = open(&dir, 4 << 20);
    let (acknowledged, error) = fill(&store).await;
    assert_eq!(error, TxnError::Refused(Fault::DiskFull { dir: dir.clone() }));
    check(&store, acknowledged).await;
    // What changes nothing needs no space.
    let conflict = store.txn(Txn::new().when_absent(key(0)).put(key(0), "x")).await;
    assert!(
        matches!(conflict, Ok(TxnOutcome::Conflict { .. })),
        "{conflict:?}"
    );

    std::fs::remove_file(disk.path("ballast")).expect("the ballast goes");
    store
        .txn(Txn::new().put(key(acknowledged), "space"))
        .await
        .expect("writes go on");
    store.close();
    check(&open(&dir, 4 << 20), acknowledged + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_write_finds_the_disk_full_service_resumes_with_space() {
    let disk = SmallDisk::new(48);
    std::fs::write(disk.path("ballast"), vec![1; 24 << 20]).expect("there is space");
    let dir = disk.path("data");
    let store = open(&dir, 0);
    let (acknowledged, error) = fill(&store).await;
    let full = Fault::DiskFull { dir: dir.clone() };
    assert!(
        [
            TxnError::Refused(full.clone()),
            TxnError::Indeterminate(full.clone())
        ]
        .contains(&error),
        "{error:?}"
    );
    let again = store.txn(Txn::new().put("k", "v")).await;
    assert_eq!(again, Err(TxnError::Refused(full)));
    check(&store, acknowledged).await;

    std::fs::remove_file(disk.path("ballast")).expect("the ballast goes");
    store.txn(Txn::new().put("k", "v")).await.expect("writes go on");
    store.txn(Txn::new().delete("k")).await.expect("writes go on");
    let contents = history::contents(&store, None).await;
    store.close();
    let store = open(&dir, 0);
    assert_eq!(history::contents(&store, None).await, contents);
    assert!(
        (acknowledged..=acknowledged + 1).contains(&(contents.len() as u32)),
        "{}",
        contents.len()
    );
}
