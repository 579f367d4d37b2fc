//! A process that is killed in the middle of its writes, again and again.
//!
//! The child is this test program, started anew with only [`writes_until_killed`]. It tells what was acknowledged, one line
//! each, on standard output. After every kill the parent opens the store and holds it against what it was told.

use crate::backend::open;
use crate::history::{self, Replay};
use coracle_store::{KeyRange, Revision, Store, Txn, TxnOutcome, WatchError};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Tells the child where to write.
const DIR_VARIABLE: &str = "CORACLE_STORE_CRASH_DIR";

/// Replays a run, given the seed that it printed.
const SEED_VARIABLE: &str = "CORACLE_STORE_CRASH_SEED";

/// Has the child forget what is older than so many revisions, and make checkpoints.
pub(crate) const LAG_VARIABLE: &str = "CORACLE_STORE_CRASH_LAG";

const WRITERS: usize = 8;
const KILLS: usize = 12;

/// Numbers that look random and depend on a seed only (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[tokio::test]
async fn killed_in_the_middle_of_writes_nothing_acknowledged_is_lost() {
    let chosen = std::env::var(SEED_VARIABLE)
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
    println!("{SEED_VARIABLE}={seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged = Acknowledged::default();
    let mut replay = Replay::new(Revision::FIRST, Vec::new());
    for _ in 0..KILLS {
        let mut child = start_child(dir.path(), &[]);
        let kill_after = 1 + random.below(400);
        let heard = acknowledged.listen(&mut child, kill_after);
        assert!(heard >= kill_after, "the child told {heard} of {kill_after}");
        check(dir.path(), &acknowledged, &mut replay, random.below(2) == 0).await;
    }
    assert!(
        acknowledged.revision > Revision(KILLS as u64),
        "the children have written"
    );
}

/// Starts a process that writes to a directory, with some variables besides.
pub(crate) fn start_child(dir: &Path, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args([
            "--exact",
            "crash::writes_until_killed",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR_VARIABLE, dir)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program starts again")
}

/// What the children were told to be durable.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pub(crate) revision: Revision,
    /// The last number of each writer.
    numbers: BTreeMap<usize, u64>,
}

impl Acknowledged {
    /// Kills the child once it has had so many acknowledgements, if it has not died before, and takes in those that it had
    /// told of by then. Answers how many.
    pub(crate) fn listen(&mut self, child: &mut Child, kill_after: u64) -> u64 {
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut heard = 0;
        for line in output.lines() {
            // The kill may cut the last line short.
            let Some((revision, writer, number)) = line.ok().as_deref().and_then(parse) else {
                continue;
            };
            self.revision = self.revision.max(revision);
            self.numbers.insert(writer, number);
            heard += 1;
            if heard == kill_after {
                child.kill().expect("the child runs");
            }
        }
        let status = child.wait().expect("the child has ended");
        assert_eq!(status.code(), None, "the child ran until it was killed");
        heard
    }
}

fn parse(line: &str) -> Option<(Revision, usize, u64)> {
    let mut words = line.strip_prefix("ack ")?.strip_suffix(" .")?.split(' ');
    let mut next = || words.next()?.parse().ok();
    Some((Revision(next()?), usize::try_from(next()?).ok()?, next()?))
}

pub(crate) async fn check(dir: &Path, acknowledged: &Acknowledged, replay: &mut Replay, compact: bool) {
    let store = open(dir);
    let revision = store.revision().await.expect("a revision");
    assert!(
        revision >= acknowledged.revision,
        "{revision} is before {}",
        acknowledged.revision
    );
    for (writer, acknowledged) in &acknowledged.numbers {
        let left = whole(&store, *writer).await;
        let found = left.expect("it was acknowledged");
        assert!(
            found >= *acknowledged,
            "writer {writer} was promised {acknowledged} and has {found}"
        );
    }
    // The watch goes on exactly where the last one, before the crash, ended.
    let batches = match history::changes(&store, KeyRange::all(), replay.revision).await {
        Ok(batches) => batches,
        Err(WatchError::Compacted { oldest, .. }) => {
            *replay = Replay::new(oldest, history::contents(&store, Some(oldest)).await);
            let rest = history::changes(&store, KeyRange::all(), oldest).await;
            rest.expect("the oldest that is kept")
        }
        Err(other) => panic!("{other}"),
    };
    let revisions: Vec<u64> = batches.iter().map(|batch| batch.revision.0).collect();
    assert_eq!(
        revisions,
        (replay.revision.0 + 1..=revision.0).collect::<Vec<_>>()
    );
    replay.apply(&batches);
    assert_eq!(replay.contents(), history::contents(&store, None).await);
    if compact {
        store.compact(revision).await.expect("compaction");
    }
}

/// The number that both halves of a writer's last transaction have.
pub(crate) async fn whole(store: &dyn Store, writer: usize) -> Option<u64> {
    let [left, right] = pair(store, writer).await;
    assert_eq!(left, right, "both halves of a transaction of writer {writer}");
    left
}

async fn pair(store: &dyn Store, writer: usize) -> [Option<u64>; 2] {
    let mut numbers = [None, None];
    for (number, half) in numbers.iter_mut().zip(["left", "right"]) {
        let key = format!("{half}/{writer}");
        let kv = store.get(key.as_bytes(), None).await.expect("a read").kv;
        *number = kv.map(|kv| number_of(&kv.value));
    }
    numbers
}

/// A value is its number and then padding.
fn number_of(value: &[u8]) -> u64 {
    let digits = value
        .split(|byte| *byte == b' ')
        .next()
        .expect("at least one part");
    std::str::from_utf8(digits)
        .expect("digits")
        .parse()
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is started, and killed, by killed_in_the_middle_of_writes_nothing_acknowledged_is_lost"]
async fn writes_until_killed() {
    let dir = std::env::var_os(DIR_VARIABLE).expect("the parent says where to write");
    let store = Arc::new(open(Path::new(&dir)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(store.clone(), writer));
    }
    writers
        .join_next()
        .await
        .expect("writers")
        .expect("a writer writes until it is killed");
}

async fn write(store: Arc<dyn Store>, writer: usize) {
    let mut number = pair(store.as_ref(), writer).await[0].unwrap_or(0);
    let lag: Option<u64> = std::env::var(LAG_VARIABLE)
        .ok()
        .map(|lag| lag.parse().expect("a number"));
    let checkpoints = lag.is_some() && writer == 0;
    loop {
        number += 1;
        // Some fill a write buffer soon, so that files are written and merged when the kill comes.
        let value = format!("{number} {}", "x".repeat(writer * writer * 200));
        let txn = Txn::new()
            .put(format!("left/{writer}"), value.clone())
            .put(format!("right/{writer}"), value)
            .delete(format!("gone/{writer}"));
        let txn = if number % 3 == 0 {
            txn.put(format!("gone/{writer}/{number}"), "")
        } else {
            txn
        };
        let outcome = store.txn(txn).await.expect("a transaction");
        let TxnOutcome::Committed { revision } = outcome else {
            panic!("{outcome:?}")
        };
        let line = format!("ack {revision} {writer} {number} .\n");
        std::io::stdout()
            .lock()
            .write_all(line.as_bytes())
            .expect("the parent listens");
        let (lag, often) = lag.map_or((1_000_000, 64), |lag| (lag, 8));
        if number % often == 0 {
            let old = Revision(revision.0.saturating_sub(lag).max(1));
            store.compact(old).await.expect("compaction");
        }
        if number % often == 0 && checkpoints {
            let dir = std::env::var_os(DIR_VARIABLE).expect("the parent says where to write");
            let dir = Path::new(&dir).join(format!("../checkpoint-{revision}"));
            store.checkpoint(&dir).await.expect("a checkpoint");
        }
    }
}
