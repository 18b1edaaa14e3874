//! A tree of topic levels in one vector, with one table for all its edges.
//!
//! Level texts are interned: a publish looks each level up once and compares numbers from there on.
//! A lookup never adds a text.

use super::slab::{NONE, Slab, Slot};
use super::{Seeded, remove_and_shrink};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// The root of every trie; it has no level.
pub(super) const ROOT: u32 = 0;

/// Level number of a node that is not in the edge table: the root and the index's `+` nodes.
pub(super) const UNLINKED: u32 = NONE;

/// One level of one path.
#[derive(Clone, Debug)]
pub(super) struct Node<P> {
    /// The root is its own.
    pub(super) parent: u32,
    pub(super) level: u32,
    /// Children in the edge table.
    pub(super) edges: u32,
    /// What the owner of the trie keeps here.
    pub(super) payload: P,
}

impl<P: Default> Node<P> {
    fn new(parent: u32, level: u32) -> Self {
        Self {
            parent,
            level,
            edges: 0,
            payload: P::default(),
        }
    }
}

impl<P: Default> Default for Node<P> {
    fn default() -> Self {
        Self::new(NONE, UNLINKED)
    }
}

impl<P: Default> Slot for Node<P> {
    fn is_free(&self) -> bool {
        self.parent == NONE
    }
}

/// Paths of levels.
#[derive(Clone, Debug)]
pub(super) struct Trie<P> {
    pub(super) nodes: Slab<Node<P>>,
    /// Child nodes by (parent, level); both stand in the child itself.
    edges: HashTable<u32>,
    levels: Levels,
    hasher: Seeded,
}

impl<P: Default> Trie<P> {
    pub(super) fn new(hasher: Seeded) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(ROOT, UNLINKED));
        Self {
            nodes,
            edges: HashTable::new(),
            levels: Levels::new(hasher),
            hasher,
        }
    }

    /// Number of a level's text, if any path has it.
    #[inline]
    pub(super) fn level(&self, text: &str) -> Option<u32> {
        self.levels.find(text.as_bytes())
    }

    /// Text of a level in use.
    pub(super) fn level_text(&self, level: u32) -> &str {
        self.levels.text(level)
    }

    /// The child of `parent` with this level.
    #[inline]
    pub(super) fn child(&self, parent: u32, level: u32) -> Option<u32> {
        let is_it = |&child: &u32| {
            let node = &self.nodes[child];
            node.parent == parent && node.level == level
        };
        self.edges
            .find(self.hasher.edge(parent, level), is_it)
            .copied()
    }

    /// The child of `parent` with this level, added if there is none; and whether it was added.
    pub(super) fn enter(&mut self, parent: u32, text: &str) -> (u32, bool) {
        let known = self.level(text);
        if let Some(child) = known.and_then(|level| self.child(parent, level)) {
            return (child, false);
        }
        let level = self.levels.hold(text.as_bytes());
        let child = self.nodes.insert(Node::new(parent, level));
        self.nodes[parent].edges += 1;
        let (nodes, hasher) = (&self.nodes, self.hasher);
        let hash = |&child: &u32| hasher.edge(nodes[child].parent, nodes[child].level);
        self.edges.insert_unique(hash(&child), child, hash);
        (child, true)
    }

    /// Adds a child that [`Trie::child`] does not find; the caller keeps its number.
    pub(super) fn add_unlinked(&mut self, parent: u32) -> u32 {
        self.nodes.insert(Node::new(parent, UNLINKED))
    }

    /// Removes a node without children and returns its parent.
    pub(super) fn remove(&mut self, id: u32) -> u32 {
        let Node { parent, level, .. } = self.nodes[id];
        if level != UNLINKED {
            let (nodes, hasher) = (&self.nodes, self.hasher);
            let hash = |&child: &u32| hasher.edge(nodes[child].parent, nodes[child].level);
            remove_and_shrink(
                &mut self.edges,
                hasher.edge(parent, level),
                |&child| child == id,
                hash,
            );
            self.nodes[parent].edges -= 1;
            self.levels.release(level);
        }
        self.nodes.remove(id);
        parent
    }
}

