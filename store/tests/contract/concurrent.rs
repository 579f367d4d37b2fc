//! Many writers at once.

use crate::backend::{Backend, on_every_backend};
use crate::history::{self, Replay};
use coracle_store::{KeyRange, Revision, Store, Txn, TxnOutcome, WatchRequest};
use std::sync::Arc;
use tokio::task::JoinSet;

on_every_backend! {
    increments_by_compare_and_set_are_not_lost;
    a_key_is_created_once;
    readers_never_go_back_and_see_transactions_whole;
    watches_opened_amid_writes_see_each_change_once;
}

const WRITERS: usize = 16;
const ROUNDS: usize = 40;

/// Adds one to the number under a key, however often that takes; answers the revision and what was written.
async fn increment(store: &dyn Store, key: &str) -> (Revision, usize) {
    let mut current = store.get(key.as_bytes(), None).await.expect("a read").kv;
    loop {
        let number = current.as_ref().map_or(0, |kv| number(&kv.value)) + 1;
        let expected = current.as_ref().map_or(Revision::ABSENT, |kv| kv.mod_revision);
        let txn = Txn::new()
            .when(key.to_owned(), expected)
            .put(key.to_owned(), number.to_string());
        match store.txn(txn).await.expect("a transaction") {
            TxnOutcome::Committed { revision } => return (revision, number),
            TxnOutcome::Conflict { current: found, .. } => current = found.into_iter().next().flatten(),
        }
    }
}

fn number(value: &[u8]) -> usize {
    std::str::from_utf8(value)
        .expect("digits")
        .parse()
        .expect("a number")
}

async fn increments_by_compare_and_set_are_not_lost(backend: impl Backend) {
    let store = backend.store();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..ROUNDS {
                answers.push(increment(store.as_ref(), if writer % 4 == 0 { "cold" } else { "hot" }).await);
            }
            assert!(
                answers.is_sorted_by(|one, next| one < next),
                "a writer's own increments are in order"
            );
            (writer % 4 == 0, answers)
        });
    }
    let (mut cold, mut hot) = (Vec::new(), Vec::new());
    for (is_cold, answers) in writers.join_all().await {
        if is_cold {
            cold.extend(answers)
        } else {
            hot.extend(answers)
        }
    }
    for (mut answers, writers) in [(cold, WRITERS / 4), (hot, WRITERS - WRITERS / 4)] {
        answers.sort_unstable();
        let numbers: Vec<usize> = answers.iter().map(|(_, number)| *number).collect();
        assert_eq!(
            numbers,
            (1..=writers * ROUNDS).collect::<Vec<_>>(),
            "in the order of their revisions"
        );
    }
}

async fn a_key_is_created_once(backend: impl Backend) {
    let store = backend.store();
    for round in 0..ROUNDS {
        let key = format!("lock/{round}");
        let attempts = (0..WRITERS).map(|writer| {
            store.txn(
                Txn::new()
                    .when_absent(key.clone())
                    .put(key.clone(), writer.to_string()),
            )
        });
        let outcomes = futures::future::try_join_all(attempts)
            .await
            .expect("transactions");
        let won = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, TxnOutcome::Committed { .. }));
        assert_eq!(won.count(), 1, "of {key}");
    }
}

async fn readers_never_go_back_and_see_transactions_whole(backend: impl Backend) {
    let store = backend.store();
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..ROUNDS {
                let value = format!("{writer}/{round}");
                let txn = Txn::new()
                    .put("pair/left", value.clone())
                    .put("pair/right", value);
                let outcome = store.txn(txn).await.expect("a transaction");
                let TxnOutcome::Committed { revision } = outcome else {
                    panic!("{outcome:?}")
                };
                let read = store.get(b"pair/left", None).await.expect("a read");
                let seen = read.kv.expect("it was written").mod_revision;
                assert!(
                    read.revision >= revision && seen >= revision,
                    "a writer reads what it wrote, or newer"
                );
            }
        });
    }
    let mut last = Revision::ABSENT;
    while last.0 <= (4 * ROUNDS) as u64 {
        let read = history_of_pair(&store).await;
        assert!(read >= last, "{read} after {last}");
        last = read;
    }
    writers.join_all().await;
}

async fn history_of_pair(store: &Arc<dyn Store>) -> Revision {
    let request = coracle_store::ListRequest::new(KeyRange::prefix("pair/"));
    let read = store.list(request).await.expect("a list");
    let values: Vec<_> = read.items.iter().map(|kv| (&kv.value, kv.mod_revision)).collect();
    assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
    assert!(read.items.iter().all(|kv| kv.mod_revision <= read.revision));
    read.revision
}

async fn watches_opened_amid_writes_see_each_change_once(backend: impl Backend) {
    let store = backend.store();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..ROUNDS {
                let txn = Txn::new().put(format!("{}/{writer}", round % 3), vec![0; 100 * round]);
                store.txn(txn).await.expect("a transaction");
            }
        });
    }
    let mut watches = Vec::new();
    while !writers.is_empty() {
        writers.join_next().await;
        let after = store.revision().await.expect("a revision");
        let range = KeyRange::prefix(format!("{}/", watches.len() % 3));
        let stream = store
            .watch(WatchRequest::after(range.clone(), after))
            .await
            .expect("a watch");
        watches.push((range, after, stream));
    }
    let mut replay = Replay::new(Revision::FIRST, Vec::new());
    replay.apply(
        &history::changes(store.as_ref(), KeyRange::all(), Revision::FIRST)
            .await
            .expect("a watch"),
    );
    assert_eq!(replay.contents(), history::contents(store.as_ref(), None).await);
    for (range, after, mut stream) in watches {
        let live = history::drain(store.as_ref(), &mut stream).await;
        assert_eq!(live, history::changes(store.as_ref(), range, after).await);
    }
}
