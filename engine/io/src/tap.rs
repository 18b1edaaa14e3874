//! Events on their way to Python: a bounded ring and one eventfd; a shard never waits.

use crate::eventfd::EventFd;
use nanomq_proto::session::registry::{Event, Level};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// Most events waiting; further ones are counted and dropped.
const CAPACITY: usize = 16 * 1024;

/// The ring.
#[derive(Debug)]
pub struct Tap {
    ring: Mutex<Ring>,
    fd: EventFd,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    dropped: u64,
}

impl Tap {
    /// An empty ring.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ring: Mutex::default(),
            fd: EventFd::new()?,
        })
    }

    /// Readable when events wait.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Adds an event; wakes the reader if it was the first.
    pub fn push(&self, event: Event) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.events.len() >= CAPACITY {
            ring.dropped += 1;
            return;
        }
        let is_first = ring.events.is_empty();
        ring.events.push_back(event);
        drop(ring);
        if is_first {
            self.fd.set();
        }
    }

    /// Takes all events.
    pub fn drain(&self) -> Vec<Event> {
        self.fd.clear();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events: Vec<Event> = ring.events.drain(..).collect();
        let dropped = std::mem::take(&mut ring.dropped);
        if dropped > 0 {
            let fields = vec![("count", dropped.to_string())];
            events.push(Event {
                level: Level::Warn,
                name: "events_dropped",
                fields,
            });
        }
        events
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_drops_and_says_how_many() {
        let tap = Tap::new().unwrap();
        for _ in 0..CAPACITY + 3 {
            tap.push(Event {
                level: Level::Info,
                name: "x",
                fields: Vec::new(),
            });
        }
        let events = tap.drain();
        assert_eq!(events.len(), CAPACITY + 1);
        assert_eq!(events.last().unwrap().fields[0].1, "3");
        assert!(tap.drain().is_empty());
    }
}
