//! Between a client's handle and the thread that drives it: commands in, events out, bounded.

use super::{OwnedPublish, Scram};
use crate::eventfd::EventFd;
use nanomq_proto::wire::packet::{QoS, SubscribeOptions};
use nanomq_proto::wire::tables::ReasonCode;
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Messages that may wait before the connection is not read any more.
const MAX_MESSAGES: usize = 4096;

/// Their topics, payloads and properties, in bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What the handle asks for.
#[derive(Debug)]
pub(super) enum Command {
    Connect,
    Publish(Box<OwnedPublish>, u64),
    Subscribe {
        filters: Vec<(String, SubscribeOptions)>,
        properties: Vec<u8>,
        token: u64,
    },
    Unsubscribe {
        filters: Vec<String>,
        properties: Vec<u8>,
        token: u64,
    },
    Acknowledge {
        packet_id: u16,
        reason: ReasonCode,
    },
    Auth {
        reason: ReasonCode,
        properties: Vec<u8>,
    },
    Reauthenticate(Scram),
    Disconnect {
        reason: ReasonCode,
        properties: Vec<u8>,
    },
    Close,
}

/// What a client tells. Properties are encoded, without their length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server accepted the connection.
    Connected {
        /// The server kept the session.
        session_present: bool,
        /// The client id in use, assigned or ours.
        client_id: String,
        /// CONNACK properties.
        properties: Vec<u8>,
    },
    /// The server refused the connection.
    Refused {
        /// Reason in its 5.0 form.
        reason: ReasonCode,
        /// CONNACK properties.
        properties: Vec<u8>,
        /// Another attempt follows by itself.
        retries: bool,
    },
    /// The connection was lost or not made.
    Lost {
        /// The reason of the server's DISCONNECT, if it sent one.
        reason: Option<ReasonCode>,
        /// Properties of that DISCONNECT.
        properties: Vec<u8>,
        /// What happened, for people.
        text: String,
        /// Another attempt follows by itself.
        retries: bool,
    },
    /// The client said goodbye, or was closed.
    Closed,
    /// A message.
    Message {
        /// Topic name.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// QoS.
        qos: QoS,
        /// Retain flag.
        retain: bool,
        /// DUP flag.
        dup: bool,
        /// To acknowledge by hand; 0 for QoS 0.
        packet_id: u16,
        /// Properties.
        properties: Vec<u8>,
    },
    /// The way of a published message ended at the server, or for QoS 0 in the socket.
    Published {
        /// As given.
        token: u64,
        /// The server's reason.
        reason: ReasonCode,
        /// Properties of its answer.
        properties: Vec<u8>,
    },
    /// SUBACK.
    Subscribed {
        /// As given.
        token: u64,
        /// One code a filter.
        reasons: Vec<u8>,
        /// Properties.
        properties: Vec<u8>,
    },
    /// UNSUBACK.
    Unsubscribed {
        /// As given.
        token: u64,
        /// One code a filter; empty in 3.x.
        reasons: Vec<u8>,
        /// Properties.
        properties: Vec<u8>,
    },
    /// A publish, subscribe or unsubscribe was not possible; nothing was sent.
    Failed {
        /// As given.
        token: u64,
        /// The nearest reason.
        reason: ReasonCode,
        /// For people.
        text: String,
    },
    /// AUTH.
    Auth {
        /// Reason.
        reason: ReasonCode,
        /// Properties.
        properties: Vec<u8>,
    },
}

impl Event {
    /// Bytes that count against the limit; only messages come without being asked for.
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::Message {
                topic,
                payload,
                properties,
                ..
            } => Some(topic.len() + payload.len() + properties.len()),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Written by the handle, taken by the driver.
    commands: VecDeque<Command>,
    /// Answers and changes; written by the driver, taken by the handle. Bounded by what was asked for.
    answers: Vec<Event>,
    /// Messages; written by the driver, taken by the handle.
    messages: Vec<Event>,
    message_bytes: usize,
    /// Messages that found no room.
    dropped: u64,
    /// The descriptor is readable.
    is_signalled: bool,
    /// The driver's task, when it waits.
    waker: Option<Waker>,
}

/// The lock is held for moving values only; no other lock is taken under it.
#[derive(Debug)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    pub(super) fd: EventFd,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            inner: Mutex::default(),
            fd: EventFd::new()?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, command: Command) {
        let waker = {
            let mut inner = self.lock();
            inner.commands.push_back(command);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the answers and, if wanted, the messages behind them.
    pub(super) fn drain(&self, with_messages: bool) -> Vec<Event> {
        let (events, waker) = {
            let mut inner = self.lock();
            if std::mem::take(&mut inner.is_signalled) {
                self.fd.clear();
            }
            let mut events = std::mem::take(&mut inner.answers);
            let was_full = with_messages && inner.is_full();
            if with_messages {
                inner.message_bytes = 0;
                if events.is_empty() {
                    events = std::mem::take(&mut inner.messages);
                } else {
                    events.append(&mut inner.messages);
                }
            }
            (events, if was_full { inner.waker.take() } else { None })
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        events
    }

    /// Hands over the events of one turn.
    pub(super) fn tell(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for event in events.drain(..) {
            match event.bytes() {
                Some(bytes) => {
                    inner.message_bytes += bytes;
                    inner.messages.push(event);
                }
                None => inner.answers.push(event),
            }
        }
        if !std::mem::replace(&mut inner.is_signalled, true) {
            self.fd.set();
        }
    }

    /// Messages of QoS 0 found no room.
    pub(super) fn count_dropped(&self, count: u64) {
        if count > 0 {
            self.lock().dropped += count;
        }
    }

    /// How many did so far.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Takes the waiting commands and notes whom to wake; tells whether there are too many messages.
    pub(super) fn take(&self, cx: &Context<'_>, commands: &mut VecDeque<Command>) -> bool {
        let mut inner = self.lock();
        if commands.is_empty() {
            std::mem::swap(&mut inner.commands, commands);
        } else {
            commands.append(&mut inner.commands);
        }
        if !inner
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            inner.waker = Some(cx.waker().clone());
        }
        inner.is_full()
    }
}

impl Inner {
    fn is_full(&self) -> bool {
        self.messages.len() >= MAX_MESSAGES || self.message_bytes >= MAX_MESSAGE_BYTES
    }
}
