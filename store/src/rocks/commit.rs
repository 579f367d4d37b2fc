//! The commit thread: the only writer.
//!
//! It takes all transactions that wait, decides them one after the other, writes what they change in one synced write,
//! makes it known to the watchers and answers. While it waits for the disk, the next transactions gather, so one sync
//! serves as many writers as there are.

use super::engine::Engine;
use super::stage::Stage;
use crate::failpoint::failpoint;
use crate::{Batch, Fault, Revision, Txn, TxnError, TxnOutcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};

/// How many transactions may wait before writers have to.
pub(super) const QUEUE_LENGTH: usize = 1024;

/// The most transactions in one synced write.
const GROUP_LENGTH: usize = 256;

/// About the most bytes in one synced write, so that the first of a group does not wait long for the others.
const GROUP_BYTES: usize = 4 << 20;

type Answer = Result<TxnOutcome, TxnError>;

/// A transaction that waits for its answer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) txn: Txn,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// How each transaction of a group ends, and what that changes.
type Staged = (Vec<Result<TxnOutcome, Fault>>, Vec<Arc<Batch>>);

struct Committer {
    engine: Arc<Engine>,
    revision: Revision,
    /// A write has failed: what is durable is in doubt until the database has been opened again.
    in_doubt: bool,
}

/// What the commit thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Commit(Request),
    /// Serve what is in the queue, then end.
    Close,
}

/// Serves the queue until told to close, or all senders are gone. `closing` says the same as [`Command::Close`], for
/// when the queue is too full to take it.
pub(super) fn run(engine: Arc<Engine>, mut queue: mpsc::Receiver<Command>, closing: &AtomicBool) {
    let revision = engine.hub.published();
    let mut committer = Committer {
        engine,
        revision,
        in_doubt: false,
    };
    let mut waiting = Vec::with_capacity(GROUP_LENGTH);
    let mut commands = Vec::with_capacity(GROUP_LENGTH);
    while queue.blocking_recv_many(&mut commands, GROUP_LENGTH) > 0 {
        for command in commands.drain(..) {
            match command {
                Command::Commit(request) => waiting.push(request),
                Command::Close => queue.close(),
            }
        }
        while !waiting.is_empty() {
            let group = waiting.drain(..group_length(&waiting)).collect();
            committer.commit(group);
        }
        if closing.load(Ordering::SeqCst) {
            queue.close();
        }
    }
}

/// How many of the waiting go into one write; at least one.
fn group_length(waiting: &[Request]) -> usize {
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|request| {
        bytes += request.txn.bytes();
        bytes <= GROUP_BYTES
    });
    fits.count().max(1)
}

impl Committer {
    fn commit(&mut self, group: Vec<Request>) {
        let (answers, txns): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|request| (request.answer, request.txn))
            .unzip();
        failpoint!("commit/begun");
        let outcomes = self.outcomes(txns);
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // A writer that no longer waits is not told.
            let _ = answer.send(outcome);
            failpoint!("commit/answered-one");
        }
        failpoint!("commit/answered");
    }

    fn outcomes(&mut self, txns: Vec<Txn>) -> Vec<Answer> {
        let count = txns.len();
        let (outcomes, batches) = match self.recover().and_then(|()| self.stage(txns)) {
            Ok(staged) => staged,
            Err(fault) => return vec![Err(TxnError::Refused(fault)); count],
        };
        let written = self.write(batches);
        outcomes
            .into_iter()
            .map(|outcome| settle(outcome, &written))
            .collect()
    }

    /// Decides a group: how each transaction ends if the batches are written.
    fn stage(&self, txns: Vec<Txn>) -> Result<Staged, Fault> {
        self.engine.with(|database| {
            let mut stage = Stage::new(self.revision, |key| database.object(key));
            let outcomes = txns.into_iter().map(|txn| stage.apply(txn)).collect();
            (outcomes, stage.finish())
        })
    }

    /// Makes batches durable, then known.
    fn write(&mut self, batches: Vec<Arc<Batch>>) -> Result<(), TxnError> {
        let Some(revision) = batches.last().map(|batch| batch.revision) else {
            return Ok(());
        };
        self.engine.check_space().map_err(TxnError::Refused)?;
        failpoint!("commit/staged");
        if let Err(fault) = self.engine.with(|database| database.commit(&batches)).flatten() {
            tracing::error!(error = %fault, "a write to the store failed");
            self.in_doubt = true;
            return Err(TxnError::Indeterminate(fault));
        }
        failpoint!("commit/written");
        self.revision = revision;
        self.engine.hub.publish(batches);
        failpoint!("commit/published");
        Ok(())
    }

    /// Opens the database again if that is called for and there is space to do so.
    fn recover(&mut self) -> Result<(), Fault> {
        if self.in_doubt {
            self.engine.check_space_to_reopen()?;
            self.revision = self.engine.reopen()?;
            self.in_doubt = false;
            tracing::info!(revision = %self.revision, "the store has been opened again after a failed write");
        }
        Ok(())
    }
}

