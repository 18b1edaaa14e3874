//! The connections and sessions of one shard, behind the five verbs.
//!
//! A client id has one home shard, chosen by its hash, so a session, its take-over, its queue and its
//! deadlines never need another thread. A connection that says CONNECT on another shard is moved.

use super::acks::PLAIN_PUBACK;
use super::connection::{Connection, Origin, Stage};
use super::deadline::{Deadlines, Due};
use super::outgoing::Forms;
use super::parcel::Batch;
use super::queue::QueueTotal;
use super::run::{PLAIN_PUBLISH, RunBuffers};
use super::session::Session;
use super::settings::Settings;
use super::slab::Slab;
use crate::output::{Output, Spares};
use crate::route::SessionKey;
use crate::route::index::Route;
use crate::route::router::{CachedRoute, Router, mix};
use crate::route::verdict::Ledger;
use crate::wire::codec::{DecodeError, Frame, encode, encoded_len, frame};
use crate::wire::packet::{Packet, Version};
use crate::wire::tables::ReasonCode;
use crate::{SECOND, Time};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::collections::VecDeque;
use std::sync::Arc;

/// Names a connection of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Slot.
    pub slot: u32,
    /// Guards reuse of the slot.
    pub generation: u16,
}

/// Answer of [`Registry::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes used; the rest is the beginning of a packet and must be handed in again, longer.
    pub consumed: usize,
    /// Whether to go on reading. If not, [`Action::Resume`], [`Action::Yield`] or [`Action::Close`] follows.
    pub goes_on: bool,
}

/// What the world shall do.
#[derive(Debug)]
pub enum Action {
    /// Send what is in the output, then close. The session is already detached.
    Close(ConnectionKey),
    /// Hand the connection, with its unread input, to another shard.
    Move(ConnectionKey, u16),
    /// Read again.
    Resume(ConnectionKey),
    /// Read again, after what had already arrived for the other connections was taken.
    Yield(ConnectionKey),
    /// Tell whoever wants to know.
    Event(Event),
}

/// Something worth a log line.
#[derive(Debug)]
pub struct Event {
    /// How important it is.
    pub level: Level,
    /// Fixed name, such as `client_connected`.
    pub name: &'static str,
    /// Field names and values.
    pub fields: Vec<(&'static str, String)>,
}

/// Importance of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every packet.
    Trace,
    /// Every step.
    Debug,
    /// Connects, disconnects.
    Info,
    /// Something an operator should see.
    Warn,
    /// Something broke.
    Error,
}

/// Commands from the broker and the other shards.
#[derive(Debug)]
pub enum Command {
    /// Messages from another shard.
    Deliver(Batch),
    /// End a client's connection with this reason.
    Kick(String, ReasonCode),
    /// New settings, and the level below which no events are made.
    Configure(Arc<Settings>, Level),
    /// Publish all wills, then say good-bye to everybody. `[MQTT-3.14.0-1]`, reason 0x8B.
    Shutdown,
}

/// One shard's part of the broker.
#[derive(Debug)]
pub struct Registry {
    pub(super) shard: u16,
    pub(super) shards: u16,
    pub(super) connections: Slab<Connection>,
    pub(super) sessions: Slab<Session>,
    /// Session slots by client id.
    pub(super) clients: HashTable<u32>,
    pub(super) router: Arc<Router>,
    pub(super) settings: Arc<Settings>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) forms: Forms,
    pub(super) run_buffers: RunBuffers,
    /// Routes by topic, for connections that publish on many.
    pub(super) routes: HashMap<Box<[u8]>, CachedRoute, FixedState>,
    /// Receivers in all of them.
    pub(super) routes_targets: usize,
    pub(super) deadlines: Deadlines,
    pub(super) actions: VecDeque<Action>,
    /// Connections with something to send.
    pub(super) dirty: Vec<u32>,
    /// Connections with so much to send that it should not wait for the end of the tick.
    pub(super) urgent: Vec<u32>,
    /// Buffers for connections with something to send.
    pub(super) spares: Spares,
    /// Messages for the other shards, by shard.
    pub(super) outbox: Vec<Batch>,
    /// The last route posted to each shard in this tick.
    pub(super) last_posted: Vec<Option<Arc<Route>>>,
    /// Properties without alias and expiry, kept from message to message.
    pub(super) properties: Vec<u8>,
    pub(super) random_state: u64,
    /// What waits in the queues of all sessions; the shards of a broker share one.
    pub queue_total: Arc<QueueTotal>,
    /// Events below are not made.
    pub level: Level,
}

/// A client that leaves more than this of our answers unread is not read itself.
const UNREAD_ANSWERS_BYTES: usize = 64 * 1024;

