//! From a routed message to the sessions: send now, queue, or drop with a reason.

use super::connection::Connection;
use super::inflight::{Awaits, Delivery};
use super::outgoing::{Copy, Forms, Outgoing};
use super::parcel::{Batch, Chosen, Piece, Receivers};
use super::queue::QueueLimits;
use super::registry::Registry;
use super::replay::Asker;
use super::session::Session;
use crate::Time;
use crate::route::SessionKey;
use crate::route::index::{FilterId, GroupMember, Route, Target};
use crate::route::message::{Content, Message};
use crate::route::verdict::Drop;
use crate::wire::codec::encode;
use crate::wire::packet::{Ack, Packet, QoS};
use crate::wire::tables::{Properties, ReasonCode};
use std::sync::Arc;

/// A connection with more than this waiting is flushed before the next reader runs.
const URGENT_BYTES: usize = 64 * 1024;

/// A queue is refilled into the output up to this.
const REFILL_BYTES: usize = 64 * 1024;

/// What one session is granted of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'a> {
    pub qos: QoS,
    pub retain: bool,
    pub ids: &'a [u32],
    pub shared: Option<FilterId>,
}

impl Registry {
    /// Routes a message made on this shard; returns how many sessions it was addressed to.
    pub(super) fn publish(&mut self, now: Time, content: Content<'_>) -> usize {
        let (route, _) = self.router.route(content.topic_str());
        let mut outgoing = Outgoing::new(now, content, None, std::mem::take(&mut self.forms));
        let copies = self.route_message(now, &mut outgoing, &route);
        self.forms = outgoing.into_forms();
        copies
    }

    /// Stores a retained message (if it is one) and sends the message on its routes.
    pub(super) fn publish_and_retain(&mut self, now: Time, content: Content<'_>) -> usize {
        if content.retain {
            self.router.retain(&content, || content.to_message());
        }
        self.publish(now, content)
    }

    /// Sends a message to everybody on its route, here and on the other shards.
    #[inline]
    pub(super) fn route_message(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        route: &Arc<Route>,
    ) -> usize {
        let receivers = route.targets.len();
        outgoing.expect_receivers(receivers);
        if self.shards == 1 {
            self.deliver_targets(now, outgoing, route, &route.targets);
        } else if receivers > 0 {
            let mut at = 0;
            while let Some(first) = route.targets.get(at) {
                let shard = first.session.shard;
                let part = route.range(shard);
                at += part.len().max(1);
                if shard == self.shard {
                    self.deliver_targets(now, outgoing, route, part);
                } else {
                    let to = self.receivers(shard, route);
                    self.post(shard, to, outgoing);
                }
            }
        }
        if route.groups.is_empty() {
            if receivers == 0 {
                self.ledger.accepted.add(1);
                self.ledger.count_drop(Drop::NoSubscribers, 1);
            }
            return receivers;
        }
        receivers + self.deliver_groups(now, outgoing, route)
    }

    /// A batch from another shard arrived.
    pub(super) fn receive_batch(&mut self, now: Time, batch: &Batch) {
        let mut last: Option<&Arc<Route>> = None;
        for (to, piece) in batch.iter() {
            let chosen = match to {
                Receivers::Member(chosen) => Some(chosen),
                Receivers::Route(route) => {
                    last = Some(route);
                    None
                }
                Receivers::Same => None,
            };
            let (content, message) = match (piece, last) {
                (Piece::Message(content, message), _) => (content, message),
                (Piece::Run(run), Some(route)) => {
                    self.pass_here(now, route, route.range(self.shard), run);
                    continue;
                }
                (Piece::Run(_), None) => continue,
            };
            let forms = std::mem::take(&mut self.forms);
            let mut outgoing = match message {
                Some(message) => Outgoing::waited(now, message, forms),
                None => Outgoing::new(now, content, None, forms),
            };
            if let Some(chosen) = chosen {
                self.deliver_member(now, &mut outgoing, &chosen.member, chosen.filter);
            } else if let Some(route) = last {
                let part = route.range(self.shard);
                outgoing.expect_receivers(part.len());
                self.deliver_targets(now, &mut outgoing, route, part);
            }
            self.forms = outgoing.into_forms();
        }
    }

    #[inline]
    fn deliver_targets(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        route: &Route,
        targets: &[Target],
    ) {
        for target in targets {
            self.deliver_target(now, outgoing, route, target);
        }
    }