/// Interned level texts with the number of nodes that use each.
#[derive(Clone, Debug)]
struct Levels {
    levels: Slab<Level>,
    by_text: HashTable<u32>,
    hasher: Seeded,
}

#[derive(Clone, Debug, Default)]
struct Level {
    text: Text,
    nodes: u32,
}

impl Slot for Level {
    fn is_free(&self) -> bool {
        self.nodes == 0
    }
}

impl Levels {
    const fn new(hasher: Seeded) -> Self {
        Self {
            levels: Slab::new(),
            by_text: HashTable::new(),
            hasher,
        }
    }

    #[inline]
    fn find(&self, text: &[u8]) -> Option<u32> {
        self.by_text
            .find(self.hasher.bytes(text), |&level| {
                self.levels[level].text.as_bytes() == text
            })
            .copied()
    }

    /// The level's number, for one more node.
    fn hold(&mut self, text: &[u8]) -> u32 {
        let (levels, hasher) = (&mut self.levels, self.hasher);
        let found = self.by_text.entry(
            hasher.bytes(text),
            |&level| levels[level].text.as_bytes() == text,
            |&level| hasher.bytes(levels[level].text.as_bytes()),
        );
        match found {
            Entry::Occupied(entry) => {
                let level = *entry.get();
                levels[level].nodes += 1;
                level
            }
            Entry::Vacant(entry) => {
                let level = levels.insert(Level {
                    text: Text::new(text),
                    nodes: 1,
                });
                entry.insert(level);
                level
            }
        }
    }

    /// One node less; the last one takes the text with it.
    fn release(&mut self, level: u32) {
        let entry = &mut self.levels[level];
        entry.nodes -= 1;
        if entry.nodes == 0 {
            let (levels, hasher) = (&self.levels, self.hasher);
            let hash = |&level: &u32| hasher.bytes(levels[level].text.as_bytes());
            remove_and_shrink(
                &mut self.by_text,
                hash(&level),
                |&other| other == level,
                hash,
            );
            self.levels.remove(level);
        }
    }

    fn text(&self, level: u32) -> &str {
        // Only whole levels of checked strings are interned.
        std::str::from_utf8(self.levels[level].text.as_bytes()).unwrap_or_default()
    }
}

/// Text of a level; short ones, which is nearly all, need no allocation.
#[derive(Clone, Debug)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// As many bytes as fit beside the tag and the length without making [`Text`] larger.
const SHORT: usize = 22;

impl Text {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Self::Short {
                    len: text.len() as u8,
                    bytes,
                }
            }
            None => Self::Long(text.into()),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Short {
            len: 0,
            bytes: [0; SHORT],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_small() {
        assert_eq!(size_of::<Text>(), 24);
        assert_eq!(size_of::<Level>(), 32);
        assert_eq!(size_of::<Node<[u32; 3]>>(), 24);
    }

    #[test]
    fn a_path_is_found_again_and_leaves_nothing_behind() {
        let mut trie = Trie::<()>::new(Seeded(1));
        let (first, is_new) = trie.enter(ROOT, "first");
        assert!(is_new);
        let long = "a level that does not fit into twenty-two bytes";
        let (second, _) = trie.enter(first, long);
        assert_eq!(trie.enter(first, long), (second, false));
        assert_eq!(
            trie.level(long).and_then(|level| trie.child(first, level)),
            Some(second)
        );
        assert_eq!(trie.level("unknown"), None);
        assert_eq!(trie.remove(second), first);
        assert_eq!(trie.remove(first), ROOT);
        assert_eq!(
            (trie.nodes.len(), trie.edges.len(), trie.levels.levels.len()),
            (1, 0, 0)
        );
        assert_eq!(trie.level("first"), None);
    }
}
