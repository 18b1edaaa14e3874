//! How connections and sessions end: DISCONNECT, a lost peer, take-over, kick, expiry, shutdown; wills.

use super::connection::{AliasesIn, Stage};
use super::delivery::end_waiting;
use super::inflight::{Awaits, Delivery};
use super::registry::{Action, ConnectionKey, Ending, Level, Registry, protocol_error};
use super::session::Session;
use super::will::Will;
use crate::route::verdict::Drop;
use crate::wire::codec::{DecodeError, connect_version};
use crate::wire::packet::{ConnAck, Disconnect, Packet, Version};
use crate::wire::tables::{Properties, Property, ReasonCode};
use crate::{SECOND, Time};

impl Registry {
    /// DISCONNECT from the client. `[MQTT-3.14.4-3]`
    pub(super) fn on_disconnect(
        &mut self,
        now: Time,
        slot: u32,
        session: u32,
        disconnect: &Disconnect<'_>,
    ) -> Result<(), DecodeError> {
        if let Some(asked) = session_expiry(disconnect.properties) {
            let Some(connection) = self.connections.get(slot) else {
                return Ok(());
            };
            if connection.connect_expiry_s == 0 && asked != 0 {
                return Err(protocol_error(
                    "[MQTT-3.1.2-23] session expiry set at DISCONNECT though CONNECT had none",
                ));
            }
            let limit = self.settings.max_session_expiry_s;
            // What was sent while nothing had to be kept could not be sent again.
            if let Some(session) = self.sessions.get_mut(session).filter(|s| s.keeps()) {
                session.expiry_s = asked.min(limit);
            }
        }
        let is_normal = disconnect.reason == ReasonCode::SUCCESS;
        let ending = if is_normal || self.version_of(slot) < Version::V5 {
            Ending::Normal
        } else {
            Ending::Lost
        };
        self.close(now, slot, None, ending, disconnect.reason);
        Ok(())
    }

    /// Input that breaks the rules: answered in the form of the version, then closed.
    #[cold]
    pub(super) fn refuse_input(&mut self, now: Time, slot: u32, error: DecodeError, input: &[u8]) {
        self.ledger.protocol_errors.add(1);
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let peer = connection.origin.peer.clone();
        let is_online = matches!(connection.stage, Stage::Online(_));
        self.event(Level::Info, "protocol_error", || {
            vec![
                ("peer", peer),
                ("reason", error.reason.name().to_owned()),
                ("what", error.what.to_owned()),
            ]
        });
        if is_online {
            return self.close(now, slot, Some(error.reason), Ending::Lost, error.reason);
        }
        self.refuse_first(now, slot, error.reason, input);
    }

    /// Answers a first packet that cannot be accepted, as far as its version is known. `[MQTT-3.1.4-1]`
    fn refuse_first(&mut self, now: Time, slot: u32, reason: ReasonCode, input: &[u8]) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if matches!(connection.stage, Stage::Authenticates(_)) {
            return self.refuse(now, slot, reason);
        }
        let header_len = 1
            + input
                .iter()
                .skip(1)
                .take_while(|&&byte| byte & 0x80 != 0)
                .count()
            + 1;
        let body = input.get(header_len..).unwrap_or_default();
        let is_connect = input.first().is_some_and(|first| first >> 4 == 1);
        match connect_version(body) {
            // 3.x has a return code for few reasons: to anything else the answer is the end.
            Some(version) if is_connect => {
                connection.version = version;
                let has_code = matches!(
                    reason,
                    ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
                        | ReasonCode::CLIENT_IDENTIFIER_NOT_VALID
                );
                if version == Version::V5 || has_code {
                    return self.refuse(now, slot, reason);
                }
            }
            // [MQTT-3.1.2-2] of 3.1.1: an unknown level is answered by return code 1; so says 3.1.
            None if is_connect && names_mqtt(body) => {
                connection.version = Version::V311;
                return self.refuse(now, slot, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
            }
            _ => {}
        }
        self.close(now, slot, None, Ending::Lost, reason);
    }

