//! The index of all subscriptions of the broker: from a topic to everybody who gets its messages.
//!
//! Filters without wildcards stand in a flat table and cost one lookup. Filters with wildcards stand in
//! a trie of levels: `+` is a child of its own kind, `#` is kept in the node above it, so that `a/#`
//! matches `a` without a special case. Share groups hang at the leaf of their filter.

pub use super::share::{GroupMember, GroupRoute, MemberState, ShareStrategy};
pub use super::target::{Delivery, NoLocal, Route, Target};
pub use super::{SessionKey, Subscriber};

use super::leaf::{Leaf, Place};
use super::share::Share;
use super::slab::{NONE, Slab};
use super::target::Matches;
use super::trie::{ROOT, Trie, UNLINKED};
use super::{Seeded, remove_and_shrink};
use crate::wire::topic::Filter;
use hashbrown::HashTable;
use std::sync::Arc;

/// Names a filter in the index while somebody has a subscription with it. `$share/g/f` and `f` have
/// two different ids. Used again for another filter after the last subscription went.
pub type FilterId = u32;

/// Set in the ids of shared filters; the rest is the number of the group, else of the leaf.
const SHARED: FilterId = 1 << 31;

/// Outcome of [`Index::subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The filter.
    pub id: FilterId,
    /// False if the session had this subscription and only its options were replaced.
    pub is_new: bool,
}

/// All subscriptions.
#[derive(Debug)]
pub struct Index {
    leaves: Slab<Leaf>,
    /// Leaves of filters without wildcards, by the whole filter.
    exact: HashTable<u32>,
    wildcards: Trie<Ends>,
    shares: Slab<Share>,
    /// Groups by leaf and name.
    by_group: HashTable<u32>,
    hasher: Seeded,
    subscriptions: usize,
    /// Leaves with subscribers that are not in a group.
    plain_filters: usize,
}

/// What ends or branches at a node, beside its edges.
#[derive(Clone, Debug)]
struct Ends {
    /// Leaf of the filter that ends here.
    here: u32,
    /// Leaf of the filter that ends with `#` below here.
    multi: u32,
    /// The `+` child.
    plus: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            here: NONE,
            multi: NONE,
            plus: NONE,
        }
    }
}

impl Index {
    /// An empty index. `seed` comes from a random source: filters are chosen by strangers.
    pub fn new(seed: u64) -> Self {
        let hasher = Seeded(seed);
        Self {
            leaves: Slab::new(),
            exact: HashTable::new(),
            wildcards: Trie::new(hasher),
            shares: Slab::new(),
            by_group: HashTable::new(),
            hasher,
            subscriptions: 0,
            plain_filters: 0,
        }
    }

    /// Subscriptions.
    pub const fn len(&self) -> usize {
        self.subscriptions
    }

