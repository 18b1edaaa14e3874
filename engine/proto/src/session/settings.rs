//! What the protocol core is told by the configuration, as plain values.

use crate::route::index::ShareStrategy;
use crate::session::credential::Credentials;
use crate::wire::packet::QoS;
use crate::{SECOND, Time};

/// Settings of the whole broker; replaced as a whole by a reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest packet accepted, fixed header included.
    pub max_packet_bytes: usize,
    /// Most messages waiting for one session.
    pub max_queue_count: usize,
    /// Most bytes waiting for one session.
    pub max_queue_bytes: usize,
    /// Most bytes waiting for all sessions together; 0 = no limit.
    pub max_total_queue_bytes: usize,
    /// Longest wait in a queue; 0 = no limit.
    pub queue_ttl: Time,
    /// Topic Alias Maximum announced to clients.
    pub max_topic_alias: u16,
    /// Most unacknowledged QoS 1 and 2 messages towards one client.
    pub max_inflight: u16,
    /// Receive Maximum announced to clients.
    pub receive_maximum: u16,
    /// Time between resends to a 3.x client on a live connection; 0 = only at reconnect.
    pub retry_interval: Time,
    /// A client is gone after keepalive × this without a packet.
    pub keepalive_multiplier: f64,
    /// Longest keepalive of 5.0 clients in seconds (Server Keep Alive); 0 = no limit.
    pub server_keepalive_s: u16,
    /// Longest Session Expiry Interval granted, seconds; `u32::MAX` = no limit.
    pub max_session_expiry_s: u32,
    /// Highest QoS a client may publish with.
    pub max_qos: QoS,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// Whether filters may hold wildcards.
    pub wildcard_available: bool,
    /// Whether `$share` filters are accepted.
    pub shared_available: bool,
    /// Whether subscription identifiers are accepted.
    pub subscription_id_available: bool,
    /// How shared subscriptions choose a member.
    pub share_strategy: ShareStrategy,
    /// Refuse payloads that are announced as UTF-8 and are not.
    pub payload_format_check: bool,
    /// Most levels of a topic name or filter.
    pub max_topic_levels: usize,
    /// Longest client id, bytes.
    pub max_client_id_bytes: usize,
    /// Most subscriptions of one session; 0 = no limit.
    pub max_subscriptions: usize,
    /// Server Reference sent when the broker refuses for load or moves away; empty = none.
    pub server_reference: String,
    /// Response Information for clients that ask; empty = none.
    pub response_information: String,
    /// Time from accept to CONNECT.
    pub connect_timeout: Time,
    /// Whether clients without username and password may connect.
    pub allow_anonymous: bool,
    /// Users for the password check and for SCRAM-SHA-256.
    pub credentials: Credentials,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_packet_bytes: 10 * 1024 * 1024,
            max_queue_count: 1024,
            max_queue_bytes: 8 * 1024 * 1024,
            max_total_queue_bytes: 512 * 1024 * 1024,
            queue_ttl: 0,
            max_topic_alias: 32,
            max_inflight: 2048,
            receive_maximum: 1024,
            retry_interval: 0,
            keepalive_multiplier: 1.5,
            server_keepalive_s: 0,
            max_session_expiry_s: u32::MAX,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            subscription_id_available: true,
            share_strategy: ShareStrategy::RoundRobin,
            payload_format_check: false,
            max_topic_levels: 128,
            max_client_id_bytes: 65_535,
            max_subscriptions: 0,
            server_reference: String::new(),
            response_information: String::new(),
            connect_timeout: 10 * SECOND,
            allow_anonymous: true,
            credentials: Credentials::default(),
        }
    }
}

/// Limits of one listener, shared by its connections. 0 = no limit.
#[derive(Clone, Debug, Default)]
pub struct ListenerLimits {
    /// Name in the configuration, for logs.
    pub name: String,
    /// Largest packet; the broker's limit holds too.
    pub max_packet_bytes: usize,
    /// Messages a second from one connection.
    pub messages_rate: f64,
    /// Bytes a second from one connection.
    pub bytes_rate: f64,
}
