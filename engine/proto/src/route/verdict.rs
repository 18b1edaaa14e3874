//! The closed list of ways a message can end, and the ledger that must add up.
//!
//! One *copy* is one message addressed to one session, or to nobody. For every shard and at any time:
//! `accepted = delivered + queued (now) + expired + dropped by reason`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a copy of a message was dropped. The only list of reasons there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Drop {
    /// Nobody has a subscription that matches.
    NoSubscribers,
    /// QoS 0 and the session has no connection.
    Offline,
    /// The session's queue is full by count or bytes.
    QueueFull,
    /// The queues of all sessions together are full.
    TotalQueueFull,
    /// The message waited longer than the queue keeps messages.
    QueueAge,
    /// Larger than the receiver's Maximum Packet Size, section 3.1.2.11.4.
    TooLarge,
    /// The session ended while the message was queued or inflight.
    SessionEnded,
    /// The receiver refused it by a PUBACK or PUBREC with an error code.
    Refused,
    /// The connection broke before a QoS 0 message left.
    ConnectionLost,
}

impl Drop {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::NoSubscribers,
        Self::Offline,
        Self::QueueFull,
        Self::TotalQueueFull,
        Self::QueueAge,
        Self::TooLarge,
        Self::SessionEnded,
        Self::Refused,
        Self::ConnectionLost,
    ];

    /// Name used in metrics, logs and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSubscribers => "no_subscribers",
            Self::Offline => "offline",
            Self::QueueFull => "queue_full",
            Self::TotalQueueFull => "total_queue_full",
            Self::QueueAge => "queue_age",
            Self::TooLarge => "too_large",
            Self::SessionEnded => "session_ended",
            Self::Refused => "refused",
            Self::ConnectionLost => "connection_lost",
        }
    }
}

/// A counter with one writer: the shard that owns it. Others only read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. A load and a store, no locked instruction: there is one writer.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// Takes `count` away, for gauges.
    #[inline]
    pub fn sub(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(count),
            Ordering::Relaxed,
        );
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! ledger {
    ($($(#[doc = $doc:literal])+ $field:ident),+ $(,)?) => {
        /// Counters of one shard.
        #[derive(Debug, Default)]
        pub struct Ledger {
            $($(#[doc = $doc])+ pub $field: Counter,)+
            dropped: [Counter; Drop::ALL.len()],
        }

        impl Ledger {
            /// Calls `visit` with the name and value of each counter.
            pub fn visit(&self, visit: &mut dyn FnMut(&'static str, u64)) {
                $(visit(stringify!($field), self.$field.value());)+
            }
        }
    };
}

ledger! {
    /// Copies taken on: each ends as one of the following.
    accepted,
    /// Copies written to a connection (QoS 0) or acknowledged to the end (QoS 1 and 2).
    delivered,
    /// Gauge: copies waiting in queues or for an acknowledgement.
    queued,
    /// Copies whose message expiry interval passed, section 3.3.2.3.3.
    expired,
    /// PUBLISH packets received.
    messages_received,
    /// PUBLISH packets written, retransmissions included.
    messages_sent,
    /// Bytes received from clients, after TLS and WebSocket.
    bytes_received,
    /// Bytes sent to clients, before TLS and WebSocket.
    bytes_sent,
    /// Packets received.
    packets_received,
    /// Gauge: network connections.
    connections,
    /// Gauge: sessions, with and without a connection.
    sessions,
    /// Gauge: subscriptions.
    subscriptions,
    /// Connections accepted since start.
    connects,
    /// Connections refused by a CONNACK since start.
    connects_refused,
    /// Connections closed by the keepalive check since start.
    keepalive_timeouts,
    /// Connections closed for a malformed packet or a protocol error since start.
    protocol_errors,
    /// Messages refused before routing: invalid payload, QoS or retain not supported, denied.
    publish_refused,
}

impl Ledger {
    /// Counts `count` copies that ended here. The one place where a message is dropped.
    pub fn count_drop(&self, reason: Drop, count: u64) {
        self.dropped[reason as usize].add(count);
    }

    /// Copies dropped for this reason.
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize].value()
    }

    /// Whether the equation holds.
    pub fn adds_up(&self) -> bool {
        let dropped: u64 = Drop::ALL.iter().map(|&reason| self.dropped(reason)).sum();
        self.accepted.value()
            == self.delivered.value() + self.queued.value() + self.expired.value() + dropped
    }
}
