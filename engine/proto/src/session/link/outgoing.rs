//! What we send and the server acknowledges: packet ids, window, queue, and sending again after a reconnect.

use super::alias::OutboundAliases;
use super::{Accepted, LinkError, LinkEvent, Sink, invalid};
use crate::Output;
use crate::wire::codec::{
    self, RawPublish, push_unsubscribe_filter, put_remaining_length, put_string,
    remaining_length_size,
};
use crate::wire::packet::{
    Ack, Packet, Publish, QoS, Subscribe, SubscribeFilters, SubscribeOptions, Unsubscribe,
    UnsubscribeFilters, Version,
};
use crate::wire::tables::{Properties, Property, PropertyPlace, ReasonCode};
use crate::wire::topic;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// What is awaited from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    PubAck,
    PubRec,
    PubComp,
    SubAck,
    UnsubAck,
}

#[derive(Debug)]
struct Flight {
    awaits: Awaits,
    /// Takes a place in the window of this connection.
    counted: bool,
    token: u64,
    /// Order of sending.
    sequence: u64,
    /// The packet as first sent, without a topic alias; nothing if it is never sent again.
    packet: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Waiting {
    token: u64,
    /// The caller's topic alias, 0 = none.
    alias: u16,
    /// PUBLISH without a topic alias; packet id 0 for QoS 1 and 2.
    packet: Box<[u8]>,
}

/// What the server told in CONNACK.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) receive_maximum: u16,
    pub(super) max_packet_bytes: usize,
    pub(super) topic_alias_maximum: u16,
    pub(super) max_qos: QoS,
    pub(super) retain_available: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            receive_maximum: u16::MAX,
            max_packet_bytes: usize::MAX,
            topic_alias_maximum: 0,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
        }
    }
}

/// Parts of one PUBLISH to write.
struct Parts<'a> {
    first: u8,
    topic: &'a str,
    packet_id: u16,
    properties: &'a [u8],
    payload: &'a [u8],
}

#[derive(Debug)]
pub(super) struct Outgoing {
    version: Version,
    keeps_packets: bool,
    send_window: u16,
    max_queue_bytes: usize,
    /// Packet ids are our own choice, so a fixed hash is safe.
    flights: HashMap<u16, Flight, FixedState>,
    last_id: u16,
    sequence: u64,
    /// Flights that take a place in the window.
    in_window: usize,
    window: usize,
    limits: Limits,
    /// Ids to send again, in order, as the window allows, and with which DUP flag.
    resend: VecDeque<u16>,
    resend_as_dup: bool,
    queue: VecDeque<Waiting>,
    queue_bytes: usize,
    aliases: OutboundAliases,
}

impl Outgoing {
    pub(super) fn new(version: Version, send_window: u16, max_queue_bytes: usize) -> Self {
        Self {
            version,
            keeps_packets: true,
            send_window,
            max_queue_bytes,
            flights: HashMap::default(),
            last_id: 0,
            sequence: 0,
            in_window: 0,
            window: 0,
            limits: Limits::default(),
            resend: VecDeque::new(),
            resend_as_dup: false,
            queue: VecDeque::new(),
            queue_bytes: 0,
            aliases: OutboundAliases::default(),
        }
    }

    pub(super) fn with(mut self, keeps_packets: bool, automatic_aliases: u16) -> Self {
        self.keeps_packets = keeps_packets;
        self.aliases.automatic = automatic_aliases;
        self
    }

    /// QoS 1 and 2 messages sent and not acknowledged.
    pub(super) fn inflight(&self) -> usize {
        let requests =
            |flight: &&Flight| matches!(flight.awaits, Awaits::SubAck | Awaits::UnsubAck);
        self.flights.len() - self.flights.values().filter(requests).count()
    }

