//! Client side of a connection: command line, Python client, load generator and bridges all use it.
//!
//! The caller owns the byte stream and the clock. It calls [`Link::start`] when a stream is open, feeds what
//! arrives into [`Link::receive`], writes [`Link::output`] out, calls [`Link::expire`] at
//! [`Link::deadline`], and [`Link::lost`] when the stream is gone. What the link tells comes through the sink
//! handed to `receive`, borrowed from the input, in the order of the wire: nothing is allocated per message.
//! A link outlives its connections: after `lost`, the next `start` takes the session up again.

mod alias;
mod event;
mod handshake;
mod incoming;
mod options;
mod outgoing;
mod scram;
mod subscription;

pub use event::{Accepted, LinkError, LinkEvent};
pub use options::{LinkOptions, OwnedWill};
pub use scram::ScramClient;

use crate::wire::codec::{self, DecodeError, Frame, RawPublish};
use crate::wire::packet::{
    Ack, Connect, Disconnect, Packet, Publish, QoS, SubAck, SubscribeOptions, Version, Will,
};
use crate::wire::tables::{Properties, Property, PropertyPlace, ReasonCode};
use crate::wire::topic;
use crate::{Output, SECOND, Time};
use alias::InboundAliases;
use incoming::{Incoming, Step};
use outgoing::{Awaits, Outgoing};
use subscription::Subscriptions;

/// Token of the link's own subscriptions; callers use others.
const OWN_TOKEN: u64 = u64::MAX;

/// Shorthand for an argument that is not legal.
const fn invalid(reason: ReasonCode, what: &'static str) -> LinkError {
    LinkError::Invalid(DecodeError { reason, what })
}

