//! Messages and bytes a second of one connection; over the limit it is not read for a while.

use crate::{SECOND, Time};

/// Two buckets that fill with time. A burst of one second's worth is free.
#[derive(Debug)]
pub struct RateLimit {
    messages: Bucket,
    bytes: Bucket,
}

#[derive(Debug)]
struct Bucket {
    /// Units a second; 0 = no limit.
    rate: f64,
    /// Units left; negative after a burst that was let through.
    level: f64,
    at: Time,
}

impl RateLimit {
    /// Nothing if neither is limited (0).
    pub fn new(now: Time, messages_rate: f64, bytes_rate: f64) -> Option<Self> {
        let bucket = |rate: f64| Bucket {
            rate,
            level: rate,
            at: now,
        };
        (messages_rate > 0.0 || bytes_rate > 0.0).then(|| Self {
            messages: bucket(messages_rate),
            bytes: bucket(bytes_rate),
        })
    }

    /// Notes one message of `bytes`; returns when the next may be read, if not at once.
    pub fn take(&mut self, now: Time, bytes: usize) -> Option<Time> {
        let messages = self.messages.take(now, 1.0);
        let bytes = self.bytes.take(now, bytes as f64);
        messages.max(bytes)
    }
}

impl Bucket {
    fn take(&mut self, now: Time, units: f64) -> Option<Time> {
        if self.rate <= 0.0 {
            return None;
        }
        let passed = now.saturating_sub(self.at) as f64 / SECOND as f64;
        self.level = (self.level + passed * self.rate).min(self.rate.max(1.0)) - units;
        self.at = now;
        (self.level < 0.0).then(|| {
            now.saturating_add((-self.level / self.rate * SECOND as f64) as Time)
                .saturating_add(1)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_a_second_is_free_and_the_rest_waits_its_turn() {
        let mut rate = RateLimit::new(0, 10.0, 0.0).unwrap();
        assert!((0..10).all(|_| rate.take(0, 1).is_none()));
        let pause = rate.take(0, 1).unwrap();
        assert!((SECOND / 10..=SECOND / 10 + 2).contains(&pause), "{pause}");
        assert!(rate.take(pause + SECOND, 1).is_none());
    }
}
