//! What one shard hands to another: a tick's messages in one batch.
//!
//! Small messages lie one behind the other in one buffer, so that passing a message on allocates nothing.

use crate::Time;
use crate::output::SHARE_FROM_BYTES;
use crate::route::SessionKey;
use crate::route::index::{FilterId, GroupMember, Route};
use crate::route::message::{Content, Message};
use crate::session::outgoing::Outgoing;
use crate::wire::packet::QoS;
use std::sync::Arc;

/// Messages from one shard to another, in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    parcels: Vec<Parcel>,
    /// Bytes of shared messages, which `bytes` does not hold.
    shared_bytes: usize,
}

/// One message of a batch.
#[derive(Debug)]
struct Parcel {
    to: Receivers,
    /// Large messages are shared instead of copied.
    message: Option<Arc<Message>>,
    start: usize,
    topic_len: u32,
    properties_len: u32,
    payload_len: u32,
    qos: QoS,
    retain: bool,
    expires_at: Time,
    publisher: Option<SessionKey>,
}

/// Who gets the message on the receiving shard.
#[derive(Debug)]
pub enum Receivers {
    /// The shard's part of this route.
    Route(Arc<Route>),
    /// As the message before.
    Same,
    /// One member of a share group.
    Member(Box<Chosen>),
}

/// A member of a share group, chosen by the sending shard.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The member and what it subscribed for.
    pub member: GroupMember,
    /// The shared subscription.
    pub filter: FilterId,
}

impl Batch {
    /// Adds a message.
    pub fn push(&mut self, to: Receivers, outgoing: &mut Outgoing<'_>) {
        let content = outgoing.content;
        let message =
            (content.payload.len() >= SHARE_FROM_BYTES).then(|| Arc::clone(outgoing.message()));
        let start = self.bytes.len();
        match &message {
            Some(message) => self.shared_bytes += message.len(),
            None => {
                self.bytes.extend_from_slice(content.topic);
                self.bytes.extend_from_slice(content.properties);
                self.bytes.extend_from_slice(content.payload);
            }
        }
        self.parcels.push(Parcel {
            to,
            message,
            start,
            topic_len: content.topic.len() as u32,
            properties_len: content.properties.len() as u32,
            payload_len: content.payload.len() as u32,
            qos: content.qos,
            retain: content.retain,
            expires_at: content.expires_at,
            publisher: content.publisher,
        });
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.parcels.len()
    }

    /// Memory it stands for.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.shared_bytes + self.parcels.len() * std::mem::size_of::<Parcel>()
    }

    /// Appends another batch behind this one.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let shift = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.parcels
            .extend(other.parcels.drain(..).map(|mut parcel| {
                parcel.start += shift;
                parcel
            }));
        self.shared_bytes += std::mem::take(&mut other.shared_bytes);
    }

    /// Forgets the messages, keeps a moderate amount of memory for the next tick.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.parcels.clear();
        self.shared_bytes = 0;
        self.bytes.shrink_to(256 * 1024);
        self.parcels.shrink_to(4096);
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Receivers, Content<'_>, Option<&Arc<Message>>)> {
        self.parcels.iter().map(|parcel| {
            let content = match &parcel.message {
                Some(message) => message.content(),
                None => self.content(parcel),
            };
            (&parcel.to, content, parcel.message.as_ref())
        })
    }

    fn content(&self, parcel: &Parcel) -> Content<'_> {
        let rest = &self.bytes[parcel.start..];
        let (topic, rest) = rest.split_at(parcel.topic_len as usize);
        let (properties, rest) = rest.split_at(parcel.properties_len as usize);
        Content {
            topic,
            properties,
            payload: &rest[..parcel.payload_len as usize],
            qos: parcel.qos,
            retain: parcel.retain,
            expires_at: parcel.expires_at,
            publisher: parcel.publisher,
        }
    }
}