/// How often expired retained messages are looked for.
const PURGE_INTERVAL: Time = 60 * SECOND;

impl Registry {
    /// An empty shard. `seed` comes from a random source.
    pub fn new(
        shard: u16,
        shards: u16,
        router: Arc<Router>,
        settings: Arc<Settings>,
        seed: u64,
    ) -> Self {
        let hasher = || FixedState::with_seed(seed);
        let mut deadlines = Deadlines::default();
        if shard == 0 {
            let _is_too_long = deadlines.push(PURGE_INTERVAL, Due::Retained);
        }
        Self {
            shard,
            shards,
            connections: Slab::default(),
            sessions: Slab::default(),
            clients: HashTable::new(),
            router,
            settings,
            ledger: Arc::default(),
            forms: Forms::default(),
            run_buffers: RunBuffers::default(),
            routes: HashMap::with_hasher(hasher()),
            routes_targets: 0,
            deadlines,
            actions: VecDeque::new(),
            dirty: Vec::new(),
            urgent: Vec::new(),
            spares: Spares::default(),
            outbox: (0..shards).map(|_| Batch::default()).collect(),
            last_posted: (0..shards).map(|_| None).collect(),
            properties: Vec::new(),
            random_state: seed,
            queue_total: Arc::default(),
            level: Level::Info,
        }
    }

    /// Counters of this shard, readable from anywhere.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// A connection was made.
    pub fn open(&mut self, now: Time, origin: Arc<Origin>) -> ConnectionKey {
        let limit = match origin.listener.max_packet_bytes {
            0 => self.settings.max_packet_bytes,
            bytes => bytes.min(self.settings.max_packet_bytes),
        };
        let (slot, generation) = self.connections.insert(Connection::new(now, origin, limit));
        self.ledger.connections.add(1);
        let key = ConnectionKey { slot, generation };
        self.schedule_connection(key, now + self.settings.connect_timeout);
        key
    }

    /// Input from the peer. Never blocks, never panics; takes only whole packets.
    #[inline]
    pub fn receive(&mut self, now: Time, key: ConnectionKey, input: &[u8]) -> Received {
        let mut consumed = 0;
        let mut packets = 0;
        let mut goes_on = true;
        while goes_on {
            let Some(connection) = self.connections.get_current(key.slot, key.generation) else {
                return Received {
                    consumed: input.len(),
                    goes_on: false,
                };
            };
            if matches!(connection.stage, Stage::Closing) {
                return Received {
                    consumed: input.len(),
                    goes_on: false,
                };
            }
            if connection.is_blocked && connection.out.len() > UNREAD_ANSWERS_BYTES {
                connection.is_paused = true;
                goes_on = false;
                break;
            }
            let limit = connection.receive_limit();
            let rest = &input[consumed..];
            match rest.first() {
                Some(&PLAIN_PUBLISH) => {
                    if let Some(run) = self.on_run(now, key.slot, rest) {
                        consumed += run.bytes.len();
                        packets += run.packets;
                        continue;
                    }
                }
                Some(&PLAIN_PUBACK) => {
                    let taken = self.on_pubacks(now, key.slot, rest);
                    if taken > 0 {
                        consumed += 4 * taken;
                        packets += taken as u64;
                        continue;
                    }
                }
                _ => {}
            }
            let outcome = match frame(rest, limit) {
                Ok(Frame::Incomplete { .. }) => break,
                Ok(Frame::Complete {
                    first,
                    header_len,
                    total,
                }) => {
                    if let Some(connection) = self.connections.get_mut(key.slot) {
                        connection.last_received = now;
                    }
                    consumed += total;
                    packets += 1;
                    self.packet(now, key, first, header_len, &rest[..total])
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Next::Read) => {}
                Ok(Next::Pause) => goes_on = false,
                Ok(Next::Unread) => {
                    // The packet belongs to the shard that the connection moves to.
                    consumed = input.len() - rest.len();
                    goes_on = false;
                }
                Err(error) => {
                    self.refuse_input(now, key.slot, error, rest);
                    return Received {
                        consumed: input.len(),
                        goes_on: false,
                    };
                }
            }
        }
        self.ledger.packets_received.add(packets);
        self.ledger.bytes_received.add(consumed as u64);
        Received { consumed, goes_on }
    }

    /// Input from the broker.
    pub fn submit(&mut self, now: Time, command: Command) {
        match command {
            Command::Deliver(batch) => self.receive_batch(now, &batch),
            Command::Kick(client_id, reason) => self.kick(now, &client_id, reason),
            Command::Configure(settings, level) => {
                self.settings = settings;
                self.level = level;
            }
            Command::Shutdown => self.shut_down(now),
        }
    }

