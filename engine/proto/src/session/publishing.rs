//! PUBLISH from a client, and the acknowledgements of both directions.

use super::connection::{AliasesIn, Stage};
use super::inflight::{Acknowledged, Awaits};
use super::outgoing::{Inbound, Outgoing};
use super::registry::{ConnectionKey, Level, Next, Registry, protocol_error};
use crate::route::SessionKey;
use crate::route::index::Route;
use crate::route::message::{Content, NEVER};
use crate::route::router::{CachedRoute, Retain, Stamp};
use crate::route::verdict::Drop;
use crate::wire::codec::{DecodeError, RawPublish, check_name};
use crate::wire::packet::{Ack, Packet, QoS, Version};
use crate::wire::tables::{Properties, ReasonCode};
use crate::wire::topic::level_count;
use crate::{SECOND, Time};
use std::sync::Arc;

/// What the properties of a PUBLISH say to the broker itself.
#[derive(Clone, Copy, Default)]
struct Directions {
    alias: Option<u16>,
    expiry_s: Option<u32>,
    is_text: bool,
    /// Whether the properties can be passed on as they are.
    pass_through: bool,
}

impl Directions {
    fn expires_at(self, now: Time) -> Time {
        self.expiry_s
            .map_or(NEVER, |seconds| now + Time::from(seconds) * SECOND)
    }
}

/// A message of the program that embeds the broker, or of the broker itself.
#[derive(Clone, Copy, Debug)]
pub struct LocalPublish<'a> {
    /// Topic name, checked by [`check_topic_name`](crate::wire::topic::check_topic_name).
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Properties, as a client may send them in a PUBLISH.
    pub properties: Properties<'a>,
}

impl Registry {
    /// Publishes a message that came over no connection; returns how many sessions it was addressed to.
    pub fn publish_local(&mut self, now: Time, message: &LocalPublish<'_>) -> usize {
        let mut kept = Vec::new();
        let Ok(directions) = directions(message.properties, &mut kept) else {
            return 0;
        };
        self.ledger.messages_received.add(1);
        let content = Content {
            topic: message.topic.as_bytes(),
            properties: &kept,
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
            expires_at: directions.expires_at(now),
            publisher: None,
        };
        self.publish_and_retain(now, content)
    }

    /// The path of every message. `packet` is the whole PUBLISH.
    #[inline]
    pub(super) fn on_publish(
        &mut self,
        now: Time,
        slot: u32,
        packet: &[u8],
        header_len: usize,
    ) -> Result<Next, DecodeError> {
        let Some(connection) = self.connections.get_mut(slot) else {
            return Ok(Next::Pause);
        };
        let Stage::Online(session) = connection.stage else {
            return Err(protocol_error(
                "PUBLISH before the connection is established [MQTT-3.1.0-1]",
            ));
        };
        let version = connection.version;
        let raw = RawPublish::split(version, packet[0], &packet[header_len..])?;
        self.ledger.messages_received.add(1);
        connection.received += 1;
        let pause = match &mut connection.rate {
            Some(rate) => rate.take(now, packet.len()),
            None => None,
        };
        let (qos, retain) = (raw.qos(), raw.retain());
        if qos > self.settings.max_qos {
            return Err(DecodeError {
                reason: ReasonCode::QOS_NOT_SUPPORTED,
                what: "[MQTT-3.2.2-11] QoS above the maximum",
            });
        }
        if retain && !self.settings.retain_available {
            return Err(DecodeError {
                reason: ReasonCode::RETAIN_NOT_SUPPORTED,
                what: "[MQTT-3.2.2-14] retain is not available",
            });
        }
        if raw.properties.is_empty() && !raw.topic.is_empty() {
            let inbound = inbound(packet, header_len, version, &raw);
            self.accept(
                now,
                slot,
                session,
                &raw,
                raw.topic,
                &[],
                NEVER,
                Some(inbound),
            )?;
        } else {
            self.publish_with_properties(now, slot, session, packet, header_len, &raw)?;
        }
        match pause {
            None => Ok(Next::Read),
            Some(until) => {
                self.pause(slot, until);
                Ok(Next::Pause)
            }
        }
    }

