//! What is counted, and the report made of it.

use super::histogram::{Counts, Histogram};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and all may read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(super) fn add(&self, count: u64) {
        self.set(self.value() + count);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of one thread.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $($(#[$doc])* pub(super) $name: Counter,)*
            pub(super) latency: Histogram,
        }

        /// Their sums at one moment.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Totals {
            /// When this was, monotonic.
            pub(super) at_ns: u64,
            $($(#[$doc])* pub(super) $name: u64,)*
            pub(super) latency: Counts,
        }

        impl Totals {
            /// Adds what one thread has counted.
            pub(super) fn add(&mut self, tally: &Tally) {
                $(self.$name += tally.$name.value();)*
                tally.latency.add_to(&mut self.latency);
            }
        }
    };
}

tally! {
    /// Accepted by the server.
    connected,
    /// Not connected, refused, or not subscribed.
    failed,
    /// Lost after they were connected.
    disconnected,
    /// Ready for their work.
    ready,
    /// Topic filters acknowledged.
    subscribed,
    /// Messages handed to the connections.
    sent,
    /// Messages that came, without repetitions.
    received,
    /// Messages that came again.
    repeated,
    /// Numbers left out so far.
    gaps,
    /// Messages acknowledged by the server, all their packets together.
    acked,
    /// Messages that the server acknowledged with an error.
    refused,
    /// Processor time of the generator.
    cpu_ns,
}

/// A report of a load, as JSON.
///
/// Counts are those since the start. Rates and latencies are those of the measurement: from the end of the
/// warm-up until now or until the publishers stopped.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Snapshot {
    /// `connecting`, `warming`, `measuring`, `draining` or `ended`.
    pub phase: &'static str,
    /// Clients the server accepted.
    pub connected: u64,
    /// Clients that did not get so far.
    pub failed: u64,
    /// Clients that lost their connection.
    pub disconnected: u64,
    /// Topic filters acknowledged.
    pub subscribed: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages received, without repetitions.
    pub received: u64,
    /// Messages that came again.
    pub repeated: u64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Messages acknowledged with an error.
    pub refused: u64,
    /// Messages that did not come: while it runs, what was left out in between; at the end all.
    pub lost: u64,
    /// Length of the measurement.
    pub measured_s: f64,
    /// Sent in the measurement.
    pub sent_per_s: f64,
    /// Received in the measurement.
    pub received_per_s: f64,
    /// Messages of the measurement with a time in them.
    pub latency_count: u64,
    /// Half of the messages came within this time.
    pub latency_p50_us: f64,
    /// 90 of 100.
    pub latency_p90_us: f64,
    /// 99 of 100.
    pub latency_p99_us: f64,
    /// 999 of 1000.
    pub latency_p999_us: f64,
    /// All.
    pub latency_max_us: f64,
    /// Processor time of the generator in the measurement.
    pub cpu_s: f64,
    /// The first error of a client.
    pub error: Option<String>,
}

impl Snapshot {
    /// The report of `all`, measured from `base` to `end`.
    pub(super) fn new(all: &Totals, base: &Totals, end: &Totals) -> Self {
        let measured_s = end.at_ns.saturating_sub(base.at_ns) as f64 / 1e9;
        let per_s = |count: u64| {
            if measured_s > 0.0 {
                count as f64 / measured_s
            } else {
                0.0
            }
        };
        let latency = end.latency.since(&base.latency);
        Self {
            phase: "",
            connected: all.connected,
            failed: all.failed,
            disconnected: all.disconnected,
            subscribed: all.subscribed,
            sent: all.sent,
            received: all.received,
            repeated: all.repeated,
            acked: all.acked,
            refused: all.refused,
            lost: all.gaps,
            measured_s,
            sent_per_s: per_s(end.sent.saturating_sub(base.sent)),
            received_per_s: per_s(end.received.saturating_sub(base.received)),
            latency_count: latency.len(),
            latency_p50_us: latency.quantile_us(0.5),
            latency_p90_us: latency.quantile_us(0.9),
            latency_p99_us: latency.quantile_us(0.99),
            latency_p999_us: latency.quantile_us(0.999),
            latency_max_us: latency.quantile_us(1.0),
            cpu_s: end.cpu_ns.saturating_sub(base.cpu_ns) as f64 / 1e9,
            error: None,
        }
    }
}
