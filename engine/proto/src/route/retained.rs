//! Retained messages by topic.
//!
//! A trie of levels in which every node knows its children, so that a filter with wildcards visits only
//! the branches it matches. The walk needs no stack: a topic of 65,535 levels is walked like any other.

use super::Seeded;
use super::slab::{NONE, Slab};
use super::trie::{Level, Node, Payload, ROOT, Trie, split};

/// One value a topic, found by topic or by filter.
#[derive(Clone, Debug)]
pub struct Retained<T> {
    trie: Trie<Held<T>>,
    len: usize,
}

/// A node's value, and its place among its siblings.
#[derive(Clone, Debug)]
struct Held<T> {
    value: Option<T>,
    first_child: u32,
    next: u32,
    previous: u32,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            value: None,
            first_child: NONE,
            next: NONE,
            previous: NONE,
        }
    }
}

/// One level of a filter.
#[derive(Clone, Copy)]
enum Step<'a> {
    Level(Level<'a>),
    Plus,
    Multi,
}

impl<T> Payload for Held<T> {
    fn take_end(&mut self) -> Self {
        Self {
            value: self.value.take(),
            ..Self::default()
        }
    }
}

impl<T> Retained<T> {
    /// Holds nothing. `seed` comes from a random source: topics are chosen by strangers.
    pub fn new(seed: u64) -> Self {
        Self {
            trie: Trie::new(Seeded(seed)),
            len: 0,
        }
    }

    /// Topics with a value.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no topic has a value.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the topic a value and returns the one it had.
    pub fn set(&mut self, topic: &str, value: T) -> Option<T> {
        let node = self.trie.enter(topic, |nodes, id, _| link(nodes, id));
        let old = self.trie.nodes[node].payload.value.replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// The topic's value.
    pub fn get(&self, topic: &str) -> Option<&T> {
        self.trie.nodes[self.trie.find(topic)?]
            .payload
            .value
            .as_ref()
    }

    /// Takes the topic's value away.
    pub fn remove(&mut self, topic: &str) -> Option<T> {
        let node = self.trie.find(topic)?;
        let old = self.trie.nodes[node].payload.value.take()?;
        self.len -= 1;
        self.prune(node);
        Some(old)
    }

    /// Calls `visit` for the value of every topic that matches the filter, in no particular order.
    ///
    /// A filter without wildcards costs one lookup; others visit only the branches they match. Returns how many
    /// nodes that were.
    pub fn find(&self, filter: &str, visit: &mut dyn FnMut(&T)) -> usize {
        let levels = filter.split('/');
        let steps = levels.map(|level| match level {
            "+" => Step::Plus,
            "#" => Step::Multi,
            _ => Step::Level(self.trie.level(level.as_bytes())),
        });
        self.walk(&steps.collect::<Vec<_>>(), visit)
    }

    /// Keeps only the values that `keeps` says yes to.
    pub fn retain(&mut self, mut keeps: impl FnMut(&T) -> bool) {
        for node in 0..self.trie.nodes.bound() {
            // The end may have been given back meanwhile.
            let Some(entry) = self.trie.nodes.get_mut(node) else {
                return;
            };
            if entry
                .payload
                .value
                .as_ref()
                .is_some_and(|value| !keeps(value))
            {
                entry.payload.value = None;
                self.len -= 1;
                self.prune(node);
            }
        }
    }

    /// Visits every node that the steps lead to, depth first; returns how many.
    fn walk(&self, steps: &[Step<'_>], visit: &mut dyn FnMut(&T)) -> usize {
        let nodes = &self.trie.nodes;
        let mut id = ROOT;
        let mut depth = 0;
        let mut visited = 0;
        loop {
            visited += 1;
            let node = &nodes[id];
            let step = step_at(steps, depth);
            let ends_here = match node.tail() {
                Some(tail) => matches_tail(steps, depth, tail),
                None => matches!(step, None | Some(Step::Multi)),
            };
            let is_hidden = depth == 1 && is_hidden(steps, node.level());
            if ends_here && !is_hidden {
                node.payload.value.iter().for_each(&mut *visit);
            }
            let child = match step {
                _ if is_hidden => None,
                Some(Step::Level(level)) if node.children > 0 => self.trie.child(id, level),
                Some(Step::Plus | Step::Multi) => Some(node.payload.first_child),
                _ => None,
            };
            if let Some(child) = child.filter(|&child| child != NONE) {
                id = child;
                depth += 1;
                continue;
            }
            // Nothing below: on to the next sibling that the same step leads to, or further up.
            loop {
                if id == ROOT {
                    return visited;
                }
                let next = nodes[id].payload.next;
                if next != NONE && !matches!(step_at(steps, depth - 1), Some(Step::Level(_))) {
                    id = next;
                    break;
                }
                id = nodes[id].parent;
                depth -= 1;
            }
        }
    }

    /// Removes a node and those above it that hold nothing and lead nowhere.
    fn prune(&mut self, mut id: u32) {
        while id != ROOT {
            let nodes = &mut self.trie.nodes;
            let Held {
                ref value,
                first_child,
                next,
                previous,
            } = nodes[id].payload;
            if value.is_some() || first_child != NONE {
                return;
            }
            let parent = nodes[id].parent;
            if next != NONE {
                nodes[next].payload.previous = previous;
            }
            if previous == NONE {
                nodes[parent].payload.first_child = next;
            } else {
                nodes[previous].payload.next = next;
            }
            id = self.trie.remove(id);
        }
    }
}

/// Makes a new node the first child of its parent.
fn link<T>(nodes: &mut Slab<Node<Held<T>>>, id: u32) {
    let parent = nodes[id].parent;
    let next = std::mem::replace(&mut nodes[parent].payload.first_child, id);
    nodes[id].payload.next = next;
    if next != NONE {
        nodes[next].payload.previous = id;
    }
}

/// The step from this depth on; `#` is the last one and stands for all further ones.
#[inline]
fn step_at<'a>(steps: &[Step<'a>], depth: usize) -> Option<Step<'a>> {
    let step = steps
        .get(depth)
        .or_else(|| steps.last().filter(|step| matches!(step, Step::Multi)));
    step.copied()
}

/// Whether a topic that goes on with these levels matches the steps from this depth on.
fn matches_tail(steps: &[Step<'_>], mut depth: usize, tail: &[u8]) -> bool {
    let mut tail = Some(tail);
    while let Some((text, below)) = tail.map(split) {
        match step_at(steps, depth) {
            Some(Step::Level(level)) if level.text() == text => {}
            Some(Step::Plus) => {}
            Some(Step::Multi) => return true,
            _ => return false,
        }
        (tail, depth) = (below, depth + 1);
    }
    matches!(step_at(steps, depth), None | Some(Step::Multi))
}

/// [MQTT-4.7.2-1] wildcards at the first level do not match topics that begin with `$`.
fn is_hidden(steps: &[Step<'_>], first_level: &[u8]) -> bool {
    !matches!(steps.first(), Some(Step::Level(_))) && first_level.starts_with(b"$")
}
