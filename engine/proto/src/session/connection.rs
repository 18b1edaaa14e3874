//! Server side of one network connection: handshake, keepalive, aliases, limits.

use super::rate::RateLimit;
use super::scram;
use super::settings::ListenerLimits;
use super::will::Will;
use crate::output::Output;
use crate::route::SessionKey;
use crate::route::router::CachedRoute;
use crate::wire::packet::Version;
use crate::{SECOND, Time};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::sync::Arc;

/// Five fields of 64 KiB and their properties.
const CONNECT_BYTES: usize = 512 * 1024;

/// A connection that does not take its bytes may have this many waiting before messages go to the queue.
const BLOCKED_BYTES: usize = 256 * 1024;

/// How far a connection is.
#[derive(Debug)]
pub enum Stage {
    /// Nothing but CONNECT is legal. `[MQTT-3.1.0-1]`
    AwaitsConnect,
    /// Enhanced authentication before CONNACK: only AUTH and DISCONNECT are legal. `[MQTT-3.1.2-30]`
    Authenticates(Box<PendingConnect>),
    /// Connected to this session.
    Online(SessionKey),
    /// The last bytes are being sent; input is ignored.
    Closing,
}

/// A CONNECT that waits for the end of its authentication.
#[derive(Debug)]
pub struct PendingConnect {
    /// The packet, header included.
    pub packet: Vec<u8>,
    /// Length of its fixed header.
    pub header_len: usize,
}

/// A running SCRAM exchange and its method.
#[derive(Debug)]
pub struct Authentication {
    /// The user of the session; a new proof must be for the same one.
    pub username: Option<String>,
    /// Waiting for the client's final message.
    pub exchange: Option<scram::Exchange>,
}

/// Where a connection comes from, as told by the world.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Peer address as text, after the PROXY protocol.
    pub peer: String,
    /// Limits and name of the listener.
    pub listener: Arc<ListenerLimits>,
}

/// One network connection.
#[derive(Debug)]
pub struct Connection {
    /// How far it is.
    pub stage: Stage,
    /// Version of its CONNECT; 5.0 until then.
    pub version: Version,
    /// Bytes to be sent.
    pub out: Output,
    /// Set while it is in the list of connections with something to send.
    pub is_dirty: bool,
    /// Set by the shard while the socket would block: messages wait in the session's queue.
    pub is_blocked: bool,
    /// Whether the client wants reason strings and user properties, section 3.1.2.11.7.
    pub wants_problem_information: bool,
    /// Open QoS 1 and 2 messages the client accepts.
    pub window: u16,
    /// Largest packet the client accepts.
    pub max_packet_bytes: usize,
    /// Largest packet accepted from the client.
    pub max_receive_bytes: usize,
    /// Time without a packet after which the client is gone; `Time::MAX` = never.
    pub keepalive: Time,
    /// Keepalive in seconds in force, for reports.
    pub keepalive_s: u16,
    /// When the last packet arrived (before CONNECT: when the connection was made).
    pub last_received: Time,
    /// Time between resends of unacknowledged messages on a live 3.x connection; 0 = none.
    pub retry_interval: Time,
    /// When they are sent again.
    pub retry_at: Time,
    /// Not read before this time: a rate limit.
    pub paused_until: Time,
    /// Not read: a rate limit, or the client does not take our answers.
    pub is_paused: bool,
    /// The one entry in the list of deadlines that counts.
    pub due_at: Time,
    /// Session Expiry Interval of CONNECT, before limits: decides whether DISCONNECT may set one.
    pub connect_expiry_s: u32,
    /// Set when its CONNECT waited once for the connection that it takes over.
    pub has_yielded: bool,
    /// Clean start as asked, for reports.
    pub clean_start: bool,
    /// Route of the last topic published.
    pub cached: Option<CachedRoute>,
    /// Topics by alias, client to broker.
    pub aliases_in: AliasesIn,
    /// Aliases by topic, broker to client.
    pub aliases_out: Option<Box<AliasesOut>>,
    /// Published if the client vanishes.
    pub will: Option<Box<Will>>,
    /// Enhanced authentication in use.
    pub authentication: Option<Box<Authentication>>,
    /// Limits of messages and bytes a second.
    pub rate: Option<Box<RateLimit>>,
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// PUBLISH packets received.
    pub received: u64,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(now: Time, origin: Arc<Origin>, max_receive_bytes: usize) -> Self {
        let limits = &origin.listener;
        let rate = RateLimit::new(now, limits.messages_rate, limits.bytes_rate).map(Box::new);
        Self {
            stage: Stage::AwaitsConnect,
            version: Version::V5,
            out: Output::new(),
            is_dirty: false,
            is_blocked: false,
            wants_problem_information: true,
            window: u16::MAX,
            max_packet_bytes: usize::MAX,
            max_receive_bytes,
            keepalive: Time::MAX,
            keepalive_s: 0,
            last_received: now,
            retry_interval: 0,
            retry_at: Time::MAX,
            paused_until: 0,
            is_paused: false,
            due_at: Time::MAX,
            connect_expiry_s: 0,
            has_yielded: false,
            clean_start: true,
            cached: None,
            aliases_in: AliasesIn::default(),
            aliases_out: None,
            will: None,
            authentication: None,
            rate,
            origin,
            received: 0,
        }
    }

