//! The only loop: reads, calls the five verbs, carries out their actions.
//!
//! One thread, one tokio current-thread runtime, one future. A connection is an entry in the shard's tables
//! with a socket that puts it on the list of the ready ones. Each tick reads from all that are ready, into one
//! buffer that is handed to the protocol core; then it looks at deadlines, sends what the core wrote, one
//! write per connection, and hands messages to the other shards.

mod ready;
mod turn;

use crate::clock::Clock;
use crate::mailbox::{Mail, Mailbox};
use crate::net::listener::{Accepted, Guard};
use crate::net::stream::{DetachedStream, Stream};
use crate::tap::Tap;
use nanomq_proto::Time;
use nanomq_proto::blocks::Blocks;
use nanomq_proto::session::connection::{Connection, Origin};
use nanomq_proto::session::parcel::Batch;
use nanomq_proto::session::publishing::LocalPublish;
use nanomq_proto::session::registry::{Action, Command, ConnectionKey, Registry};
use nanomq_proto::session::session::Session;
use nanomq_proto::wire::packet::QoS;
use nanomq_proto::wire::tables::{Properties, ReasonCode};
use ready::{Ready, Turn};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Size of the read buffer of a shard, and the most a connection reads per turn.
const READ_BYTES: usize = 64 * 1024;

/// A partial packet up to this size is put before the next read, so that the packet is whole in one piece.
const REJOIN_BYTES: usize = 16 * 1024;

/// Room for orders that is kept.
const MOST_ORDERS: usize = 256;

/// How long a closed connection may take to send its last bytes and read ours.
const LINGER: Duration = Duration::from_secs(1);

/// Mail that is not messages.
#[derive(Debug)]
pub enum Order {
    /// A connection was accepted.
    Accepted(Accepted),
    /// A connection whose client is at home here.
    Moved(Box<Moved>),
    /// For the protocol core.
    Command(Command),
    /// Publish a message of the embedding program; answers how many sessions it was addressed to.
    Publish(LocalMessage, Sender<usize>),
    /// The clock was turned: look at the deadlines, then answer.
    Expire(Sender<()>),
    /// Drop the TCP connection of a client without a word; answers whether there was one.
    Cut(String, Sender<bool>),
    /// End the connection of a client with a reason; answers whether there was one.
    Kick(String, ReasonCode, Sender<bool>),
    /// Call for every session, then drop the function.
    Visit(Visitor),
    /// Close everything and end.
    Stop,
}

/// A function that looks at the sessions of a shard.
pub struct Visitor(pub Box<Visit>);

/// What a [`Visitor`] calls.
pub type Visit = dyn FnMut(&Session, Option<&Connection>) + Send;

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visitor")
    }
}

/// A message of the embedding program.
#[derive(Debug)]
pub struct LocalMessage {
    /// Topic name, checked.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Encoded and checked PUBLISH properties.
    pub properties: Vec<u8>,
}

/// A connection on its way to another shard.
#[derive(Debug)]
pub struct Moved {
    stream: DetachedStream,
    origin: Arc<Origin>,
    guard: Option<Guard>,
    unread: Vec<u8>,
}

/// What a shard shares with the rest of the engine.
#[derive(Debug)]
pub struct Surroundings {
    /// The engine's clock.
    pub clock: Arc<Clock>,
    /// Events to Python.
    pub tap: Arc<Tap>,
    /// The mailboxes of all shards.
    pub mailboxes: Arc<[Mailbox]>,
    /// Number of this shard.
    pub number: u16,
}

/// A connection's socket and what it has read beyond whole packets.
struct Link {
    generation: u16,
    stream: Stream,
    /// Puts the connection on the list of the ready ones.
    waker: Waker,
    origin: Arc<Origin>,
    /// Counts the connection at its listener.
    guard: Option<Guard>,
    /// Read, not yet consumed.
    unread: Vec<u8>,
    is_handshaking: bool,
    /// The socket would block: its waker is called when it takes more.
    is_blocked: bool,
    /// The core does not want more input now.
    is_paused: bool,
    /// The core is done with it: send the rest and close, at the latest at this time.
    closes_at: Option<Instant>,
    /// Everything is sent and our side is shut: only the peer's end is awaited.
    is_shut: bool,
}

impl Link {
    fn new(stream: Stream, origin: Arc<Origin>, guard: Option<Guard>, unread: Vec<u8>) -> Self {
        Self {
            generation: 0,
            stream,
            waker: Waker::noop().clone(),
            origin,
            guard,
            unread,
            is_handshaking: false,
            is_blocked: false,
            is_paused: false,
            closes_at: None,
            is_shut: false,
        }
    }
}

/// The state of one shard.
struct Shard {
    registry: Registry,
    links: Blocks<Option<Link>>,
    buffer: Vec<u8>,
    surroundings: Surroundings,
    ready: Arc<Ready>,
    /// Connections that closed and may linger.
    closing: VecDeque<(Instant, ConnectionKey)>,
    /// Connections that wait for another shard's mailbox.
    stalled: Vec<ConnectionKey>,
    /// Connections to be resumed in the next tick, behind those whose sockets are ready by then.
    yielding: Vec<ConnectionKey>,
    batch: Batch,
    /// Connections to be written to; empty between ticks.
    dirty: Vec<u32>,
    is_stopping: bool,
}

