//! Data directories that are in use, damaged, or no data directories at all.

use crate::backend::{noise, open, small};
use crate::history;
use coracle_store::rocks::{OpenError, RocksStore};
use coracle_store::{Fault, KeyRange, KeyValue, ListRequest, ReadError, Store, Txn};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// In blocks of so many bytes RocksDB writes its log.
const LOG_BLOCK: usize = 32 << 10;

/// A closed store with some contents.
struct Closed {
    dir: TempDir,
    contents: Vec<KeyValue>,
    /// The size of the write-ahead log before the last write.
    logged_before_last: usize,
}

/// Whether the contents are in files, or only in the write-ahead log as after a crash.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    InFiles,
    InWriteAheadLog,
}

async fn closed(left: Left) -> Closed {
    closed_after(left, &[2000; 40]).await
}

/// After creating keys with values of these sizes.
async fn closed_after(left: Left, sizes: &[usize]) -> Closed {
    let original = tempfile::tempdir().expect("a directory");
    closed_after_more(left, original.path(), sizes).await
}

/// After creating keys with values of these sizes in what is there.
async fn closed_after_more(left: Left, original: &Path, sizes: &[usize]) -> Closed {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(original);
    let mut logged_before_last = 0;
    for (number, size) in (0..).zip(sizes) {
        logged_before_last = largest(original, is_write_ahead_log).1;
        let txn = Txn::new().put(format!("{number:04}"), noise(number, *size));
        store.txn(txn).await.expect("a transaction");
    }
    let contents = history::contents(&store, None).await;
    if left == Left::InFiles {
        store.close();
    }
    // What a process that is killed now would leave behind.
    for file in std::fs::read_dir(original).expect("a directory") {
        let path = file.expect("an entry").path();
        std::fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    Closed {
        dir,
        contents,
        logged_before_last,
    }
}

impl Closed {
    /// The largest file of a kind.
    fn file(&self, is_kind: impl Fn(&str) -> bool) -> PathBuf {
        largest(self.dir.path(), is_kind).0
    }

    /// Opens and reads everything: what is found, or what is wrong.
    async fn read(&self) -> Result<Vec<KeyValue>, Fault> {
        let store = match RocksStore::open(self.dir.path(), small()) {
            Ok(store) => store,
            Err(OpenError::Fault(fault)) => return Err(fault),
            Err(other) => panic!("{other}"),
        };
        match store.list(ListRequest::new(KeyRange::all())).await {
            Ok(list) => Ok(list.items),
            Err(ReadError::Fault(fault)) => Err(fault),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The largest file of a kind in a directory, and how large it is.
fn largest(dir: &Path, is_kind: impl Fn(&str) -> bool) -> (PathBuf, usize) {
    let files = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|file| file.expect("a file"));
    let of_kind = files.filter(|file| is_kind(&file.file_name().to_string_lossy()));
    let sized = of_kind.map(|file| (file.path(), file.metadata().expect("metadata").len() as usize));
    sized.max_by_key(|(_, size)| *size).expect("one of that kind")
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    let position = at(bytes.len());
    bytes[position] ^= 0x40;
    std::fs::write(path, bytes).expect("a file");
}

fn is_write_ahead_log(name: &str) -> bool {
    name.ends_with(".log")
}

fn assert_corrupt(found: &Result<Vec<KeyValue>, Fault>, what: &str) {
    assert!(
        matches!(found, Err(Fault::Corrupt { .. })),
        "{what}: {:?}",
        found.as_ref().map(Vec::len)
    );
}

#[tokio::test]
async fn undamaged_copies_read_as_they_were() {
    for left in [Left::InFiles, Left::InWriteAheadLog] {
        let closed = closed(left).await;
        assert_eq!(closed.read().await.as_ref(), Ok(&closed.contents));
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_file_is_found() {
    for eighth in 1..8 {
        let closed = closed(Left::InFiles).await;
        flip(&closed.file(|name| name.ends_with(".sst")), |length| {
            length * eighth / 8
        });
        let found = closed.read().await;
        // The largest file may be the log's, which a list of the present does not read; nothing is ever read wrong.
        assert!(found.as_ref().is_ok_and(|all| *all == closed.contents) || found.is_err());
        if let Err(fault) = &found {
            assert!(matches!(fault, Fault::Corrupt { .. }), "{fault}");
        }
    }
}

#[tokio::test]
async fn flipped_bits_in_every_file_are_found() {
    let closed = closed(Left::InFiles).await;
    for file in std::fs::read_dir(closed.dir.path()).expect("a directory") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            (1..8).for_each(|eighth| flip(&path, |length| length * eighth / 8));
        }
    }
    assert_corrupt(&closed.read().await, "files");
}

#[tokio::test]
async fn a_flipped_bit_in_the_write_ahead_log_is_found() {
    for eighth in 0..7 {
        let closed = closed(Left::InWriteAheadLog).await;
        flip(&closed.file(is_write_ahead_log), |length| {
            20 + length * eighth / 8
        });
        assert_corrupt(&closed.read().await, "write-ahead log");
    }
}

#[tokio::test]
async fn a_missing_or_damaged_manifest_is_found() {
    let is_manifest = |name: &str| name.starts_with("MANIFEST");
    let damaged = closed(Left::InFiles).await;
    flip(&damaged.file(is_manifest), |length| length / 2);
    assert_corrupt(&damaged.read().await, "a flipped bit");
    let missing = closed(Left::InFiles).await;
    std::fs::remove_file(missing.file(is_manifest)).expect("a file");
    assert_corrupt(&missing.read().await, "no manifest");
}

#[tokio::test]
async fn a_missing_file_is_found() {
    let closed = closed(Left::InFiles).await;
    std::fs::remove_file(closed.file(|name| name.ends_with(".sst"))).expect("a file");
    assert_corrupt(&closed.read().await, "no file");
}

#[tokio::test]
async fn a_write_cut_short_at_the_end_of_the_log_was_not_acknowledged() {
    let closed = closed(Left::InWriteAheadLog).await;
    let path = closed.file(is_write_ahead_log);
    let length = std::fs::metadata(&path).expect("a file").len();
    let file = std::fs::File::options().write(true).open(&path).expect("a file");
    file.set_len(length - 100).expect("the file is cut");
    let (_, before) = closed.contents.split_last().expect("contents");
    assert_eq!(closed.read().await.as_deref(), Ok(before));
}

#[tokio::test]
async fn a_write_that_lost_a_block_was_not_acknowledged() {
    // The log's second block is in the middle of the last write; what comes after may be there or not.
    for kept in [0, 5_000, 20_000] {
        let mut closed = closed_after(Left::InWriteAheadLog, &[2000, 2000, 40_000]).await;
        let path = closed.file(is_write_ahead_log);
        let mut log = std::fs::read(&path).expect("a file");
        let until = log.len() - kept;
        assert!(closed.logged_before_last < LOG_BLOCK && LOG_BLOCK < until);
        log[LOG_BLOCK..until].fill(0);
        std::fs::write(&path, log).expect("a file");
        closed.contents.pop();
        for time in ["first", "second"] {
            let found = closed.read().await;
            assert_eq!(found.as_ref(), Ok(&closed.contents), "{time}, {kept} bytes kept");
        }
    }
}

#[tokio::test]
async fn a_write_that_lost_power_was_not_acknowledged() {
    // The last one is longer than a block of the log, of which any part may be missing.
    for lost in [50, 1000, 10_000, 38_000] {
        let mut closed = closed_after(Left::InWriteAheadLog, &[2000, 2000, 40_000]).await;
        let path = closed.file(is_write_ahead_log);
        let mut log = std::fs::read(&path).expect("a file");
        let length = log.len();
        log[length - lost..].fill(0);
        std::fs::write(&path, log).expect("a file");
        closed.contents.pop();
        assert_eq!(
            closed.read().await.as_ref(),
            Ok(&closed.contents),
            "{lost} bytes lost"
        );
        assert_eq!(closed.read().await.as_ref(), Ok(&closed.contents), "opened again");
    }
}

/// RocksDB leaves out by itself a last write that begins with zeros, and keeps the log: that is no damage when power is lost
/// again and the next log is torn.
#[tokio::test]
async fn power_that_is_lost_again_finds_the_log_of_before() {
    let first = closed_after(Left::InWriteAheadLog, &[2000, 2000, 3000]).await;
    let log = first.file(is_write_ahead_log);
    let mut bytes = std::fs::read(&log).expect("a file");
    bytes[first.logged_before_last..].fill(0);
    std::fs::write(&log, bytes).expect("a file");
    let mut second = closed_after_more(Left::InWriteAheadLog, first.dir.path(), &[1000, 1000, 40_000]).await;
    let torn = second.file(is_write_ahead_log);
    assert_ne!(torn.file_name(), log.file_name());
    let mut bytes = std::fs::read(&torn).expect("a file");
    let end = bytes.len();
    bytes[second.logged_before_last..end - 100].fill(0);
    std::fs::write(&torn, bytes).expect("a file");
    second.contents.pop();
    assert_eq!(second.read().await.as_ref(), Ok(&second.contents));
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let second = RocksStore::open(dir.path(), small()).map(drop);
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    drop(store);
    drop(open(dir.path()));
}

#[test]
fn a_directory_is_made_with_its_parents() {
    let place = tempfile::tempdir().expect("a temporary directory");
    drop(open(&place.path().join("state/coracle/store")));
    let relative = RocksStore::open(Path::new(""), small()).map(drop);
    assert!(
        matches!(relative, Err(OpenError::Directory { .. })),
        "{relative:?}"
    );
}

#[test]
fn what_is_no_directory_is_refused() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("file");
    std::fs::write(&path, "not a directory").expect("a file");
    let opened = RocksStore::open(&path, small()).map(drop);
    assert!(matches!(opened, Err(OpenError::Directory { .. })), "{opened:?}");
}

#[test]
fn the_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = tempfile::tempdir().expect("a temporary directory");
    let dir = home.path().join("store");
    let mode = || {
        std::fs::metadata(&dir)
            .expect("the directory")
            .permissions()
            .mode()
            & 0o777
    };
    drop(open(&dir));
    assert_eq!(mode(), 0o700);
    // One that was made by hand, or before this held.
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    drop(open(&dir));
    assert_eq!(mode(), 0o700);
}