    /// Largest packet accepted now: a stranger cannot make us hold more than a CONNECT can need.
    #[inline]
    pub fn receive_limit(&self) -> usize {
        match self.stage {
            Stage::Online(_) => self.max_receive_bytes,
            _ => self.max_receive_bytes.min(CONNECT_BYTES),
        }
    }

    /// Whether it speaks 5.0.
    #[inline]
    pub fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Whether messages have to wait in the session's queue for the socket.
    #[inline]
    pub const fn is_congested(&self) -> bool {
        self.is_blocked && self.out.len() >= BLOCKED_BYTES
    }

    /// Whether messages are sent again on this connection, not only on the next one.
    #[inline]
    pub const fn resends_live(&self) -> bool {
        self.retry_interval != 0
    }

    /// Sets the keepalive in force. `[MQTT-3.1.2-22]`, with the broker's factor for 1.5.
    pub fn set_keepalive(&mut self, seconds: u16, multiplier: f64) {
        self.keepalive_s = seconds;
        self.keepalive = match seconds {
            0 => Time::MAX,
            seconds => (f64::from(seconds) * multiplier * SECOND as f64) as Time,
        };
    }

    /// When the client is gone unless a packet arrives before.
    pub const fn keepalive_due(&self) -> Time {
        self.last_received.saturating_add(self.keepalive)
    }
}

/// Topics by the alias that the client gave them. The caller bounds the aliases by the maximum announced.
#[derive(Debug, Default)]
pub struct AliasesIn(Vec<Option<Box<[u8]>>>);

impl AliasesIn {
    /// Sets the topic of an alias, which is 1 or more.
    pub fn set(&mut self, alias: u16, topic: &[u8]) {
        let at = usize::from(alias) - 1;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        if let Some(entry) = self.0.get_mut(at) {
            *entry = Some(topic.into());
        }
    }

    /// The topic of an alias, if one was set.
    pub fn topic(&self, alias: u16) -> Option<&[u8]> {
        self.0.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }
}

/// Aliases the broker gave to topics on one connection: first come, first served.
#[derive(Debug)]
pub struct AliasesOut {
    maximum: u16,
    topics: HashMap<Box<[u8]>, u16, FixedState>,
}

/// How a topic goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// In full, no alias is left.
    None,
    /// In full, and the client shall remember this alias.
    New(u16),
    /// By alias alone.
    Known(u16),
}

impl AliasesOut {
    /// `maximum` is the client's Topic Alias Maximum; no more than 256 are used, which bounds the memory.
    pub fn new(maximum: u16, seed: u64) -> Self {
        Self {
            maximum: maximum.min(256),
            topics: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// The alias of a topic. Topics that are hardly longer than an alias get none, nor do those so long that
    /// remembering them costs more than it saves.
    pub fn alias(&mut self, topic: &[u8]) -> Alias {
        if topic.len() < 4 || topic.len() > 1024 {
            return Alias::None;
        }
        if let Some(&alias) = self.topics.get(topic) {
            return Alias::Known(alias);
        }
        if self.topics.len() >= usize::from(self.maximum) {
            return Alias::None;
        }
        let alias = self.topics.len() as u16 + 1;
        self.topics.insert(topic.into(), alias);
        Alias::New(alias)
    }

    /// Takes the newest alias back: the packet that would have told it was not sent.
    pub fn forget(&mut self, topic: &[u8]) {
        self.topics.remove(topic);
    }
}