    #[inline]
    pub(super) fn deliver_target(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        route: &Route,
        target: &Target,
    ) {
        let content = &outgoing.content;
        let (qos, retain) = (content.qos, content.retain);
        let is_own = target.has_no_local() && content.publisher == Some(target.session);
        let grant = if is_own {
            // [MQTT-3.8.3-3] only its subscriptions without No Local count for the publisher itself.
            let Some(own) = route.own(target) else { return };
            Grant {
                qos: qos.min(own.qos),
                retain: retain && own.retain_as_published,
                ids: own.ids,
                shared: None,
            }
        } else {
            Grant {
                qos: qos.min(target.qos),
                retain: retain && target.retain_as_published,
                ids: route.ids(target),
                shared: None,
            }
        };
        self.deliver(now, outgoing, target.session, grant);
    }

    fn deliver_groups(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        route: &Arc<Route>,
    ) -> usize {
        let topic_hash = self.router.hash(outgoing.content.topic);
        let publisher_hash = self.publisher_hash(outgoing.content.publisher);
        let strategy = self.settings.share_strategy;
        let mut copies = 0;
        for group in &route.groups {
            let random = self.router.random();
            if let Some(member) = group.choose(strategy, topic_hash, publisher_hash, random) {
                copies += 1;
                self.send_to_member(now, outgoing, member, group.id);
            }
        }
        copies
    }

    fn send_to_member(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        member: &GroupMember,
        filter: FilterId,
    ) {
        let shard = member.session.shard;
        if shard == self.shard {
            return self.deliver_member(now, outgoing, member, filter);
        }
        let chosen = Box::new(Chosen {
            member: member.clone(),
            filter,
        });
        self.post(shard, Receivers::Member(chosen), outgoing);
    }

    fn deliver_member(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        member: &GroupMember,
        filter: FilterId,
    ) {
        let grant = Grant {
            qos: outgoing.content.qos.min(member.qos),
            retain: outgoing.content.retain && member.retain_as_published,
            ids: member.ids(),
            shared: Some(filter),
        };
        self.deliver(now, outgoing, member.session, grant);
    }

    /// Gives a message of a share group to another member than the one that cannot have it any more.
    pub(super) fn redeliver(
        &mut self,
        now: Time,
        message: &Arc<Message>,
        filter: FilterId,
        not: SessionKey,
    ) -> bool {
        let content = message.content();
        let Some(group) = self.router.group(filter, content.topic_str()) else {
            return false;
        };
        let strategy = self.settings.share_strategy;
        let topic_hash = self.router.hash(content.topic);
        let publisher_hash = self.publisher_hash(content.publisher);
        let Some(member) = group.choose_other(
            not,
            strategy,
            topic_hash,
            publisher_hash,
            self.router.random(),
        ) else {
            return false;
        };
        let mut outgoing = Outgoing::waited(now, message, std::mem::take(&mut self.forms));
        self.send_to_member(now, &mut outgoing, member, filter);
        self.forms = outgoing.into_forms();
        true
    }

    /// The share strategies by client id use the publisher's session key: one client, one value.
    fn publisher_hash(&self, publisher: Option<SessionKey>) -> u64 {
        publisher.map_or(0, |key| {
            crate::route::router::mix(
                (u64::from(key.shard) << 48)
                    ^ (u64::from(key.generation) << 32)
                    ^ u64::from(key.slot),
            )
        })
    }

    fn post(&mut self, shard: u16, to: Receivers, outgoing: &mut Outgoing<'_>) {
        if let Some(batch) = self.outbox.get_mut(usize::from(shard)) {
            batch.push(to, outgoing);
        }
    }

    /// How a shard is told who gets something: only if it differs from what was posted before.
    pub(super) fn receivers(&mut self, shard: u16, route: &Arc<Route>) -> Receivers {
        match self.last_posted.get_mut(usize::from(shard)) {
            Some(Some(last)) if Arc::ptr_eq(last, route) => Receivers::Same,
            Some(last) => {
                *last = Some(Arc::clone(route));
                Receivers::Route(Arc::clone(route))
            }
            None => Receivers::Route(Arc::clone(route)),
        }
    }

