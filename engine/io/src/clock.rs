//! The engine's clock: monotonic, the same for all shards, and one that a test can turn.

use nanomq_proto::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Time since the engine started.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Microseconds added by [`advance`](Self::advance).
    ahead: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            ahead: AtomicU64::new(0),
        }
    }
}

impl Clock {
    /// Microseconds since the start.
    #[inline]
    pub fn now(&self) -> Time {
        self.start.elapsed().as_micros() as Time + self.ahead.load(Ordering::Relaxed)
    }

    /// Turns the clock forward. The caller lets every shard look at its deadlines.
    pub fn advance(&self, by: Duration) {
        self.ahead
            .fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }

    /// How long to sleep until `at`.
    pub fn until(&self, at: Time) -> Duration {
        Duration::from_micros(at.saturating_sub(self.now()))
    }
}