    /// A CONNACK with an error code, then the end. `[MQTT-3.2.2-7]`
    pub(super) fn refuse(&mut self, now: Time, slot: u32, reason: ReasonCode) {
        self.ledger.connects_refused.add(1);
        let reference = self.settings.server_reference.clone();
        let mut properties = Vec::new();
        if !reference.is_empty()
            && matches!(
                reason,
                ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED
            )
        {
            Property::ServerReference(&reference).encode(&mut properties);
        }
        let answer = ConnAck {
            session_present: false,
            reason,
            properties: Properties::from_validated(&properties),
        };
        self.send(slot, &Packet::ConnAck(answer));
        let peer = self
            .connections
            .get(slot)
            .map_or_else(String::new, |c| c.origin.peer.clone());
        self.event(Level::Info, "client_refused", || {
            vec![("peer", peer), ("reason", reason.name().to_owned())]
        });
        self.close(now, slot, None, Ending::Lost, reason);
    }

    /// Ends a connection from this side. `tell` goes to a 5.0 client in a DISCONNECT; `why` is for the log.
    pub(super) fn close(
        &mut self,
        now: Time,
        slot: u32,
        tell: Option<ReasonCode>,
        ending: Ending,
        why: ReasonCode,
    ) {
        let Some((connection, generation)) = self.connections.get_with_generation(slot) else {
            return;
        };
        if matches!(connection.stage, Stage::Closing) {
            return;
        }
        let is_online = matches!(connection.stage, Stage::Online(_));
        if let (Some(reason), true, true) = (tell, connection.is_v5(), is_online) {
            let packet = Packet::Disconnect(Disconnect {
                reason,
                properties: Properties::EMPTY,
            });
            self.send(slot, &packet);
        }
        self.detach_with(now, slot, ending, why);
        self.actions
            .push_back(Action::Close(ConnectionKey { slot, generation }));
    }

    /// The connection is gone or going: its session goes offline or ends.
    pub(super) fn detach(&mut self, now: Time, slot: u32, ending: Ending) {
        self.detach_with(now, slot, ending, ReasonCode::UNSPECIFIED_ERROR);
    }