    /// One copy for one session. Every copy is accepted here and ends in the ledger.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        to: SessionKey,
        grant: Grant<'_>,
    ) {
        let Some(session) = self.sessions.get_current(to.slot, to.generation) else {
            return self.gone(now, outgoing, to, grant.shared);
        };
        self.ledger.accepted.add(1);
        let online = session
            .connection
            .and_then(|slot| self.connections.get_mut(slot).map(|c| (slot, c)));
        let Some((slot, connection)) = online else {
            if grant.qos == QoS::AtMostOnce {
                self.ledger.count_drop(Drop::Offline, 1);
            } else {
                self.queue(now, outgoing, to.slot, grant);
            }
            return;
        };
        let is_full = connection.is_congested();
        let waits = if grant.qos == QoS::AtMostOnce {
            // It need not wait for the window, only for its turn on the socket.
            is_full
                || !session.replay.is_empty()
                || (connection.is_blocked && session.has_backlog())
        } else {
            is_full || session.has_backlog() || session.on_wire() >= usize::from(connection.window)
        };
        if waits {
            self.queue(now, outgoing, to.slot, grant);
            return;
        }
        self.spares.lend(&mut connection.out);
        let sent = send(session, connection, outgoing, grant);
        if sent.is_none() {
            self.ledger.count_drop(Drop::TooLarge, 1);
            return;
        }
        self.ledger.messages_sent.add(1);
        if grant.qos == QoS::AtMostOnce {
            self.ledger.delivered.add(1);
        } else {
            self.ledger.queued.add(1);
        }
        note_output(connection, slot, &mut self.dirty, &mut self.urgent);
    }

    /// A copy from another shard came after its session had ended: another member of the share group gets it, or
    /// it is dropped.
    #[cold]
    fn gone(
        &mut self,
        now: Time,
        outgoing: &mut Outgoing<'_>,
        to: SessionKey,
        shared: Option<FilterId>,
    ) {
        if let Some(filter) = shared {
            let message = Arc::clone(outgoing.message());
            if self.redeliver(now, &message, filter, to) {
                return;
            }
        }
        self.ledger.accepted.add(1);
        self.ledger.count_drop(Drop::SessionEnded, 1);
    }

    /// Lets a copy wait in the session's queue.
    #[cold]
    fn queue(&mut self, now: Time, outgoing: &mut Outgoing<'_>, slot: u32, grant: Grant<'_>) {
        let delivery = Delivery {
            message: Arc::clone(outgoing.message()),
            ids: (!grant.ids.is_empty()).then(|| grant.ids.into()),
            shared: grant.shared,
            qos: grant.qos,
            retain: grant.retain,
        };
        let limits = self.queue_limits();
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let ledger = &self.ledger;
        ledger.queued.add(1);
        session
            .queue
            .push(now, delivery, &limits, &mut |delivery, reason| {
                ledger.queued.sub(1);
                end_waiting(ledger, now, &delivery, reason);
            });
    }

    /// The limits of every queue.
    pub(super) fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            count: self.settings.max_queue_count,
            bytes: self.settings.max_queue_bytes,
            total: self.settings.max_total_queue_bytes,
            age: self.settings.queue_ttl,
        }
    }

    /// Sends what waits, as far as the window and the output allow: first what the client may have
    /// missed, in the order it was first sent `[MQTT-4.6.0-1]`, then retained messages, then the queue.
    pub(super) fn refill(&mut self, now: Time, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot) else {
            return;
        };
        let Some(connection_slot) = session.connection else {
            return;
        };
        let Some(connection) = self.connections.get_mut(connection_slot) else {
            return;
        };
        let ledger = &self.ledger;
        let limits = QueueLimits {
            count: self.settings.max_queue_count,
            bytes: self.settings.max_queue_bytes,
            total: self.settings.max_total_queue_bytes,
            age: self.settings.queue_ttl,
        };
        session
            .queue
            .drop_aged(now, &limits, &mut |delivery, reason| {
                ledger.queued.sub(1);
                end_waiting(ledger, now, &delivery, reason);
            });
        let mut look_up_at = None;
        while connection.out.len() < REFILL_BYTES {
            let window_open = session.on_wire() < usize::from(connection.window);
            if let Some(&id) = session.resend.front() {
                if !window_open {
                    break;
                }
                session.resend.pop_front();
                if resend(session, connection, id, now, &mut self.forms) {
                    ledger.messages_sent.add(1);
                } else {
                    // [MQTT-3.1.2-25] as if it were sent and acknowledged.
                    session.inflight.forget(id);
                    session.note_inflight();
                    ledger.queued.sub(1);
                    ledger.count_drop(Drop::TooLarge, 1);
                }
                continue;
            }
            if session.replay.is_empty() && session.replay.has_wanted() {
                look_up_at = session.replay.pause(now);
                if look_up_at.is_some() {
                    break;
                }
                let asker = Asker {
                    session: session.key,
                    subscriptions: &session.subscriptions,
                    most_total_bytes: limits.total,
                };
                session.replay.look_up(now, &self.router, ledger, &asker);
                continue;
            }
            let from_replay = !session.replay.is_empty();
            let next = if from_replay {
                session.replay.front()
            } else {
                session.queue.front()
            };
            let Some(next) = next else { break };
            if next.qos != QoS::AtMostOnce && !window_open {
                break;
            }
            let next = if from_replay {
                session.replay.pop_front()
            } else {
                session.queue.pop()
            };
            let Some(delivery) = next else { break };
            if delivery.message.is_expired(now) {
                ledger.queued.sub(1);
                ledger.expired.add(1);
                continue;
            }
            let message = Arc::clone(&delivery.message);
            let mut outgoing = Outgoing::waited(now, &message, std::mem::take(&mut self.forms));
            outgoing.expect_receivers(1);
            let grant = Grant {
                qos: delivery.qos,
                retain: delivery.retain,
                ids: delivery.ids.as_deref().unwrap_or_default(),
                shared: delivery.shared,
            };
            let sent = send(session, connection, &mut outgoing, grant);
            self.forms = outgoing.into_forms();
            match sent {
                None => {
                    ledger.queued.sub(1);
                    ledger.count_drop(Drop::TooLarge, 1);
                }
                Some(_) => {
                    ledger.messages_sent.add(1);
                    if delivery.qos == QoS::AtMostOnce {
                        ledger.queued.sub(1);
                        ledger.delivered.add(1);
                    }
                }
            }
        }
        if !connection.out.is_empty() && !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(connection_slot);
        }
        if let Some(at) = look_up_at {
            self.schedule_slot(connection_slot, at);
        }
    }
}

