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

/// What is copied is found by so many bytes.
const WINDOW: usize = 16;
/// Smaller bytes gain nothing, larger ones are rarely alike. A place in them fits into 16 bits.
const SIZES: RangeInclusive<usize> = 256..=16 << 10;
/// What differs is to be no more than this part of the whole: otherwise the next ones are held against these bytes.
const WORTH: usize = 4;
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
        /// Over and over: the length of a literal, the literal; then, unless that was the end, how far from the end of the
        /// last copy the next one begins, and its length.
        steps: Box<[u8]>,
        /// How many bytes there are in all.
        len: u32,
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

    /// How many of them are held for these alone.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Alike { steps, .. } => steps.len(),
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
            Self::Whole(bytes) => Parts {
                base: &[],
                steps: &[],
                cursor: 0,
                due: Some(bytes),
            },
            Self::Alike { base, steps, .. } => Parts {
                base,
                steps,
                cursor: 0,
                due: None,
            },
        }
    }
}

/// The runs of bytes that follow upon each other.
struct Parts<'a> {
    base: &'a [u8],
    steps: &'a [u8],
    /// Where in the base the last copy ended.
    cursor: usize,
    /// What comes next.
    due: Option<&'a [u8]>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some(due) = self.due.take() {
            return Some(due);
        }
        if self.steps.is_empty() {
            return None;
        }
        let len = take_number(&mut self.steps);
        let (literal, rest) = self.steps.split_at(len);
        self.steps = rest;
        if !rest.is_empty() {
            let from = signed(self.cursor, take_number(&mut self.steps));
            self.cursor = from + take_number(&mut self.steps);
            self.due = Some(&self.base[from..self.cursor]);
        }
        Some(literal)
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
        };
        (known, Kept::Whole(bytes))
    }

    fn alike(&mut self, bytes: &[u8]) -> Option<Kept> {
        let base = &self.base;
        let places = self.places.get_or_insert_with(|| Places::of(base));
        let steps = steps(base, places, bytes, bytes.len() / WORTH)?;
        Some(Kept::Alike {
            base: Arc::clone(base),
            steps: steps.into_boxed_slice(),
            len: u32::try_from(bytes.len()).ok()?,
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

/// Where in some bytes each window begins, by its hash: one more than the place, or nought.
#[derive(Debug)]
struct Places {
    table: Box<[u16]>,
    /// By so much a hash is shifted to be a place in the table.
    shift: u32,
}

impl Places {
    fn of(bytes: &[u8]) -> Self {
        let size = (bytes.len() / WINDOW * 2).next_power_of_two().max(2);
        let mut places = Self {
            table: vec![0; size].into_boxed_slice(),
            shift: 64 - size.trailing_zeros(),
        };
        for (number, window) in bytes.chunks_exact(WINDOW).enumerate() {
            let slot = places.slot(window);
            places.table[slot] = u16::try_from(number * WINDOW + 1).unwrap_or(0);
        }
        places
    }

    fn slot(&self, window: &[u8]) -> usize {
        let (low, high) = window.split_at(8);
        let number = |half: &[u8]| half.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let mixed = (number(low) ^ number(high).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> self.shift).unwrap_or(0)
    }

    /// Where in the base this window stands, best where it is expected: what differs is often as long as what it stands for.
    fn find(&self, base: &[u8], window: &[u8], expected: usize) -> Option<usize> {
        if base.get(expected..expected + WINDOW) == Some(window) {
            return Some(expected);
        }
        let place = usize::from(self.table[self.slot(window)]).checked_sub(1)?;
        (base.get(place..place + WINDOW) == Some(window)).then_some(place)
    }
}

/// What leads from a base to these bytes; none where it takes more than `most` bytes.
fn steps(base: &[u8], places: &Places, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(most.min(512));
    // Where the literal begins that is not written yet, where it is looked for more, and where the last copy ended.
    let (mut literal, mut at, mut cursor) = (0, 0, 0);
    while at + WINDOW <= bytes.len() {
        if out.len() + (at - literal) > most {
            return None;
        }
        let Some(found) = places.find(base, &bytes[at..at + WINDOW], cursor + (at - literal)) else {
            at += 1;
            continue;
        };
        let before = base[..found].iter().rev().zip(bytes[literal..at].iter().rev());
        let back = before.take_while(|(one, other)| one == other).count();
        let (from, start) = (found - back, at - back);
        let len = common(&base[from..], &bytes[start..]);
        put_literal(&mut out, &bytes[literal..start]);
        put_number(&mut out, unsigned(cursor, from));
        put_number(&mut out, len);
        cursor = from + len;
        at = start + len;
        literal = at;
    }
    if literal < bytes.len() {
        put_literal(&mut out, &bytes[literal..]);
    }
    (out.len() <= most).then_some(out)
}

/// How many bytes two runs have in common at their beginning.
fn common(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(WINDOW).zip(other.chunks_exact(WINDOW));
    let whole = WINDOW * blocks.take_while(|(one, other)| one == other).count();
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}

fn put_literal(out: &mut Vec<u8>, literal: &[u8]) {
    put_number(out, literal.len());
    out.extend_from_slice(literal);
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what [`put_number`] wrote.
fn take_number(from: &mut &[u8]) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = from.split_first() {
        *from = rest;
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// How far it is from one place to another, forth in even numbers and back in odd ones.
fn unsigned(from: usize, to: usize) -> usize {
    if to >= from {
        (to - from) << 1
    } else {
        (from - to) << 1 | 1
    }
}

/// The place that is so far from another.
fn signed(from: usize, way: usize) -> usize {
    if way & 1 == 0 {
        from + (way >> 1)
    } else {
        from - (way >> 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(number: usize) -> String {
        let spec =
            "{\"containers\":[{\"name\":\"web\",\"image\":\"registry.example/web:1\",\"resources\":{}}]}"
                .repeat(8);
        format!(
            "{{\"metadata\":{{\"name\":\"web-{number:05}\",\"uid\":\"{:032x}\"}},\"spec\":{spec}}}",
            number * 7919
        )
    }

    #[test]
    fn those_that_are_alike_take_a_part_of_the_room() {
        let families = Families::default();
        for number in 0..100 {
            let text = pod(number);
            let kept = families.keep(1, Bytes::from(text.clone()));
            assert_eq!(kept.bytes(), text.as_bytes());
            assert_eq!(kept.len(), text.len());
            assert!(number == 0 || kept.held() * 8 < text.len(), "{}", kept.held());
            assert_eq!(kept.range(5..40), &text.as_bytes()[5..40]);
        }
    }

    #[test]
    fn what_is_unlike_is_what_the_next_are_held_against() {
        let families = Families::default();
        let other = |salt: u32| -> Bytes {
            let bytes = (0..2000_u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 11) as u8);
            bytes.collect()
        };
        let whole = |kept: Kept| matches!(kept, Kept::Whole(_));
        assert!(whole(families.keep(1, pod(1).into())));
        assert!(whole(families.keep(1, other(7))));
        assert!(!whole(families.keep(1, other(7))));
        assert!(whole(families.keep(2, pod(2).into())));
        assert!(whole(families.keep(2, Bytes::from_static(b"small"))));
        assert!(!whole(families.keep(2, pod(3).into())));
    }

    #[test]
    fn no_more_families_are_known_than_that() {
        let families = Families::default();
        for family in 0..2 * FAMILIES as u64 {
            families.keep(family, pod(1).into());
        }
        assert_eq!(families.known.lock().unwrap().len(), FAMILIES);
    }

    #[test]
    fn a_family_shares_all_but_the_end_of_its_names() {
        assert_eq!(family_of("ns/web-5d4f8-abcde"), family_of("ns/web-5d4f8-fghij"));
        assert_ne!(family_of("ns/web-5d4f8-abcde"), family_of("ns/web-6d4f8-abcde"));
        assert_ne!(family_of("one/web"), family_of("other/web"));
        assert_eq!(family_of("node"), family_of("other"));
    }

    proptest! {
        #[test]
        fn whatever_is_kept_comes_back(
            base in prop::collection::vec(0_u8..4, 256..2000),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, prop::collection::vec(0_u8..4, 0..40)), 0..8),
            range in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let mut changed = base.clone();
            for (place, gone, put) in &edits {
                let at = place.index(changed.len());
                let end = (at + gone).min(changed.len());
                changed.splice(at..end, put.iter().copied());
                changed.push(0);
            }
            let places = Places::of(&base);
            let steps = steps(&base, &places, &changed, usize::MAX).unwrap();
            let kept = Kept::Alike {
                base: Arc::new(base.into()),
                steps: steps.into(),
                len: changed.len() as u32,
            };
            prop_assert_eq!(kept.bytes(), &changed[..]);
            let (one, other) = (range.0.index(changed.len()), range.1.index(changed.len()));
            let range = one.min(other)..one.max(other);
            prop_assert_eq!(kept.range(range.clone()), &changed[range]);
        }
    }
}