    pub(super) fn awaits_answers(&self) -> bool {
        !self.flights.is_empty()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn has_window(&self) -> bool {
        self.in_window < self.window
            && self.queue.is_empty()
            && self.resend.is_empty()
            && self.has_free_id()
    }

    pub(super) fn disconnected(&mut self) {
        self.window = 0;
        self.in_window = 0;
        self.resend.clear();
        self.aliases.clear();
        self.limits = Limits::default();
    }

    pub(super) fn connected(&mut self, limits: Limits) {
        self.window = usize::from(limits.receive_maximum.min(self.send_window)).max(1);
        self.aliases.maximum = limits.topic_alias_maximum;
        self.limits = limits;
    }

    /// After CONNACK: sends again what the last connection left open, in order [MQTT-4.6.0-1].
    pub(super) fn resume(&mut self, session_present: bool, output: &mut Output, sink: Sink<'_>) {
        let mut ids: Vec<u16> = self.flights.keys().copied().collect();
        ids.sort_unstable_by_key(|id| self.flights.get(id).map(|flight| flight.sequence));
        self.resend_as_dup = session_present;
        let mut ended = Vec::new();
        for id in ids {
            let Some(flight) = self.flights.get_mut(&id) else {
                continue;
            };
            flight.counted = false;
            match (flight.awaits, &flight.packet) {
                (Awaits::PubComp, _) if session_present => {
                    let release = Ack {
                        packet_id: id,
                        reason: ReasonCode::SUCCESS,
                        properties: Properties::EMPTY,
                    };
                    let version = self.version;
                    output.append(|out| codec::encode(&Packet::PubRel(release), version, out));
                }
                // The server had received it before it forgot the session.
                (Awaits::PubComp, _) => ended.push((id, ReasonCode::SUCCESS)),
                (Awaits::SubAck | Awaits::UnsubAck, Some(packet))
                    if packet.len() > self.limits.max_packet_bytes =>
                {
                    ended.push((id, ReasonCode::PACKET_TOO_LARGE));
                }
                (Awaits::SubAck | Awaits::UnsubAck, Some(packet)) => output.extend(packet),
                (_, Some(_)) => self.resend.push_back(id),
                (_, None) => ended.push((id, ReasonCode::UNSPECIFIED_ERROR)),
            }
        }
        for (id, reason) in ended {
            let Some(Flight { token, awaits, .. }) = self.flights.remove(&id) else {
                continue;
            };
            let (reasons, properties) = (&[reason.0], Properties::EMPTY);
            sink(match awaits {
                Awaits::SubAck => LinkEvent::Subscribed {
                    token,
                    reasons,
                    properties,
                },
                Awaits::UnsubAck => LinkEvent::Unsubscribed {
                    token,
                    reasons,
                    properties,
                },
                _ => LinkEvent::Published {
                    token,
                    reason,
                    properties,
                },
            });
        }
    }

    /// The awaited answer arrived: the token, and the id is free again.
    pub(super) fn finish(&mut self, packet_id: u16, awaits: Awaits) -> Option<u64> {
        if self.flights.get(&packet_id)?.awaits != awaits {
            return None;
        }
        let flight = self.flights.remove(&packet_id)?;
        self.in_window -= usize::from(flight.counted);
        Some(flight.token)
    }

    /// Awaits nothing any more for this token.
    pub(super) fn forget(&mut self, token: u64) {
        self.flights.retain(|_, flight| flight.token != token);
    }

    /// PUBREC with success arrived; whether its id is known.
    pub(super) fn received(&mut self, packet_id: u16) -> bool {
        match self.flights.get_mut(&packet_id) {
            Some(flight) if matches!(flight.awaits, Awaits::PubRec | Awaits::PubComp) => {
                flight.awaits = Awaits::PubComp;
                flight.packet = None;
                true
            }
            _ => false,
        }
    }

    /// Sends what waits as far as the window allows; whether anything was sent.
    pub(super) fn pump(&mut self, output: &mut Output, sink: Sink<'_>) -> bool {
        if self.resend.is_empty() && self.queue.is_empty() {
            return false;
        }
        let before = output.len();
        while let Some(&id) = self.resend.front() {
            if self.in_window >= self.window {
                return output.len() > before;
            }
            self.resend.pop_front();
            let Some(flight) = self.flights.get_mut(&id) else {
                continue;
            };
            let Some(packet) = flight.packet.take() else {
                continue;
            };
            if let Err(reason) = self.limits.allow(packet[0], packet.len()) {
                let token = flight.token;
                self.flights.remove(&id);
                sink(LinkEvent::Published {
                    token,
                    reason,
                    properties: Properties::EMPTY,
                });
                continue;
            }
            flight.counted = true;
            self.in_window += 1;
            let dup = if self.resend_as_dup { 0x08 } else { 0 };
            self.write_packet(output, &packet, id, 0, dup);
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.packet = Some(packet);
            }
        }
        while let Some(waiting) = self.queue.front() {
            let (first, bytes) = (waiting.packet[0], waiting.packet.len());
            let needs_id = first & 0x06 != 0;
            if needs_id && (self.in_window >= self.window || !self.has_free_id()) {
                break;
            }
            let Some(waiting) = self.queue.pop_front() else {
                break;
            };
            self.queue_bytes -= bytes;
            let mut ended = None;
            if let Err(reason) = self.limits.allow(first, bytes) {
                ended = Some(reason);
            } else {
                let id = if needs_id { self.take_id() } else { 0 };
                self.write_packet(output, &waiting.packet, id, waiting.alias, 0);
                if needs_id {
                    let packet = self.keeps_packets.then_some(waiting.packet);
                    self.note(id, awaits_of(first), waiting.token, packet);
                } else {
                    ended = Some(ReasonCode::SUCCESS);
                }
            }
            if let Some(reason) = ended {
                sink(LinkEvent::Published {
                    token: waiting.token,
                    reason,
                    properties: Properties::EMPTY,
                });
            }
        }
        output.len() > before
    }

