//! Who gets a message: the shared index and the retained messages, with stamps that keep cached routes honest.
//!
//! Shared by all shards and read-mostly. A change of subscriptions takes the write lock, changes the
//! index and moves the stamp of the filter's first level, so that only routes of topics under that level
//! are looked up again.

use super::SessionKey;
use super::index::{
    FilterId, GroupRoute, Index, MemberState, Route, ShareStrategy, Subscribed, Subscriber,
};
use super::message::{Content, Message, NEVER};
use super::retained::Retained;
use crate::Time;
use crate::wire::topic::{Filter, matches};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Number of stamps; first levels share one by hash.
const STAMPS: usize = 1024;

/// State of the subscriptions that a route was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    slot: u16,
    level: u32,
    wildcard: u32,
}

/// A route together with the topic and the subscriptions that it is good for.
#[derive(Debug)]
pub struct CachedRoute {
    /// The topic name.
    pub topic: Vec<u8>,
    /// Who gets it.
    pub route: Arc<Route>,
    /// Checked by [`Router::is_current`].
    pub stamp: Stamp,
}

/// Limits of the retained messages. 0 = none.
#[derive(Clone, Copy, Debug, Default)]
pub struct RetainedLimits {
    /// Most retained messages.
    pub count: usize,
    /// Most bytes of topics, properties and payloads.
    pub bytes: usize,
}

/// What became of a retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// It is the topic's retained message now.
    Stored,
    /// The topic has none any more.
    Removed,
    /// A limit is reached: the topic keeps what it had.
    Full,
}

/// The index and the retained messages of the whole broker.
#[derive(Debug)]
pub struct Router {
    index: RwLock<Index>,
    retained: RwLock<RetainedStore>,
    levels: Box<[AtomicU32]>,
    wildcard: AtomicU32,
    strategy: RwLock<ShareStrategy>,
    hasher: FixedState,
    random: AtomicU64,
}

#[derive(Debug)]
struct RetainedStore {
    tree: Retained<Arc<Message>>,
    bytes: usize,
    /// How many have an expiry.
    expiring: usize,
    limits: RetainedLimits,
}

impl Router {
    /// An empty router. `seed` comes from a random source: topics are chosen by strangers.
    pub fn new(seed: u64, strategy: ShareStrategy, limits: RetainedLimits) -> Self {
        Self {
            index: RwLock::new(Index::new(seed)),
            retained: RwLock::new(RetainedStore {
                tree: Retained::new(seed),
                bytes: 0,
                expiring: 0,
                limits,
            }),
            levels: (0..STAMPS).map(|_| AtomicU32::new(0)).collect(),
            wildcard: AtomicU32::new(0),
            strategy: RwLock::new(strategy),
            hasher: FixedState::with_seed(seed),
            random: AtomicU64::new(seed),
        }
    }

    /// Adds or replaces a subscription.
    pub fn subscribe(
        &self,
        filter: &Filter<'_>,
        subscriber: Subscriber,
        member: Option<Arc<MemberState>>,
    ) -> Subscribed {
        let mut index = write(&self.index);
        let subscribed = index.subscribe(filter, subscriber, member);
        self.touch(filter.filter);
        subscribed
    }

    /// Removes a subscription by its filter; false if the session did not have it.
    pub fn unsubscribe(&self, filter: &Filter<'_>, session: SessionKey) -> Option<FilterId> {
        let mut index = write(&self.index);
        let id = index.id_of(filter)?;
        let removed = index.unsubscribe(filter, session);
        self.touch(filter.filter);
        removed.then_some(id)
    }

    /// Removes all of these subscriptions of an ending session.
    pub fn unsubscribe_all(&self, ids: impl Iterator<Item = FilterId>, session: SessionKey) {
        let mut index = write(&self.index);
        let mut text = String::new();
        for id in ids {
            text.clear();
            index.text_of(id, &mut text);
            index.unsubscribe_id(id, session);
            self.touch(plain_filter(&text));
        }
    }

    /// The number of a filter that somebody has subscribed.
    pub fn filter_id(&self, filter: &Filter<'_>) -> Option<FilterId> {
        read(&self.index).id_of(filter)
    }

    /// A share group with its members as they are now, if it gets messages of this topic: the number may have gone
    /// to another group since.
    pub fn group(&self, id: FilterId, topic: &str) -> Option<GroupRoute> {
        let index = read(&self.index);
        let mut text = String::new();
        index.text_of(id, &mut text);
        if !matches(plain_filter(&text), topic) {
            return None;
        }
        index.group(id)
    }

    /// The text of a subscription's filter, as the client sent it.
    pub fn filter_text(&self, id: FilterId) -> Option<String> {
        let mut text = String::new();
        read(&self.index).text_of(id, &mut text).then_some(text)
    }

