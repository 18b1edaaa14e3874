//! The one list of deadlines of a shard.
//!
//! Entries are hints: whoever is called looks whether its time has really come and asks again if
//! not. A keepalive is thereby not re-sorted at every packet.

use crate::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Connect timeout, keepalive, rate limit or retry of the connection in this slot.
    Connection(u32, u16),
    /// Will delay or expiry of the session in this slot.
    Session(u32, u16),
    /// Look for expired retained messages.
    Retained,
}

/// Deadlines, earliest first.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(Time, Due)>>,
    /// How many were left by the last [`Deadlines::tidy`].
    kept: usize,
}

impl Deadlines {
    /// Asks to be called at `at` or soon after. Returns whether it is time to [`tidy`](Self::tidy).
    #[must_use]
    pub fn push(&mut self, at: Time, due: Due) -> bool {
        if at != Time::MAX {
            self.heap.push(Reverse((at, due)));
        }
        self.heap.len() > 2 * self.kept + TIDY_FROM
    }

    /// Forgets the entries that stand for nothing any more: a client that comes and goes leaves some whose time
    /// is hours or years away. Done once they may be the most, so it costs a constant for each.
    pub fn tidy(&mut self, mut is_current: impl FnMut(Time, Due) -> bool) {
        self.heap.retain(|&Reverse((at, due))| is_current(at, due));
        self.heap.shrink_to(2 * self.heap.len());
        self.kept = self.heap.len();
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one that is due, with the time it was asked for.
    pub fn pop(&mut self, now: Time) -> Option<(Time, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

/// Fewer entries than this are not worth tidying.
const TIDY_FROM: usize = 1024;

#[cfg(test)]
mod tests {
    use crate::Time;
    use crate::route::index::ShareStrategy;
    use crate::route::router::{RetainedLimits, Router};
    use crate::session::connection::Origin;
    use crate::session::registry::Registry;
    use crate::session::settings::Settings;
    use std::sync::Arc;

    /// CONNECT of 5.0 with the longest keepalive and a session that outlives the connection by a day.
    const CONNECT: &[u8] = b"\x10\x13\0\x04MQTT\x05\x02\xFF\xFF\x05\x11\0\x01\x51\x80\0\x01a";

    #[test]
    fn clients_that_come_and_go_leave_no_deadlines_behind() {
        let router = Router::new(1, ShareStrategy::RoundRobin, RetainedLimits::default());
        let mut registry = Registry::new(0, 1, Arc::new(router), Arc::new(Settings::default()), 1);
        for now in 0..20_000 as Time {
            let key = registry.open(now, Arc::new(Origin::default()));
            registry.receive(now, key, CONNECT);
            registry.release(now, key);
            while registry.next_action().is_some() {}
        }
        assert_eq!(registry.ledger().connects.value(), 20_000);
        assert!(
            registry.deadlines.heap.len() < 5_000,
            "{}",
            registry.deadlines.heap.len()
        );
    }
}