    /// A 5.0 message with properties: alias, expiry, payload format.
    #[inline(never)]
    fn publish_with_properties(
        &mut self,
        now: Time,
        slot: u32,
        session: SessionKey,
        packet: &[u8],
        header_len: usize,
        raw: &RawPublish<'_>,
    ) -> Result<(), DecodeError> {
        let properties = raw.properties()?;
        let mut kept = std::mem::take(&mut self.properties);
        kept.clear();
        let directions = directions(properties, &mut kept)?;
        let expires_at = directions.expires_at(now);
        if directions.is_text
            && self.settings.payload_format_check
            && std::str::from_utf8(raw.payload).is_err()
        {
            self.properties = kept;
            self.ledger.publish_refused.add(1);
            // The client goes on with the alias: a message is refused, not the packet.
            if let (Some(alias), Some(connection)) =
                (directions.alias, self.connections.get_mut(slot))
            {
                let maximum = self.settings.max_topic_alias;
                resolve(&mut connection.aliases_in, alias, maximum, raw)?;
            }
            self.acknowledge(slot, session, raw, ReasonCode::PAYLOAD_FORMAT_INVALID);
            return Ok(());
        }
        let forwarded: &[u8] = if directions.pass_through {
            raw.properties
        } else {
            &kept
        };
        let outcome = match directions.alias {
            None if raw.topic.is_empty() => Err(protocol_error(
                "an empty topic name without a topic alias [MQTT-4.7.3-1]",
            )),
            None => {
                let inbound = inbound(packet, header_len, Version::V5, raw);
                self.accept(
                    now,
                    slot,
                    session,
                    raw,
                    raw.topic,
                    forwarded,
                    expires_at,
                    Some(inbound),
                )
            }
            Some(alias) => {
                // Taken out, since the topic is borrowed from them while everything else changes.
                let mut aliases = match self.connections.get_mut(slot) {
                    Some(connection) => std::mem::take(&mut connection.aliases_in),
                    None => return Ok(()),
                };
                let outcome = resolve(&mut aliases, alias, self.settings.max_topic_alias, raw)
                    .and_then(|topic| {
                        self.accept(now, slot, session, raw, topic, forwarded, expires_at, None)
                    });
                if let Some(connection) = self.connections.get_mut(slot) {
                    connection.aliases_in = aliases;
                }
                outcome
            }
        };
        self.properties = kept;
        outcome
    }

