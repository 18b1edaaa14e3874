//! The index of all subscriptions of the broker: from a topic to everybody who gets its messages.
//!
//! Filters without wildcards stand in a flat table and cost one lookup. Filters with wildcards stand in
//! a trie of levels, `#` being kept in the node above it, so that `a/#` matches `a` without a special
//! case. Share groups hang at the leaf of their filter.

pub use super::share::{GroupMember, GroupRoute, MemberState, ShareStrategy};
pub use super::target::{Delivery, NoLocal, Route, Target};
pub use super::{SessionKey, Subscriber};

use super::Seeded;
use super::leaf::{Leaf, Place};
use super::share::Share;
use super::slab::{NONE, Slab};
use super::table::Table;
use super::target::Matches;
use super::trie::{Change, Payload, ROOT, Trie, split};
use crate::wire::topic::Filter;
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
    exact: Table,
    wildcards: Trie<Ends>,
    shares: Slab<Share>,
    /// Groups by leaf and name.
    by_group: Table,
    hasher: Seeded,
    subscriptions: usize,
    /// Leaves with subscribers that are not in a group.
    plain_filters: usize,
}

/// What the index keeps in a node of its trie.
#[derive(Clone, Debug)]
struct Ends {
    /// Leaf of the filter that ends here.
    here: u32,
    /// Leaf of the filter that ends with `#` below here.
    multi: u32,
    /// The child whose level is `+`; kept here to spare every lookup an edge.
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

impl Payload for Ends {
    fn take_end(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl Index {
    /// An empty index. `seed` comes from a random source: filters are chosen by strangers.
    pub fn new(seed: u64) -> Self {
        let hasher = Seeded(seed);
        Self {
            leaves: Slab::new(),
            exact: Table::new(),
            wildcards: Trie::new(hasher),
            shares: Slab::new(),
            by_group: Table::new(),
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
        let nodes = &self.wildcards.nodes;
        // [MQTT-4.7.2-1] wildcards at the first level do not match topics that begin with `$`.
        let is_hidden = topic.starts_with('$');
        let mut reached = Vec::with_capacity(16);
        reached.push(ROOT);
        let mut done = 0;
        let mut rest = Some(topic.as_bytes());
        while let Some((text, below)) = rest.map(split) {
            let end = reached.len();
            if done == end {
                return;
            }
            let level = self.wildcards.level(text);
            for at in done..end {
                let id = reached[at];
                let node = &nodes[id];
                if !(is_hidden && id == ROOT) {
                    self.collect(node.payload.multi, matches);
                    self.reach(node.payload.plus, below, &mut reached, matches);
                }
                if node.children > 0 {
                    let child = self.wildcards.child(id, level).unwrap_or(NONE);
                    self.reach(child, below, &mut reached, matches);
                }
            }
            done = end;
            rest = below;
        }
        for &id in &reached[done..] {
            let ends = &nodes[id].payload;
            self.collect(ends.here, matches);
            self.collect(ends.multi, matches);
        }
    }

    /// Goes on at a node that matches, with the levels of the topic below it.
    #[inline]
    fn reach(&self, id: u32, below: Option<&[u8]>, reached: &mut Vec<u32>, matches: &mut Matches) {
        if id == NONE {
            return;
        }
        let node = &self.wildcards.nodes[id];
        let Some(tail) = node.tail() else {
            return reached.push(id);
        };
        // Nothing branches off a tail: it decides at once.
        let mut tail = Some(tail);
        let mut rest = below;
        while let Some((wanted, tail_below)) = tail.map(split) {
            let Some((level, rest_below)) = rest.map(split) else {
                return;
            };
            if wanted != level && wanted != b"+" {
                return;
            }
            (tail, rest) = (tail_below, rest_below);
        }
        self.collect(node.payload.multi, matches);
        if rest.is_none() {
            self.collect(node.payload.here, matches);
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
        let is_it =
            |leaf| matches!(&self.leaves[leaf].place, Place::Exact(other) if **other == *text);
        self.exact.find(self.hasher.bytes(text.as_bytes()), is_it)
    }

    fn find_leaf(&self, filter: &Filter<'_>) -> Option<u32> {
        if !filter.has_wildcard {
            return self.find_exact(filter.filter);
        }
        let (path, is_multi) = path(filter.filter);
        let node = path.map_or(Some(ROOT), |path| self.wildcards.find(path))?;
        let ends = &self.wildcards.nodes[node].payload;
        Some(if is_multi { ends.multi } else { ends.here }).filter(|&leaf| leaf != NONE)
    }

    /// The leaf of a filter, added if there is none.
    fn enter_leaf(&mut self, filter: &Filter<'_>) -> u32 {
        if let Some(leaf) = self.find_leaf(filter) {
            return leaf;
        }
        if !filter.has_wildcard {
            let place = Place::Exact(filter.filter.into());
            let leaf = self.leaves.insert(Leaf::new(place));
            self.exact
                .insert(self.hasher.bytes(filter.filter.as_bytes()), leaf);
            return leaf;
        }
        let (path, is_multi) = path(filter.filter);
        let node = path.map_or(ROOT, |path| self.enter_node(path));
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

    fn enter_node(&mut self, path: &str) -> u32 {
        let leaves = &mut self.leaves;
        self.wildcards.enter(path, |nodes, id, change| {
            let parent = nodes[id].parent;
            if nodes[id].level() == b"+" {
                nodes[parent].payload.plus = id;
            }
            if change == Change::Unfolded {
                let Ends { here, multi, .. } = nodes[id].payload;
                for leaf in [here, multi].into_iter().filter(|&leaf| leaf != NONE) {
                    if let Place::Node { node, .. } = &mut leaves[leaf].place {
                        *node = id;
                    }
                }
            }
        })
    }

    /// Removes a leaf that nobody uses, and the nodes that led only to it.
    fn remove_leaf(&mut self, id: u32) {
        match self.leaves.remove(id).place {
            Place::Exact(text) => self.exact.remove(self.hasher.bytes(text.as_bytes()), id),
            Place::Node { node, is_multi } => {
                let ends = &mut self.wildcards.nodes[node].payload;
                *(if is_multi {
                    &mut ends.multi
                } else {
                    &mut ends.here
                }) = NONE;
                self.prune(node);
            }
        }
    }

    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let node = &self.wildcards.nodes[id];
            let Ends { here, multi, .. } = node.payload;
            if node.children > 0 || here != NONE || multi != NONE {
                return;
            }
            let parent = self.wildcards.remove(id);
            let plus = &mut self.wildcards.nodes[parent].payload.plus;
            if *plus == id {
                *plus = NONE;
            }
            id = parent;
        }
    }

    fn find_share(&self, leaf: u32, group: &str) -> Option<u32> {
        let is_it = |share| {
            let share: &Share = &self.shares[share];
            share.leaf == leaf && *share.name == *group
        };
        self.by_group.find(self.hash_group(leaf, group), is_it)
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
        self.by_group.insert(self.hash_group(leaf, group), share);
        share
    }

    fn remove_share(&mut self, id: u32) {
        let Share {
            name,
            leaf,
            next,
            previous,
            ..
        } = self.shares.remove(id);
        self.by_group.remove(self.hash_group(leaf, &name), id);
        if next != NONE {
            self.shares[next].previous = previous;
        }
        if previous == NONE {
            self.leaves[leaf].groups = next;
        } else {
            self.shares[previous].next = next;
        }
    }

    fn hash_group(&self, leaf: u32, group: &str) -> u32 {
        self.hasher.bytes(group.as_bytes()) ^ leaf.wrapping_mul(0x9E37_79B1)
    }

    /// Appends a leaf's filter, without share group.
    fn write_filter(&self, leaf: &Leaf, out: &mut String) {
        match &leaf.place {
            Place::Exact(text) => out.push_str(text),
            &Place::Node { node, is_multi } => {
                self.wildcards.write_path(node, out);
                if is_multi {
                    out.push_str(if node == ROOT { "#" } else { "/#" });
                }
            }
        }
    }
}

/// A filter's path in the trie, nothing for the root; and whether `#` follows.
fn path(filter: &str) -> (Option<&str>, bool) {
    if filter == "#" {
        return (None, true);
    }
    match filter.strip_suffix("/#") {
        Some(path) => (Some(path), true),
        None => (Some(filter), false),
    }
}
