//! Telling a write-ahead log that a loss of power left torn from one that is damaged.
//!
//! RocksDB writes the log in blocks of 32 KiB. A record begins with its checksum (4 bytes), length (2, both little endian)
//! and type (1), does not cross a block, and a write that is longer is cut into first, middle and last records. The commit
//! thread syncs every write before the next one, so a loss of power can spoil the last write only: whatever of it reached
//! the disk, no further write begins after it. If one does, something that had been synced has changed, and opening the
//! database by leaving it out would lose acknowledged writes.

use std::path::{Path, PathBuf};
use std::{fs, io};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

/// Record types with which a write begins, and those after which it goes on.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;

/// What is at the end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Only whole records, but for a last write that RocksDB leaves out by itself: what the end of the file cuts, and what
    /// begins with zeros. Where zeros come in the middle of a write, it takes the log for corrupt.
    Whole,
    /// The last write is spoilt.
    Torn,
    /// A write before the last one is spoilt.
    Damaged,
}

/// The length of a write of nothing: what RocksDB begins a log with after it has left out the end of the one before.
const NOTHING_BYTES: usize = 12;

/// Whether the only thing wrong with the logs in a data directory is that the last write is spoilt. Power may have been lost
/// again while that was being dealt with: then there are later logs, without writes.
pub(super) fn last_write_is_torn(dir: &Path) -> io::Result<bool> {
    let mut conditions = Vec::new();
    for path in logs(dir)? {
        let log = fs::read(path)?;
        let condition = inspect(&log);
        if condition != Condition::Whole || holds_a_write(&log) {
            conditions.push(condition);
        }
    }
    let newest = conditions.pop();
    Ok(newest == Some(Condition::Torn) && conditions.iter().all(|older| *older == Condition::Whole))
}

/// Takes logs away, those that are still there, so that no loss of power brings them back.
pub(super) fn remove(dir: &Path, logs: &[PathBuf]) -> io::Result<()> {
    for log in logs {
        match fs::remove_file(log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::File::open(dir)?.sync_all()
}

/// The logs of a data directory, oldest first: RocksDB numbers them, with zeros in front.
pub(super) fn logs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    logs.sort();
    Ok(logs)
}

fn inspect(log: &[u8]) -> Condition {
    let mut at = 0;
    let mut within_a_write = false;
    while at < log.len() {
        let left_in_block = BLOCK_BYTES - at % BLOCK_BYTES;
        if left_in_block < HEADER_BYTES {
            at += left_in_block;
            continue;
        }
        let Some(record) = Record::at(log, at) else {
            return Condition::Whole;
        };
        if record.is_valid() {
            within_a_write = record.goes_on();
            at += HEADER_BYTES + record.payload_bytes();
        } else if (at + 1..log.len()).any(|later| write_begins(log, later)) {
            return Condition::Damaged;
        } else if !within_a_write && is_passed_over(log, at) {
            return Condition::Whole;
        } else {
            return Condition::Torn;
        }
    }
    Condition::Whole
}

/// Whether RocksDB makes nothing of what there is from a position on: where a record should begin and zeros are, it goes on
/// with the next block.
fn is_passed_over(log: &[u8], mut at: usize) -> bool {
    while let Some(record) = Record::at(log, at) {
        if !record.is_blank {
            return false;
        }
        at = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
    }
    true
}

fn holds_a_write(log: &[u8]) -> bool {
    let records = (0..log.len()).filter(|at| write_begins(log, *at));
    let mut found = records.filter_map(|at| Record::at(log, at));
    found.any(|record| record.payload_bytes() > NOTHING_BYTES)
}

fn write_begins(log: &[u8], at: usize) -> bool {
    // The type first, since it rules out nearly all positions.
    let kind = log.get(at + HEADER_BYTES - 1);
    let may = kind.is_some_and(|kind| [FULL, FIRST].contains(kind))
        && at % BLOCK_BYTES + HEADER_BYTES <= BLOCK_BYTES;
    may && Record::at(log, at).is_some_and(|record| record.is_valid())
}

struct Record<'a> {
    checksum: u32,
    /// What the checksum is of: type and payload. Empty if the length cannot be right.
    checked: &'a [u8],
    /// Its length and type are zero, as of what was never written.
    is_blank: bool,
}

