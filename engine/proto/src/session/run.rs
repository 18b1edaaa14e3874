//! A run: QoS 0 messages on one topic that arrived one behind the other, passed on as one piece of bytes.
//!
//! A publisher that is ahead of us hands in hundreds of packets with one read, and most receivers get them as
//! they are. So the topic is compared, the route taken and the receivers are looked up once for all of them, and
//! every output grows by one copy, or by a reference. A receiver that needs a look at each message (it waits, has
//! subscription identifiers or aliases, takes small packets only) gets them one by one.

use super::connection::{Connection, Stage};
use super::delivery::note_output;
use super::outgoing::{Inbound, Outgoing};
use super::registry::Registry;
use crate::Time;
use crate::output::{SHARE_FROM_BYTES, Spares};
use crate::route::SessionKey;
use crate::route::index::{Route, Target};
use crate::route::message::{Content, NEVER};
use crate::route::verdict::Drop;
use crate::wire::codec::put_remaining_length;
use crate::wire::packet::QoS;
use bytes::Bytes;
use std::sync::Arc;

/// The packets of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub bytes: &'a [u8],
    pub packets: u64,
    /// Length of the largest one.
    pub largest: usize,
    pub topic_len: usize,
    pub is_v5: bool,
    pub publisher: SessionKey,
}

/// Buffers kept from run to run.
#[derive(Debug, Default)]
pub(super) struct RunBuffers {
    /// The run in the form of the other version family.
    translated: Vec<u8>,
    /// Places among the shard's targets of those who get the messages one by one.
    singles: Vec<u32>,
}

/// What a receiver got of a run.
enum Passed {
    Whole,
    /// Its session has ended.
    Nothing,
    /// It has to get the messages one by one.
    NotYet,
}

