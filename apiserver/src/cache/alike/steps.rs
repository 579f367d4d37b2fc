//! From some bytes to others that are much like them: what stands in the first is copied, the rest is written out. Pure.
//!
//! The form, over and over: the length of a literal, the literal; then, unless that was the end, how far from the end of the
//! last copy the next one begins (forth in even numbers, back in odd ones), and its length.

/// What is copied is found by so many bytes.
const WINDOW: usize = 16;

/// The runs of bytes that follow upon each other.
pub(super) struct Parts<'a> {
    base: &'a [u8],
    steps: &'a [u8],
    /// Where in the base the last copy ended.
    cursor: usize,
    /// What comes next.
    due: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Bytes that stand in one place.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self {
            base: &[],
            steps: &[],
            cursor: 0,
            due: Some(bytes),
        }
    }

    /// The bytes to which these steps lead from a base.
    pub(super) fn over(base: &'a [u8], steps: &'a [u8]) -> Self {
        Self {
            base,
            steps,
            cursor: 0,
            due: None,
        }
    }
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

/// Where in some bytes each window begins, by its hash: one more than the place, or nought.
#[derive(Debug)]
pub(super) struct Places {
    table: Box<[u16]>,
    /// By so much a hash is shifted to be a place in the table.
    shift: u32,
}

impl Places {
    pub(super) fn of(bytes: &[u8]) -> Self {
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

/// What leads from a base to these bytes; none where it takes more than `most` bytes. Every byte is looked at a bounded
/// number of times, and where nothing is alike it ends after `most` bytes.
pub(super) fn steps(base: &[u8], places: &Places, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
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
