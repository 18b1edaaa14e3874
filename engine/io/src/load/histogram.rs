//! Latencies in buckets: each power of two is cut into equal parts, so a bucket is never wider than 1/64 of its value.

use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of one power of two, as a power of two.
const PART_BITS: u32 = 6;
const PARTS: usize = 1 << PART_BITS;

/// Largest value that is told apart: 2^40 ns are 18 minutes.
const LARGEST_BITS: u32 = 40;
const BUCKETS: usize = (LARGEST_BITS - PART_BITS + 1) as usize * PARTS;

/// Counts of one thread, which alone writes; others may read at any time.
#[derive(Debug)]
pub(super) struct Histogram(Box<[AtomicU64]>);

impl Default for Histogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    /// Counts one value, in nanoseconds.
    #[inline]
    pub(super) fn add(&self, value_ns: u64) {
        if let Some(bucket) = self.0.get(index(value_ns)) {
            // One writer: no locked instruction is needed.
            bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Adds the counts to `counts`.
    pub(super) fn add_to(&self, counts: &mut Counts) {
        for (sum, bucket) in counts.0.iter_mut().zip(&self.0) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }
}

/// Counts at one moment.
#[derive(Clone, Debug)]
pub(super) struct Counts(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Counts {
    /// What was counted since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&earlier.0)
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
        )
    }

    /// How many values there are.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value that this share of all values does not exceed, in microseconds; 0 without values.
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        let rank = ((self.len() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_ns(at) as f64 / 1000.0;
            }
        }
        0.0
    }
}

/// The bucket of a value.
#[inline]
fn index(value: u64) -> usize {
    let value = value.min((1 << LARGEST_BITS) - 1);
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(PART_BITS + 1);
    // Below 2 × PARTS a bucket holds one value; above, each power of two adds PARTS buckets.
    shift as usize * PARTS + (value >> shift) as usize
}

/// The largest value of a bucket.
const fn upper_ns(index: usize) -> u64 {
    if index < 2 * PARTS {
        return index as u64;
    }
    let shift = index / PARTS - 1;
    let part = index - shift * PARTS;
    ((part as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_a_64th_of_its_value_wide() {
        for value in (0..200_000).chain((17..63).map(|bits| (1 << bits) + 12_345)) {
            let capped = value.min((1 << LARGEST_BITS) - 1);
            let at = index(value);
            assert!(at < BUCKETS, "{value}");
            let upper = upper_ns(at);
            assert!(upper >= capped && upper - capped <= capped / 64, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values_since_the_start() {
        let histogram = Histogram::default();
        histogram.add(1_000_000_000);
        let mut before = Counts::default();
        histogram.add_to(&mut before);
        for value in 1..=1000 {
            histogram.add(value * 1000);
        }
        let mut now = Counts::default();
        histogram.add_to(&mut now);
        let counts = now.since(&before);
        assert_eq!(counts.len(), 1000);
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = counts.quantile_us(share);
            assert!((found - expected).abs() <= expected / 60.0, "{found}");
        }
        assert_eq!(Counts::default().quantile_us(0.5).to_bits(), 0);
    }
}