/// What a writer is told, given how its transaction was decided and whether the group was written.
fn settle(decided: Result<TxnOutcome, Fault>, written: &Result<(), TxnError>) -> Answer {
    match (decided, written) {
        (Err(fault), _) => Err(TxnError::Refused(fault)),
        (Ok(outcome), Ok(())) => Ok(outcome),
        // Decided on top of changes that may not have come to be; for itself it wrote nothing.
        (Ok(TxnOutcome::Conflict { .. }), Err(TxnError::Indeterminate(fault))) => {
            Err(TxnError::Refused(fault.clone()))
        }
        (Ok(_), Err(error)) => Err(error.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::RocksOptions;

    /// Serves a queue that holds these transactions before it is looked at; answers what each was told, and how many
    /// syncs that took.
    fn serve(txns: Vec<Txn>) -> (Vec<Answer>, u64) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let engine = Arc::new(Engine::open(dir.path(), RocksOptions::default()).expect("it opens"));
        let syncs = || engine.with(|database| database.syncs()).expect("it is open");
        let before = syncs();
        let (queue, commands) = mpsc::channel(QUEUE_LENGTH);
        let mut answers = Vec::new();
        for txn in txns {
            let (answer, answered) = oneshot::channel();
            queue
                .try_send(Command::Commit(Request { txn, answer }))
                .expect("the queue has room");
            answers.push(answered);
        }
        drop(queue);
        run(engine.clone(), commands, &AtomicBool::new(false));
        let answers = answers
            .into_iter()
            .map(|answered| answered.blocking_recv().expect("an answer"))
            .collect();
        (answers, syncs() - before)
    }

    fn create(key: usize, bytes: usize) -> Txn {
        Txn::new()
            .when_absent(format!("{key}"))
            .put(format!("{key}"), vec![0; bytes])
    }

    #[test]
    fn all_that_wait_share_one_sync() {
        let (answers, syncs) = serve((0..100).map(|key| create(key, 100)).collect());
        let committed = (2..102).map(|revision| {
            Ok(TxnOutcome::Committed {
                revision: Revision(revision),
            })
        });
        assert_eq!(answers, committed.collect::<Vec<_>>());
        assert_eq!(syncs, 1);
    }

    #[test]
    fn a_group_is_bounded_in_bytes() {
        let (answers, syncs) = serve((0..10).map(|key| create(key, 1 << 20)).collect());
        assert!(answers.iter().all(Result::is_ok));
        assert!(
            (3..=4).contains(&syncs),
            "10 MiB in groups of at most 4 MiB took {syncs} syncs"
        );
    }

    #[test]
    fn conflicts_alone_need_no_sync() {
        let (answers, syncs) = serve(vec![
            Txn::new().when("k", Revision(7)).delete("k"),
            Txn::new().delete("k"),
        ]);
        assert!(
            matches!(answers[0], Ok(TxnOutcome::Conflict { .. })),
            "{answers:?}"
        );
        assert_eq!(
            answers[1],
            Ok(TxnOutcome::Committed {
                revision: Revision::FIRST
            })
        );
        assert_eq!(syncs, 0);
    }

    #[test]
    fn after_a_failed_write_only_what_wrote_nothing_is_certain() {
        let full = || Fault::DiskFull { dir: "data".into() };
        let failed = Err(TxnError::Indeterminate(full()));
        let conflict = TxnOutcome::Conflict {
            revision: Revision(3),
            current: Vec::new(),
        };
        let committed = TxnOutcome::Committed {
            revision: Revision(4),
        };
        assert_eq!(settle(Ok(conflict), &failed), Err(TxnError::Refused(full())));
        assert_eq!(
            settle(Ok(committed.clone()), &failed),
            Err(TxnError::Indeterminate(full()))
        );
        assert_eq!(
            settle(Err(Fault::Closed), &Ok(())),
            Err(TxnError::Refused(Fault::Closed))
        );
        assert_eq!(settle(Ok(committed.clone()), &Ok(())), Ok(committed));
    }
}