impl<'a> Record<'a> {
    /// What is at a position, unless the end of the log cuts it.
    fn at(log: &'a [u8], at: usize) -> Option<Record<'a>> {
        let (header, _) = log.get(at..)?.split_first_chunk::<HEADER_BYTES>()?;
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        if at % BLOCK_BYTES + HEADER_BYTES + length > BLOCK_BYTES {
            return Some(Record {
                checksum,
                checked: &[],
                is_blank: false,
            });
        }
        let checked = log.get(at + HEADER_BYTES - 1..at + HEADER_BYTES + length)?;
        Some(Record {
            checksum,
            checked,
            is_blank: length == 0 && kind == 0,
        })
    }

    fn is_valid(&self) -> bool {
        !self.checked.is_empty() && mask(crc32c(self.checked)) == self.checksum
    }

    /// Whether the write that it is of has another record.
    fn goes_on(&self) -> bool {
        self.checked
            .first()
            .is_some_and(|kind| [FIRST, MIDDLE].contains(kind))
    }

    fn payload_bytes(&self) -> usize {
        self.checked.len() - 1
    }
}

/// RocksDB's disguise of checksums, so that those of data that holds checksums are no worse.
fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), as in RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A log as RocksDB writes it: every write whole, or cut at the ends of blocks.
    fn log(writes: &[usize]) -> Vec<u8> {
        let mut log = Vec::new();
        for (number, &length) in writes.iter().enumerate() {
            let mut payload = vec![0xa0 + number as u8; length];
            let mut begun = false;
            loop {
                let left = BLOCK_BYTES - log.len() % BLOCK_BYTES;
                if left < HEADER_BYTES {
                    log.resize(log.len() + left, 0);
                    continue;
                }
                let rest = payload.split_off(payload.len().min(left - HEADER_BYTES));
                let kind = [[1, 2], [4, 3]][usize::from(begun)][usize::from(!rest.is_empty())];
                append(&mut log, kind, &payload);
                begun = true;
                if rest.is_empty() {
                    break;
                }
                payload = rest;
            }
        }
        log
    }

    fn append(log: &mut Vec<u8>, kind: u8, payload: &[u8]) {
        let checked = [&[kind], payload].concat();
        log.extend(mask(crc32c(&checked)).to_le_bytes());
        log.extend(
            u16::try_from(payload.len())
                .expect("it fits into a block")
                .to_le_bytes(),
        );
        log.extend(checked);
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn whole_logs_are_whole_wherever_the_file_ends() {
        let log = log(&[100, 32_000, 700, 70_000, 5]);
        for end in (0..=log.len()).step_by(97).chain([log.len()]) {
            assert_eq!(inspect(&log[..end]), Condition::Whole, "cut to {end}");
        }
    }

    #[test]
    fn a_spoilt_last_write_is_torn() {
        for writes in [&[100, 500][..], &[100, 70_000], &[40_000, 32_755]] {
            let whole = log(writes);
            let last = log(&writes[..writes.len() - 1]).len();
            for lost in [
                last..last + 20,
                last + 3..whole.len(),
                whole.len() - 200..whole.len(),
            ] {
                let mut torn = whole.clone();
                torn[lost.clone()].fill(0);
                // Without its head, what follows in the same block goes unseen.
                let is_followed =
                    lost.end < whole.len() && (whole.len() - 1) / BLOCK_BYTES > last / BLOCK_BYTES;
                let is_unseen = lost.start < last + 4 && !is_followed;
                let expected = if is_unseen {
                    Condition::Whole
                } else {
                    Condition::Torn
                };
                assert_eq!(inspect(&torn), expected, "{writes:?} without {lost:?}");
            }
        }
    }

    #[test]
    fn a_torn_log_is_the_last_that_holds_a_write() {
        let whole = log(&[100, 500]);
        let mut torn = log(&[100, 40_000]);
        torn[200..300].fill(0xff);
        let nothing = log(&[NOTHING_BYTES]);
        let table: [(&[&[u8]], bool); 7] = [
            (&[&whole, &torn], true),
            (&[&whole, &torn, &[]], true),
            (&[&whole, &torn, &nothing, &[]], true),
            (&[&torn, &nothing, &nothing], true),
            (&[&torn, &whole], false),
            (&[&torn, &nothing, &torn], false),
            (&[&whole, &nothing], false),
        ];
        for (number, (logs, expected)) in table.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            for (name, log) in logs.iter().enumerate() {
                fs::write(dir.path().join(format!("{name:06}.log")), log).unwrap();
            }
            assert_eq!(last_write_is_torn(dir.path()).unwrap(), expected, "row {number}");
        }
    }

    #[test]
    fn zeros_at_the_end_are_passed_over() {
        for length in [500, 70_000] {
            let mut log = log(&[100, length]);
            let last = HEADER_BYTES + 100;
            log[last..].fill(0);
            assert_eq!(inspect(&log), Condition::Whole, "{length} bytes");
        }
    }

    #[test]
    fn a_write_that_ends_in_zeros_is_torn() {
        // The last write begins at the end of a block. All the rest of it is lost, or what is at the end of it is there.
        let whole = log(&[100, 32_000, 60_000]);
        for kept in [0, 5_000, 30_000] {
            let mut torn = whole.clone();
            torn[BLOCK_BYTES..whole.len() - kept].fill(0);
            assert_eq!(inspect(&torn), Condition::Torn, "but for {kept} bytes");
            torn.truncate(whole.len() - kept / 2);
            assert_eq!(inspect(&torn), Condition::Torn, "cut, but for {kept} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_write_is_damage() {
        let writes = [300, 40_000, 80, 90];
        let whole = log(&writes);
        let last = log(&writes[..3]).len();
        for at in (0..last).step_by(397) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            // What fills a block up is not read.
            if damaged[at..].starts_with(&[0x10]) && inspect(&damaged) == Condition::Whole {
                continue;
            }
            assert_eq!(inspect(&damaged), Condition::Damaged, "at {at}");
        }
    }
}
