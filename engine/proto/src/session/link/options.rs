//! What the user of a link decides.

use crate::wire::codec;
use crate::wire::packet::{QoS, Version};
use crate::{SECOND, Time};
use std::fmt;

/// Message that the server publishes when this client is gone.
#[derive(Clone, Debug)]
pub struct OwnedWill {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Encoded will properties without their length, 5.0 only.
    pub properties: Vec<u8>,
}

/// What a [`Link`] needs to know.
#[derive(Clone)]
pub struct LinkOptions {
    /// Protocol version.
    pub version: Version,
    /// Client id; empty lets a 3.1.1 or 5.0 server choose.
    pub client_id: String,
    /// Clean start (5.0, first connection only if the session has an expiry) or clean session (3.x).
    pub clean_start: bool,
    /// Keepalive in seconds, 0 = none.
    pub keepalive_s: u16,
    /// Username.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Will.
    pub will: Option<OwnedWill>,
    /// Encoded CONNECT properties without their length, 5.0 only. Receive maximum, maximum packet size, topic alias
    /// maximum and session expiry are read from here.
    pub properties: Vec<u8>,
    /// Says with the bridge bit of 3.x that this is a bridge.
    pub is_bridge: bool,
    /// Largest packet accepted from the server.
    pub max_packet_bytes: usize,
    /// QoS 1 and 2 messages sent and not acknowledged, whatever more the server allows.
    pub send_window: u16,
    /// Bytes of messages that wait for a connection or for the window.
    pub max_queue_bytes: usize,
    /// Keeps sent messages until they are acknowledged, to send them again after a reconnect.
    pub keeps_packets: bool,
    /// Topics that get a topic alias by themselves, as far as the server allows; 0 = none.
    pub automatic_aliases: u16,
    /// Subscribes again by itself after a reconnect if the server has lost the session.
    pub subscribes_again: bool,
    /// The caller acknowledges received QoS 1 and 2 messages with [`acknowledge`](super::Link::acknowledge).
    pub manual_acks: bool,
    /// Time for the server to answer CONNECT.
    pub connect_timeout: Time,
    /// Time for the server to answer PINGREQ.
    pub ping_timeout: Time,
}

impl LinkOptions {
    /// Defaults for this version and client id: clean start, keepalive 60 s, window 1,024.
    pub fn new(version: Version, client_id: impl Into<String>) -> Self {
        Self {
            version,
            client_id: client_id.into(),
            clean_start: true,
            keepalive_s: 60,
            username: None,
            password: None,
            will: None,
            properties: Vec::new(),
            is_bridge: false,
            max_packet_bytes: codec::MAX_REMAINING_LENGTH + 5,
            send_window: 1024,
            max_queue_bytes: 64 << 20,
            keeps_packets: true,
            automatic_aliases: 0,
            subscribes_again: false,
            manual_acks: false,
            connect_timeout: 10 * SECOND,
            ping_timeout: 10 * SECOND,
        }
    }
}

impl fmt::Debug for LinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords and payloads never reach a log.
        f.debug_struct("LinkOptions")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keepalive_s", &self.keepalive_s)
            .finish_non_exhaustive()
    }
}