impl Registry {
    /// Passes the run at the beginning of `input` on. Nothing happens if its first packet belongs to none:
    /// it is incomplete, malformed, of another kind or on another topic than the last.
    #[inline]
    pub(super) fn on_run<'a>(&mut self, now: Time, slot: u32, input: &'a [u8]) -> Option<Run<'a>> {
        let connection = self.connections.get_mut(slot)?;
        let Stage::Online(publisher) = connection.stage else {
            return None;
        };
        let cached = connection.cached.as_ref()?;
        if connection.rate.is_some()
            || !cached.route.groups.is_empty()
            || !self.router.is_current(&cached.stamp)
        {
            return None;
        }
        let run = find(
            input,
            &cached.topic,
            connection.is_v5(),
            connection.receive_limit(),
            publisher,
        )?;
        connection.received += run.packets;
        connection.last_received = now;
        self.ledger.messages_received.add(run.packets);
        // Taken out, since everything else changes.
        let cached = connection.cached.take()?;
        self.pass_on(now, &cached.route, run);
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.cached = Some(cached);
        }
        Some(run)
    }

    /// Gives a run of this shard to everybody on its route.
    fn pass_on(&mut self, now: Time, route: &Arc<Route>, run: Run<'_>) {
        if route.targets.is_empty() {
            self.ledger.accepted.add(run.packets);
            self.ledger.count_drop(Drop::NoSubscribers, run.packets);
            return;
        }
        if self.shards == 1 {
            return self.pass_here(now, route, &route.targets, run);
        }
        for part in route.shards() {
            let shard = part[0].session.shard;
            if shard == self.shard {
                self.pass_here(now, route, part, run);
            } else {
                let to = self.receivers(shard, route);
                if let Some(batch) = self.outbox.get_mut(usize::from(shard)) {
                    batch.push_run(to, run);
                }
            }
        }
    }

    /// Gives a run to receivers of this shard.
    pub(super) fn pass_here(&mut self, now: Time, route: &Route, targets: &[Target], run: Run<'_>) {
        let mut buffers = std::mem::take(&mut self.run_buffers);
        let mut forms = Forms {
            run,
            translated: &mut buffers.translated,
            shared: [None, None],
            is_shared: targets.len() > 1 && run.bytes.len() >= SHARE_FROM_BYTES,
        };
        let mut receivers = 0;
        for (at, target) in targets.iter().enumerate() {
            match self.pass_to(target, &mut forms) {
                Passed::Whole => receivers += 1,
                Passed::Nothing => {
                    self.ledger.accepted.add(run.packets);
                    self.ledger.count_drop(Drop::SessionEnded, run.packets);
                }
                Passed::NotYet => buffers.singles.push(at as u32),
            }
        }
        let copies = run.packets * receivers;
        self.ledger.accepted.add(copies);
        self.ledger.messages_sent.add(copies);
        self.ledger.delivered.add(copies);
        if !buffers.singles.is_empty() {
            self.pass_singly(now, route, targets, &buffers.singles, run);
            buffers.singles.clear();
        }
        if !buffers.translated.is_empty() {
            buffers.translated.clear();
            buffers.translated.shrink_to(KEEP_BYTES);
        }
        self.run_buffers = buffers;
    }

    /// Gives the whole run to one receiver, if it takes it as it is and at once.
    #[inline]
    fn pass_to(&mut self, target: &Target, forms: &mut Forms<'_>) -> Passed {
        let to = target.session;
        let Some(session) = self.sessions.get_current(to.slot, to.generation) else {
            return Passed::Nothing;
        };
        let Some(slot) = session.connection else {
            return Passed::NotYet;
        };
        let Some(connection) = self.connections.get_mut(slot) else {
            return Passed::NotYet;
        };
        let run = &forms.run;
        let is_own = target.has_no_local() && to == run.publisher;
        let is_marked =
            connection.is_v5() && (target.has_ids() || connection.aliases_out.is_some());
        // A translated packet has one byte more or less, and with it perhaps one byte of its length.
        let is_too_large = run.largest + 2 > connection.max_packet_bytes;
        let must_wait =
            !session.replay.is_empty() || (connection.is_blocked && session.has_backlog());
        if is_own || is_marked || is_too_large || must_wait || connection.is_congested() {
            return Passed::NotYet;
        }
        forms.append_to(connection, &mut self.spares);
        note_output(connection, slot, &mut self.dirty, &mut self.urgent);
        Passed::Whole
    }

    /// Gives the messages one by one to those who need it.
    #[cold]
    fn pass_singly(
        &mut self,
        now: Time,
        route: &Route,
        targets: &[Target],
        singles: &[u32],
        run: Run<'_>,
    ) {
        let mut rest = run.bytes;
        while let Some((header_len, total)) = lengths(rest) {
            let packet = &rest[..total];
            rest = &rest[total..];
            let (topic, payload) = packet[header_len + 2..].split_at(run.topic_len);
            let content = Content {
                topic,
                properties: &[],
                payload: &payload[usize::from(run.is_v5)..],
                qos: QoS::AtMostOnce,
                retain: false,
                expires_at: NEVER,
                publisher: Some(run.publisher),
            };
            let inbound = Inbound {
                packet,
                is_v5: run.is_v5,
                qos: QoS::AtMostOnce,
                id_at: 0,
            };
            let mut outgoing =
                Outgoing::new(now, content, Some(inbound), std::mem::take(&mut self.forms));
            outgoing.expect_receivers(singles.len());
            for &at in singles {
                self.deliver_target(now, &mut outgoing, route, &targets[at as usize]);
            }
            self.forms = outgoing.into_forms();
        }
    }
}

/// A run in the forms of both version families.
struct Forms<'a> {
    run: Run<'a>,
    /// Empty until a receiver of the other family comes.
    translated: &'a mut Vec<u8>,
    /// As it came, and translated.
    shared: [Option<Bytes>; 2],
    /// Whether receivers share one copy.
    is_shared: bool,
}

