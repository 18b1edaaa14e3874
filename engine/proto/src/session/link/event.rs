//! What a link tells, and how its calls fail.

use crate::wire::codec::DecodeError;
use crate::wire::packet::Publish;
use crate::wire::tables::{Properties, ReasonCode};
use std::fmt;

/// What the server said, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent<'a> {
    /// CONNACK with success.
    Connected {
        /// The server kept the session.
        session_present: bool,
        /// CONNACK properties.
        properties: Properties<'a>,
    },
    /// CONNACK with an error; the link is closed.
    Refused {
        /// Reason in its 5.0 form.
        reason: ReasonCode,
        /// CONNACK properties.
        properties: Properties<'a>,
    },
    /// A message; its topic alias is resolved. With `manual_acks`, QoS 1 and 2 wait for [`acknowledge`](super::Link::acknowledge).
    Message(Publish<'a>),
    /// The way of a published message ended. QoS 0 is told only if it was queued.
    Published {
        /// As given to [`publish`](super::Link::publish).
        token: u64,
        /// The server's code; or why the message could not be sent.
        reason: ReasonCode,
        /// Properties of the server's answer.
        properties: Properties<'a>,
    },
    /// SUBACK.
    Subscribed {
        /// As given to [`subscribe`](super::Link::subscribe).
        token: u64,
        /// One code a filter, as on the wire.
        reasons: &'a [u8],
        /// Properties.
        properties: Properties<'a>,
    },
    /// UNSUBACK.
    Unsubscribed {
        /// As given to [`unsubscribe`](super::Link::unsubscribe).
        token: u64,
        /// One code a filter; empty in 3.x.
        reasons: &'a [u8],
        /// Properties.
        properties: Properties<'a>,
    },
    /// DISCONNECT from the server; the link is closed.
    Disconnected {
        /// The server's reason.
        reason: ReasonCode,
        /// Properties.
        properties: Properties<'a>,
    },
    /// AUTH that the link does not answer itself: another method than SCRAM, or the end of a re-authentication.
    Auth {
        /// Reason.
        reason: ReasonCode,
        /// Properties.
        properties: Properties<'a>,
    },
}

/// Why a call failed. [`is_fatal`](Self::is_fatal) tells whether the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The server broke the protocol; a 5.0 server was told.
    Protocol(DecodeError),
    /// An argument is not legal.
    Invalid(DecodeError),
    /// Larger than the server's maximum packet size.
    PacketTooLarge {
        /// Size of the packet.
        bytes: usize,
        /// The server's limit.
        limit: usize,
    },
    /// The server does not support this QoS.
    QoSNotSupported,
    /// The server does not support retained messages.
    RetainNotSupported,
    /// The queue of waiting messages is full.
    QueueFull,
    /// There is no connection.
    NotConnected,
    /// CONNECT was not answered in time.
    ConnectTimeout,
    /// PINGREQ was not answered in time.
    PingTimeout,
    /// The server did not prove that it knows the password.
    ServerNotAuthentic,
}

impl LinkError {
    /// Whether the connection is over. Otherwise only the call failed and nothing was sent.
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Protocol(_) | Self::ConnectTimeout | Self::PingTimeout | Self::ServerNotAuthentic
        )
    }

    /// The nearest reason code.
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::Protocol(error) | Self::Invalid(error) => error.reason,
            Self::PacketTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Self::QoSNotSupported => ReasonCode::QOS_NOT_SUPPORTED,
            Self::RetainNotSupported => ReasonCode::RETAIN_NOT_SUPPORTED,
            Self::QueueFull => ReasonCode::QUOTA_EXCEEDED,
            Self::NotConnected => ReasonCode::UNSPECIFIED_ERROR,
            Self::ConnectTimeout | Self::PingTimeout => ReasonCode::KEEP_ALIVE_TIMEOUT,
            Self::ServerNotAuthentic => ReasonCode::NOT_AUTHORIZED,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "the server broke the protocol: {}", error.what),
            Self::Invalid(error) => f.write_str(error.what),
            Self::PacketTooLarge { bytes, limit } => {
                write!(
                    f,
                    "packet of {bytes} bytes; the server takes at most {limit}"
                )
            }
            Self::QoSNotSupported => f.write_str("the server does not support this QoS"),
            Self::RetainNotSupported => {
                f.write_str("the server does not support retained messages")
            }
            Self::QueueFull => f.write_str("the queue of waiting messages is full"),
            Self::NotConnected => f.write_str("not connected"),
            Self::ConnectTimeout => f.write_str("the server did not answer CONNECT in time"),
            Self::PingTimeout => f.write_str("the server did not answer PINGREQ in time"),
            Self::ServerNotAuthentic => {
                f.write_str("the server did not prove that it knows the password")
            }
        }
    }
}

impl std::error::Error for LinkError {}

/// What became of a message given to [`publish`](super::Link::publish).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is in the output. For QoS 0 nothing more is told.
    Sent,
    /// It waits; [`LinkEvent::Published`] follows for every QoS.
    Queued,
}