    pub(super) fn publish(
        &mut self,
        output: &mut Output,
        message: &Publish<'_>,
        token: u64,
        is_connected: bool,
    ) -> Result<Accepted, LinkError> {
        let mut stripped = Vec::new();
        let (topic, properties, alias) = self.resolve(message, &mut stripped)?;
        let first = 0x30 | (message.qos as u8) << 1 | u8::from(message.retain);
        let body = body_size(
            self.version,
            topic,
            message.qos != QoS::AtMostOnce,
            properties.len(),
            message.payload,
        );
        if body > codec::MAX_REMAINING_LENGTH {
            return Err(LinkError::PacketTooLarge {
                bytes: body,
                limit: codec::MAX_REMAINING_LENGTH,
            });
        }
        let total = 1 + remaining_length_size(body) + body;
        self.limits
            .allow(first, total)
            .map_err(|reason| match reason {
                ReasonCode::QOS_NOT_SUPPORTED => LinkError::QoSNotSupported,
                ReasonCode::RETAIN_NOT_SUPPORTED => LinkError::RetainNotSupported,
                _ => LinkError::PacketTooLarge {
                    bytes: total,
                    limit: self.limits.max_packet_bytes,
                },
            })?;
        let mut parts = Parts {
            first,
            topic,
            packet_id: 0,
            properties,
            payload: message.payload,
        };
        let sends_now = is_connected && (message.qos == QoS::AtMostOnce || self.has_window());
        if !sends_now {
            if self.queue_bytes + total > self.max_queue_bytes {
                return Err(LinkError::QueueFull);
            }
            let mut packet = Vec::with_capacity(total);
            put_publish(&mut packet, self.version, &parts, None);
            self.queue_bytes += total;
            self.queue.push_back(Waiting {
                token,
                alias,
                packet: packet.into(),
            });
            return Ok(Accepted::Queued);
        }
        if message.qos != QoS::AtMostOnce {
            parts.packet_id = self.take_id();
            let packet = self.keeps_packets.then(|| {
                let mut packet = Vec::with_capacity(total);
                put_publish(&mut packet, self.version, &parts, None);
                packet.into()
            });
            self.note(parts.packet_id, awaits_of(first), token, packet);
        }
        let alias = self.aliases.choose(topic, alias);
        output.append(|out| put_publish(out, self.version, &parts, alias));
        Ok(Accepted::Sent)
    }