impl Forms<'_> {
    fn append_to(&mut self, connection: &mut Connection, spares: &mut Spares) {
        let is_other = connection.is_v5() != self.run.is_v5;
        if is_other && self.translated.is_empty() {
            translate(&self.run, self.translated);
        }
        let bytes = if is_other {
            self.translated.as_slice()
        } else {
            self.run.bytes
        };
        if self.is_shared {
            let shared = &mut self.shared[usize::from(is_other)];
            let shared = shared.get_or_insert_with(|| Bytes::copy_from_slice(bytes));
            connection.out.extend_shared(shared.clone());
        } else {
            spares.lend(&mut connection.out);
            connection.out.extend(bytes);
        }
    }
}

/// The run that `input` begins with.
#[inline]
fn find<'a>(
    input: &'a [u8],
    topic: &[u8],
    is_v5: bool,
    max_packet_bytes: usize,
    publisher: SessionKey,
) -> Option<Run<'a>> {
    let (mut end, mut packets, mut largest) = (0, 0, 0);
    while let Some(len) = matching(&input[end..], topic, is_v5) {
        if len > max_packet_bytes {
            break;
        }
        end += len;
        packets += 1;
        largest = largest.max(len);
    }
    (packets > 0).then_some(Run {
        bytes: &input[..end],
        packets,
        largest,
        topic_len: topic.len(),
        is_v5,
        publisher,
    })
}

/// Length of the packet at the beginning, if it is whole, plain and on this topic.
#[inline]
fn matching(input: &[u8], topic: &[u8], is_v5: bool) -> Option<usize> {
    let (header_len, total) = lengths(input)?;
    let body = input.get(header_len..total)?;
    let (len, rest) = body.split_first_chunk()?;
    if usize::from(u16::from_be_bytes(*len)) != topic.len() {
        return None;
    }
    let rest = rest.strip_prefix(topic)?;
    // In 5.0 the length of the properties follows.
    if is_v5 && rest.first() != Some(&0) {
        return None;
    }
    Some(total)
}

/// Header length and length of a PUBLISH without any flag. Nothing for other packets, lengths of four bytes
/// and those that are longer than needed.
#[inline]
const fn lengths(input: &[u8]) -> Option<(usize, usize)> {
    let (header_len, body_len) = match *input {
        [PLAIN_PUBLISH, a @ ..0x80, ..] => (2, a as usize),
        [PLAIN_PUBLISH, a, b @ 1..0x80, ..] => (3, (a & 0x7F) as usize | (b as usize) << 7),
        [PLAIN_PUBLISH, a, b @ 0x80..=0xFF, c @ 1..0x80, ..] => (
            4,
            (a & 0x7F) as usize | ((b & 0x7F) as usize) << 7 | (c as usize) << 14,
        ),
        _ => return None,
    };
    Some((header_len, header_len + body_len))
}

/// Appends the run in the form of the other version family: with or without the empty list of properties.
fn translate(run: &Run<'_>, buf: &mut Vec<u8>) {
    let mut rest = run.bytes;
    while let Some((header_len, total)) = lengths(rest) {
        let (packet, next) = rest.split_at(total);
        rest = next;
        let (topic, payload) = packet[header_len..].split_at(2 + run.topic_len);
        buf.push(PLAIN_PUBLISH);
        if run.is_v5 {
            put_remaining_length(buf, total - header_len - 1);
            buf.extend_from_slice(topic);
            buf.extend_from_slice(&payload[1..]);
        } else {
            put_remaining_length(buf, total - header_len + 1);
            buf.extend_from_slice(topic);
            buf.push(0);
            buf.extend_from_slice(payload);
        }
    }
}

/// PUBLISH, QoS 0, first time, not retained.
pub(super) const PLAIN_PUBLISH: u8 = 0x30;

/// Larger buffers are given back after the run.
const KEEP_BYTES: usize = 128 * 1024;
