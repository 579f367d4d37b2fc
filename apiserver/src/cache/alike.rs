//! Bytes that are much like others, kept as what differs.
//!
//! Objects that one controller made of one template differ in names, uids, times and addresses, and little else. The
//! first of them is kept whole, the others as steps over it: so many bytes of their own, then so many that stand in the
//! first from some place on. Putting such bytes together is a few copies, nearly as fast as copying them from one place, and
//! nothing is made that has to be kept. Pure, but for the lock around what was seen last.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};

mod steps;

use steps::{Parts, Places};

/// Smaller bytes gain nothing, larger ones are rarely alike. A place in them fits into 16 bits.
const SIZES: RangeInclusive<usize> = 256..=16 << 10;
/// What differs is to be no more than this part of the whole: otherwise the next ones are held against these bytes.
const WORTH: usize = 4;
/// A base is to be no more than so many times as large as what is held against it: it stays for as long as that does, though
/// it may be all that is left of the family.
const ROOM: usize = 2;
/// Of so many families it is known what their next member is held against.
const FAMILIES: usize = 64;

/// Bytes that do not change, whole or as what differs from others.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// As they are.
    Whole(Bytes),
    /// What leads from `base` to them.
    Alike {
        /// Shared by the whole family.
        base: Arc<Bytes>,
        /// See [`steps`].
        steps: Box<[u8]>,
        /// How many bytes there are in all.
        len: u32,
        /// Its part in what the base takes, which stays for as long as one of the family does.
        share: u32,
    },
}

impl Kept {
    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Alike { len, .. } => *len as usize,
        }
    }

    /// How many bytes are held for their sake; the same for as long as they are.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Alike { steps, share, .. } => steps.len() + *share as usize,
        }
    }

    /// The bytes, put together where they are not whole.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.clone(),
            Self::Alike { .. } => self.range(0..self.len()),
        }
    }

    /// Some of the bytes.
    pub(crate) fn range(&self, range: Range<usize>) -> Bytes {
        if let Self::Whole(bytes) = self {
            return bytes.slice(range);
        }
        let mut out = BytesMut::with_capacity(range.len());
        self.put(range, &mut out);
        out.freeze()
    }

    /// Writes some of the bytes, from where they stand.
    pub(crate) fn put(&self, range: Range<usize>, out: &mut BytesMut) {
        let mut at = 0;
        for part in self.parts() {
            let from = range.start.clamp(at, at + part.len()) - at;
            let to = range.end.clamp(at, at + part.len()) - at;
            out.put_slice(&part[from..to.max(from)]);
            at += part.len();
        }
    }

    fn parts(&self) -> Parts<'_> {
        match self {
            Self::Whole(bytes) => Parts::whole(bytes),
            Self::Alike { base, steps, .. } => Parts::over(base, steps),
        }
    }
}

/// What the bytes that come next may be like, by family: the newest of those that were unlike what was before them.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// The one that was used last stands last.
    known: Mutex<VecDeque<Known>>,
}

#[derive(Debug)]
struct Known {
    family: u64,
    base: Arc<Bytes>,
    /// Made when the second of the family comes.
    places: Option<Places>,
    /// How many have been alike.
    members: u32,
}

impl Families {
    /// Keeps bytes as one of a family: those that are likely to be alike.
    pub(super) fn keep(&self, family: u64, bytes: Bytes) -> Kept {
        if !SIZES.contains(&bytes.len()) {
            return Kept::Whole(bytes);
        }
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().rposition(|known| known.family == family);
        let known = found.and_then(|at| all.remove(at));
        let (known, kept) = match known {
            None => Known::begun_by(family, bytes),
            Some(mut known) => match known.alike(&bytes) {
                Some(kept) => (known, kept),
                None => Known::begun_by(family, bytes),
            },
        };
        if all.len() >= FAMILIES {
            all.pop_front();
        }
        all.push_back(known);
        kept
    }
}

impl Known {
    fn begun_by(family: u64, bytes: Bytes) -> (Self, Kept) {
        let known = Self {
            family,
            base: Arc::new(bytes.clone()),
            places: None,
            members: 0,
        };
        (known, Kept::Whole(bytes))
    }

    fn alike(&mut self, bytes: &[u8]) -> Option<Kept> {
        let base = &self.base;
        if base.len() > bytes.len() * ROOM {
            return None;
        }
        let places = self.places.get_or_insert_with(|| Places::of(base));
        let steps = steps::steps(base, places, bytes, bytes.len() / WORTH)?;
        self.members = self.members.saturating_add(1);
        Some(Kept::Alike {
            base: Arc::clone(base),
            steps: steps.into_boxed_slice(),
            len: u32::try_from(bytes.len()).ok()?,
            share: u32::try_from(base.len()).ok()? / self.members,
        })
    }
}

/// The family of an object: those whose names differ only in what follows the last dash, as those do that a controller
/// names.
pub(super) fn family_of(key: &str) -> u64 {
    let end = key.rfind(['-', '/']).unwrap_or(0);
    let mut hasher = DefaultHasher::new();
    key[..end].hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