    /// Checks topic and properties; takes the topic alias out, since the link decides what goes over the wire.
    fn resolve<'a>(
        &self,
        message: &Publish<'a>,
        buf: &'a mut Vec<u8>,
    ) -> Result<(&'a str, &'a [u8], u16), LinkError> {
        if self.version != Version::V5 {
            topic::check_topic_name(message.topic).map_err(LinkError::Invalid)?;
            return Ok((message.topic, &[], 0));
        }
        let mut alias = None;
        if !message.properties.is_empty() {
            // Checked here, because callers hand in what a user typed.
            Properties::parse(message.properties.as_bytes(), PropertyPlace::Publish)
                .map_err(LinkError::Invalid)?;
            for property in message.properties.iter() {
                match property {
                    Property::TopicAlias(number) => alias = Some(number),
                    Property::SubscriptionIdentifier(_) => {
                        // [MQTT-3.3.4-6]
                        return Err(invalid(
                            ReasonCode::PROTOCOL_ERROR,
                            "a client sends no subscription identifier",
                        ));
                    }
                    _ => {}
                }
            }
        }
        let Some(alias) = alias else {
            topic::check_topic_name(message.topic).map_err(LinkError::Invalid)?;
            return Ok((message.topic, message.properties.as_bytes(), 0));
        };
        if alias == 0 || (self.window > 0 && alias > self.aliases.maximum) {
            return Err(invalid(
                ReasonCode::TOPIC_ALIAS_INVALID,
                "topic alias above the server's maximum",
            ));
        }
        topic::check_topic_name(message.topic).map_err(LinkError::Invalid)?;
        for (id, raw) in message.properties.iter_raw() {
            if id != TOPIC_ALIAS {
                buf.extend_from_slice(raw);
            }
        }
        Ok((message.topic, buf, alias))
    }

    pub(super) fn subscribe(
        &mut self,
        output: &mut Output,
        filters: &[(&str, SubscribeOptions)],
        properties: Properties<'_>,
        token: u64,
        is_connected: bool,
    ) -> Result<(), LinkError> {
        let mut payload = Vec::new();
        for &(filter, options) in filters {
            topic::check_topic_filter(filter).map_err(LinkError::Invalid)?;
            codec::push_subscribe_filter(&mut payload, filter, self.options(options));
        }
        if payload.is_empty() {
            return Err(invalid(
                ReasonCode::PROTOCOL_ERROR,
                "a SUBSCRIBE needs a filter [MQTT-3.8.3-2]",
            ));
        }
        let properties = self.properties(properties, PropertyPlace::Subscribe)?;
        let filters = SubscribeFilters::from_validated(&payload);
        let packet = |packet_id| {
            Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters,
            })
        };
        self.request(output, Awaits::SubAck, token, is_connected, packet)
    }

    pub(super) fn unsubscribe(
        &mut self,
        output: &mut Output,
        filters: &[&str],
        properties: Properties<'_>,
        token: u64,
        is_connected: bool,
    ) -> Result<(), LinkError> {
        let mut payload = Vec::new();
        for filter in filters {
            topic::check_topic_filter(filter).map_err(LinkError::Invalid)?;
            push_unsubscribe_filter(&mut payload, filter);
        }
        if payload.is_empty() {
            return Err(invalid(
                ReasonCode::PROTOCOL_ERROR,
                "an UNSUBSCRIBE needs a filter [MQTT-3.10.3-2]",
            ));
        }
        let properties = self.properties(properties, PropertyPlace::Unsubscribe)?;
        let filters = UnsubscribeFilters::from_validated(&payload);
        let packet = |packet_id| {
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties,
                filters,
            })
        };
        self.request(output, Awaits::UnsubAck, token, is_connected, packet)
    }

    fn request<'a>(
        &mut self,
        output: &mut Output,
        awaits: Awaits,
        token: u64,
        is_connected: bool,
        packet: impl FnOnce(u16) -> Packet<'a>,
    ) -> Result<(), LinkError> {
        if !self.has_free_id() {
            return Err(LinkError::QueueFull);
        }
        let id = self.take_id();
        let mut bytes = Vec::new();
        codec::encode(&packet(id), self.version, &mut bytes);
        if bytes.len()
            > self
                .limits
                .max_packet_bytes
                .min(codec::MAX_REMAINING_LENGTH)
        {
            return Err(LinkError::PacketTooLarge {
                bytes: bytes.len(),
                limit: self.limits.max_packet_bytes,
            });
        }
        if is_connected {
            output.extend(&bytes);
        }
        self.sequence += 1;
        let packet = Some(bytes.into());
        self.flights.insert(
            id,
            Flight {
                awaits,
                counted: false,
                token,
                sequence: self.sequence,
                packet,
            },
        );
        Ok(())
    }

    /// 3.x knows nothing but the QoS.
    const fn options(&self, options: SubscribeOptions) -> SubscribeOptions {
        if matches!(self.version, Version::V5) {
            return options;
        }
        SubscribeOptions {
            qos: options.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        }
    }

    fn properties<'a>(
        &self,
        properties: Properties<'a>,
        place: PropertyPlace,
    ) -> Result<Properties<'a>, LinkError> {
        if self.version != Version::V5 {
            return Ok(Properties::EMPTY);
        }
        Properties::parse(properties.as_bytes(), place).map_err(LinkError::Invalid)
    }

    /// Writes a kept packet with this id, an alias if there is one, and the DUP flag.
    fn write_packet(
        &mut self,
        output: &mut Output,
        packet: &[u8],
        packet_id: u16,
        wanted: u16,
        dup: u8,
    ) {
        // Our own bytes: they always split.
        let Ok(codec::Frame::Complete {
            first, header_len, ..
        }) = codec::frame(packet, usize::MAX)
        else {
            return;
        };
        let id_bytes = packet_id.to_be_bytes();
        let Some(body) = packet.get(header_len..) else {
            return;
        };
        let mut topic_len = [0; 2];
        topic_len.copy_from_slice(&body[..2]);
        let id_at = header_len + 2 + usize::from(u16::from_be_bytes(topic_len));
        if self.aliases.maximum == 0 || (wanted == 0 && self.aliases.automatic == 0) {
            output.append(|out| {
                let start = out.len();
                out.extend_from_slice(packet);
                out[start] |= dup;
                if packet_id != 0 {
                    out[start + id_at..start + id_at + 2].copy_from_slice(&id_bytes);
                }
            });
            return;
        }
        // The kept form holds id 0 while it waits, which `split` would refuse.
        let mut patched = body.to_vec();
        if packet_id != 0 {
            let at = id_at - header_len;
            patched[at..at + 2].copy_from_slice(&id_bytes);
        }
        let Ok(raw) = RawPublish::split(self.version, first, &patched) else {
            return;
        };
        let Ok(topic) = std::str::from_utf8(raw.topic) else {
            return;
        };
        let alias = self.aliases.choose(topic, wanted);
        let parts = Parts {
            first: first | dup,
            topic,
            packet_id,
            properties: raw.properties,
            payload: raw.payload,
        };
        output.append(|out| put_publish(out, self.version, &parts, alias));
    }

    fn note(&mut self, id: u16, awaits: Awaits, token: u64, packet: Option<Box<[u8]>>) {
        // A packet that waited in the queue was encoded before it had an id; `write_packet` patches it again.
        self.sequence += 1;
        self.in_window += 1;
        self.flights.insert(
            id,
            Flight {
                awaits,
                counted: true,
                token,
                sequence: self.sequence,
                packet,
            },
        );
    }

    fn has_free_id(&self) -> bool {
        self.flights.len() < usize::from(u16::MAX)
    }

    /// The next free packet id; the caller has checked that there is one.
    fn take_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.flights.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

