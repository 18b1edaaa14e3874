//! An application message, borrowed while it passes through and owned where it has to wait.

use super::SessionKey;
use crate::Time;
use crate::wire::packet::QoS;
use bytes::Bytes;
use std::sync::Arc;

/// No expiry.
pub const NEVER: Time = Time::MAX;

/// A message on its way, borrowed from the packet it arrived in.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Topic name, checked.
    pub topic: &'a [u8],
    /// Encoded PUBLISH properties that pass through unchanged and in order: all but Topic Alias,
    /// Message Expiry Interval and Subscription Identifier.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// QoS of the publisher.
    pub qos: QoS,
    /// Retain flag of the publisher.
    pub retain: bool,
    /// When the message expires; [`NEVER`] without Message Expiry Interval.
    pub expires_at: Time,
    /// The publishing session, for No Local.
    pub publisher: Option<SessionKey>,
}

impl Content<'_> {
    /// Copies the message out of its packet, in one allocation for its bytes.
    pub fn to_message(&self) -> Arc<Message> {
        let mut bytes =
            Vec::with_capacity(self.topic.len() + self.properties.len() + self.payload.len());
        bytes.extend_from_slice(self.topic);
        bytes.extend_from_slice(self.properties);
        bytes.extend_from_slice(self.payload);
        Arc::new(Message {
            bytes: Bytes::from(bytes),
            topic_len: self.topic.len() as u32,
            properties_len: self.properties.len() as u32,
            expires_at: self.expires_at,
            publisher: self.publisher,
            qos: self.qos,
            retain: self.retain,
        })
    }

    /// The topic name as text.
    pub fn topic_str(&self) -> &str {
        std::str::from_utf8(self.topic).unwrap_or_default()
    }
}

/// A message that waits: queued, inflight or retained; shared by all who wait for it.
#[derive(Debug)]
pub struct Message {
    /// Topic, properties, payload.
    bytes: Bytes,
    topic_len: u32,
    properties_len: u32,
    /// When it expires; [`NEVER`] = never.
    pub expires_at: Time,
    /// The publishing session.
    pub publisher: Option<SessionKey>,
    /// QoS of the publisher.
    pub qos: QoS,
    /// Retain flag of the publisher.
    pub retain: bool,
}

impl Message {
    /// The message in the form the router and the encoder take.
    #[inline]
    pub fn content(&self) -> Content<'_> {
        let (topic, rest) = self.bytes.split_at(self.topic_len as usize);
        let (properties, payload) = rest.split_at(self.properties_len as usize);
        Content {
            topic,
            properties,
            payload,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            publisher: self.publisher,
        }
    }

    /// The payload as a shared segment.
    pub fn payload(&self) -> Bytes {
        self.bytes
            .slice((self.topic_len + self.properties_len) as usize..)
    }

    /// Bytes held, used by the queues' limits.
    pub fn len(&self) -> usize {
        self.bytes.len() + std::mem::size_of::<Self>()
    }

    /// A message always has a topic.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether its expiry has passed.
    #[inline]
    pub const fn is_expired(&self, now: Time) -> bool {
        self.expires_at <= now
    }
}
