//! Copies of a store that is in use.

use crate::backend::{Backend, Rocks, open};
use crate::history;
use coracle_store::{CheckpointError, KeyRange, Revision, Store, Txn};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_the_store_at_one_revision_with_its_history() {
    let backend = Rocks::new();
    let store = backend.store();
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..50 {
                let txn = Txn::new()
                    .put(format!("{writer}/left"), vec![round; 2000])
                    .put(format!("{writer}/right"), vec![round; 2000]);
                store.txn(txn).await.expect("a transaction");
            }
        });
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let copied_to = place.path().join("copy");
    let before = store.revision().await.expect("a revision");
    store.checkpoint(&copied_to).await.expect("a checkpoint");
    writers.join_all().await;

    let copy = open(&copied_to);
    let revision = copy.revision().await.expect("a revision");
    assert!(revision >= before);
    assert_eq!(
        history::contents(&copy, None).await,
        history::contents(store.as_ref(), Some(revision)).await
    );
    let copied = history::changes(&copy, KeyRange::all(), Revision::FIRST)
        .await
        .expect("a watch");
    let all = history::changes(store.as_ref(), KeyRange::all(), Revision::FIRST)
        .await
        .expect("a watch");
    assert_eq!(copied, all[..copied.len()]);
    copy.txn(Txn::new().put("k", "v"))
        .await
        .expect("a copy is a store of its own");
}

#[tokio::test]
async fn a_checkpoint_overwrites_nothing() {
    let backend = Rocks::new();
    let place = tempfile::tempdir().expect("a temporary directory");
    let refused = backend.store().checkpoint(place.path()).await;
    assert_eq!(
        refused,
        Err(CheckpointError::Exists {
            dir: place.path().to_owned()
        })
    );
}
