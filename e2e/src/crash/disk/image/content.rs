//! What a file or a folder holds, now and after a loss of power. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use fastrand::Rng;

use super::Number;

/// Writes reach the disk in units of this size, each whole or not at all.
const BLOCK: u64 = 4096;

/// A change of a file's contents.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Write { offset: u64, bytes: Vec<u8> },
    Resize(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    File {
        now: Vec<u8>,
        synced: Vec<u8>,
        pending: Vec<Edit>,
    },
    Folder {
        now: BTreeMap<OsString, Number>,
        synced: BTreeMap<OsString, Number>,
    },
}

pub(super) fn folder() -> Content {
    Content::Folder {
        now: BTreeMap::new(),
        synced: BTreeMap::new(),
    }
}

pub(super) fn file() -> Content {
    Content::File {
        now: Vec::new(),
        synced: Vec::new(),
        pending: Vec::new(),
    }
}

pub(super) fn assign(names: &mut BTreeMap<OsString, Number>, name: &OsStr, number: Option<Number>) {
    match number {
        Some(number) => drop(names.insert(name.to_owned(), number)),
        None => drop(names.remove(name)),
    }
}

pub(super) fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Write {
            offset,
            bytes: written,
        } => {
            let start = usize::try_from(*offset).expect("files in memory are small");
            let end = start + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[start..end].copy_from_slice(written);
        }
        Edit::Resize(size) => bytes.resize(usize::try_from(*size).expect("files in memory are small"), 0),
    }
}

/// Applies to synced contents what survives of an edit.
pub(super) fn survive(bytes: &mut Vec<u8>, edit: &Edit, random: &mut Rng) {
    match edit {
        Edit::Resize(_) => {
            if random.bool() {
                apply(bytes, edit);
            }
        }
        Edit::Write {
            offset,
            bytes: written,
        } => {
            let mut at = 0;
            while at < written.len() {
                let position = offset + at as u64;
                let in_block = usize::try_from(BLOCK - position % BLOCK).expect("a block is small");
                let end = written.len().min(at + in_block);
                if random.bool() {
                    let part = Edit::Write {
                        offset: position,
                        bytes: written[at..end].to_vec(),
                    };
                    apply(bytes, &part);
                }
                at = end;
            }
        }
    }
}
