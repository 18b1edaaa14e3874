//! A tree of topic levels in one vector, with one table for all its edges.
//!
//! A path that no other path shares the end of is not unfolded: its last node carries the remaining
//! levels as a tail. Most filters and topics thus take one node of their own, and following them takes
//! one step. The tail is unfolded, level by level, when another path needs a node inside of it.

use super::Seeded;
use super::slab::{NONE, Slab, Slot};
use super::table::Table;

/// The root of every trie; it has no text.
pub(super) const ROOT: u32 = 0;

/// A level, or a level and the tail behind it.
#[derive(Clone, Debug)]
pub(super) struct Node<P> {
    /// The root is its own.
    pub(super) parent: u32,
    pub(super) children: u32,
    /// Length of the first level of `text`; the rest is the tail.
    level_len: u16,
    text: Text,
    /// What the owner of the trie keeps here; it belongs to the end of the tail.
    pub(super) payload: P,
}

/// A level's text with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level<'a> {
    text: &'a [u8],
    hash: u32,
}

impl<'a> Level<'a> {
    pub(super) const fn text(self) -> &'a [u8] {
        self.text
    }
}

/// What the owner of a trie keeps in its nodes.
pub(super) trait Payload: Default {
    /// Takes out what belongs to the end of the path, for a node further down.
    fn take_end(&mut self) -> Self;
}

/// Paths of levels.
#[derive(Clone, Debug)]
pub(super) struct Trie<P> {
    pub(super) nodes: Slab<Node<P>>,
    /// Nodes by parent and level; both stand in the node itself.
    edges: Table,
    hasher: Seeded,
}

/// How a node came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It has a payload of its own.
    Added,
    /// It took over the end of a path whose tail was unfolded.
    Unfolded,
}

impl<P: Payload> Trie<P> {
    pub(super) fn new(hasher: Seeded) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node {
            parent: ROOT,
            ..Node::default()
        });
        Self {
            nodes,
            edges: Table::new(),
            hasher,
        }
    }

    /// The level in the form that [`Trie::child`] takes.
    #[inline]
    pub(super) fn level<'a>(&self, text: &'a [u8]) -> Level<'a> {
        let hash = self.hasher.bytes(text);
        Level { text, hash }
    }

    /// The child of `parent` that begins with this level.
    #[inline]
    pub(super) fn child(&self, parent: u32, level: Level<'_>) -> Option<u32> {
        self.edges.find(edge(parent, level), |id| {
            let node = &self.nodes[id];
            node.parent == parent && node.level() == level.text
        })
    }

    /// The node at the end of a path.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        let mut node = ROOT;
        let mut rest = path.as_bytes();
        loop {
            let (text, below) = split(rest);
            node = self.child(node, self.level(text))?;
            match self.nodes[node].tail() {
                tail if tail == below => return Some(node),
                None => rest = below?,
                Some(_) => return None,
            }
        }
    }

    /// The node at the end of a path, added if there is none. `changed` hears of every new node.
    pub(super) fn enter(
        &mut self,
        path: &str,
        mut changed: impl FnMut(&mut Slab<Node<P>>, u32, Change),
    ) -> u32 {
        let mut node = ROOT;
        let mut rest = path.as_bytes();
        loop {
            let (text, below) = split(rest);
            let Some(child) = self.child(node, self.level(text)) else {
                let child = self.add(node, rest);
                changed(&mut self.nodes, child, Change::Added);
                return child;
            };
            if self.nodes[child].tail() == below {
                return child;
            }
            self.unfold(child, below, &mut changed);
            let Some(below) = below else { return child };
            (node, rest) = (child, below);
        }
    }

    /// Adds a node for all of `path`.
    fn add(&mut self, parent: u32, path: &[u8]) -> u32 {
        let (text, _) = split(path);
        let child = self.nodes.insert(Node {
            parent,
            children: 0,
            // A topic is not longer than 65,535 bytes.
            level_len: text.len() as u16,
            text: Text::new(path),
            payload: P::default(),
        });
        self.nodes[parent].children += 1;
        let edge = edge(parent, self.level(text));
        self.edges.insert(edge, child);
        child
    }

    /// Turns a node's tail, which is not `wanted`, into nodes as far as `wanted` goes along with it.
    fn unfold(
        &mut self,
        id: u32,
        mut wanted: Option<&[u8]>,
        changed: &mut impl FnMut(&mut Slab<Node<P>>, u32, Change),
    ) {
        let node = &mut self.nodes[id];
        if node.tail().is_none() {
            return;
        }
        let level = Text::new(node.level());
        let text = std::mem::replace(&mut node.text, level);
        let end = node.payload.take_end();
        let (_, mut tail) = split(text.as_bytes());
        let mut node = id;
        while let Some(path) = tail {
            let (level, below) = split(path);
            let (wanted_level, wanted_below) = wanted.map(split).unzip();
            if below.is_some() && wanted_level == Some(level) {
                node = self.add(node, level);
                changed(&mut self.nodes, node, Change::Added);
                (tail, wanted) = (below, wanted_below.flatten());
            } else {
                node = self.add(node, path);
                self.nodes[node].payload = end;
                changed(&mut self.nodes, node, Change::Unfolded);
                return;
            }
        }
    }

    /// Removes a node without children and returns its parent.
    pub(super) fn remove(&mut self, id: u32) -> u32 {
        let node = &self.nodes[id];
        let parent = node.parent;
        self.edges
            .remove(edge(parent, self.level(node.level())), id);
        self.nodes[parent].children -= 1;
        self.nodes.remove(id);
        parent
    }

    /// Appends the path to a node.
    pub(super) fn write_path(&self, mut id: u32, out: &mut String) {
        let mut texts = Vec::new();
        while id != ROOT {
            texts.push(self.nodes[id].text.as_bytes());
            id = self.nodes[id].parent;
        }
        for (at, text) in texts.into_iter().rev().enumerate() {
            if at > 0 {
                out.push('/');
            }
            // Cut from checked strings at slashes.
            out.push_str(std::str::from_utf8(text).unwrap_or_default());
        }
    }
}

