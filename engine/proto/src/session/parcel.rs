//! What one shard hands to another: a tick's messages in one batch.
//!
//! Small messages lie one behind the other in one buffer, so that passing a message on allocates nothing.

use crate::Time;
use crate::output::SHARE_FROM_BYTES;
use crate::route::SessionKey;
use crate::route::index::{FilterId, GroupMember, Route};
use crate::route::message::{Content, Message};
use crate::session::outgoing::Outgoing;
use crate::session::run::Run;
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

/// One piece of a batch.
#[derive(Debug)]
struct Parcel {
    to: Receivers,
    /// Where its bytes begin.
    start: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Topic, properties, payload.
    Copied(Head),
    /// A large message.
    Shared(Arc<Message>),
    /// Whole packets.
    Run {
        len: usize,
        packets: u64,
        largest: usize,
        topic_len: usize,
        is_v5: bool,
        publisher: SessionKey,
    },
}

/// What a copied message is besides its bytes.
#[derive(Debug)]
struct Head {
    topic_len: u32,
    properties_len: u32,
    payload_len: u32,
    qos: QoS,
    retain: bool,
    expires_at: Time,
    publisher: Option<SessionKey>,
}

/// One piece of a batch, as it is read.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// A message, perhaps in the form that can wait.
    Message(Content<'a>, Option<&'a Arc<Message>>),
    /// Several messages.
    Run(Run<'a>),
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
    pub(super) fn push(&mut self, to: Receivers, outgoing: &mut Outgoing<'_>) {
        let content = outgoing.content;
        let start = self.bytes.len();
        let kind = if content.payload.len() >= SHARE_FROM_BYTES {
            let message = Arc::clone(outgoing.message());
            self.shared_bytes += message.len();
            Kind::Shared(message)
        } else {
            self.bytes.extend_from_slice(content.topic);
            self.bytes.extend_from_slice(content.properties);
            self.bytes.extend_from_slice(content.payload);
            Kind::Copied(Head {
                topic_len: content.topic.len() as u32,
                properties_len: content.properties.len() as u32,
                payload_len: content.payload.len() as u32,
                qos: content.qos,
                retain: content.retain,
                expires_at: content.expires_at,
                publisher: content.publisher,
            })
        };
        self.parcels.push(Parcel { to, start, kind });
    }

    /// Adds a run.
    pub(super) fn push_run(&mut self, to: Receivers, run: Run<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(run.bytes);
        let kind = Kind::Run {
            len: run.bytes.len(),
            packets: run.packets,
            largest: run.largest,
            topic_len: run.topic_len,
            is_v5: run.is_v5,
            publisher: run.publisher,
        };
        self.parcels.push(Parcel { to, start, kind });
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

    /// What is in it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Receivers, Piece<'_>)> {
        self.parcels.iter().map(|parcel| {
            let rest = &self.bytes[parcel.start..];
            let piece = match &parcel.kind {
                Kind::Copied(head) => Piece::Message(head.content(rest), None),
                Kind::Shared(message) => Piece::Message(message.content(), Some(message)),
                &Kind::Run {
                    len,
                    packets,
                    largest,
                    topic_len,
                    is_v5,
                    publisher,
                } => Piece::Run(Run {
                    bytes: &rest[..len],
                    packets,
                    largest,
                    topic_len,
                    is_v5,
                    publisher,
                }),
            };
            (&parcel.to, piece)
        })
    }
}

impl Head {
    /// The message whose bytes are at the beginning of `bytes`.
    fn content<'a>(&self, bytes: &'a [u8]) -> Content<'a> {
        let (topic, rest) = bytes.split_at(self.topic_len as usize);
        let (properties, rest) = rest.split_at(self.properties_len as usize);
        Content {
            topic,
            properties,
            payload: &rest[..self.payload_len as usize],
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            publisher: self.publisher,
        }
    }
}
