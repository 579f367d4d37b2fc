//! How RocksDB is set up: durable, small and quick to open. Pure.

use super::database::family;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Error, LogLevel,
    Options,
};

/// What can be chosen about a RocksDB store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Writes are refused while the disk has fewer bytes left than this, so that what has been written can always be
    /// put in order. At least a few times `write_buffer_bytes`.
    pub min_free_bytes: u64,
    /// How many bytes of changes are gathered in memory, for each of two families, before they go to a file.
    pub write_buffer_bytes: usize,
    /// How many bytes of data from files are kept in memory.
    pub block_cache_bytes: usize,
}

impl Default for RocksOptions {
    fn default() -> RocksOptions {
        RocksOptions {
            min_free_bytes: 64 << 20,
            write_buffer_bytes: 4 << 20,
            block_cache_bytes: 8 << 20,
        }
    }
}

/// Options that the binding has no function for.
///
/// - `avoid_flush_during_recovery`: an open after a crash keeps the replayed changes in memory, and the write-ahead log
///   with them, instead of writing and syncing a file for each family first.
/// - `write_identity_file`: the manifest names the database as well, so one file less is synced at the first open.
const NAMED_OPTIONS: &str = "avoid_flush_during_recovery=true;write_identity_file=false";

pub(super) fn database(options: &RocksOptions, recovery: DBRecoveryMode) -> Result<Options, Error> {
    let mut db = Options::default().get_options_from_string(NAMED_OPTIONS)?;
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // The usual one refuses a write-ahead log that is damaged, where the others drop acknowledged writes in silence.
    db.set_wal_recovery_mode(recovery);
    db.set_max_total_wal_size(4 * options.write_buffer_bytes as u64);
    // One thread writes, so nothing is gained by letting writers share or spin.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_write_thread_adaptive_yield(false);
    db.set_max_background_jobs(2);
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_bytes_per_sync(1 << 20);
    db.set_max_open_files(256);
    db.set_max_file_opening_threads(1);
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(1 << 20);
    db.set_max_manifest_file_size(4 << 20);
    db.set_manifest_preallocation_size(64 << 10);
    Ok(db)
}

pub(super) fn families(options: &RocksOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    // A few bytes a commit: it should not be the reason for which files are written.
    let numbers = family_options(&cache, 1 << 20);
    let objects = family_options(&cache, options.write_buffer_bytes);
    let log = family_options(&cache, options.write_buffer_bytes);
    vec![
        ColumnFamilyDescriptor::new(family::NUMBERS, numbers),
        ColumnFamilyDescriptor::new(family::OBJECTS, objects),
        ColumnFamilyDescriptor::new(family::LOG, log),
    ]
}

fn family_options(cache: &Cache, write_buffer_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(16 << 10);
    blocks.set_format_version(5);
    blocks.set_bloom_filter(10.0, false);
    // Whatever is in memory counts against the cache, so that memory does not grow with the data.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut family = Options::default();
    family.set_block_based_table_factory(&blocks);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size(write_buffer_bytes);
    family.set_max_write_buffer_number(3);
    family.set_arena_block_size(write_buffer_bytes.min(256 << 10));
    family.set_target_file_size_base(write_buffer_bytes.max(1 << 20) as u64);
    family.set_max_bytes_for_level_base(8 * write_buffer_bytes.max(1 << 20) as u64);
    family
}