    /// Looks the receivers of `topic` up and stamps the answer.
    pub fn route(&self, topic: &str) -> (Arc<Route>, Stamp) {
        let slot = self.slot(topic);
        let index = read(&self.index);
        // Read under the lock: a writer moves the stamps while it holds it.
        let stamp = self.stamp(slot);
        (Arc::new(index.route(topic, self.strategy())), stamp)
    }

    /// Whether a route with this stamp still holds.
    #[inline]
    pub fn is_current(&self, stamp: &Stamp) -> bool {
        self.levels[usize::from(stamp.slot)].load(Ordering::Acquire) == stamp.level
            && self.wildcard.load(Ordering::Acquire) == stamp.wildcard
    }

    /// How shared subscriptions choose.
    pub fn strategy(&self) -> ShareStrategy {
        *read(&self.strategy)
    }

    /// Changes how shared subscriptions choose, and the limits of retained messages.
    pub fn configure(&self, strategy: ShareStrategy, limits: RetainedLimits) {
        let index = write(&self.index);
        *write(&self.strategy) = strategy;
        self.wildcard.fetch_add(1, Ordering::Release);
        drop(index);
        write(&self.retained).limits = limits;
    }

    /// Hash of a topic or client id, the same in all shards.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// A number for choosing among members; not for secrets.
    pub fn random(&self) -> u64 {
        let state = self
            .random
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        mix(state)
    }

    /// Subscriptions in the index.
    pub fn subscriptions(&self) -> usize {
        read(&self.index).len()
    }

    /// Stores, replaces or (empty payload) removes a retained message, section 3.3.1.3.
    pub fn retain(&self, content: &Content<'_>, message: impl FnOnce() -> Arc<Message>) -> Retain {
        let topic = content.topic_str();
        let mut store = write(&self.retained);
        let store = &mut *store;
        if content.payload.is_empty() {
            if let Some(old) = store.tree.remove(topic) {
                store.bytes -= old.len();
                store.expiring -= usize::from(old.expires_at != NEVER);
            }
            return Retain::Removed;
        }
        let message = message();
        let size = message.len();
        let replaced = store.tree.remove(topic);
        let freed = replaced.as_ref().map_or(0, |old| old.len());
        let limits = store.limits;
        let full = (limits.count > 0 && store.tree.len() >= limits.count)
            || (limits.bytes > 0 && store.bytes - freed + size > limits.bytes);
        if full {
            if let Some(old) = replaced {
                store.tree.set(topic, old);
            }
            return Retain::Full;
        }
        store.bytes = store.bytes - freed + size;
        store.expiring += usize::from(message.expires_at != NEVER);
        store.expiring -= replaced.map_or(0, |old| usize::from(old.expires_at != NEVER));
        store.tree.set(topic, message);
        Retain::Stored
    }

    /// Calls `visit` for every retained message that matches and has not expired; returns how many places it had to
    /// look at.
    pub fn retained(&self, filter: &str, now: Time, visit: &mut dyn FnMut(&Arc<Message>)) -> usize {
        read(&self.retained).tree.find(filter, &mut |message| {
            if !message.is_expired(now) {
                visit(message);
            }
        })
    }

    /// Forgets expired retained messages; returns how many.
    pub fn purge_retained(&self, now: Time) -> usize {
        let mut store = write(&self.retained);
        if store.expiring == 0 {
            return 0;
        }
        let RetainedStore {
            tree,
            bytes,
            expiring,
            ..
        } = &mut *store;
        let before = tree.len();
        tree.retain(|message| {
            let is_over = message.is_expired(now);
            if is_over {
                *bytes -= message.len();
                *expiring -= 1;
            }
            !is_over
        });
        before - tree.len()
    }

    /// Retained messages and their bytes.
    pub fn retained_size(&self) -> (usize, usize) {
        let store = read(&self.retained);
        (store.tree.len(), store.bytes)
    }

    fn slot(&self, topic: &str) -> u16 {
        let level = topic.split('/').next().unwrap_or_default();
        (self.hasher.hash_one(level.as_bytes()) % STAMPS as u64) as u16
    }

    fn stamp(&self, slot: u16) -> Stamp {
        Stamp {
            slot,
            level: self.levels[usize::from(slot)].load(Ordering::Acquire),
            wildcard: self.wildcard.load(Ordering::Acquire),
        }
    }

    /// Moves the stamp of a changed filter; the index is locked.
    fn touch(&self, filter: &str) {
        if filter.starts_with(['+', '#']) {
            self.wildcard.fetch_add(1, Ordering::Release);
        } else {
            self.levels[usize::from(self.slot(filter))].fetch_add(1, Ordering::Release);
        }
    }
}

/// One step of splitmix64: spreads a counter over all bits.
pub const fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The filter behind `$share/<group>/`.
fn plain_filter(full: &str) -> &str {
    full.strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
        .map_or(full, |(_group, filter)| filter)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