/// Something was written for a connection: it is sent at the end of the tick, or sooner if it is much.
#[inline]
pub(super) fn note_output(
    connection: &mut Connection,
    slot: u32,
    dirty: &mut Vec<u32>,
    urgent: &mut Vec<u32>,
) {
    if !connection.is_dirty {
        connection.is_dirty = true;
        dirty.push(slot);
    }
    if connection.out.len() >= URGENT_BYTES && urgent.last() != Some(&slot) {
        urgent.push(slot);
    }
}

/// Writes a copy and, for QoS 1 and 2, notes it as inflight. Nothing if the client does not take packets
/// of that size.
#[inline]
fn send(
    session: &mut Session,
    connection: &mut Connection,
    outgoing: &mut Outgoing<'_>,
    grant: Grant<'_>,
) -> Option<u16> {
    let mut copy = Copy {
        qos: grant.qos,
        retain: grant.retain,
        dup: false,
        packet_id: 0,
        ids: grant.ids,
    };
    if grant.qos == QoS::AtMostOnce {
        return outgoing.write(connection, copy).then_some(0);
    }
    // A message that can never be sent again needs no copy: the packet id alone is held.
    let delivery =
        (session.keeps() || grant.shared.is_some() || connection.resends_live()).then(|| {
            Delivery {
                message: Arc::clone(outgoing.message()),
                ids: (!grant.ids.is_empty()).then(|| grant.ids.into()),
                shared: grant.shared,
                qos: grant.qos,
                retain: grant.retain,
            }
        });
    copy.packet_id = session.inflight.push(grant.qos, delivery);
    if !outgoing.write(connection, copy) {
        let awaits = if grant.qos == QoS::AtLeastOnce {
            Awaits::PubAck
        } else {
            Awaits::PubRec
        };
        session.inflight.finish(copy.packet_id, awaits);
        return None;
    }
    session.note_inflight();
    Some(copy.packet_id)
}

/// Sends an unacknowledged message, or the PUBREL of one, again. `[MQTT-4.4.0-1]` False if the client takes
/// none of that size any more.
fn resend(
    session: &mut Session,
    connection: &mut Connection,
    id: u16,
    now: Time,
    forms: &mut Forms,
) -> bool {
    let Some((awaits, delivery)) = session.inflight.get(id) else {
        return true;
    };
    if awaits == Awaits::PubComp {
        let release = Packet::PubRel(Ack {
            packet_id: id,
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        });
        let version = connection.version;
        connection.out.append(|buf| encode(&release, version, buf));
        return true;
    }
    let Some(delivery) = delivery.cloned() else {
        return true;
    };
    let mut outgoing = Outgoing::waited(now, &delivery.message, std::mem::take(forms));
    outgoing.expect_receivers(1);
    let copy = Copy {
        qos: delivery.qos,
        retain: delivery.retain,
        // [MQTT-3.3.1-1]
        dup: true,
        packet_id: id,
        ids: delivery.ids.as_deref().unwrap_or_default(),
    };
    let fits = outgoing.write(connection, copy);
    *forms = outgoing.into_forms();
    fits
}

/// Counts a copy that leaves a queue without being sent.
pub(super) fn end_waiting(
    ledger: &crate::route::verdict::Ledger,
    now: Time,
    delivery: &Delivery,
    reason: Drop,
) {
    if delivery.message.is_expired(now) {
        ledger.expired.add(1);
    } else {
        ledger.count_drop(reason, 1);
    }
}