    /// Routes a legal message and acknowledges it.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a message, borrowed from three places"
    )]
    #[inline]
    fn accept(
        &mut self,
        now: Time,
        slot: u32,
        session: SessionKey,
        raw: &RawPublish<'_>,
        topic: &[u8],
        properties: &[u8],
        expires_at: Time,
        inbound: Option<Inbound<'_>>,
    ) -> Result<(), DecodeError> {
        let Some(connection) = self.connections.get_mut(slot) else {
            return Ok(());
        };
        let version = connection.version;
        let mut cached = connection.cached.take();
        let is_hit = cached
            .as_ref()
            .is_some_and(|cached| cached.topic == topic && self.router.is_current(&cached.stamp));
        if !is_hit {
            // Only a topic seen for the first time needs to be checked.
            let name = if raw.topic.is_empty() {
                topic_str(topic)?
            } else {
                raw.topic_name(version)?
            };
            check_name(name)?;
            if level_count(name) > self.settings.max_topic_levels {
                return Err(DecodeError {
                    reason: ReasonCode::TOPIC_NAME_INVALID,
                    what: "the topic name has too many levels",
                });
            }
            cached = Some(self.look_up(name, cached));
        }
        let Some(cached) = cached else { return Ok(()) };
        if raw.qos() == QoS::ExactlyOnce && !self.is_new(session, raw.packet_id)? {
            // [MQTT-4.3.3-10] sent again: it is on its way already.
            self.restore(slot, cached);
            self.acknowledge(slot, session, raw, ReasonCode::SUCCESS);
            return Ok(());
        }
        let content = Content {
            topic,
            properties,
            payload: raw.payload,
            qos: raw.qos(),
            retain: raw.retain(),
            expires_at,
            publisher: Some(session),
        };
        let mut outgoing = Outgoing::new(now, content, inbound, std::mem::take(&mut self.forms));
        if content.retain {
            let stored = self
                .router
                .retain(&content, || Arc::clone(outgoing.message()));
            if stored == Retain::Full {
                self.retained_full(&content);
            }
        }
        let is_exactly_once = raw.qos() == QoS::ExactlyOnce;
        if is_exactly_once {
            // Before anybody gets a copy, which figure 4.3 leaves free: a publisher that is subscribed
            // finds PUBREC in front of its own copy, as with brokers that deliver at PUBREL. Whether
            // there are subscribers is not known yet, and 0x10 is a MAY.
            self.acknowledge(slot, session, raw, ReasonCode::SUCCESS);
        }
        let copies = self.route_message(now, &mut outgoing, &cached.route);
        self.forms = outgoing.into_forms();
        self.restore(slot, cached);
        if !is_exactly_once {
            let reason = if copies == 0 {
                ReasonCode::NO_MATCHING_SUBSCRIBERS
            } else {
                ReasonCode::SUCCESS
            };
            self.acknowledge(slot, session, raw, reason);
        }
        Ok(())
    }

    #[inline]
    fn restore(&mut self, slot: u32, cached: CachedRoute) {
        // A long list of receivers is looked up again rather than held by every publisher.
        if cached.route.is_large {
            return;
        }
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.cached = Some(cached);
        }
    }

    /// The route of a topic: from the shard's cache if it still holds, else from the index.
    fn look_up(&mut self, topic: &str, last: Option<CachedRoute>) -> CachedRoute {
        let bytes = topic.as_bytes();
        let found = self
            .routes
            .get(bytes)
            .filter(|found| self.router.is_current(&found.stamp));
        let (route, stamp) = match found {
            Some(found) => (Arc::clone(&found.route), found.stamp),
            None => self.look_up_anew(topic),
        };
        let mut topic = last.map_or_else(Vec::new, |last| last.topic);
        topic.clear();
        topic.extend_from_slice(bytes);
        CachedRoute {
            topic,
            route,
            stamp,
        }
    }

    fn look_up_anew(&mut self, topic: &str) -> (Arc<Route>, Stamp) {
        let (route, stamp) = self.router.route(topic);
        if topic.len() > CACHED_TOPIC_BYTES {
            return (route, stamp);
        }
        self.routes_targets += route.weight();
        if self.routes.len() >= ROUTES || self.routes_targets > ROUTES_TARGETS {
            self.routes.clear();
            self.routes_targets = route.weight();
        }
        let cached = CachedRoute {
            topic: Vec::new(),
            route: Arc::clone(&route),
            stamp,
        };
        self.routes.insert(topic.as_bytes().into(), cached);
        (route, stamp)
    }

    /// Whether a QoS 2 packet id is not in use; within the Receive Maximum that was announced.
    fn is_new(&self, session: SessionKey, packet_id: u16) -> Result<bool, DecodeError> {
        let Some(session) = self.sessions.get(session.slot) else {
            return Ok(true);
        };
        if session.unreleased.contains(&packet_id) {
            return Ok(false);
        }
        if session.version == Version::V5
            && session.unreleased.len() >= usize::from(self.settings.receive_maximum)
        {
            return Err(DecodeError {
                reason: ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                what: "more unreleased messages than the Receive Maximum [MQTT-3.3.4-7]",
            });
        }
        Ok(true)
    }

    /// PUBACK or PUBREC. `[MQTT-4.3.2-4]` `[MQTT-4.3.3-8]`
    #[inline]
    fn acknowledge(
        &mut self,
        slot: u32,
        session: SessionKey,
        raw: &RawPublish<'_>,
        reason: ReasonCode,
    ) {
        let first = match raw.qos() {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => PUBACK,
            QoS::ExactlyOnce => {
                if !reason.is_error() {
                    if let Some(session) = self.sessions.get_mut(session.slot) {
                        session.unreleased.insert(raw.packet_id);
                    }
                }
                PUBREC
            }
        };
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let [high, low] = raw.packet_id.to_be_bytes();
        self.spares.lend(&mut connection.out);
        if reason == ReasonCode::SUCCESS || !connection.is_v5() {
            connection.out.extend(&[first, 2, high, low]);
        } else {
            connection.out.extend(&[first, 3, high, low, reason.0]);
        }
        if !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// PUBACK: a QoS 1 message is delivered.
    pub(super) fn on_puback(
        &mut self,
        now: Time,
        session: u32,
        ack: &Ack<'_>,
    ) -> Result<(), DecodeError> {
        self.finish(now, session, ack, Awaits::PubAck)
    }

    /// PUBREC: the client has a QoS 2 message; answered by PUBREL. `[MQTT-4.3.3-4]`
    pub(super) fn on_pubrec(
        &mut self,
        now: Time,
        slot: u32,
        session: u32,
        ack: &Ack<'_>,
    ) -> Result<(), DecodeError> {
        if ack.reason.is_error() {
            return self.finish(now, session, ack, Awaits::PubRec);
        }
        let Some(state) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        let reason = match state.inflight.received(ack.packet_id) {
            Acknowledged::Unexpected => return Err(UNEXPECTED),
            Acknowledged::Unknown => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            _ => ReasonCode::SUCCESS,
        };
        forget_resend(&mut state.resend, ack.packet_id);
        let answer = Ack {
            packet_id: ack.packet_id,
            reason,
            properties: Properties::EMPTY,
        };
        self.send(slot, &Packet::PubRel(answer));
        Ok(())
    }

    /// PUBREL: a QoS 2 message from the client is complete. `[MQTT-4.3.3-11]`
    pub(super) fn on_pubrel(&mut self, slot: u32, session: u32, ack: &Ack<'_>) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        // Released before the connection broke and PUBCOMP got lost: no error, section 3.7.2.1, and
        // publishers would report 0x92 as one.
        let reason = if state.unreleased.remove(&ack.packet_id) || state.is_resumed {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        let answer = Ack {
            packet_id: ack.packet_id,
            reason,
            properties: Properties::EMPTY,
        };
        self.send(slot, &Packet::PubComp(answer));
    }

    /// PUBCOMP: a QoS 2 message is delivered.
    pub(super) fn on_pubcomp(
        &mut self,
        now: Time,
        session: u32,
        ack: &Ack<'_>,
    ) -> Result<(), DecodeError> {
        self.finish(now, session, ack, Awaits::PubComp)
    }

    /// An exchange is over: the window opens.
    fn finish(
        &mut self,
        now: Time,
        session: u32,
        ack: &Ack<'_>,
        awaits: Awaits,
    ) -> Result<(), DecodeError> {
        let Some(state) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        match state.inflight.finish(ack.packet_id, awaits) {
            Acknowledged::Done(_) => forget_resend(&mut state.resend, ack.packet_id),
            Acknowledged::Unexpected => return Err(UNEXPECTED),
            Acknowledged::Release | Acknowledged::Unknown => return Ok(()),
        }
        state.note_inflight();
        self.ledger.queued.sub(1);
        // A PUBCOMP with "packet identifier not found" still says that the client is done with it.
        if ack.reason.is_error() && awaits != Awaits::PubComp {
            self.ledger.count_drop(Drop::Refused, 1);
        } else {
            self.ledger.delivered.add(1);
        }
        if state.has_backlog() {
            self.refill(now, session);
        }
        Ok(())
    }

    /// Stops reading a connection that is over its rate.
    fn pause(&mut self, slot: u32, until: Time) {
        let Some((connection, generation)) = self.connections.get_with_generation(slot) else {
            return;
        };
        connection.is_paused = true;
        connection.paused_until = until;
        self.schedule_connection(ConnectionKey { slot, generation }, until);
    }

    #[cold]
    fn retained_full(&mut self, content: &Content<'_>) {
        let topic = content.topic_str().to_owned();
        self.event(Level::Warn, "retained_full", || {
            vec![
                ("topic", topic),
                (
                    "advice",
                    "raise mqtt.max_retained or remove retained messages".to_owned(),
                ),
            ]
        });
    }
}

#[inline]
fn inbound<'a>(
    packet: &'a [u8],
    header_len: usize,
    version: Version,
    raw: &RawPublish<'_>,
) -> Inbound<'a> {
    Inbound {
        packet,
        is_v5: version == Version::V5,
        qos: raw.qos(),
        id_at: header_len + raw.packet_id_at,
    }
}

