//! Random operations on a backend and on the model must have the same answers.

use crate::backend::{Backend, Model, Rocks};
use crate::history;
use coracle_store::model::ModelStore;
use coracle_store::{
    CompactError, KeyRange, ListRequest, Revision, Store, Txn, WatchError, WatchRequest, WatchStream,
};
use proptest::collection::vec;
use proptest::prelude::*;

const KEYS: [&str; 7] = ["a", "a/1", "a/2", "b/1", "b/1/x", "b/2", "c"];
const PREFIXES: [&str; 5] = ["", "a", "a/", "b/", "d"];

/// A revision, told from the current one: that many before it, or after it if negative.
type Back = i64;

#[derive(Clone, Debug)]
enum Step {
    Txn {
        compares: Vec<(usize, Expected)>,
        puts: Vec<usize>,
        deletes: Vec<usize>,
        size: usize,
    },
    Get {
        key: usize,
        at: Option<Back>,
    },
    List {
        prefix: usize,
        from: Option<usize>,
        at: Option<Back>,
        limit: Option<usize>,
        count: bool,
    },
    Watch {
        prefix: usize,
        after: Option<Back>,
    },
    Drain,
    Compact {
        back: Back,
    },
    Restart,
}

/// What a comparison expects of a key.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Current,
    Absent,
    Stale,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let prefix = || 0..PREFIXES.len();
    let back = || -1_i64..12;
    let expected =
        prop_oneof![3 => Just(Expected::Current), 1 => Just(Expected::Absent), 1 => Just(Expected::Stale)];
    let size = prop_oneof![4 => 0_usize..64, 1 => 20_000_usize..40_000];
    prop_oneof![
        12 => (vec((key(), expected), 0..2), vec(key(), 0..3), vec(key(), 0..2), size)
            .prop_map(|(compares, puts, deletes, size)| Step::Txn { compares, puts, deletes, size }),
        3 => (key(), proptest::option::of(back())).prop_map(|(key, at)| Step::Get { key, at }),
        4 => (prefix(), proptest::option::of(key()), proptest::option::of(back()), proptest::option::of(0_usize..4), any::<bool>())
            .prop_map(|(prefix, from, at, limit, count)| Step::List { prefix, from, at, limit, count }),
        2 => (prefix(), proptest::option::of(back())).prop_map(|(prefix, after)| Step::Watch { prefix, after }),
        2 => Just(Step::Drain),
        1 => back().prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Restart),
    ]
}

/// A backend under test, beside the model and a second model that is never compacted.
struct Bench<B> {
    subject: B,
    model: ModelStore,
    all: ModelStore,
    watches: Vec<Watch>,
    writes: usize,
}

struct Watch {
    range: KeyRange,
    /// Everything up to here has been delivered and checked.
    seen: Revision,
    stream: WatchStream,
}

impl<B: Backend> Bench<B> {
    fn new(subject: B) -> Bench<B> {
        Bench {
            subject,
            model: ModelStore::new(),
            all: ModelStore::new(),
            watches: Vec::new(),
            writes: 0,
        }
    }

