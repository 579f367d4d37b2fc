//! The backends under test, behind one face.

use coracle_store::Store;
use coracle_store::model::ModelStore;
use coracle_store::rocks::{RocksOptions, RocksStore};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A store that can be closed and opened again.
pub(crate) trait Backend: Send {
    fn store(&self) -> Arc<dyn Store>;

    /// Closes the store and opens it again, if it outlives that. Watches end then.
    fn restart(&mut self);
}

pub(crate) struct Model(Arc<ModelStore>);

impl Model {
    pub(crate) fn new() -> Model {
        Model(Arc::new(ModelStore::new()))
    }
}

impl Backend for Model {
    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    fn restart(&mut self) {}
}

pub(crate) struct Rocks {
    store: Arc<RocksStore>,
    dir: TempDir,
}

impl Rocks {
    pub(crate) fn new() -> Rocks {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Rocks {
            store: Arc::new(open(dir.path())),
            dir,
        }
    }
}

impl Backend for Rocks {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn restart(&mut self) {
        self.store.close();
        self.store = Arc::new(open(self.dir.path()));
    }
}

/// Opens a store with a write buffer so small that tests of ordinary length reach files and compactions.
pub(crate) fn open(dir: &Path) -> RocksStore {
    RocksStore::open(dir, small()).expect("the store opens")
}

pub(crate) fn small() -> RocksOptions {
    RocksOptions {
        min_free_bytes: 1 << 20,
        write_buffer_bytes: 256 << 10,
        block_cache_bytes: 1 << 20,
    }
}

/// Bytes that depend on a seed and cannot be compressed (xorshift).
pub(crate) fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) << 1 | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// Makes one test of each backend from a function that takes one.
macro_rules! on_every_backend {
    ($($(#[$attribute:meta])* $name:ident;)*) => {
        mod on_model {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::backend::Model::new()).await;
            })*
        }
        mod on_rocks {
            $($(#[$attribute])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::backend::Rocks::new()).await;
            })*
        }
    };
}
pub(crate) use on_every_backend;