    /// Whether there are no subscriptions.
    pub const fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }

    /// Different filters in use; a shared one counts beside the same filter without group.
    pub const fn filters(&self) -> usize {
        self.plain_filters + self.shares.len()
    }

    /// Adds a subscription, or replaces its options if the session has this filter already.
    ///
    /// `member` belongs to the session and goes with filters that have a share group.
    pub fn subscribe(
        &mut self,
        filter: &Filter<'_>,
        subscriber: Subscriber,
        member: Option<Arc<MemberState>>,
    ) -> Subscribed {
        let leaf = self.enter_leaf(filter);
        let (id, is_new) = match filter.share_group {
            Some(group) => {
                let share = self.enter_share(leaf, group);
                let member = GroupMember::new(subscriber, member.unwrap_or_default());
                (SHARED | share, self.shares[share].put(member))
            }
            None => {
                let subscribers = &mut self.leaves[leaf].subscribers;
                self.plain_filters += usize::from(subscribers.as_slice().is_empty());
                (leaf, subscribers.put(subscriber))
            }
        };
        self.subscriptions += usize::from(is_new);
        Subscribed { id, is_new }
    }

    /// Removes a subscription; false if the session does not have it.
    pub fn unsubscribe(&mut self, filter: &Filter<'_>, session: SessionKey) -> bool {
        self.id_of(filter)
            .is_some_and(|id| self.unsubscribe_id(id, session))
    }

    /// Removes a subscription by the id of its filter; false if the session does not have it.
    pub fn unsubscribe_id(&mut self, id: FilterId, session: SessionKey) -> bool {
        let leaf = if id & SHARED == 0 {
            let Some(leaf) = self.leaves.get_mut(id) else {
                return false;
            };
            if !leaf.subscribers.take(session) {
                return false;
            }
            self.plain_filters -= usize::from(leaf.subscribers.as_slice().is_empty());
            id
        } else {
            let Some(share) = self.shares.get_mut(id & !SHARED) else {
                return false;
            };
            if !share.take(session) {
                return false;
            }
            let leaf = share.leaf;
            if share.is_empty() {
                self.remove_share(id & !SHARED);
            }
            leaf
        };
        self.subscriptions -= 1;
        if self.leaves[leaf].is_unused() {
            self.remove_leaf(leaf);
        }
        true
    }

    /// The id of a filter that somebody has a subscription with.
    pub fn id_of(&self, filter: &Filter<'_>) -> Option<FilterId> {
        let leaf = self.find_leaf(filter)?;
        match filter.share_group {
            Some(group) => self.find_share(leaf, group).map(|share| SHARED | share),
            None if self.leaves[leaf].subscribers.as_slice().is_empty() => None,
            None => Some(leaf),
        }
    }

    /// Appends the filter as the client sent it; false if nobody has a subscription with it.
    pub fn text_of(&self, id: FilterId, out: &mut String) -> bool {
        if id & SHARED == 0 {
            return match self.leaves.get(id) {
                Some(leaf) if !leaf.subscribers.as_slice().is_empty() => {
                    self.write_filter(leaf, out);
                    true
                }
                _ => false,
            };
        }
        match self.shares.get(id & !SHARED) {
            Some(share) if !share.is_empty() => {
                out.push_str("$share/");
                out.push_str(&share.name);
                out.push('/');
                self.write_filter(&self.leaves[share.leaf], out);
                true
            }
            _ => false,
        }
    }

    /// The group with this id, for a message that has to go to another member.
    pub fn group(&self, id: FilterId) -> Option<GroupRoute> {
        let share = self
            .shares
            .get(id & !SHARED)
            .filter(|share| id & SHARED != 0 && !share.is_empty())?;
        share.to_route(id)
    }

    /// Looks up who gets the messages of a topic.
    pub fn route(&self, topic: &str, strategy: ShareStrategy) -> Route {
        let mut matches = Matches::default();
        if let Some(leaf) = self.find_exact(topic) {
            self.collect(leaf, &mut matches);
        }
        if self.wildcards.nodes.len() > 1 || self.wildcards.nodes[ROOT].payload.multi != NONE {
            self.collect_wildcards(topic, &mut matches);
        }
        matches.into_route(strategy)
    }

    /// Walks all matching paths at once, level by level, so depth costs no stack.
    fn collect_wildcards(&self, topic: &str, matches: &mut Matches) {
        // [MQTT-4.7.2-1] wildcards at the first level do not match topics that begin with `$`.
        let is_hidden = topic.starts_with('$');
        let mut reached = Vec::with_capacity(16);
        reached.push(ROOT);
        let mut done = 0;
        for text in topic.split('/') {
            let end = reached.len();
            if done == end {
                return;
            }
            let level = self.wildcards.level(text);
            for at in done..end {
                let id = reached[at];
                let node = &self.wildcards.nodes[id];
                if !(is_hidden && id == ROOT) {
                    self.collect(node.payload.multi, matches);
                    if node.payload.plus != NONE {
                        reached.push(node.payload.plus);
                    }
                }
                if let Some(level) = level.filter(|_| node.edges > 0) {
                    reached.extend(self.wildcards.child(id, level));
                }
            }
            done = end;
        }
        for &id in &reached[done..] {
            let ends = &self.wildcards.nodes[id].payload;
            self.collect(ends.here, matches);
            self.collect(ends.multi, matches);
        }
    }

    #[inline]
    fn collect(&self, leaf: u32, matches: &mut Matches) {
        if leaf == NONE {
            return;
        }
        let leaf = &self.leaves[leaf];
        matches
            .subscribers
            .extend_from_slice(leaf.subscribers.as_slice());
        let mut next = leaf.groups;
        while next != NONE {
            let share = &self.shares[next];
            matches.groups.extend(share.to_route(SHARED | next));
            next = share.next;
        }
    }

    #[inline]
    fn find_exact(&self, text: &str) -> Option<u32> {
        let is_it = |&leaf: &u32| matches!(&self.leaves[leaf].place, Place::Exact(other) if **other == *text);
        self.exact
            .find(self.hasher.bytes(text.as_bytes()), is_it)
            .copied()
    }

    fn find_leaf(&self, filter: &Filter<'_>) -> Option<u32> {
        if !filter.has_wildcard {
            return self.find_exact(filter.filter);
        }
        let mut node = ROOT;
        for level in filter.filter.split('/') {
            let payload = &self.wildcards.nodes[node].payload;
            node = match level {
                "#" => return Some(payload.multi).filter(|&leaf| leaf != NONE),
                "+" => Some(payload.plus).filter(|&plus| plus != NONE)?,
                _ => self
                    .wildcards
                    .level(level)
                    .and_then(|level| self.wildcards.child(node, level))?,
            };
        }
        Some(self.wildcards.nodes[node].payload.here).filter(|&leaf| leaf != NONE)
    }

    /// The leaf of a filter, added if there is none.
    fn enter_leaf(&mut self, filter: &Filter<'_>) -> u32 {
        if let Some(leaf) = self.find_leaf(filter) {
            return leaf;
        }
        if !filter.has_wildcard {
            let leaf = self
                .leaves
                .insert(Leaf::new(Place::Exact(filter.filter.into())));
            let (leaves, hasher) = (&self.leaves, self.hasher);
            let hash = |&leaf: &u32| hash_exact(leaves, hasher, leaf);
            self.exact.insert_unique(hash(&leaf), leaf, hash);
            return leaf;
        }
        let mut node = ROOT;
        let mut is_multi = false;
        for level in filter.filter.split('/') {
            node = match level {
                "#" => {
                    is_multi = true;
                    break;
                }
                "+" => self.enter_plus(node),
                _ => self.wildcards.enter(node, level).0,
            };
        }
        let leaf = self
            .leaves
            .insert(Leaf::new(Place::Node { node, is_multi }));
        let ends = &mut self.wildcards.nodes[node].payload;
        *(if is_multi {
            &mut ends.multi
        } else {
            &mut ends.here
        }) = leaf;
        leaf
    }

    fn enter_plus(&mut self, node: u32) -> u32 {
        let plus = self.wildcards.nodes[node].payload.plus;
        if plus != NONE {
            return plus;
        }
        let plus = self.wildcards.add_unlinked(node);
        self.wildcards.nodes[node].payload.plus = plus;
        plus
    }

    /// Removes a leaf that nobody uses, and the nodes that led only to it.
    fn remove_leaf(&mut self, id: u32) {
        match &self.leaves[id].place {
            Place::Exact(text) => {
                let (leaves, hasher) = (&self.leaves, self.hasher);
                let hash = |&leaf: &u32| hash_exact(leaves, hasher, leaf);
                remove_and_shrink(
                    &mut self.exact,
                    hasher.bytes(text.as_bytes()),
                    |&leaf| leaf == id,
                    hash,
                );
            }
            &Place::Node { node, is_multi } => {
                let ends = &mut self.wildcards.nodes[node].payload;
                *(if is_multi {
                    &mut ends.multi
                } else {
                    &mut ends.here
                }) = NONE;
                self.prune(node);
            }
        }
        self.leaves.remove(id);
    }

    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &self.wildcards.nodes[id];
            let Ends { here, multi, plus } = node.payload;
            if node.edges > 0 || [here, multi, plus] != [NONE; 3] {
                return;
            }
            let is_plus = node.level == UNLINKED;
            id = self.wildcards.remove(id);
            if is_plus {
                self.wildcards.nodes[id].payload.plus = NONE;
            }
        }
    }

    fn find_share(&self, leaf: u32, group: &str) -> Option<u32> {
        let is_it = |&share: &u32| {
            let share = &self.shares[share];
            share.leaf == leaf && *share.name == *group
        };
        self.by_group
            .find(hash_group(self.hasher, leaf, group), is_it)
            .copied()
    }

    /// The group of this name on a leaf, added if there is none.
    fn enter_share(&mut self, leaf: u32, group: &str) -> u32 {
        if let Some(share) = self.find_share(leaf, group) {
            return share;
        }
        let next = self.leaves[leaf].groups;
        let share = self.shares.insert(Share::new(group, leaf, next));
        self.leaves[leaf].groups = share;
        if next != NONE {
            self.shares[next].previous = share;
        }
        let (shares, hasher) = (&self.shares, self.hasher);
        let hash = |&share: &u32| hash_group(hasher, shares[share].leaf, &shares[share].name);
        self.by_group.insert_unique(hash(&share), share, hash);
        share
    }

    fn remove_share(&mut self, id: u32) {
        let (shares, hasher) = (&self.shares, self.hasher);
        let hash = |&share: &u32| hash_group(hasher, shares[share].leaf, &shares[share].name);
        remove_and_shrink(&mut self.by_group, hash(&id), |&share| share == id, hash);
        let Share {
            leaf,
            next,
            previous,
            ..
        } = self.shares.remove(id);
        if next != NONE {
            self.shares[next].previous = previous;
        }
        if previous == NONE {
            self.leaves[leaf].groups = next;
        } else {
            self.shares[previous].next = next;
        }
    }

    /// Appends a leaf's filter without share group.
    fn write_filter(&self, leaf: &Leaf, out: &mut String) {
        let (mut id, is_multi) = match &leaf.place {
            Place::Exact(text) => return out.push_str(text),
            &Place::Node { node, is_multi } => (node, is_multi),
        };
        let mut path = Vec::new();
        while id != ROOT {
            let node = &self.wildcards.nodes[id];
            path.push(if node.level == UNLINKED {
                "+"
            } else {
                self.wildcards.level_text(node.level)
            });
            id = node.parent;
        }
        let levels = path.into_iter().rev().chain(is_multi.then_some("#"));
        for (at, level) in levels.enumerate() {
            if at > 0 {
                out.push('/');
            }
            out.push_str(level);
        }
    }
}

fn hash_exact(leaves: &Slab<Leaf>, hasher: Seeded, leaf: u32) -> u64 {
    match &leaves[leaf].place {
        Place::Exact(text) => hasher.bytes(text.as_bytes()),
        Place::Node { .. } => 0,
    }
}

fn hash_group(hasher: Seeded, leaf: u32, group: &str) -> u64 {
    hasher.bytes(group.as_bytes()) ^ hasher.edge(leaf, 0)
}