/// Runs a shard until it is told to stop. Called on the shard's own thread.
///
/// # Errors
/// The runtime could not be made.
pub fn run(registry: Registry, surroundings: Surroundings) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(31)
        .build()?;
    let _timers = runtime.enter();
    let driver = Driver {
        shard: Shard {
            registry,
            links: Blocks::default(),
            buffer: vec![0; READ_BYTES + REJOIN_BYTES],
            surroundings,
            ready: Arc::default(),
            closing: VecDeque::new(),
            stalled: Vec::new(),
            yielding: Vec::new(),
            batch: Batch::default(),
            dirty: Vec::new(),
            is_stopping: false,
        },
        sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        sleeps_until: Time::MAX,
        mail: Mail::default(),
        turns: Vec::new(),
    };
    // It is the only future of its runtime, so nobody is starved by what it does in one go.
    runtime.block_on(tokio::task::unconstrained(driver));
    Ok(())
}

/// The ticks of a shard.
struct Driver {
    shard: Shard,
    sleep: Pin<Box<Sleep>>,
    sleeps_until: Time,
    mail: Mail,
    /// Connections whose turn it is.
    turns: Vec<Arc<Turn>>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            shard, mail, turns, ..
        } = &mut *self;
        let now = shard.surroundings.clock.now();
        shard.ready.collect(turns, cx.waker());
        for turn in turns.drain(..) {
            let (key, waker) = turn.begin();
            shard.take_turn(now, key, &mut Context::from_waker(&waker));
        }
        for key in std::mem::take(&mut shard.yielding) {
            shard.resume(now, key);
        }
        shard.collect(now, mail, cx.waker());
        shard.registry.expire(now);
        shard.act(now);
        shard.flush_dirty(now);
        // What flushing brought about: resumed readers, closed connections.
        shard.act(now);
        shard.post();
        // The runtime asks the sockets before it comes back.
        if shard.registry.has_work() || !shard.yielding.is_empty() {
            cx.waker().wake_by_ref();
        }
        shard.end_lingering();
        if shard.is_stopping && shard.links.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        self.sleep(cx);
        Poll::Pending
    }
}

impl Driver {
    /// Sleeps until the next deadline. An earlier sleep is kept: an extra call is harmless.
    fn sleep(&mut self, cx: &mut Context<'_>) {
        let shard = &self.shard;
        let clock = &shard.surroundings.clock;
        let mut next = shard.registry.deadline().unwrap_or(Time::MAX);
        if let Some((at, _)) = shard.closing.front() {
            let wait = at.saturating_duration_since(Instant::now());
            next = next.min(clock.now() + wait.as_micros() as Time);
        }
        if next < self.sleeps_until || self.sleep.is_elapsed() {
            self.sleeps_until = next;
            // Far deadlines are looked at once an hour, which also keeps the timer's arithmetic small.
            let wait = clock.until(next).min(Duration::from_secs(3600));
            self.sleep
                .as_mut()
                .reset(tokio::time::Instant::now() + wait);
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            self.sleeps_until = Time::MAX;
            cx.waker().wake_by_ref();
        }
    }
}
impl Shard {
    fn link(&mut self, key: ConnectionKey) -> Option<&mut Link> {
        let link = self.links.get_mut(key.slot as usize)?.as_mut()?;
        (link.generation == key.generation).then_some(link)
    }

    /// Carries out what the core decided.
    fn act(&mut self, now: Time) {
        while let Some(action) = self.registry.next_action() {
            match action {
                Action::Close(key) => self.begin_close(key),
                Action::Move(key, shard) => self.hand_over(key, shard),
                Action::Resume(key) => self.resume(now, key),
                Action::Yield(key) => self.yielding.push(key),
                Action::Event(event) => self.surroundings.tap.push(event),
            }
        }
        if !self.stalled.is_empty() && !self.must_stall() {
            for key in std::mem::take(&mut self.stalled) {
                if let Some(link) = self.link(key) {
                    link.waker.wake_by_ref();
                }
            }
        }
    }

    fn begin_close(&mut self, key: ConnectionKey) {
        let at = Instant::now() + LINGER;
        let Some(link) = self.link(key) else { return };
        link.closes_at = Some(at);
        link.unread = Vec::new();
        link.waker.wake_by_ref();
        self.closing.push_back((at, key));
    }

    /// Moves a connection, with what it has read, to the home shard of its client.
    fn hand_over(&mut self, key: ConnectionKey, shard: u16) {
        if self.link(key).is_none() {
            return;
        }
        let Some(link) = self.links.get_mut(key.slot as usize).and_then(Option::take) else {
            return;
        };
        self.registry.forget(key);
        let Ok(stream) = link.stream.detach() else {
            return;
        };
        let moved = Moved {
            stream,
            origin: link.origin,
            guard: link.guard,
            unread: link.unread,
        };
        if let Some(mailbox) = self.surroundings.mailboxes.get(usize::from(shard)) {
            mailbox.order(Order::Moved(Box::new(moved)));
        }
    }

