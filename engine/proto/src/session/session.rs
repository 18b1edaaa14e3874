//! What outlives a connection: subscriptions, inflight messages, the queue, expiry, a delayed will.

use super::inflight::Inflight;
use super::queue::{Queue, QueueTotal};
use super::replay::Replay;
use super::will::Will;
use crate::route::SessionKey;
use crate::route::index::{FilterId, MemberState};
use crate::wire::packet::{SubscribeOptions, Version};
use crate::{SECOND, Time};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::sync::Arc;

/// Session Expiry Interval that never ends, section 3.1.2.11.2.
pub const KEEP_FOREVER: u32 = u32::MAX;

/// State of one client id.
#[derive(Debug)]
pub struct Session {
    /// Names this session for routes and other shards.
    pub key: SessionKey,
    /// Client id.
    pub client_id: Box<str>,
    /// Username of the last connection.
    pub username: Option<Box<str>>,
    /// Slot of its connection; none while offline.
    pub connection: Option<u32>,
    /// Version of the last connection.
    pub version: Version,
    /// Session Expiry Interval in seconds; 3.x: 0 or [`KEEP_FOREVER`].
    pub expiry_s: u32,
    /// When the session ends; set while offline.
    pub ends_at: Time,
    /// The one entry in the list of deadlines that counts.
    pub due_at: Time,
    /// Subscriptions by the index's number.
    pub subscriptions: HashMap<FilterId, SubscribeOptions, FixedState>,
    /// Sent and not acknowledged.
    pub inflight: Inflight,
    /// Inflight packet ids still to be sent again on this connection, oldest first.
    pub resend: VecDeque<u16>,
    /// Not yet sent.
    pub queue: Queue,
    /// Retained messages still to be sent for subscriptions made.
    pub replay: Replay,
    /// Packet ids of QoS 2 messages from the client that were routed and not yet released.
    pub unreleased: HashSet<u16, FixedState>,
    /// Whether its connection found it here, so that the client sends PUBRELs again. `[MQTT-4.4.0-1]`
    pub is_resumed: bool,
    /// Published at `will_at` unless the client comes back.
    pub delayed_will: Option<Box<Will>>,
    /// When the delayed will is due.
    pub will_at: Time,
    /// Read by the choice of share groups; only if the session has a shared subscription.
    pub member: Option<Arc<MemberState>>,
}

impl Session {
    /// A new session without a connection; what waits for it counts in `total`.
    pub fn new(client_id: &str, version: Version, total: &Arc<QueueTotal>) -> Self {
        Self {
            key: SessionKey {
                shard: 0,
                generation: 0,
                slot: 0,
            },
            client_id: client_id.into(),
            username: None,
            connection: None,
            version,
            expiry_s: 0,
            ends_at: Time::MAX,
            due_at: Time::MAX,
            subscriptions: HashMap::with_hasher(FixedState::default()),
            inflight: Inflight::default(),
            resend: VecDeque::new(),
            queue: Queue::new(Arc::clone(total)),
            replay: Replay::new(Arc::clone(total)),
            unreleased: HashSet::with_hasher(FixedState::default()),
            is_resumed: false,
            delayed_will: None,
            will_at: Time::MAX,
            member: None,
        }
    }

    /// Whether the session outlives its connection, so that sent messages must be kept until acknowledged.
    #[inline]
    pub const fn keeps(&self) -> bool {
        self.expiry_s > 0
    }

    /// Whether messages wait to be sent.
    #[inline]
    pub fn has_backlog(&self) -> bool {
        !self.queue.is_empty() || !self.replay.is_empty() || !self.resend.is_empty()
    }

    /// Messages that the client's Receive Maximum counts, section 4.9.
    #[inline]
    pub fn on_wire(&self) -> usize {
        self.inflight.len().saturating_sub(self.resend.len())
    }

    /// Starts the expiry: the connection is gone. `[MQTT-3.1.2-23]`
    pub fn start_expiry(&mut self, now: Time) {
        self.ends_at = match self.expiry_s {
            KEEP_FOREVER => Time::MAX,
            seconds => now.saturating_add(Time::from(seconds) * SECOND),
        };
    }

    /// Tells the share groups how busy this member is.
    #[inline]
    pub fn note_inflight(&self) {
        if let Some(member) = &self.member {
            member.inflight.store(
                self.inflight.len() as u32,
                std::sync::atomic::Ordering::Relaxed,
            );
        }
    }

    /// Tells the share groups whether this member can be chosen.
    pub fn note_online(&self, is_online: bool) {
        if let Some(member) = &self.member {
            member
                .online
                .store(is_online, std::sync::atomic::Ordering::Release);
        }
    }
}