/// Shorthand for a broken protocol rule.
const fn protocol(what: &'static str) -> LinkError {
    LinkError::Protocol(DecodeError {
        reason: ReasonCode::PROTOCOL_ERROR,
        what,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No stream.
    Idle,
    /// CONNECT is sent.
    Connecting,
    /// CONNACK is received.
    Connected,
    /// Over; the output may still hold a DISCONNECT.
    Closed,
}

/// The callback that gets what the server said.
pub type Sink<'s> = &'s mut dyn FnMut(LinkEvent<'_>);

/// Client side of a connection. See the module for who calls what when.
#[derive(Debug)]
pub struct Link {
    options: LinkOptions,
    state: State,
    /// Bytes to send; the caller takes them out.
    pub output: Output,
    outgoing: Outgoing,
    incoming: Incoming,
    aliases: InboundAliases,
    subscriptions: Subscriptions,
    scram: Option<Box<ScramClient>>,
    /// Received messages are not acknowledged for now.
    holds_back: bool,
    /// CONNECT of this connection asked for a clean start.
    asked_clean: bool,
    /// A connection was made before, so a session may exist.
    had_session: bool,
    session_expiry_s: u32,
    /// The server's keepalive, or ours.
    keepalive: Time,
    started: Time,
    last_sent: Time,
    last_received: Time,
    ping_sent: Option<Time>,
}

impl Link {
    /// A link without a connection.
    ///
    /// # Errors
    /// [`LinkError::Invalid`] for options that no server would take.
    pub fn new(options: LinkOptions) -> Result<Self, LinkError> {
        let check = |bytes, place| Properties::parse(bytes, place).map_err(LinkError::Invalid);
        let mut receive_maximum = u16::MAX;
        let mut alias_maximum = 0;
        let mut session_expiry_s = 0;
        let mut max_packet_bytes = options.max_packet_bytes;
        if options.version == Version::V5 {
            for property in check(&options.properties, PropertyPlace::Connect)?.iter() {
                match property {
                    Property::ReceiveMaximum(value) => receive_maximum = value,
                    Property::TopicAliasMaximum(value) => alias_maximum = value,
                    Property::SessionExpiryInterval(value) => session_expiry_s = value,
                    Property::MaximumPacketSize(value) => {
                        max_packet_bytes = max_packet_bytes.min(value as usize)
                    }
                    _ => {}
                }
            }
        } else if options.password.is_some() && options.username.is_none() {
            // [MQTT-3.1.2-22] of 3.1.1
            return Err(invalid(
                ReasonCode::BAD_USER_NAME_OR_PASSWORD,
                "a password needs a username before 5.0",
            ));
        }
        if options.version == Version::V31 && options.client_id.is_empty() {
            return Err(invalid(
                ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                "MQTT 3.1 needs a client id",
            ));
        }
        let texts = [Some(&options.client_id), options.username.as_ref()];
        if texts
            .into_iter()
            .flatten()
            .any(|text| text.len() > usize::from(u16::MAX) || text.contains('\0'))
        {
            return Err(invalid(
                ReasonCode::MALFORMED_PACKET,
                "client id or username is too long or contains NUL",
            ));
        }
        let binaries = [
            options.password.as_ref(),
            options.will.as_ref().map(|will| &will.payload),
        ];
        if binaries
            .into_iter()
            .flatten()
            .any(|bytes| bytes.len() > usize::from(u16::MAX))
        {
            return Err(invalid(
                ReasonCode::MALFORMED_PACKET,
                "password or will payload is longer than 65535 bytes",
            ));
        }
        if let Some(will) = &options.will {
            topic::check_topic_name(&will.topic).map_err(LinkError::Invalid)?;
            if options.version == Version::V5 {
                check(&will.properties, PropertyPlace::Will)?;
            }
        }
        let outgoing = Outgoing::new(
            options.version,
            options.send_window,
            options.max_queue_bytes,
        )
        .with(options.keeps_packets, options.automatic_aliases);
        Ok(Self {
            state: State::Idle,
            output: Output::new(),
            outgoing,
            incoming: Incoming::new(receive_maximum, options.manual_acks),
            aliases: InboundAliases::new(alias_maximum),
            subscriptions: Subscriptions::default(),
            scram: None,
            holds_back: false,
            asked_clean: true,
            had_session: false,
            session_expiry_s,
            keepalive: 0,
            started: 0,
            last_sent: 0,
            last_received: 0,
            ping_sent: None,
            options: LinkOptions {
                max_packet_bytes,
                ..options
            },
        })
    }

    /// Uses SCRAM-SHA-256 for the next [`start`](Self::start). Hand in a client with a fresh nonce each time.
    pub fn authenticate_with(&mut self, client: ScramClient) {
        self.scram = Some(Box::new(client));
    }

    /// The client id: ours, or the one the server assigned.
    pub fn client_id(&self) -> &str {
        &self.options.client_id
    }

    /// The protocol version.
    pub const fn version(&self) -> Version {
        self.options.version
    }

    /// Whether CONNACK was received and nothing ended the connection since.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Whether the connection is over; the caller flushes the output and closes the stream.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether anything sent awaits its answer: QoS 1 and 2 messages, subscriptions.
    pub fn awaits_answers(&self) -> bool {
        self.outgoing.awaits_answers()
    }

    /// QoS 1 and 2 messages sent and not acknowledged.
    pub fn inflight(&self) -> usize {
        self.outgoing.inflight()
    }

    /// Messages that wait for a connection or for the window.
    pub fn queued(&self) -> usize {
        self.outgoing.queued()
    }

    /// Whether a QoS 1 or 2 message given now would be sent at once.
    pub fn has_window(&self) -> bool {
        self.is_connected() && self.outgoing.has_window()
    }

    /// A stream is open: writes CONNECT to the output.
    pub fn start(&mut self, now: Time) {
        self.output.clear();
        self.aliases.clear();
        self.outgoing.disconnected();
        self.incoming.disconnected();
        self.state = State::Connecting;
        self.started = now;
        self.last_sent = now;
        self.last_received = now;
        self.ping_sent = None;
        self.keepalive = Time::from(self.options.keepalive_s) * SECOND;
        // A 5.0 session with an expiry is taken up again, however it began.
        let resumes =
            self.options.version == Version::V5 && self.had_session && self.session_expiry_s > 0;
        self.asked_clean = self.options.clean_start && !resumes;

        let options = &self.options;
        let is_v5 = options.version == Version::V5;
        let with_scram = self.scram.as_ref().filter(|_| is_v5).map(|scram| {
            let mut properties = options.properties.clone();
            scram.put_first(&mut properties);
            properties
        });
        let properties = with_scram.as_deref().unwrap_or(&options.properties);
        let place = |bytes| {
            if is_v5 {
                Properties::from_validated(bytes)
            } else {
                Properties::EMPTY
            }
        };
        let connect = Packet::Connect(Connect {
            version: options.version,
            is_bridge: options.is_bridge && !is_v5,
            clean_start: self.asked_clean,
            keepalive_s: options.keepalive_s,
            client_id: &options.client_id,
            username: options.username.as_deref(),
            password: options.password.as_deref(),
            will: options.will.as_ref().map(|will| Will {
                topic: &will.topic,
                payload: &will.payload,
                qos: will.qos,
                retain: will.retain,
                properties: place(&will.properties),
            }),
            properties: place(properties),
        });
        self.output
            .append(|out| codec::encode(&connect, options.version, out));
    }

    /// The stream is gone. What was not acknowledged is kept for the next [`start`](Self::start).
    pub fn lost(&mut self) {
        self.state = State::Idle;
        self.output.clear();
        self.outgoing.disconnected();
        self.incoming.disconnected();
        self.aliases.clear();
        self.ping_sent = None;
    }

    /// Input from the server; returns how many bytes were used. The rest is the beginning of a packet: hand it in
    /// again with more behind it.
    ///
    /// # Errors
    /// [`LinkError::Protocol`] and [`LinkError::ServerNotAuthentic`]; flush the output and close the stream.
    pub fn receive(&mut self, now: Time, input: &[u8], sink: Sink<'_>) -> Result<usize, LinkError> {
        self.last_received = now;
        let mut used = 0;
        while matches!(self.state, State::Connecting | State::Connected) {
            let rest = &input[used..];
            let step =
                codec::frame(rest, self.options.max_packet_bytes).map_err(LinkError::Protocol);
            let result = match step {
                Ok(Frame::Incomplete { .. }) => break,
                Ok(Frame::Complete {
                    first,
                    header_len,
                    total,
                }) => {
                    used += total;
                    self.packet(now, first, &rest[header_len..total], sink)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.close(error.reason());
                return Err(error);
            }
        }
        Ok(used)
    }

    fn packet(
        &mut self,
        now: Time,
        first: u8,
        body: &[u8],
        sink: Sink<'_>,
    ) -> Result<(), LinkError> {
        if first >> 4 == 3 && self.state == State::Connected {
            return self.message(first, body, sink);
        }
        let packet =
            codec::decode(self.options.version, first, body).map_err(LinkError::Protocol)?;
        if self.state == State::Connecting {
            return match packet {
                Packet::ConnAck(connack) => self.connack(now, &connack, sink),
                Packet::Auth(auth) => self.auth_received(now, &auth, sink),
                _ => Err(protocol(
                    "the first packet of a server is CONNACK [MQTT-3.2.0-1]",
                )),
            };
        }
        match packet {
            Packet::PubAck(ack) => self.ended(&ack, Awaits::PubAck, sink),
            Packet::PubRec(ack) if ack.reason.is_error() => self.ended(&ack, Awaits::PubRec, sink),
            Packet::PubRec(ack) => {
                let reason = if self.outgoing.received(ack.packet_id) {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                };
                self.put_ack(Packet::PubRel, ack.packet_id, reason);
            }
            Packet::PubComp(ack) => self.ended(&ack, Awaits::PubComp, sink),
            Packet::PubRel(ack) => {
                let reason = if self.incoming.released(ack.packet_id) {
                    ReasonCode::SUCCESS
                } else {
                    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
                };
                self.put_ack(Packet::PubComp, ack.packet_id, reason);
            }
            Packet::SubAck(SubAck {
                packet_id,
                properties,
                reasons,
            }) => {
                if let Some(token) = self.outgoing.finish(packet_id, Awaits::SubAck)
                    && token != OWN_TOKEN
                {
                    sink(LinkEvent::Subscribed {
                        token,
                        reasons,
                        properties,
                    });
                }
            }
            Packet::UnsubAck(SubAck {
                packet_id,
                properties,
                reasons,
            }) => {
                if let Some(token) = self.outgoing.finish(packet_id, Awaits::UnsubAck) {
                    sink(LinkEvent::Unsubscribed {
                        token,
                        reasons,
                        properties,
                    });
                }
            }
            Packet::PingResp => self.ping_sent = None,
            Packet::Disconnect(Disconnect { reason, properties }) => {
                self.state = State::Closed;
                sink(LinkEvent::Disconnected { reason, properties });
            }
            Packet::Auth(auth) => return self.auth_received(now, &auth, sink),
            _ => return Err(protocol("a packet that a server does not send")),
        }
        if self.outgoing.pump(&mut self.output, sink) {
            self.last_sent = now;
        }
        Ok(())
    }

    /// The hot path: one message from the server, checked and handed on without a copy.
    fn message(&mut self, first: u8, body: &[u8], sink: Sink<'_>) -> Result<(), LinkError> {
        let version = self.options.version;
        let raw = RawPublish::split(version, first, body).map_err(LinkError::Protocol)?;
        let properties = raw.properties().map_err(LinkError::Protocol)?;
        let mut topic = raw.topic_name(version).map_err(LinkError::Protocol)?;
        if version == Version::V5 {
            let alias = properties.iter().find_map(|property| match property {
                Property::TopicAlias(alias) => Some(alias),
                _ => None,
            });
            topic = self
                .aliases
                .resolve(topic, alias)
                .map_err(LinkError::Protocol)?;
        }
        let (qos, packet_id) = (raw.qos(), raw.packet_id);
        let step = self
            .incoming
            .message(qos, packet_id)
            .map_err(LinkError::Protocol)?;
        if step != Step::Answer && step != Step::Nothing {
            sink(LinkEvent::Message(Publish {
                dup: raw.dup(),
                qos,
                retain: raw.retain(),
                topic,
                packet_id,
                properties,
                payload: raw.payload,
            }));
        }
        if matches!(step, Step::DeliverAndAnswer | Step::Answer) {
            if self.holds_back && qos != QoS::AtMostOnce {
                return self
                    .incoming
                    .delay(qos, packet_id)
                    .map_err(LinkError::Protocol);
            }
            self.put_acknowledgement(qos, packet_id, ReasonCode::SUCCESS);
        }
        Ok(())
    }

    /// Leaves received messages unacknowledged until told otherwise: the server sends no more than the receive
    /// maximum then, while its answers still arrive. What is left at the end of a connection comes again.
    pub fn hold_back(&mut self, now: Time, holds: bool) {
        self.holds_back = holds;
        if holds {
            return;
        }
        for (qos, packet_id) in self.incoming.take_due() {
            self.last_sent = now;
            self.put_acknowledgement(qos, packet_id, ReasonCode::SUCCESS);
        }
    }

    /// Ends the exchange of one published message.
    fn ended(&mut self, ack: &Ack<'_>, awaits: Awaits, sink: Sink<'_>) {
        let Some(token) = self.outgoing.finish(ack.packet_id, awaits) else {
            return;
        };
        // Section 3.7.2.1: no error after a reconnect, the server was done before our PUBREL came again.
        let was_done =
            awaits == Awaits::PubComp && ack.reason == ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
        sink(LinkEvent::Published {
            token,
            reason: if was_done {
                ReasonCode::SUCCESS
            } else {
                ack.reason
            },
            properties: ack.properties,
        });
    }

    /// Publishes a message; its `dup` and `packet_id` are not used. A topic alias among the properties is a wish: the
    /// topic is always given, and goes over the wire once.
    ///
    /// # Errors
    /// Nothing was sent if an error is returned; the connection goes on.
    pub fn publish(
        &mut self,
        now: Time,
        message: &Publish<'_>,
        token: u64,
    ) -> Result<Accepted, LinkError> {
        let accepted = self.outgoing.publish(
            &mut self.output,
            message,
            token,
            self.state == State::Connected,
        )?;
        if accepted == Accepted::Sent {
            self.last_sent = now;
        }
        Ok(accepted)
    }

    /// Asks for subscriptions; sent with the next connection if there is none now.
    ///
    /// # Errors
    /// [`LinkError::Invalid`] for a bad filter, [`LinkError::PacketTooLarge`], [`LinkError::QueueFull`].
    pub fn subscribe(
        &mut self,
        now: Time,
        filters: &[(&str, SubscribeOptions)],
        properties: Properties<'_>,
        token: u64,
    ) -> Result<(), LinkError> {
        self.last_sent = now;
        let is_connected = self.is_connected();
        self.outgoing
            .subscribe(&mut self.output, filters, properties, token, is_connected)?;
        if self.options.subscribes_again {
            self.subscriptions.add(filters, properties.as_bytes());
        }
        Ok(())
    }

    /// Gives subscriptions up; sent with the next connection if there is none now.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn unsubscribe(
        &mut self,
        now: Time,
        filters: &[&str],
        properties: Properties<'_>,
        token: u64,
    ) -> Result<(), LinkError> {
        self.last_sent = now;
        let is_connected = self.is_connected();
        self.outgoing
            .unsubscribe(&mut self.output, filters, properties, token, is_connected)?;
        self.subscriptions.remove(filters);
        Ok(())
    }

    /// Acknowledges a received message, with `manual_acks`. An id that awaits nothing is ignored.
    pub fn acknowledge(&mut self, now: Time, packet_id: u16, reason: ReasonCode) {
        if let Some(qos) = self.incoming.acknowledge(packet_id, reason.is_error())
            && self.is_connected()
        {
            self.last_sent = now;
            self.put_acknowledgement(qos, packet_id, reason);
        }
    }

    /// Says goodbye; the caller flushes the output and closes the stream.
    ///
    /// # Errors
    /// [`LinkError::Invalid`] for properties that DISCONNECT does not have; nothing happened then.
    pub fn disconnect(&mut self, reason: ReasonCode, properties: &[u8]) -> Result<(), LinkError> {
        let properties =
            Properties::parse(properties, PropertyPlace::Disconnect).map_err(LinkError::Invalid)?;
        for property in properties.iter() {
            if let Property::SessionExpiryInterval(value) = property {
                // [MQTT-3.14.2-2] and section 3.14.2.2.2
                if value > 0 && self.session_expiry_s == 0 {
                    return Err(invalid(
                        ReasonCode::PROTOCOL_ERROR,
                        "the session expiry was 0 in CONNECT",
                    ));
                }
                self.session_expiry_s = value;
            }
        }
        if self.state == State::Connected {
            self.put(&Packet::Disconnect(Disconnect { reason, properties }));
        }
        self.state = State::Closed;
        Ok(())
    }

    /// Time has passed: sends PINGREQ when it is due. Extra calls are harmless.
    ///
    /// # Errors
    /// [`LinkError::ConnectTimeout`] and [`LinkError::PingTimeout`]; close the stream.
    pub fn expire(&mut self, now: Time) -> Result<(), LinkError> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if self.state == State::Connecting {
            self.state = State::Closed;
            return Err(LinkError::ConnectTimeout);
        }
        if self.ping_sent.is_some() {
            self.close(ReasonCode::UNSPECIFIED_ERROR);
            return Err(LinkError::PingTimeout);
        }
        self.ping_sent = Some(now);
        self.last_sent = now;
        self.put(&Packet::PingReq);
        Ok(())
    }

    /// The caller does not read for a while, so the silence is not the server's: no ping is missed, and pings go on.
    pub fn excuse(&mut self, now: Time) {
        self.last_received = now;
        self.ping_sent = None;
    }

    /// When [`expire`](Self::expire) is due; may change after any call.
    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Idle | State::Closed => None,
            State::Connecting => Some(self.started + self.options.connect_timeout),
            State::Connected => match self.ping_sent {
                // Any bytes prove that the server lives, also when PINGRESP waits behind a large message.
                Some(sent) => Some(sent.max(self.last_received) + self.options.ping_timeout),
                None if self.keepalive == 0 => None,
                // [MQTT-3.1.2-20], an eighth early so that it arrives in time. Silence of the server counts too: a
                // client that only sends would not notice a dead connection otherwise.
                None => Some(
                    self.last_sent.min(self.last_received) + self.keepalive - self.keepalive / 8,
                ),
            },
        }
    }

    /// Ends the connection for an error of the server; only 5.0 can say why.
    fn close(&mut self, reason: ReasonCode) {
        if self.state == State::Connected && self.options.version == Version::V5 {
            self.put(&Packet::Disconnect(Disconnect {
                reason,
                properties: Properties::EMPTY,
            }));
        }
        self.state = State::Closed;
    }

    fn put(&mut self, packet: &Packet<'_>) {
        let version = self.options.version;
        self.output
            .append(|out| codec::encode(packet, version, out));
    }

    fn put_acknowledgement(&mut self, qos: QoS, packet_id: u16, reason: ReasonCode) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.put_ack(Packet::PubAck, packet_id, reason),
            QoS::ExactlyOnce => self.put_ack(Packet::PubRec, packet_id, reason),
        }
    }

    fn put_ack(
        &mut self,
        kind: fn(Ack<'static>) -> Packet<'static>,
        packet_id: u16,
        reason: ReasonCode,
    ) {
        self.put(&kind(Ack {
            packet_id,
            reason,
            properties: Properties::EMPTY,
        }));
    }
}
