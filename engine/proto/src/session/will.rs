//! A will: the message that the broker publishes for a client that vanished.

use crate::route::message::NEVER;
use crate::route::message::{Content, Message};
use crate::wire::packet;
use crate::wire::tables::Property;
use crate::{SECOND, Time};
use std::sync::Arc;

/// A will, owned by its connection, later perhaps by its session.
#[derive(Debug)]
pub struct Will {
    /// The message; its expiry is set when it is published.
    message: Arc<Message>,
    /// Will Delay Interval in seconds, section 3.1.3.2.2.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds, counted from publication.
    expiry_s: Option<u32>,
}

impl Will {
    /// Takes the will out of a CONNECT. The caller has checked topic, QoS and retain.
    pub fn new(will: &packet::Will<'_>) -> Self {
        let (mut delay_s, mut expiry_s) = (0, None);
        for property in will.properties.iter() {
            match property {
                Property::WillDelayInterval(seconds) => delay_s = seconds,
                Property::MessageExpiryInterval(seconds) => expiry_s = Some(seconds),
                _ => {}
            }
        }
        let mut properties = Vec::new();
        for (id, raw) in will.properties.iter_raw() {
            if !matches!(id, ID_WILL_DELAY | ID_MESSAGE_EXPIRY) {
                properties.extend_from_slice(raw);
            }
        }
        let content = Content {
            topic: will.topic.as_bytes(),
            properties: &properties,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_at: NEVER,
            publisher: None,
        };
        Self {
            message: content.to_message(),
            delay_s,
            expiry_s,
        }
    }

    /// The message as published now.
    pub fn content(&self, now: Time) -> Content<'_> {
        let expires_at = self
            .expiry_s
            .map_or(NEVER, |seconds| now + Time::from(seconds) * SECOND);
        Content {
            expires_at,
            ..self.message.content()
        }
    }
}

const ID_MESSAGE_EXPIRY: u8 = 0x02;
const ID_WILL_DELAY: u8 = 0x18;
