//! Hash tables of numbers whose keys stand elsewhere.

use hashbrown::HashTable;

/// Finds numbers by the hash of what they name. The hash is kept beside the number, so that a growing
/// table does not have to visit a million entries to hash them again.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: HashTable<(u32, u32)>,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            entries: HashTable::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number with this hash that `is_it` says yes to.
    #[inline]
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self
            .entries
            .find(spread(hash), |&(other, id)| other == hash && is_it(id));
        found.map(|&(_, id)| id)
    }

    /// Adds a number that is not there yet.
    pub(super) fn insert(&mut self, hash: u32, id: u32) {
        self.entries
            .insert_unique(spread(hash), (hash, id), |&(hash, _)| spread(hash));
    }

    /// Removes a number, and gives memory back once three quarters of the table are unused.
    pub(super) fn remove(&mut self, hash: u32, id: u32) {
        if let Ok(entry) = self
            .entries
            .find_entry(spread(hash), |&(_, other)| other == id)
        {
            entry.remove();
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries
                .shrink_to(self.entries.len() * 2, |&(hash, _)| spread(hash));
        }
    }
}

/// The table takes its tags from the upper bits of 64.
#[inline]
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