    fn resume(&mut self, now: Time, key: ConnectionKey) {
        let Some(link) = self.link(key) else { return };
        link.is_paused = false;
        link.waker.wake_by_ref();
        if !link.unread.is_empty() {
            self.take_unread(now, key);
        }
    }

    /// Takes the mail in.
    fn collect(&mut self, now: Time, mail: &mut Mail, waker: &Waker) {
        let mailboxes = Arc::clone(&self.surroundings.mailboxes);
        let Some(mailbox) = mailboxes.get(usize::from(self.surroundings.number)) else {
            return;
        };
        mailbox.collect(mail, waker);
        if !mail.messages.is_empty() {
            let bytes = mail.messages.size_bytes();
            self.registry.deliver_batch(now, &mail.messages);
            mail.messages.clear();
            if mailbox.delivered(bytes) {
                mailboxes.iter().for_each(Mailbox::wake);
            }
            self.flush_urgent(now);
        }
        for order in mail.orders.drain(..) {
            self.carry_out(now, order);
        }
        // A storm of connections is over some time.
        mail.orders.shrink_to(MOST_ORDERS);
    }

    fn carry_out(&mut self, now: Time, order: Order) {
        match order {
            Order::Accepted(accepted) => {
                let listener = accepted.limits();
                if let Ok((stream, guard)) = accepted.into_stream() {
                    let origin = Arc::new(Origin {
                        peer: stream.peer_addr(),
                        listener,
                    });
                    let link = Link {
                        is_handshaking: true,
                        ..Link::new(stream, origin, Some(guard), Vec::new())
                    };
                    self.open(now, link);
                }
            }
            Order::Moved(moved) => {
                if let Ok(stream) = moved.stream.attach() {
                    self.open(
                        now,
                        Link::new(stream, moved.origin, moved.guard, moved.unread),
                    );
                }
            }
            Order::Command(command) => self.registry.submit(now, command),
            Order::Publish(message, answer) => {
                let copies = self.publish(now, &message);
                let _ = answer.send(copies);
            }
            Order::Expire(answer) => {
                self.registry.expire(self.surroundings.clock.now());
                let _ = answer.send(());
            }
            Order::Cut(client_id, answer) => {
                let slot = self.registry.connection_of(&client_id);
                let link = slot.and_then(|slot| {
                    self.links
                        .get(slot as usize)?
                        .as_ref()
                        .map(|link| (slot, link.generation))
                });
                if let Some((slot, generation)) = link {
                    self.drop_link(now, ConnectionKey { slot, generation });
                }
                let _ = answer.send(link.is_some());
            }
            Order::Kick(client_id, reason, answer) => {
                let was_connected = self.registry.connection_of(&client_id).is_some();
                self.registry.submit(now, Command::Kick(client_id, reason));
                let _ = answer.send(was_connected);
            }
            Order::Visit(mut visitor) => self.registry.visit(&mut *visitor.0),
            Order::Stop => {
                self.registry.submit(now, Command::Shutdown);
                self.is_stopping = true;
            }
        }
    }

    fn publish(&mut self, now: Time, message: &LocalMessage) -> usize {
        let message = LocalPublish {
            topic: &message.topic,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            properties: Properties::from_validated(&message.properties),
        };
        self.registry.publish_local(now, &message)
    }

    /// Gives a new connection its place and its first turn.
    fn open(&mut self, now: Time, mut link: Link) {
        if self.is_stopping {
            return;
        }
        let key = self.registry.open(now, Arc::clone(&link.origin));
        let slot = key.slot as usize;
        while self.links.len() <= slot {
            self.links.push(None);
        }
        let has_unread = !link.unread.is_empty();
        link.generation = key.generation;
        link.waker = self.ready.waker(key);
        link.waker.wake_by_ref();
        if let Some(place) = self.links.get_mut(slot) {
            *place = Some(link);
        }
        if has_unread {
            self.take_unread(now, key);
        }
    }

    /// The socket is gone or given up.
    fn drop_link(&mut self, now: Time, key: ConnectionKey) {
        if self.link(key).is_none() {
            return;
        }
        if let Some(link) = self.links.get_mut(key.slot as usize) {
            *link = None;
        }
        self.registry.release(now, key);
    }

    /// Hands the tick's messages to the other shards.
    fn post(&mut self) {
        if !self.registry.has_outbox() {
            return;
        }
        for shard in 0..self.surroundings.mailboxes.len() {
            if self.registry.take_outbox(shard as u16, &mut self.batch) {
                if let Some(mailbox) = self.surroundings.mailboxes.get(shard) {
                    mailbox.deliver(&mut self.batch);
                }
            }
        }
    }

    /// Gives up on connections that do not close.
    fn end_lingering(&mut self) {
        while let Some(&(at, key)) = self.closing.front() {
            if at > Instant::now() {
                return;
            }
            self.closing.pop_front();
            let now = self.surroundings.clock.now();
            if self.link(key).is_some_and(|link| link.closes_at.is_some()) {
                self.drop_link(now, key);
            }
        }
    }
}
