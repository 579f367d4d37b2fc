//! Writes protobuf from the end to the start, so that the length of a message is known when it has to be written and
//! nothing is measured or copied twice.

/// Bytes growing at their front.
pub(super) struct Writer {
    buffer: Vec<u8>,
    /// Where the bytes written so far start.
    start: usize,
}

impl Writer {
    pub(super) fn new() -> Self {
        const FIRST: usize = 1024;
        Self {
            buffer: vec![0; FIRST],
            start: FIRST,
        }
    }

    /// How many bytes have been written.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Puts bytes in front.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.grow(bytes.len());
        }
        let end = self.start;
        self.start -= bytes.len();
        self.buffer[self.start..end].copy_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let len = self.len();
        let capacity = (self.buffer.len() * 2).max(len + needed);
        let mut buffer = vec![0; capacity];
        buffer[capacity - len..].copy_from_slice(&self.buffer[self.start..]);
        self.start = capacity - len;
        self.buffer = buffer;
    }

    pub(super) fn varint(&mut self, number: u64) {
        let mut bytes = [0; 10];
        let len = write_varint(&mut bytes, number);
        self.put(&bytes[..len]);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    /// A field that is a number or a boolean.
    pub(super) fn number(&mut self, field: u32, number: u64) {
        self.varint(number);
        self.tag(field, 0);
    }

    /// A field that is a floating-point number.
    pub(super) fn double(&mut self, field: u32, number: f64) {
        self.put(&number.to_le_bytes());
        self.tag(field, 1);
    }

    /// A field that is text.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// A field that is bytes.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.put(bytes);
        self.varint(bytes.len() as u64);
        self.tag(field, 2);
    }

    /// Makes what was written since there were `end` bytes the content of a field.
    pub(super) fn close(&mut self, field: u32, end: usize) {
        let len = self.len() - end;
        self.varint(len as u64);
        self.tag(field, 2);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.buffer[self.start..].to_vec()
    }
}

pub(super) fn write_varint(bytes: &mut [u8; 10], mut number: u64) -> usize {
    let mut len = 0;
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes[len] = if number == 0 { low } else { low | 0x80 };
        len += 1;
        if number == 0 {
            return len;
        }
    }
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint_bytes(number: u64) -> Vec<u8> {
    let mut bytes = [0; 10];
    let len = write_varint(&mut bytes, number);
    bytes[..len].to_vec()
}
