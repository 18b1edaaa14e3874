//! A vector with holes: entries keep their number while they live, numbers are used again.

use std::ops::{Index, IndexMut};

/// No entry. A slab never gets this large: its entries take at least 16 bytes each.
pub(super) const NONE: u32 = u32::MAX;

/// Fewer entries than this are not worth giving back.
const KEPT: usize = 64;

/// An entry that can be told from a freed one.
pub(super) trait Slot: Default {
    /// True for `Self::default()`, which stands in freed places, and for nothing in use.
    fn is_free(&self) -> bool;
}

/// Entries of one kind, named by number.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    /// The last one is in use.
    items: Vec<T>,
    /// Every freed number below `items.len()`, and perhaps some above, which are skipped.
    free: Vec<u32>,
    len: usize,
}

impl<T: Slot> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    /// Entries in use.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// One more than the largest number in use.
    pub(super) fn bound(&self) -> u32 {
        self.items.len() as u32
    }

    /// The entry; a free one or nothing if the number is not in use.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.items.get(id as usize)
    }

    /// Like [`Slab::get`].
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.items.get_mut(id as usize)
    }

    /// Takes an entry in and returns its number.
    pub(super) fn insert(&mut self, item: T) -> u32 {
        self.len += 1;
        while let Some(id) = self.free.pop() {
            if let Some(place) = self.items.get_mut(id as usize) {
                *place = item;
                return id;
            }
        }
        if self.items.len() == self.items.capacity() {
            // A quarter instead of doubling: a large vector is moved by remapping its pages, so
            // growing is cheap, while an unused half would be half of the memory.
            self.items
                .reserve_exact((self.items.len() / 4).max(KEPT / 4));
        }
        self.items.push(item);
        self.bound() - 1
    }

    /// Frees an entry in use.
    pub(super) fn remove(&mut self, id: u32) -> T {
        let item = std::mem::take(&mut self.items[id as usize]);
        self.len -= 1;
        self.free.push(id);
        if id + 1 == self.bound() {
            self.trim();
        }
        item
    }

    /// Gives the free end back.
    fn trim(&mut self) {
        while self.items.last().is_some_and(T::is_free) {
            self.items.pop();
        }
        let len = self.items.len();
        if self.items.capacity() > KEPT && len < self.items.capacity() / 2 {
            self.items.shrink_to(len + len / 4);
        }
        if self.free.len() > KEPT && self.free.len() / 2 > len {
            self.free.retain(|&id| (id as usize) < len);
            self.free.shrink_to(self.free.len() * 2);
        }
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.items[id as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.items[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Number(Option<u32>);

    impl Slot for Number {
        fn is_free(&self) -> bool {
            self.0.is_none()
        }
    }

    #[test]
    fn freed_numbers_are_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert(Number(Some(1)));
        let second = slab.insert(Number(Some(2)));
        assert_eq!(slab.remove(first).0, Some(1));
        assert_eq!(slab.insert(Number(Some(3))), first);
        assert_eq!((slab[first].0, slab[second].0), (Some(3), Some(2)));
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn the_end_is_given_back_and_the_rest_keeps_its_numbers() {
        let mut slab = Slab::new();
        let numbers = 0..10_000_u32;
        for value in numbers.clone() {
            assert_eq!(slab.insert(Number(Some(value))), value);
        }
        let keeps = |id: &u32| id % 1_000 == 3 && *id < 5_000;
        for id in numbers.clone().filter(|id| !keeps(id)) {
            slab.remove(id);
        }
        assert_eq!((slab.len(), slab.bound()), (5, 4_004));
        assert!(slab.items.capacity() < 6_000);
        for id in numbers.clone().filter(keeps) {
            assert_eq!(slab[id].0, Some(id));
        }
        for _ in numbers {
            slab.insert(Number(Some(7)));
        }
        assert_eq!((slab.len(), slab.bound()), (10_005, 10_005));
    }

    #[test]
    fn an_emptied_slab_holds_no_memory_to_speak_of() {
        let mut slab = Slab::new();
        for value in 0..10_000 {
            slab.insert(Number(Some(value)));
        }
        for id in 0..10_000 {
            slab.remove(id);
        }
        assert_eq!((slab.len(), slab.bound()), (0, 0));
        assert!(slab.items.capacity() <= KEPT && slab.free.capacity() <= 2 * KEPT);
    }
}
