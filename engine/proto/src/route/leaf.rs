//! What hangs at a filter: its subscribers, and the share groups on it.

use super::slab::{NONE, Slot};
use super::table::Table;
use super::{SessionKey, Subscriber};

/// Above this many entries a session's place is looked up in a table instead of by scanning.
const SCANNED: usize = 32;

/// Something that a session has at most one of.
pub(super) trait Entry {
    fn session(&self) -> SessionKey;
}

impl Entry for Subscriber {
    #[inline]
    fn session(&self) -> SessionKey {
        self.session
    }
}

/// Entries of sessions in no particular order; joining and leaving take constant time.
#[derive(Clone, Debug)]
pub(super) struct Roster<T> {
    entries: Vec<T>,
    /// Places in `entries` by session; empty while there are few.
    places: Table,
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: Table::new(),
        }
    }
}

impl<T: Entry> Roster<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        &self.entries
    }

    /// Place of the session's entry.
    pub(super) fn find(&self, session: SessionKey) -> Option<usize> {
        if self.places.is_empty() {
            return self
                .entries
                .iter()
                .position(|entry| entry.session() == session);
        }
        let is_it = |place| self.entries[place as usize].session() == session;
        self.places
            .find(hash(session), is_it)
            .map(|place| place as usize)
    }

    /// Adds the entry or replaces the session's former one; true if it is new.
    pub(super) fn put(&mut self, entry: T) -> bool {
        if let Some(place) = self.find(entry.session()) {
            self.entries[place] = entry;
            return false;
        }
        self.entries.push(entry);
        let count = self.entries.len();
        if count > SCANNED {
            let first = if self.places.is_empty() { 0 } else { count - 1 };
            for (place, entry) in self.entries.iter().enumerate().skip(first) {
                self.places.insert(hash(entry.session()), place as u32);
            }
        }
        true
    }

    /// Removes the session's entry; the last one takes its place.
    pub(super) fn take(&mut self, session: SessionKey) -> Option<T> {
        let place = self.find(session)?;
        let entry = self.entries.swap_remove(place);
        let count = self.entries.len();
        if count <= SCANNED / 2 {
            self.places = Table::new();
        } else if !self.places.is_empty() {
            self.places.remove(hash(session), place as u32);
            if let Some(moved) = self.entries.get(place) {
                let hash = hash(moved.session());
                self.places.remove(hash, count as u32);
                self.places.insert(hash, place as u32);
            }
        }
        if count < self.entries.capacity() / 4 {
            self.entries.shrink_to(count * 2);
        }
        Some(entry)
    }
}

/// Hash of a session key. Keys are numbers of ours, so no seed is needed.
#[inline]
const fn hash(session: SessionKey) -> u32 {
    (session.bits().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

/// The subscribers of one filter; most filters have one.
#[derive(Clone, Debug, Default)]
pub(super) enum Subscribers {
    #[default]
    Nobody,
    One(Subscriber),
    Many(Box<Roster<Subscriber>>),
}

impl Subscribers {
    #[inline]
    pub(super) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::Nobody => &[],
            Self::One(subscriber) => std::slice::from_ref(subscriber),
            Self::Many(roster) => roster.as_slice(),
        }
    }

    /// Adds the subscriber or replaces the session's options; true if it is new.
    pub(super) fn put(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::Nobody => *self = Self::One(subscriber),
            Self::One(only) if only.session == subscriber.session => {
                *only = subscriber;
                return false;
            }
            Self::One(only) => {
                let mut roster = Roster::default();
                roster.put(*only);
                roster.put(subscriber);
                *self = Self::Many(Box::new(roster));
            }
            Self::Many(roster) => return roster.put(subscriber),
        }
        true
    }

    /// Removes the session's subscription; false if it had none.
    pub(super) fn take(&mut self, session: SessionKey) -> bool {
        match self {
            Self::One(only) if only.session == session => *self = Self::Nobody,
            Self::Nobody | Self::One(_) => return false,
            Self::Many(roster) => {
                if roster.take(session).is_none() {
                    return false;
                }
                if let [only] = *roster.as_slice() {
                    *self = Self::One(only);
                }
            }
        }
        true
    }
}

/// Where a filter is found.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A filter without wildcards: in the table of whole filters.
    Exact(Box<str>),
    /// A filter with wildcards: its last node, or the node above its `#`.
    Node { node: u32, is_multi: bool },
}

/// One filter, with or without subscribers of its own.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) place: Place,
    pub(super) subscribers: Subscribers,
    /// First of the share groups on this filter.
    pub(super) groups: u32,
}

impl Leaf {
    pub(super) const fn new(place: Place) -> Self {
        Self {
            place,
            subscribers: Subscribers::Nobody,
            groups: NONE,
        }
    }

    pub(super) const fn is_unused(&self) -> bool {
        matches!(self.subscribers, Subscribers::Nobody) && self.groups == NONE
    }
}

impl Slot for Leaf {
    fn is_free(&self) -> bool {
        self.is_unused()
    }
}

impl Default for Leaf {
    fn default() -> Self {
        Self::new(Place::Node {
            node: NONE,
            is_multi: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::QoS;

    fn subscriber(slot: u32) -> Subscriber {
        Subscriber {
            session: SessionKey {
                shard: 0,
                generation: 0,
                slot,
            },
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id: slot,
        }
    }

    #[test]
    fn sizes_stay_small() {
        assert_eq!(size_of::<Subscriber>(), 16);
        assert_eq!(size_of::<Subscribers>(), 16);
        assert_eq!(size_of::<Leaf>(), 40);
    }

    #[test]
    fn everybody_is_found_after_any_order_of_leaving() {
        for count in [1, 2, 3, 31, 32, 33, 34, 100, 1000] {
            for stride in [1, 7, 13] {
                let mut all = Subscribers::default();
                for slot in 0..count {
                    assert!(all.put(subscriber(slot)));
                    assert!(!all.put(subscriber(slot)));
                }
                let mut left: Vec<u32> = (0..count).collect();
                let mut at = 0;
                while !left.is_empty() {
                    at = (at + stride) % left.len();
                    let gone = left.swap_remove(at);
                    assert!(all.take(subscriber(gone).session));
                    assert!(!all.take(subscriber(gone).session));
                    let mut present: Vec<u32> =
                        all.as_slice().iter().map(|s| s.session.slot).collect();
                    present.sort_unstable();
                    let mut expected = left.clone();
                    expected.sort_unstable();
                    assert_eq!(present, expected);
                }
                assert!(matches!(all, Subscribers::Nobody));
            }
        }
    }
}
