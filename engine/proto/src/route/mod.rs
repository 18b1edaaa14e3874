//! Who gets a message.
//!
//! does:             the index of subscriptions, shared groups, retained messages; verdicts
//! owns:             filter ids, the tries, the choice among the members of a group
//! may use:          wire
//! never:            session, I/O
//! change here when: matching, sharing or retaining changes

pub mod index;
pub mod message;
pub mod retained;
pub mod router;
pub mod verdict;

mod leaf;
mod share;
mod slab;
mod table;
mod target;
mod trie;

use crate::wire::packet::QoS;
use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::hash::Hasher;

/// Names a session anywhere in the process; the generation guards the reuse of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The shard that owns the session.
    pub shard: u16,
    /// Counts the sessions that had this slot before.
    pub generation: u16,
    /// Place in the shard's registry.
    pub slot: u32,
}

impl SessionKey {
    /// The key as one number with the same order.
    #[inline]
    const fn bits(self) -> u64 {
        (self.shard as u64) << 48 | (self.generation as u64) << 32 | self.slot as u64
    }

    #[inline]
    const fn from_bits(bits: u64) -> Self {
        Self {
            shard: (bits >> 48) as u16,
            generation: (bits >> 32) as u16,
            slot: bits as u32,
        }
    }
}

/// One subscription's part in the index: whose it is and its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The subscribing session.
    pub session: SessionKey,
    /// Highest QoS it wants.
    pub qos: QoS,
    /// It does not want messages of its own.
    pub no_local: bool,
    /// It wants the retain flag as published.
    pub retain_as_published: bool,
    /// Subscription identifier, 0 = none.
    pub subscription_id: u32,
}

/// Hashing that nobody outside can foresee: topics and filters are chosen by strangers.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl Seeded {
    #[inline]
    fn bytes(self, bytes: &[u8]) -> u32 {
        let mut hasher = FoldHasher::with_seed(self.0, SharedSeed::global_fixed());
        hasher.write(bytes);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }
}