    fn detach_with(&mut self, now: Time, slot: u32, ending: Ending, why: ReasonCode) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let stage = std::mem::replace(&mut connection.stage, Stage::Closing);
        let will = connection.will.take();
        connection.cached = None;
        connection.aliases_in = AliasesIn::default();
        connection.aliases_out = None;
        connection.authentication = None;
        let Stage::Online(key) = stage else { return };
        let Some(session) = self.sessions.get_mut(key.slot) else {
            return;
        };
        session.connection = None;
        session.resend.clear();
        session.note_online(false);
        let ledger = &self.ledger;
        let mut dropped = |delivery: Delivery, reason| {
            ledger.queued.sub(1);
            end_waiting(ledger, now, &delivery, reason);
        };
        session.queue.drop_qos0(&mut dropped);
        session.replay.drop_qos0(&mut dropped);
        session.start_expiry(now);
        let (ends_at, keeps) = (session.ends_at, session.keeps());
        let client_id = session.client_id.to_string();
        self.event(Level::Info, "client_disconnected", || {
            vec![("client_id", client_id), ("reason", why.name().to_owned())]
        });
        self.settle_will(now, key.slot, will, ending, keeps);
        if keeps {
            self.schedule_session(key.slot, ends_at);
        } else {
            self.end_session(now, key.slot);
        }
    }

    /// Publishes a will, or lets it wait, or forgets it. `[MQTT-3.1.2-8]` `[MQTT-3.1.3-9]`
    fn settle_will(
        &mut self,
        now: Time,
        session: u32,
        will: Option<Box<Will>>,
        ending: Ending,
        keeps: bool,
    ) {
        let Some(will) = will else { return };
        match ending {
            Ending::Normal => {}
            Ending::Lost | Ending::TakenOver if will.delay_s == 0 || !keeps => {
                self.publish_will(now, &will)
            }
            // The client is back before the delay has passed.
            Ending::TakenOver => {}
            Ending::Lost => {
                let due = now + Time::from(will.delay_s) * SECOND;
                if let Some(state) = self.sessions.get_mut(session) {
                    state.delayed_will = Some(will);
                    state.will_at = due;
                }
                self.schedule_session(session, due);
            }
        }
    }

    fn publish_will(&mut self, now: Time, will: &Will) {
        let content = will.content(now);
        self.ledger.messages_received.add(1);
        self.publish_and_retain(now, content);
    }

    /// A delayed will or the expiry of an offline session is due.
    pub(super) fn session_due(&mut self, now: Time, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        if session.connection.is_some() {
            return;
        }
        if session.will_at <= now {
            session.will_at = Time::MAX;
            if let Some(will) = session.delayed_will.take() {
                self.publish_will(now, &will);
            }
        }
        let Some(session) = self.sessions.get(slot) else {
            return;
        };
        if session.ends_at <= now {
            return self.end_session(now, slot);
        }
        let next = session.ends_at.min(session.will_at);
        self.schedule_session(slot, next);
    }

    /// Forgets a session and all it holds; the connection is already gone. `[MQTT-4.1.0-2]`
    pub(super) fn end_session(&mut self, now: Time, slot: u32) {
        let Some(mut session) = self.sessions.remove(slot) else {
            return;
        };
        self.leave_client(slot, &session.client_id);
        self.ledger.sessions.sub(1);
        self.ledger
            .subscriptions
            .sub(session.subscriptions.len() as u64);
        if !session.subscriptions.is_empty() {
            self.router
                .unsubscribe_all(session.subscriptions.keys().copied(), session.key);
        }
        if let Some(will) = session.delayed_will.take() {
            self.publish_will(now, &will);
        }
        for (awaits, delivery) in session.inflight.drain() {
            if awaits == Awaits::PubComp {
                // The client has the message; only the end of the exchange is missing.
                self.ledger.queued.sub(1);
                self.ledger.delivered.add(1);
                continue;
            }
            // [MQTT-4.8.2-5] a QoS 2 message that was sent to one member is not sent to another.
            let movable = delivery.filter(|_| awaits == Awaits::PubAck);
            self.end_copy(now, &session, movable.as_ref());
        }
        while let Some(delivery) = session.replay.pop_front() {
            self.ledger.queued.sub(1);
            end_waiting(&self.ledger, now, &delivery, Drop::SessionEnded);
        }
        while let Some(delivery) = session.queue.pop() {
            self.end_copy(now, &session, Some(&delivery));
        }
        let client_id = session.client_id.to_string();
        self.event(Level::Debug, "session_ended", || {
            vec![("client_id", client_id)]
        });
    }

    /// A copy whose session ended: another member of its share group gets it, or it is dropped.
    fn end_copy(&mut self, now: Time, session: &Session, delivery: Option<&Delivery>) {
        self.ledger.queued.sub(1);
        let Some(delivery) = delivery else {
            return self.ledger.count_drop(Drop::SessionEnded, 1);
        };
        if let (Some(filter), false) = (delivery.shared, delivery.message.is_expired(now)) {
            if self.redeliver(now, &delivery.message, filter, session.key) {
                self.ledger.accepted.sub(1);
                return;
            }
        }
        end_waiting(&self.ledger, now, delivery, Drop::SessionEnded);
    }

    /// Connect timeout, keepalive, end of a pause, or a resend is due.
    pub(super) fn connection_due(&mut self, now: Time, slot: u32) {
        let connect_timeout = self.settings.connect_timeout;
        let Some((connection, generation)) = self.connections.get_with_generation(slot) else {
            return;
        };
        let key = ConnectionKey { slot, generation };
        let next = match connection.stage {
            Stage::Closing => return,
            Stage::AwaitsConnect | Stage::Authenticates(_) => {
                let due = connection.last_received + connect_timeout;
                if due <= now {
                    return self.close(
                        now,
                        slot,
                        None,
                        Ending::Lost,
                        ReasonCode::KEEP_ALIVE_TIMEOUT,
                    );
                }
                due
            }
            Stage::Online(session) => {
                if connection.is_paused {
                    // It is we who do not read: the client is not to blame for silence.
                    connection.last_received = now;
                    if connection.paused_until <= now && !connection.is_blocked {
                        connection.is_paused = false;
                        self.actions.push_back(Action::Resume(key));
                    }
                }
                if connection.keepalive_due() <= now {
                    self.ledger.keepalive_timeouts.add(1);
                    let reason = ReasonCode::KEEP_ALIVE_TIMEOUT;
                    return self.close(now, slot, Some(reason), Ending::Lost, reason);
                }
                let resends = connection.retry_at <= now;
                if resends {
                    connection.retry_at = now + connection.retry_interval;
                }
                let mut next = connection.keepalive_due().min(connection.retry_at);
                if connection.is_paused && connection.paused_until > now {
                    next = next.min(connection.paused_until);
                }
                if resends {
                    self.resend_all(now, session.slot);
                }
                let has_wanted = |session: &Session| session.replay.has_wanted();
                if self.sessions.get(session.slot).is_some_and(has_wanted) {
                    self.refill(now, session.slot);
                }
                next
            }
        };
        self.schedule_connection(key, next);
    }

    /// Sends everything unacknowledged again: at reconnect, or after `retry_interval` to a 3.x client.
    pub(super) fn resend_all(&mut self, now: Time, slot: u32) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.resend = session.inflight.iter().map(|(id, _, _)| id).collect();
            self.refill(now, slot);
        }
    }

    /// Ends a client's connection on somebody's order.
    pub(super) fn kick(&mut self, now: Time, client_id: &str, reason: ReasonCode) {
        if let Some(slot) = self.connection_of(client_id) {
            self.close(now, slot, Some(reason), Ending::Lost, reason);
        }
    }

    /// The broker ends: wills first, while there is somebody to get them, then the good-byes.
    pub(super) fn shut_down(&mut self, now: Time) {
        let waiting: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.delayed_will.is_some())
            .map(|(slot, _)| slot)
            .collect();
        for slot in waiting {
            let session = self.sessions.get_mut(slot);
            if let Some(will) = session.and_then(|session| session.delayed_will.take()) {
                self.publish_will(now, &will);
            }
        }
        let slots: Vec<u32> = self.connections.iter().map(|(slot, _)| slot).collect();
        for &slot in &slots {
            if let Some(will) = self
                .connections
                .get_mut(slot)
                .and_then(|connection| connection.will.take())
            {
                self.publish_will(now, &will);
            }
        }
        let reason = ReasonCode::SERVER_SHUTTING_DOWN;
        for slot in slots {
            self.close(now, slot, Some(reason), Ending::Normal, reason);
        }
    }

    fn version_of(&self, slot: u32) -> Version {
        self.connections
            .get(slot)
            .map_or(Version::V5, |connection| connection.version)
    }
}

/// Whether the body of a CONNECT has one of our protocol names and any level.
fn names_mqtt(body: &[u8]) -> bool {
    [b"\x00\x04MQTT".as_slice(), b"\x00\x06MQIsdp"]
        .iter()
        .any(|name| body.len() > name.len() && body.starts_with(name))
}

/// The Session Expiry Interval of a CONNECT or DISCONNECT.
pub(super) fn session_expiry(properties: Properties<'_>) -> Option<u32> {
    properties.iter().find_map(|property| match property {
        Property::SessionExpiryInterval(seconds) => Some(seconds),
        _ => None,
    })
}
