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
pub struct Deadlines(BinaryHeap<Reverse<(Time, Due)>>);

impl Deadlines {
    /// Asks to be called at `at` or soon after.
    pub fn push(&mut self, at: Time, due: Due) {
        if at != Time::MAX {
            self.0.push(Reverse((at, due)));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one that is due, with the time it was asked for.
    pub fn pop(&mut self, now: Time) -> Option<(Time, Due)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}
