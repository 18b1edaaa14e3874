//! Bytes on their way to one peer: small packets copied into one buffer, large payloads shared.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Payloads of at least this size are shared between subscribers instead of copied.
///
/// Source: measured; below it a copy costs less than a reference count.
pub const SHARE_FROM_BYTES: usize = 4096;

/// Larger buffers are given back to the system as soon as they are empty.
const KEEP_CAPACITY_BYTES: usize = 128 * 1024;

/// What a new buffer has room for.
const LEAST_BYTES: usize = 1024;

/// Most empty buffers that wait for a connection with something to send.
const SPARES: usize = 32;

/// Outgoing bytes of one connection, in order.
///
/// Small writes end in `tail`. When a shared segment is appended, `tail` is closed and both become
/// `closed` chunks, so a connection that never sees a large payload holds nothing but one buffer.
#[derive(Debug, Default)]
pub struct Output {
    closed: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the first chunk (or of `tail`, when nothing is closed) that are already sent.
    sent: usize,
    /// Bytes waiting, all chunks together.
    len: usize,
}

impl Output {
    /// An empty output; allocates nothing.
    pub const fn new() -> Self {
        Self {
            closed: VecDeque::new(),
            tail: Vec::new(),
            sent: 0,
            len: 0,
        }
    }

    /// Bytes waiting to be sent.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends whatever `write` adds to the end of the buffer it is given.
    ///
    /// `write` must only append.
    #[inline]
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        debug_assert!(self.tail.len() >= before);
        self.len += self.tail.len() - before;
    }

    /// Appends `bytes` without copying them.
    pub fn extend_shared(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if !self.tail.is_empty() {
            let tail = Bytes::from(std::mem::take(&mut self.tail));
            self.closed.push_back(tail);
        }
        self.len += bytes.len();
        self.closed.push_back(bytes);
    }

    /// Fills `slices` with what waits, oldest first; returns how many were set.
    pub fn chunks<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let mut skip = self.sent;
        for chunk in self
            .closed
            .iter()
            .map(AsRef::as_ref)
            .chain(Some(self.tail.as_slice()))
        {
            let rest: &[u8] = &chunk[skip.min(chunk.len())..];
            skip = 0;
            if rest.is_empty() {
                continue;
            }
            let Some(slot) = slices.get_mut(count) else {
                break;
            };
            *slot = IoSlice::new(rest);
            count += 1;
        }
        count
    }

    /// What waits, if it is one contiguous piece (the usual case).
    #[inline]
    pub fn single(&self) -> Option<&[u8]> {
        self.closed.is_empty().then(|| &self.tail[self.sent..])
    }

    /// Forgets the first `count` bytes, which were sent. More than [`len`](Self::len) empties it.
    pub fn advance(&mut self, count: usize) {
        if count >= self.len {
            self.clear();
            return;
        }
        self.len -= count;
        self.sent += count;
        while let Some(first) = self.closed.front() {
            if self.sent < first.len() {
                return;
            }
            self.sent -= first.len();
            self.closed.pop_front();
        }
    }

    /// Forgets everything; keeps a small buffer for the next tick.
    pub fn clear(&mut self) {
        self.closed.clear();
        self.sent = 0;
        self.len = 0;
        self.tail.clear();
        if self.tail.capacity() > KEEP_CAPACITY_BYTES {
            self.tail = Vec::new();
        }
    }

    /// Whether the next write would have to allocate.
    #[inline]
    pub fn needs_buffer(&self) -> bool {
        self.tail.capacity() == 0
    }
}

/// Empty buffers of busy connections, for whichever is busy next: a silent connection holds none.
#[derive(Debug, Default)]
pub struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// Gives a buffer to an output that has none.
    #[inline]
    pub fn lend(&mut self, output: &mut Output) {
        if output.needs_buffer() {
            output.tail = self
                .0
                .pop()
                .unwrap_or_else(|| Vec::with_capacity(LEAST_BYTES));
        }
    }

    /// Takes the buffer of an output that has sent everything.
    #[inline]
    pub fn retire(&mut self, output: &mut Output) {
        if output.is_empty() && !output.needs_buffer() {
            let buffer = std::mem::take(&mut output.tail);
            if self.0.len() < SPARES {
                self.0.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = output.chunks(&mut slices);
        slices[..count].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn copied_and_shared_bytes_keep_their_order() {
        let mut output = Output::new();
        output.extend(b"ab");
        output.extend_shared(Bytes::from_static(b"cd"));
        output.append(|buf| buf.extend_from_slice(b"ef"));
        assert_eq!(bytes_of(&output), b"abcdef");
        assert_eq!(output.len(), 6);
        assert!(output.single().is_none());
    }

    #[test]
    fn advance_crosses_chunks() {
        for cut in 0..=6 {
            let mut output = Output::new();
            output.extend(b"ab");
            output.extend_shared(Bytes::from_static(b"cd"));
            output.extend(b"ef");
            output.advance(cut);
            assert_eq!(bytes_of(&output), &b"abcdef"[cut..]);
            assert_eq!(output.len(), 6 - cut);
        }
    }

    #[test]
    fn a_buffer_goes_from_one_connection_to_the_next() {
        let mut spares = Spares::default();
        let (mut busy, mut next) = (Output::new(), Output::new());
        busy.extend(&[1; 5000]);
        spares.retire(&mut busy);
        assert_eq!(busy.len(), 5000, "what is not sent stays");
        busy.advance(5000);
        spares.retire(&mut busy);
        spares.lend(&mut next);
        assert!(busy.needs_buffer() && !next.needs_buffer() && next.is_empty());
    }

    #[test]
    fn a_large_buffer_is_given_back_when_sent() {
        let mut output = Output::new();
        output.extend(&[0; KEEP_CAPACITY_BYTES * 2]);
        output.advance(KEEP_CAPACITY_BYTES * 2);
        assert_eq!(output.tail.capacity(), 0);
    }
}
