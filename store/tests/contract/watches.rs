//! What a watch promises beyond its content.

use crate::backend::{Backend, Rocks, on_every_backend};
use crate::history;
use coracle_store::{
    Fault, KeyRange, ReadError, Revision, Store, Txn, TxnOutcome, WatchError, WatchItem, WatchRequest,
};
use futures::{FutureExt, StreamExt};

on_every_backend! {
    a_watch_from_now_tells_where_it_begins;
    a_transaction_arrives_whole;
    progress_follows_what_came_before_it;
    a_quiet_watch_outlives_compaction;
    a_watch_of_compacted_history_is_refused;
    a_watch_of_the_future_is_refused;
}

async fn put(store: &dyn Store, key: &str) -> Revision {
    match store.txn(Txn::new().put(key.to_owned(), vec![7; 1000])).await {
        Ok(TxnOutcome::Committed { revision }) => revision,
        other => panic!("{other:?}"),
    }
}

async fn a_watch_from_now_tells_where_it_begins(backend: impl Backend) {
    let store = backend.store();
    let before = put(store.as_ref(), "a").await;
    let mut watch = store
        .watch(WatchRequest::from_now(KeyRange::all()))
        .await
        .expect("a watch");
    let after = put(store.as_ref(), "a").await;
    assert_eq!(watch.next().await, Some(Ok(WatchItem::Progress(before))));
    let Some(Ok(WatchItem::Changes(batch))) = watch.next().await else {
        panic!("no changes")
    };
    assert_eq!(batch.revision, after);
}

async fn a_transaction_arrives_whole(backend: impl Backend) {
    let store = backend.store();
    put(store.as_ref(), "pods/old").await;
    let mut watch = store
        .watch(WatchRequest::from_now(KeyRange::prefix("pods/")))
        .await
        .expect("a watch");
    watch.next().await;
    let txn = Txn::new()
        .put("pods/a", "1")
        .put("nodes/a", "2")
        .delete("pods/old")
        .put("pods/b", "3");
    store.txn(txn).await.expect("a transaction");
    let Some(Ok(WatchItem::Changes(batch))) = watch.next().await else {
        panic!("no changes")
    };
    let keys: Vec<_> = batch.events.iter().map(|event| &event.key()[..]).collect();
    assert_eq!(keys, [&b"pods/a"[..], b"pods/old", b"pods/b"]);
}

async fn progress_follows_what_came_before_it(backend: impl Backend) {
    let store = backend.store();
    let request = WatchRequest::after(KeyRange::prefix("pods/"), Revision::FIRST);
    let mut watch = store.watch(request).await.expect("a watch");
    let changed = put(store.as_ref(), "pods/a").await;
    let current = put(store.as_ref(), "nodes/a").await;
    store.request_progress().await.expect("progress");
    let Some(Ok(WatchItem::Changes(batch))) = watch.next().await else {
        panic!("no changes")
    };
    assert_eq!(batch.revision, changed);
    assert_eq!(watch.next().await, Some(Ok(WatchItem::Progress(current))));
    assert!(watch.next().now_or_never().is_none(), "nothing more has happened");
}

async fn a_quiet_watch_outlives_compaction(backend: impl Backend) {
    let store = backend.store();
    let request = WatchRequest::after(KeyRange::prefix("pods/"), Revision::FIRST);
    let mut watch = store.watch(request).await.expect("a watch");
    assert!(watch.next().now_or_never().is_none());
    for _ in 0..10 {
        let revision = put(store.as_ref(), "nodes/a").await;
        assert!(watch.next().now_or_never().is_none());
        store.compact(revision).await.expect("compaction");
    }
    let changed = put(store.as_ref(), "pods/a").await;
    let Some(Ok(WatchItem::Changes(batch))) = watch.next().await else {
        panic!("no changes")
    };
    assert_eq!(batch.revision, changed);
}

async fn a_watch_of_compacted_history_is_refused(backend: impl Backend) {
    let store = backend.store();
    let old = put(store.as_ref(), "a").await;
    let oldest = put(store.as_ref(), "a").await;
    put(store.as_ref(), "a").await;
    store.compact(oldest).await.expect("compaction");
    let refused = store
        .watch(WatchRequest::after(KeyRange::all(), old))
        .await
        .map(drop);
    assert_eq!(refused, Err(WatchError::Compacted { after: old, oldest }));
    let read = store.get(b"a", Some(old)).await;
    assert_eq!(
        read,
        Err(ReadError::Compacted {
            requested: old,
            oldest
        })
    );
    assert_eq!(
        history::changes(store.as_ref(), KeyRange::all(), oldest)
            .await
            .map(|all| all.len()),
        Ok(1)
    );
}

async fn a_watch_of_the_future_is_refused(backend: impl Backend) {
    let store = backend.store();
    let current = put(store.as_ref(), "a").await;
    let after = current.next();
    let refused = store
        .watch(WatchRequest::after(KeyRange::all(), after))
        .await
        .map(drop);
    assert_eq!(refused, Err(WatchError::FutureRevision { after, current }));
}

#[tokio::test]
async fn a_watch_that_falls_behind_is_served_from_the_log_and_holds_up_no_one() {
    let backend = Rocks::new();
    let store = backend.store();
    let request = WatchRequest::after(KeyRange::all(), Revision::FIRST);
    let mut slow = store.watch(request).await.expect("a watch");
    // Far more than is kept in memory.
    for _ in 0..40 {
        let txn = Txn::new().put("large", vec![1; 200_000]);
        store.txn(txn).await.expect("writers do not wait for the watcher");
    }
    let batches = history::drain(store.as_ref(), &mut slow)
        .await
        .expect("all of it is in the log");
    assert_eq!(batches.len(), 40);
}

#[tokio::test]
async fn a_watch_that_falls_behind_compaction_is_cut_off() {
    let backend = Rocks::new();
    let store = backend.store();
    let after = Revision::FIRST;
    let mut slow = store
        .watch(WatchRequest::after(KeyRange::all(), after))
        .await
        .expect("a watch");
    for _ in 0..40 {
        store
            .txn(Txn::new().put("large", vec![1; 200_000]))
            .await
            .expect("a transaction");
    }
    let oldest = store.revision().await.expect("a revision");
    store.compact(oldest).await.expect("compaction");
    assert_eq!(
        slow.next().await,
        Some(Err(WatchError::Compacted { after, oldest }))
    );
    assert_eq!(slow.next().await, None);
}

#[tokio::test]
async fn closing_ends_watches_and_refuses_everything() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = crate::backend::open(dir.path());
    put(&store, "a").await;
    let mut watch = store
        .watch(WatchRequest::from_now(KeyRange::all()))
        .await
        .expect("a watch");
    watch.next().await;
    store.close();
    assert_eq!(watch.next().await, Some(Err(WatchError::Fault(Fault::Closed))));
    assert_eq!(store.get(b"a", None).await, Err(ReadError::Fault(Fault::Closed)));
    assert_eq!(store.revision().await, Err(ReadError::Fault(Fault::Closed)));
    let written = store.txn(Txn::new().put("a", "b")).await;
    assert_eq!(written, Err(coracle_store::TxnError::Refused(Fault::Closed)));
    drop(crate::backend::open(dir.path()));
}
