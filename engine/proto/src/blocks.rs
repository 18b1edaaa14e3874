//! A list that grows without moving what it holds.
//!
//! A vector of a hundred thousand sessions copies tens of megabytes when it grows: a pause for everybody, and
//! memory that the allocator gives back late or never.

/// Entries of a block.
const BLOCK: usize = 64;

/// A list in blocks of equal size; only the last one is not full.
#[derive(Clone, Debug)]
pub struct Blocks<T>(Vec<Vec<T>>);

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Blocks<T> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        match self.0.split_last() {
            Some((last, full)) => full.len() * BLOCK + last.len(),
            None => 0,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends an entry.
    pub fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < BLOCK => last.push(value),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(value);
                self.0.push(block);
            }
        }
    }

    /// The entry at this place.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&T> {
        self.0.get(at / BLOCK)?.get(at % BLOCK)
    }

    /// The entry at this place.
    #[inline]
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.0.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_places() {
        let mut blocks = Blocks::default();
        assert!(blocks.is_empty() && blocks.get(0).is_none());
        for value in 0..3 * BLOCK {
            assert_eq!(blocks.len(), value);
            blocks.push(value);
        }
        let first: *const usize = blocks.get(0).unwrap_or(&0);
        blocks.push(7);
        assert_eq!(first, std::ptr::from_ref(blocks.get(0).unwrap_or(&0)));
        assert_eq!(blocks.get(3 * BLOCK), Some(&7));
        assert_eq!(blocks.get(3 * BLOCK + 1), None);
        assert_eq!(blocks.iter().count(), blocks.len());
    }
}
