//! Bytes that wait between two stages of a stream.

/// A queue of bytes that holds no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    /// How many are gone already.
    at: usize,
}

impl Backlog {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Appends bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The buffer, to append to it.
    pub(super) const fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Forgets the first `count` bytes.
    pub(super) fn skip(&mut self, count: usize) {
        self.at += count;
        if self.at >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Moves as many bytes as fit into `buf`.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let rest = self.rest();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.skip(count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_the_memory_with_them() {
        let mut backlog = Backlog::default();
        backlog.put(b"abc");
        let mut buf = [0; 2];
        assert_eq!(backlog.take(&mut buf), 2);
        backlog.put(b"d");
        assert_eq!(backlog.rest(), b"cd");
        backlog.skip(2);
        assert!(backlog.is_empty());
        assert_eq!(backlog.tail().capacity(), 0);
    }
}