/// Reads what is meant for the broker; `kept` gets the properties that are passed on, if they are not all.
fn directions(properties: Properties<'_>, kept: &mut Vec<u8>) -> Result<Directions, DecodeError> {
    let mut directions = Directions {
        pass_through: true,
        ..Directions::default()
    };
    for (id, raw) in properties.iter_raw() {
        let value = &raw[1..];
        match id {
            TOPIC_ALIAS => directions.alias = value.try_into().ok().map(u16::from_be_bytes),
            MESSAGE_EXPIRY => directions.expiry_s = value.try_into().ok().map(u32::from_be_bytes),
            SUBSCRIPTION_ID => {
                return Err(protocol_error(
                    "[MQTT-3.3.4-6] a subscription identifier from a client",
                ));
            }
            id => {
                directions.is_text |= id == PAYLOAD_FORMAT && value == [1];
                kept.extend_from_slice(raw);
            }
        }
    }
    directions.pass_through = directions.alias.is_none() && directions.expiry_s.is_none();
    Ok(directions)
}

/// The topic that an alias stands for, set anew if the packet has a topic name. `[MQTT-3.3.2-9]`
fn resolve<'a>(
    aliases: &'a mut AliasesIn,
    alias: u16,
    maximum: u16,
    raw: &RawPublish<'_>,
) -> Result<&'a [u8], DecodeError> {
    if alias == 0 || alias > maximum {
        return Err(DecodeError {
            reason: ReasonCode::TOPIC_ALIAS_INVALID,
            what: "[MQTT-3.3.2-9] topic alias out of range",
        });
    }
    if !raw.topic.is_empty() {
        raw.topic_name(Version::V5)?;
        aliases.set(alias, raw.topic);
    }
    aliases
        .topic(alias)
        .ok_or(protocol_error("a topic alias that was never set"))
}

fn topic_str(topic: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(topic).map_err(|_| protocol_error("a topic alias that is no text"))
}

/// An acknowledgement makes a planned resend needless.
pub(super) fn forget_resend(resend: &mut std::collections::VecDeque<u16>, id: u16) {
    if !resend.is_empty() {
        resend.retain(|&other| other != id);
    }
}

/// Routes kept per shard; when full, all are forgotten.
const ROUTES: usize = 4096;
/// Receivers in all of them: 24 bytes each.
const ROUTES_TARGETS: usize = 1_000_000;
/// Longer topics are looked up every time: a cache must not become a store for strangers' names.
const CACHED_TOPIC_BYTES: usize = 512;
/// A message that awaits another packet than the one that came, section 4.3: inconsistent with the
/// state of the session, so the end of the connection. `[MQTT-4.13.1-1]`
const UNEXPECTED: DecodeError =
    protocol_error("an acknowledgement that the message does not await [MQTT-4.13.1-1]");
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PAYLOAD_FORMAT: u8 = 0x01;
const MESSAGE_EXPIRY: u8 = 0x02;
const SUBSCRIPTION_ID: u8 = 0x0B;
const TOPIC_ALIAS: u8 = 0x23;