impl<P> Node<P> {
    /// Its level, without the tail.
    #[inline]
    pub(super) fn level(&self) -> &[u8] {
        let text = self.text.as_bytes();
        text.get(..usize::from(self.level_len)).unwrap_or(text)
    }

    /// The levels behind its own, if they are not unfolded.
    #[inline]
    pub(super) fn tail(&self) -> Option<&[u8]> {
        self.text.as_bytes().get(usize::from(self.level_len) + 1..)
    }
}

impl<P: Default> Default for Node<P> {
    fn default() -> Self {
        Self {
            parent: NONE,
            children: 0,
            level_len: 0,
            text: Text::new(b""),
            payload: P::default(),
        }
    }
}

impl<P: Default> Slot for Node<P> {
    fn is_free(&self) -> bool {
        self.parent == NONE
    }
}

/// The first level of a path, and the levels below it.
#[inline]
pub(super) fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'/') {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

/// Hash of an edge. The level's hash is seeded: nobody can choose levels so that edges collide.
#[inline]
const fn edge(parent: u32, level: Level<'_>) -> u32 {
    level.hash ^ parent.wrapping_mul(0x9E37_79B1)
}

/// A text; short ones, which is nearly all, need no allocation.
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

#[cfg(test)]
mod tests {
    use super::*;

    impl Payload for u32 {
        fn take_end(&mut self) -> Self {
            std::mem::take(self)
        }
    }

    fn enter(trie: &mut Trie<u32>, path: &str) -> u32 {
        trie.enter(path, |_, _, _| {})
    }

    #[test]
    fn sizes_stay_small() {
        assert_eq!(size_of::<Text>(), 24);
        assert_eq!(size_of::<Node<[u32; 3]>>(), 48);
    }

    #[test]
    fn a_path_of_its_own_takes_one_node() {
        let mut trie = Trie::new(Seeded(1));
        let path = "one/path/of many levels/and more bytes than a short text has";
        let end = enter(&mut trie, path);
        assert_eq!(trie.nodes.len(), 2);
        assert_eq!((enter(&mut trie, path), trie.find(path)), (end, Some(end)));
        for other in ["one", "one/path", "one/path/of many levels", "two"] {
            assert_eq!(trie.find(other), None, "{other}");
        }
        assert_eq!(trie.remove(end), ROOT);
        assert_eq!((trie.nodes.len(), trie.edges.is_empty()), (1, true));
    }

    #[test]
    fn paths_share_nodes_as_far_as_they_are_equal() {
        let mut trie = Trie::new(Seeded(1));
        let paths = [
            "a/b/c/d",
            "a/b/x/d",
            "a/b/c/d/e",
            "a",
            "a/b/c/",
            "a//c",
            "",
            "/",
        ];
        for (number, path) in paths.iter().enumerate() {
            let mut unfolded = Vec::new();
            let end = trie.enter(path, |_, id, change| {
                if change == Change::Unfolded {
                    unfolded.push(id);
                }
            });
            assert!(unfolded.len() <= 1);
            trie.nodes[end].payload = number as u32;
        }
        for (number, path) in paths.iter().enumerate() {
            let end = trie.find(path);
            let mut text = String::new();
            trie.write_path(end.unwrap_or(NONE), &mut text);
            let number_at = |end: u32| trie.nodes[end].payload;
            assert_eq!((end.map(number_at), &*text), (Some(number as u32), *path));
        }
    }
}