    /// Messages from another shard; the batch may be used again.
    pub fn deliver_batch(&mut self, now: Time, batch: &Batch) {
        self.receive_batch(now, batch);
    }

    /// The connection's origin is known better now: the PROXY protocol told it.
    pub fn set_origin(&mut self, key: ConnectionKey, origin: Arc<Origin>) {
        if let Some(connection) = self.connections.get_current(key.slot, key.generation) {
            connection.origin = origin;
        }
    }

    /// Time has passed. Extra calls are harmless.
    pub fn expire(&mut self, now: Time) {
        while let Some((at, due)) = self.deadlines.pop(now) {
            match due {
                Due::Connection(slot, generation) => {
                    if let Some(connection) = self.connections.get_current(slot, generation) {
                        if connection.due_at == at {
                            connection.due_at = Time::MAX;
                            self.connection_due(now, slot);
                        }
                    }
                }
                Due::Session(slot, generation) => {
                    if let Some(session) = self.sessions.get_current(slot, generation) {
                        if session.due_at == at {
                            session.due_at = Time::MAX;
                            self.session_due(now, slot);
                        }
                    }
                }
                Due::Retained => {
                    self.router.purge_retained(now);
                    self.push_deadline(now + PURGE_INTERVAL, Due::Retained);
                }
            }
        }
    }