impl Limits {
    /// Whether the server takes a PUBLISH of this size and with these flags.
    fn allow(&self, first: u8, bytes: usize) -> Result<(), ReasonCode> {
        if (first >> 1) & 3 > self.max_qos as u8 {
            return Err(ReasonCode::QOS_NOT_SUPPORTED); // [MQTT-3.2.2-11]
        }
        if first & 1 != 0 && !self.retain_available {
            return Err(ReasonCode::RETAIN_NOT_SUPPORTED); // [MQTT-3.2.2-14]
        }
        if bytes > self.max_packet_bytes {
            return Err(ReasonCode::PACKET_TOO_LARGE); // [MQTT-3.2.2-15]
        }
        Ok(())
    }
}

const TOPIC_ALIAS: u8 = 0x23;

const fn awaits_of(first: u8) -> Awaits {
    if first & 0x04 != 0 {
        Awaits::PubRec
    } else {
        Awaits::PubAck
    }
}

fn body_size(
    version: Version,
    topic: &str,
    has_id: bool,
    properties: usize,
    payload: &[u8],
) -> usize {
    let prefix = if version == Version::V5 {
        remaining_length_size(properties) + properties
    } else {
        0
    };
    2 + topic.len() + if has_id { 2 } else { 0 } + prefix + payload.len()
}

/// Writes a PUBLISH; `alias` is its number and whether the server knows it.
fn put_publish(out: &mut Vec<u8>, version: Version, parts: &Parts<'_>, alias: Option<(u16, bool)>) {
    let topic = if matches!(alias, Some((_, true))) {
        ""
    } else {
        parts.topic
    };
    let properties = parts.properties.len() + if alias.is_some() { 3 } else { 0 };
    let has_id = parts.first & 0x06 != 0;
    let body = body_size(version, topic, has_id, properties, parts.payload);
    out.reserve(body + 5);
    out.push(parts.first);
    put_remaining_length(out, body);
    put_string(out, topic);
    if has_id {
        out.extend_from_slice(&parts.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        put_remaining_length(out, properties);
        if let Some((alias, _)) = alias {
            Property::TopicAlias(alias).encode(out);
        }
        out.extend_from_slice(parts.properties);
    }
    out.extend_from_slice(parts.payload);
}