    async fn run(mut self, steps: Vec<Step>) {
        for step in steps {
            self.step(step).await;
        }
        self.drain().await;
        self.compare_history().await;
        self.subject.restart();
        self.compare_history().await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Txn {
                compares,
                puts,
                deletes,
                size,
            } => self.txn(compares, puts, deletes, size).await,
            Step::Get { key, at } => {
                let at = self.back(at).await;
                let key = KEYS[key].as_bytes();
                assert_eq!(
                    self.subject.store().get(key, at).await,
                    self.model.get(key, at).await
                );
            }
            Step::List {
                prefix,
                from,
                at,
                limit,
                count,
            } => {
                let range = KeyRange::prefix(PREFIXES[prefix]);
                let range = from.map_or(range.clone(), |from| range.starting_at(KEYS[from]));
                let request = ListRequest {
                    range,
                    at: self.back(at).await,
                    limit,
                    count,
                };
                let expected = self.model.list(request.clone()).await;
                assert_eq!(self.subject.store().list(request).await, expected);
            }
            Step::Watch { prefix, after } => self.watch(KeyRange::prefix(PREFIXES[prefix]), after).await,
            Step::Drain => self.drain().await,
            Step::Compact { back } => self.compact(back).await,
            Step::Restart => self.restart().await,
        }
    }

    async fn txn(
        &mut self,
        compares: Vec<(usize, Expected)>,
        puts: Vec<usize>,
        deletes: Vec<usize>,
        size: usize,
    ) {
        let mut txn = Txn::new();
        for (key, expected) in compares {
            let kv = self
                .model
                .get(KEYS[key].as_bytes(), None)
                .await
                .expect("a model answers")
                .kv;
            let current = kv.map_or(Revision::ABSENT, |kv| kv.mod_revision);
            let revision = match expected {
                Expected::Current => current,
                Expected::Absent => Revision::ABSENT,
                Expected::Stale => Revision(current.0.saturating_sub(1)),
            };
            txn = txn.when(KEYS[key], revision);
        }
        for key in puts {
            self.writes += 1;
            txn = txn.put(KEYS[key], format!("{:>size$}", self.writes));
        }
        for key in deletes {
            txn = txn.delete(KEYS[key]);
        }
        let expected = self.model.txn(txn.clone()).await;
        assert_eq!(self.all.txn(txn.clone()).await, expected);
        assert_eq!(self.subject.store().txn(txn).await, expected);
    }

    async fn watch(&mut self, range: KeyRange, after: Option<Back>) {
        let after = self.back(after).await;
        let request = WatchRequest {
            range: range.clone(),
            after,
        };
        let expected = self.model.watch(request.clone()).await.map(drop);
        match self.subject.store().watch(request).await {
            Ok(stream) => {
                assert_eq!(Ok(()), expected);
                let seen = after.unwrap_or(self.revision().await);
                self.watches.push(Watch { range, seen, stream });
            }
            Err(error) => assert_eq!(Err(error), expected),
        }
    }

    /// Every open watch has delivered exactly what happened, unless what it had not seen has been compacted.
    async fn drain(&mut self) {
        let store = self.subject.store();
        let current = self.revision().await;
        let mut going_on = Vec::new();
        for mut watch in std::mem::take(&mut self.watches) {
            match history::drain(store.as_ref(), &mut watch.stream).await {
                Ok(batches) => {
                    let happened = history::changes(&self.all, watch.range.clone(), watch.seen).await;
                    assert_eq!(Ok(batches), happened);
                    going_on.push(Watch {
                        seen: current,
                        ..watch
                    });
                }
                Err(error) => {
                    let again = WatchRequest::after(watch.range, watch.seen);
                    let opened = self.model.watch(again).await.map(drop);
                    assert!(
                        matches!(opened, Err(WatchError::Compacted { .. })),
                        "{error} after {}",
                        watch.seen
                    );
                }
            }
        }
        self.watches = going_on;
    }

    async fn compact(&mut self, back: Back) {
        let revision = self.back(Some(back)).await.expect("told from the current one");
        let expected = self.model.compact(revision).await;
        let compacted = self.subject.store().compact(revision).await;
        assert_eq!(compacted, expected);
        let future = revision > self.revision().await;
        assert_eq!(
            future,
            matches!(compacted, Err(CompactError::FutureRevision { .. }))
        );
    }

    /// Watches are taken up again where they were, as clients do.
    async fn restart(&mut self) {
        self.drain().await;
        self.subject.restart();
        assert_eq!(self.subject.store().revision().await, self.model.revision().await);
        for watch in std::mem::take(&mut self.watches) {
            let back = i64::try_from(self.revision().await.0 - watch.seen.0).expect("few revisions");
            self.watch(watch.range, Some(back)).await;
        }
    }

    /// Every revision that has not been compacted reads the same, and can be watched from.
    async fn compare_history(&self) {
        let store = self.subject.store();
        for revision in (1..=self.revision().await.0).map(Revision) {
            let all = ListRequest::new(KeyRange::all()).at(revision);
            assert_eq!(store.list(all.clone()).await, self.model.list(all).await);
            for key in KEYS {
                let read = store.get(key.as_bytes(), Some(revision)).await;
                assert_eq!(read, self.model.get(key.as_bytes(), Some(revision)).await);
            }
            let watched = history::changes(store.as_ref(), KeyRange::all(), revision).await;
            assert_eq!(
                watched,
                history::changes(&self.model, KeyRange::all(), revision).await
            );
        }
    }

    async fn revision(&self) -> Revision {
        self.model.revision().await.expect("a model answers")
    }

    async fn back(&self, back: Option<Back>) -> Option<Revision> {
        let current = self.revision().await;
        Some(Revision(current.0.saturating_add_signed(-back?)))
    }
}

fn run<B: Backend>(subject: B, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(Bench::new(subject).run(steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn rocks_answers_as_the_model_does(steps in vec(step(), 1..60)) {
        run(Rocks::new(), steps);
    }

    #[test]
    fn the_model_agrees_with_its_uncompacted_self(steps in vec(step(), 1..60)) {
        run(Model::new(), steps);
    }
}