    /// When [`expire`](Self::expire) is due; may change after any call.
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.next()
    }

    /// What to do next; drained until empty after each call of the other verbs.
    #[inline]
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Exchanges the list of connections with something to send for the empty `slots`. Each stays marked until
    /// [`unlist`](Self::unlist), so that it is not listed again before its turn.
    pub fn take_dirty(&mut self, slots: &mut Vec<u32>) {
        std::mem::swap(&mut self.dirty, slots);
    }

    /// The connection is about to be written to.
    #[inline]
    pub fn unlist(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.is_dirty = false;
        }
    }

    /// A connection with something to send; its mark is taken off.
    #[inline]
    pub fn next_dirty(&mut self) -> Option<u32> {
        let slot = self.dirty.pop()?;
        self.unlist(slot);
        Some(slot)
    }

    /// Whether there is something to send or to act on.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.actions.is_empty()
    }

    /// A connection to be flushed before the next reader runs.
    #[inline]
    pub fn next_urgent(&mut self) -> Option<u32> {
        self.urgent.pop()
    }

    /// The output of a connection.
    #[inline]
    pub fn output(&mut self, slot: u32) -> Option<&mut Output> {
        self.connections
            .get_mut(slot)
            .map(|connection| &mut connection.out)
    }

    /// The socket would block: from now on messages wait in the session's queue.
    pub fn set_blocked(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.is_blocked = true;
        }
    }

    /// Everything was written: `bytes` of it. Sends what waits; true if there is more to write now.
    #[inline]
    pub fn flushed(&mut self, now: Time, slot: u32, bytes: u64) -> bool {
        self.ledger.bytes_sent.add(bytes);
        let Some((connection, generation)) = self.connections.get_with_generation(slot) else {
            return false;
        };
        connection.is_blocked = false;
        self.spares.retire(&mut connection.out);
        if connection.is_paused && connection.paused_until <= now {
            connection.is_paused = false;
            self.actions
                .push_back(Action::Resume(ConnectionKey { slot, generation }));
        }
        let Stage::Online(SessionKey { slot: session, .. }) = connection.stage else {
            return false;
        };
        let waits = self
            .sessions
            .get(session)
            .is_some_and(|session| session.has_backlog() || session.replay.has_wanted());
        if !waits {
            return false;
        }
        self.refill(now, session);
        self.connections
            .get(slot)
            .is_some_and(|connection| !connection.out.is_empty())
    }

    /// The batch for another shard, taken out.
    pub fn take_outbox(&mut self, shard: u16, into: &mut Batch) -> bool {
        if let Some(last) = self.last_posted.get_mut(usize::from(shard)) {
            *last = None;
        }
        match self.outbox.get_mut(usize::from(shard)) {
            Some(batch) if !batch.is_empty() => {
                into.append(batch);
                batch.clear();
                true
            }
            _ => false,
        }
    }

    /// Whether something waits for other shards.
    #[inline]
    pub fn has_outbox(&self) -> bool {
        self.shards > 1 && self.outbox.iter().any(|batch| !batch.is_empty())
    }

    /// The connection is gone from this shard: closed by the peer, or the world is done with it. Its session
    /// goes on as the standard says.
    pub fn release(&mut self, now: Time, key: ConnectionKey) {
        if !self.connections.is_current(key.slot, key.generation) {
            return;
        }
        self.detach(now, key.slot, Ending::Lost);
        self.connections.remove(key.slot);
        self.ledger.connections.sub(1);
    }

    /// The connection goes to another shard; nothing happened on it yet.
    pub fn forget(&mut self, key: ConnectionKey) {
        if self.connections.is_current(key.slot, key.generation) {
            self.connections.remove(key.slot);
            self.ledger.connections.sub(1);
        }
    }

    /// The slot of the connection of this client.
    pub fn connection_of(&self, client_id: &str) -> Option<u32> {
        self.sessions.get(self.session_of(client_id)?)?.connection
    }

    /// The slot of the session of this client.
    pub(super) fn session_of(&self, client_id: &str) -> Option<u32> {
        let is_it = |&slot: &u32| {
            self.sessions
                .get(slot)
                .is_some_and(|session| *session.client_id == *client_id)
        };
        let hash = client_hash(&self.router, client_id);
        self.clients.find(hash, is_it).copied()
    }

    /// Makes a session known by its client id.
    pub(super) fn enter_client(&mut self, slot: u32) {
        let Self {
            clients,
            sessions,
            router,
            ..
        } = self;
        let hash = |&slot: &u32| match sessions.get(slot) {
            Some(session) => client_hash(router, &session.client_id),
            None => 0,
        };
        clients.insert_unique(hash(&slot), slot, hash);
    }

    /// Forgets the client id of a session that is already taken out.
    pub(super) fn leave_client(&mut self, slot: u32, client_id: &str) {
        let hash = client_hash(&self.router, client_id);
        if let Ok(entry) = self.clients.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// Whether a client id is at home on this shard.
    pub fn is_home(&self, client_id: &str) -> bool {
        self.home(client_id) == self.shard
    }

    /// The home shard of a client id.
    pub fn home(&self, client_id: &str) -> u16 {
        (self.router.hash(client_id.as_bytes()) % u64::from(self.shards)) as u16
    }

    /// Calls `visit` for every session with its connection, for reports.
    pub fn visit(&self, visit: &mut dyn FnMut(&Session, Option<&Connection>)) {
        for (_, session) in self.sessions.iter() {
            visit(
                session,
                session
                    .connection
                    .and_then(|slot| self.connections.get(slot)),
            );
        }
    }

    #[inline]
    fn packet(
        &mut self,
        now: Time,
        key: ConnectionKey,
        first: u8,
        header_len: usize,
        packet: &[u8],
    ) -> Result<Next, DecodeError> {
        if first >> 4 == PUBLISH {
            return self.on_publish(now, key.slot, packet, header_len);
        }
        self.on_control(now, key, first, header_len, packet)
    }

    fn on_control(
        &mut self,
        now: Time,
        key: ConnectionKey,
        first: u8,
        header_len: usize,
        bytes: &[u8],
    ) -> Result<Next, DecodeError> {
        let Some(connection) = self.connections.get(key.slot) else {
            return Ok(Next::Pause);
        };
        let slot = key.slot;
        let body = &bytes[header_len..];
        let session = match connection.stage {
            Stage::AwaitsConnect if first >> 4 == CONNECT => {
                return self.on_connect(now, key, bytes, header_len);
            }
            Stage::AwaitsConnect => {
                return Err(protocol_error(
                    "the first packet is not CONNECT [MQTT-3.1.0-1]",
                ));
            }
            Stage::Authenticates(_) => return self.on_pending(now, key, first, body),
            Stage::Online(session) => session.slot,
            Stage::Closing => return Ok(Next::Pause),
        };
        // Unexpected whatever it holds, so that nobody looks inside.
        if matches!(first >> 4, CONNACK | SUBACK | UNSUBACK | PINGRESP) {
            return Err(protocol_error("a packet that only a server sends"));
        }
        match crate::wire::codec::decode(connection.version, first, body)? {
            Packet::PubAck(ack) => self.on_puback(now, session, &ack)?,
            Packet::PubRec(ack) => self.on_pubrec(now, slot, session, &ack)?,
            Packet::PubRel(ack) => self.on_pubrel(slot, session, &ack),
            Packet::PubComp(ack) => self.on_pubcomp(now, session, &ack)?,
            Packet::Subscribe(subscribe) => self.on_subscribe(now, slot, session, &subscribe)?,
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(slot, session, &unsubscribe)?,
            Packet::PingReq => {
                self.send(slot, &Packet::PingResp);
            }
            Packet::Disconnect(disconnect) => {
                if !disconnect.reason.is_disconnect_by_client() {
                    return Err(protocol_error(
                        "a DISCONNECT reason that only a server gives",
                    ));
                }
                self.on_disconnect(now, slot, session, &disconnect)?;
                return Ok(Next::Pause);
            }
            Packet::Auth(auth) => return self.on_reauthenticate(slot, session, &auth),
            Packet::Connect(_) => return Err(protocol_error("a second CONNECT [MQTT-3.1.0-2]")),
            _ => return Err(protocol_error("a packet that only a server sends")),
        }
        Ok(Next::Read)
    }

    /// Writes a packet to a connection; false if the client does not take one of that size.
    pub(super) fn send(&mut self, slot: u32, packet: &Packet<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else {
            return false;
        };
        let version = connection.version;
        if connection.max_packet_bytes < usize::MAX
            && encoded_len(packet, version) > connection.max_packet_bytes
        {
            return false;
        }
        self.spares.lend(&mut connection.out);
        connection.out.append(|buf| encode(packet, version, buf));
        self.mark_dirty(slot);
        true
    }

    /// Notes that a connection has something to send.
    #[inline]
    pub(super) fn mark_dirty(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            if !connection.is_dirty {
                connection.is_dirty = true;
                self.dirty.push(slot);
            }
        }
    }

    /// Asks for [`connection_due`](Self::connection_due) at `at`, unless it comes earlier anyway.
    pub(super) fn schedule_connection(&mut self, key: ConnectionKey, at: Time) {
        if let Some(connection) = self.connections.get_current(key.slot, key.generation) {
            if at < connection.due_at {
                connection.due_at = at;
                self.push_deadline(at, Due::Connection(key.slot, key.generation));
            }
        }
    }

    /// The same for whatever connection is in the slot now.
    pub(super) fn schedule_slot(&mut self, slot: u32, at: Time) {
        if let Some((_, generation)) = self.connections.get_with_generation(slot) {
            self.schedule_connection(ConnectionKey { slot, generation }, at);
        }
    }

    /// Asks for [`session_due`](Self::session_due) at `at`, unless it comes earlier anyway.
    pub(super) fn schedule_session(&mut self, slot: u32, at: Time) {
        if let Some(session) = self.sessions.get_mut(slot) {
            if at < session.due_at {
                session.due_at = at;
                let generation = session.key.generation;
                self.push_deadline(at, Due::Session(slot, generation));
            }
        }
    }

    fn push_deadline(&mut self, at: Time, due: Due) {
        if !self.deadlines.push(at, due) {
            return;
        }
        let (connections, sessions) = (&self.connections, &self.sessions);
        self.deadlines.tidy(|at, due| match due {
            Due::Connection(slot, generation) => {
                connections.is_current(slot, generation)
                    && connections.get(slot).is_some_and(|c| c.due_at == at)
            }
            Due::Session(slot, generation) => {
                sessions.is_current(slot, generation)
                    && sessions.get(slot).is_some_and(|s| s.due_at == at)
            }
            Due::Retained => true,
        });
    }

    /// The next random number; seeded from outside, not for long-lived secrets.
    pub(super) const fn random(&mut self) -> u64 {
        self.random_state = self.random_state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.random_state)
    }

    /// Emits an event if its level is wanted.
    pub(super) fn event(
        &mut self,
        level: Level,
        name: &'static str,
        fields: impl FnOnce() -> Vec<(&'static str, String)>,
    ) {
        if level >= self.level {
            self.actions.push_back(Action::Event(Event {
                level,
                name,
                fields: fields(),
            }));
        }
    }
}

/// What to do after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Take the next one.
    Read,
    /// Stop reading for now.
    Pause,
    /// Stop, and keep this packet.
    Unread,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client said DISCONNECT: the will is not sent. `[MQTT-3.14.4-3]`
    Normal,
    /// Anything else: the will is sent. `[MQTT-3.1.2-8]`
    Lost,
    /// Another connection of the same client id took the session over and resumes it.
    TakenOver,
}

/// Hash of a client id. Not that which chooses the home shard: the ids of one shard have much of it in common.
fn client_hash(router: &Router, client_id: &str) -> u64 {
    mix(router.hash(client_id.as_bytes()))
}

/// A protocol error with its explanation.
pub(super) const fn protocol_error(what: &'static str) -> DecodeError {
    DecodeError {
        reason: ReasonCode::PROTOCOL_ERROR,
        what,
    }
}

/// Name of a version in reports.
pub const fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::V31 => "MQIsdp",
        Version::V311 | Version::V5 => "MQTT",
    }
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;
const UNSUBACK: u8 = 11;
const PINGRESP: u8 = 13;
