//! One client of the load: a task that polls its stream by hand.

use super::options::{Plan, Role};
use super::phase::Phase;
use super::publisher::{Publisher, Stamp};
use super::timer::monotonic_ns;
use super::worker::{Signal, Worker};
use crate::net::stream::Stream;
use nanomq_proto::Output;
use nanomq_proto::wire::codec::{
    Frame, MAX_REMAINING_LENGTH, RawPublish, decode, encode, frame, push_subscribe_filter,
};
use nanomq_proto::wire::packet::{
    Connect, Disconnect, Packet, QoS, Subscribe, SubscribeFilters, SubscribeOptions,
};
use nanomq_proto::wire::tables::{Properties, Property, ReasonCode};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Bytes written at once by a publisher that has no pace. A frame of a WebSocket has room for them.
const BATCH_BYTES: usize = 64 * 1000;

/// Reads and writes of one turn; the other clients have theirs in between.
const TURNS: usize = 8;

/// Topic filters of one SUBSCRIBE.
const FILTERS: u32 = 500;

/// Longest packet.
const MOST_BYTES: usize = MAX_REMAINING_LENGTH + 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Subscribing,
    Ready,
    Closing,
}

/// One client, connected.
pub(super) struct Connection {
    worker: Rc<Worker>,
    signal: Rc<Signal>,
    number: u32,
    role: Role,
    stream: Stream,
    out: Output,
    /// Whether the socket did not take everything.
    is_blocked: bool,
    /// The beginning of a packet whose rest is to come.
    partial: Vec<u8>,
    /// Bytes the whole of it has, as far as known.
    needs: usize,
    state: State,
    /// Filters asked for so far.
    asked: u32,
    publisher: Option<Publisher>,
    /// The last number of each publisher.
    last: Vec<u64>,
}

/// Counts of one read.
#[derive(Default)]
struct Counts {
    received: u64,
    repeated: u64,
    gaps: u64,
    acked: u64,
    refused: u64,
}

impl Connection {
    /// A client that says CONNECT first.
    pub(super) fn new(worker: Rc<Worker>, signal: Rc<Signal>, number: u32, stream: Stream) -> Self {
        let plan = worker.plan();
        let role = plan.role(number);
        let mut out = Output::new();
        let client_id = plan.client_id(number);
        let connect = Connect {
            version: plan.version,
            is_bridge: false,
            clean_start: plan.options.clean,
            keepalive_s: plan.options.keepalive_s,
            client_id: &client_id,
            username: plan.options.username.as_deref(),
            password: plan.options.password.as_deref().map(str::as_bytes),
            will: None,
            properties: Properties::EMPTY,
        };
        out.append(|buf| encode(&Packet::Connect(connect), plan.version, buf));
        let publisher = match role {
            Role::Publisher(index) => Some(Publisher::new(plan, number, index)),
            _ => None,
        };
        Self {
            worker,
            signal,
            number,
            role,
            stream,
            out,
            is_blocked: false,
            partial: Vec::new(),
            needs: 0,
            state: State::Connecting,
            asked: 0,
            publisher,
            last: Vec::new(),
        }
    }

