//! Slots with generations: an index stays valid or is recognised as stale.

use crate::blocks::Blocks;

/// Values in reusable slots.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Blocks<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u16,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Blocks::default(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Stores a value; returns its slot and generation.
    pub fn insert(&mut self, value: T) -> (u32, u16) {
        if let Some(slot) = self.free.pop() {
            if let Some(entry) = self.entries.get_mut(slot as usize) {
                entry.value = Some(value);
                return (slot, entry.generation);
            }
        }
        let slot = self.entries.len() as u32;
        self.entries.push(Entry {
            generation: 0,
            value: Some(value),
        });
        (slot, 0)
    }

    /// Takes a value out; its generation ends.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.entries.get_mut(slot as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(slot);
        Some(value)
    }

    /// The value in a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.value.as_ref()
    }

    /// The value in a slot.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.value.as_mut()
    }

    /// The value in a slot with its generation.
    pub fn get_with_generation(&mut self, slot: u32) -> Option<(&mut T, u16)> {
        let entry = self.entries.get_mut(slot as usize)?;
        Some((entry.value.as_mut()?, entry.generation))
    }

    /// The value in a slot, if it is still of this generation.
    #[inline]
    pub fn get_current(&mut self, slot: u32, generation: u16) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot as usize)?;
        if entry.generation == generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    /// Whether the slot holds a value of this generation.
    pub fn is_current(&self, slot: u32, generation: u16) -> bool {
        self.entries
            .get(slot as usize)
            .is_some_and(|entry| entry.generation == generation && entry.value.is_some())
    }

    /// All values with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(slot, entry)| Some((slot as u32, entry.value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_has_another_generation() {
        let mut slab = Slab::default();
        let (slot, old) = slab.insert('a');
        slab.remove(slot);
        let (again, new) = slab.insert('b');
        assert_eq!(slot, again);
        assert!(slab.get_current(slot, old).is_none());
        assert_eq!(slab.get_current(slot, new), Some(&mut 'b'));
        assert_eq!(slab.iter().count(), 1);
    }
}
