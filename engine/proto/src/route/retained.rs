//! Retained messages by topic.
//!
//! A trie of levels in which every node knows its children, so that a filter with wildcards visits only
//! the branches it matches. The walk needs no stack: a topic of 65,535 levels is walked like any other.

use super::Seeded;
use super::slab::NONE;
use super::trie::{ROOT, Trie};

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
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Level(u32),
    Plus,
    Multi,
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
        let mut node = ROOT;
        for level in topic.split('/') {
            let (child, is_new) = self.trie.enter(node, level);
            if is_new {
                self.link(node, child);
            }
            node = child;
        }
        let old = self.trie.nodes[node].payload.value.replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// The topic's value.
    pub fn get(&self, topic: &str) -> Option<&T> {
        self.trie.nodes[self.node(topic)?].payload.value.as_ref()
    }

    /// Takes the topic's value away.
    pub fn remove(&mut self, topic: &str) -> Option<T> {
        let node = self.node(topic)?;
        let old = self.trie.nodes[node].payload.value.take()?;
        self.len -= 1;
        self.prune(node);
        Some(old)
    }

    /// Calls `visit` for the value of every topic that matches the filter, in no particular order.
    pub fn find(&self, filter: &str, visit: &mut dyn FnMut(&T)) {
        let mut steps = Vec::new();
        for level in filter.split('/') {
            steps.push(match level {
                "+" => Step::Plus,
                "#" => Step::Multi,
                // A level that no topic has: nothing can match.
                _ => match self.trie.level(level) {
                    Some(level) => Step::Level(level),
                    None => return,
                },
            });
        }
        self.walk(&steps, visit);
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

    /// Visits every node that the steps lead to, depth first.
    fn walk(&self, steps: &[Step], visit: &mut dyn FnMut(&T)) {
        let nodes = &self.trie.nodes;
        // `#` is the last step and stands for all further ones.
        let step_at = |depth: usize| match steps.get(depth) {
            None if steps.last() == Some(&Step::Multi) => Some(Step::Multi),
            step => step.copied(),
        };
        let mut node = ROOT;
        let mut depth = 0;
        loop {
            let step = step_at(depth);
            let payload = &nodes[node].payload;
            let is_hidden = depth == 1 && steps.first().is_some_and(|step| self.hides(*step, node));
            if !is_hidden && matches!(step, None | Some(Step::Multi)) {
                payload.value.iter().for_each(&mut *visit);
            }
            let child = match step {
                _ if is_hidden => None,
                None => None,
                Some(Step::Level(level)) => self.trie.child(node, level),
                Some(Step::Plus | Step::Multi) => {
                    Some(payload.first_child).filter(|&child| child != NONE)
                }
            };
            if let Some(child) = child {
                node = child;
                depth += 1;
                continue;
            }
            // Nothing below: go on with the next sibling that the same step leads to, or further up.
            loop {
                if node == ROOT {
                    return;
                }
                let next = nodes[node].payload.next;
                if next != NONE && !matches!(step_at(depth - 1), Some(Step::Level(_))) {
                    node = next;
                    break;
                }
                node = nodes[node].parent;
                depth -= 1;
            }
        }
    }

    /// [MQTT-4.7.2-1] wildcards at the first level do not match topics that begin with `$`.
    fn hides(&self, step: Step, node: u32) -> bool {
        !matches!(step, Step::Level(_))
            && self
                .trie
                .level_text(self.trie.nodes[node].level)
                .starts_with('$')
    }

    fn node(&self, topic: &str) -> Option<u32> {
        topic.split('/').try_fold(ROOT, |node, level| {
            self.trie.child(node, self.trie.level(level)?)
        })
    }

    /// Makes a new node the first child of its parent.
    fn link(&mut self, parent: u32, child: u32) {
        let nodes = &mut self.trie.nodes;
        let next = std::mem::replace(&mut nodes[parent].payload.first_child, child);
        nodes[child].payload.next = next;
        if next != NONE {
            nodes[next].payload.previous = child;
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