    /// Ready when the server has accepted it and its subscriptions.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_until(cx, State::Ready)
    }

    /// Ready when it is closed.
    pub(super) fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_until(cx, State::Closing))?;
        self.stream.poll_close(cx)
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, goal: State) -> Poll<io::Result<()>> {
        self.signal.watch(cx.waker());
        for _ in 0..TURNS {
            let mut goes_on = false;
            if !(self.role == Role::Stalled && self.state == State::Ready) {
                match self.poll_read(cx)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(_) => goes_on = true,
                    Poll::Pending => {}
                }
            }
            let may_have_more = self.fill() || self.is_blocked;
            if self.is_blocked || !self.out.is_empty() {
                self.is_blocked = self.stream.poll_write(cx, &mut self.out)?.is_pending();
                goes_on |= may_have_more && !self.is_blocked;
            }
            if self.state == goal && (goal != State::Closing || !self.is_blocked) {
                return Poll::Ready(Ok(()));
            }
            if !goes_on {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, behind what is left of the last read, and answers.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        if scratch.len() < self.needs {
            scratch.resize(self.needs, 0);
        }
        let kept = self.partial.len();
        let count = ready!(self.stream.poll_read(cx, &mut scratch[kept..]))?;
        scratch[..kept].copy_from_slice(&self.partial);
        let input = &scratch[..kept + count];
        let consumed = self.receive(input)?;
        self.partial.clear();
        self.partial.extend_from_slice(&input[consumed..]);
        Poll::Ready(Ok(count))
    }

    /// Takes the whole packets of `input`. Returns their bytes.
    fn receive(&mut self, input: &[u8]) -> io::Result<usize> {
        let now_ns = monotonic_ns();
        let mut counts = Counts::default();
        let mut at = 0;
        loop {
            match frame(&input[at..], MOST_BYTES).map_err(invalid)? {
                Frame::Incomplete { total } => {
                    self.needs = total.unwrap_or(0);
                    break;
                }
                Frame::Complete {
                    first,
                    header_len,
                    total,
                } => {
                    let body = &input[at + header_len..at + total];
                    at += total;
                    match first >> 4 {
                        3 => self.publish(first, body, now_ns, &mut counts)?,
                        4..=7 => self.ack(first, body, now_ns, &mut counts),
                        _ => self.control(first, body)?,
                    }
                }
            }
        }
        let tally = &self.worker.tally;
        for (counter, count) in [
            (&tally.received, counts.received),
            (&tally.repeated, counts.repeated),
            (&tally.gaps, counts.gaps),
            (&tally.acked, counts.acked),
            (&tally.refused, counts.refused),
        ] {
            if count > 0 {
                counter.add(count);
            }
        }
        Ok(at)
    }

    #[inline]
    fn publish(
        &mut self,
        first: u8,
        body: &[u8],
        now_ns: u64,
        counts: &mut Counts,
    ) -> io::Result<()> {
        let plan = self.worker.plan();
        let publish = RawPublish::split(plan.version, first, body).map_err(invalid)?;
        let mut is_repeated = false;
        if let Some(stamp) = Stamp::read(publish.payload, now_ns) {
            self.worker.tally.latency.add(now_ns - stamp.at_ns);
            if plan.is_closed() {
                if stamp.publisher >= self.last.len() {
                    self.last.resize(stamp.publisher + 1, 0);
                }
                let last = &mut self.last[stamp.publisher];
                if stamp.number > *last {
                    let news = stamp.number - *last;
                    counts.gaps += news - 1;
                    *last = stamp.number;
                    self.worker.arrived(stamp.publisher, news);
                } else {
                    is_repeated = true;
                }
            }
        }
        counts.received += u64::from(!is_repeated);
        counts.repeated += u64::from(is_repeated);
        match first >> 1 & 3 {
            0 => {}
            1 => self.answer(0x40, publish.packet_id),
            _ => self.answer(0x50, publish.packet_id),
        }
        Ok(())
    }

    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    #[inline]
    fn ack(&mut self, first: u8, body: &[u8], now_ns: u64, counts: &mut Counts) {
        let Some(id) = body.first_chunk().copied().map(u16::from_be_bytes) else {
            return;
        };
        let is_refused = body.get(2).is_some_and(|&reason| reason >= 0x80);
        match first >> 4 {
            5 if !is_refused => self.answer(0x62, id),
            6 => self.answer(0x70, id),
            _ => {
                counts.acked += 1;
                counts.refused += u64::from(is_refused);
                if let Some(sent_ns) = self.publisher.as_mut().and_then(|p| p.acknowledged(id)) {
                    let latency_ns = now_ns.saturating_sub(sent_ns);
                    self.worker.tally.latency.add(latency_ns);
                }
            }
        }
    }

    /// A packet that is nothing but a packet id.
    #[inline]
    fn answer(&mut self, first: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.out.extend(&[first, 2, high, low]);
    }

    /// Packets that are rare.
    fn control(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let version = self.worker.plan().version;
        match decode(version, first, body).map_err(invalid)? {
            Packet::ConnAck(connack) if self.state == State::Connecting => {
                if connack.reason.is_error() {
                    return Err(refused("connection", connack.reason));
                }
                for property in connack.properties.iter() {
                    if let (Property::ReceiveMaximum(most), Some(publisher)) =
                        (property, &mut self.publisher)
                    {
                        publisher.limit_window(most);
                    }
                }
                self.worker.tally.connected.add(1);
                self.state = match self.role {
                    Role::Subscriber | Role::Stalled => State::Subscribing,
                    Role::Idle | Role::Publisher(_) => State::Ready,
                };
                if self.state == State::Subscribing {
                    self.subscribe();
                }
            }
            Packet::SubAck(suback) => {
                if let Some(&reason) = suback.reasons.iter().find(|&&reason| reason >= 0x80) {
                    return Err(refused("subscription", ReasonCode(reason)));
                }
                self.worker
                    .tally
                    .subscribed
                    .add(suback.reasons.len() as u64);
                if self.asked < self.filters() {
                    self.subscribe();
                } else {
                    self.state = State::Ready;
                }
            }
            Packet::Disconnect(disconnect) => {
                return Err(refused("connection", disconnect.reason));
            }
            _ => {}
        }
        Ok(())
    }

    /// How many topic filters this client has.
    fn filters(&self) -> u32 {
        let plan = self.worker.plan();
        if plan.is_closed() {
            1
        } else {
            plan.options.filters.max(1)
        }
    }

    /// Asks for the next topic filters.
    fn subscribe(&mut self) {
        let plan = self.worker.plan();
        let options = SubscribeOptions {
            qos: plan.qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        let end = self.filters().min(self.asked + FILTERS);
        let mut filters = Vec::new();
        for at in self.asked..end {
            push_subscribe_filter(&mut filters, &plan.filter(self.number, at), options);
        }
        self.asked = end;
        let subscribe = Subscribe {
            packet_id: 1,
            properties: Properties::EMPTY,
            filters: SubscribeFilters::from_validated(&filters),
        };
        self.out
            .append(|buf| encode(&Packet::Subscribe(subscribe), plan.version, buf));
    }

    /// Writes what is due. Whether there was something that may have more behind it.
    fn fill(&mut self) -> bool {
        let phase = self.worker.phase();
        let plan: &Plan = self.worker.plan();
        if self.state != State::Ready {
            return false;
        }
        if phase == Phase::Ended {
            self.state = State::Closing;
            let disconnect = Disconnect {
                reason: ReasonCode::SUCCESS,
                properties: Properties::EMPTY,
            };
            self.out
                .append(|buf| encode(&Packet::Disconnect(disconnect), plan.version, buf));
            return false;
        }
        if self.signal.takes_ping() && self.out.is_empty() {
            self.out
                .append(|buf| encode(&Packet::PingReq, plan.version, buf));
        }
        let Some(publisher) = &mut self.publisher else {
            return false;
        };
        if !phase.is_sending() || self.is_blocked {
            return false;
        }
        // At least one message, however long it is.
        let bytes = BATCH_BYTES.max(publisher.packet_len());
        let mut count = publisher.room(bytes.saturating_sub(self.out.len()));
        if plan.pace > 0.0 {
            count = count.min(self.signal.credit());
        }
        if let Role::Publisher(index) = self.role {
            let most = self
                .worker
                .outstanding(index, publisher.number(), &self.signal);
            count = count.min(most);
        }
        let count = self.worker.take(count);
        if count == 0 {
            return false;
        }
        self.signal.spend(count);
        publisher.write(&mut self.out, count, monotonic_ns());
        self.worker.tally.sent.add(count as u64);
        plan.qos == QoS::AtMostOnce
    }
}

fn invalid(error: nanomq_proto::wire::codec::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn refused(what: &str, reason: ReasonCode) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("{what} refused: {}", reason.name()),
    )
}
