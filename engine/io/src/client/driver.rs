//! The task of one client: dials, drives its link over the stream, waits, dials again.

use super::mailbox::{Command, Event, Mailbox};
use super::{Backoff, ClientOptions, OwnedPublish, Scram};
use crate::net::dial::{dial, random};
use crate::net::stream::Stream;
use nanomq_proto::Time;
use nanomq_proto::session::link::{Accepted, Link, LinkError, LinkEvent, ScramClient};
use nanomq_proto::wire::packet::{Publish, QoS};
use nanomq_proto::wire::tables::{Properties, ReasonCode};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// Bytes read at once, for all clients of the thread together.
const READ_BYTES: usize = 64 * 1024;

/// With more than this to write, commands wait: publishing is as fast as the connection.
const HIGH_WATER_BYTES: usize = 1 << 20;

/// Turns of one client before the others have theirs.
const TURNS: usize = 16;

/// Time for the last packets and the closing handshakes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// How a connection, or the wait for one, ended.
enum End {
    /// The user said goodbye.
    Goodbye,
    /// The client is dropped.
    Close,
    /// CONNACK with an error.
    Refused(ReasonCode, Vec<u8>),
    /// Everything else.
    Lost {
        reason: Option<ReasonCode>,
        properties: Vec<u8>,
        text: String,
    },
}

impl End {
    fn lost(error: impl ToString) -> Self {
        Self::Lost {
            reason: None,
            properties: Vec::new(),
            text: error.to_string(),
        }
    }

    /// Another attempt makes sense. Whoever took the session over would be thrown out in turn.
    fn may_retry(&self) -> bool {
        match self {
            Self::Goodbye | Self::Close => false,
            Self::Refused(..) => true,
            Self::Lost { reason, .. } => *reason != Some(ReasonCode::SESSION_TAKEN_OVER),
        }
    }
}

struct Driver {
    mailbox: Arc<Mailbox>,
    options: ClientOptions,
    link: Link,
    /// Taken from the mailbox and not carried out yet.
    commands: VecDeque<Command>,
    /// Not handed over to the mailbox yet.
    events: Vec<Event>,
    /// Beginning of a packet whose rest is not here yet.
    partial: Vec<u8>,
    /// Too many messages wait for the user.
    has_no_room: bool,
    /// A connection is there or on its way.
    is_active: bool,
    /// Set by a command, taken where the driver waits.
    ending: Option<End>,
    was_connected: bool,
    ever_connected: bool,
    timer: Option<(Time, Pin<Box<Sleep>>)>,
}

/// Drives one client until its handle is dropped.
pub(super) async fn run(mailbox: Arc<Mailbox>, link: Link, options: ClientOptions) {
    let mut driver = Driver {
        mailbox,
        options,
        link,
        commands: VecDeque::new(),
        events: Vec::new(),
        partial: Vec::new(),
        has_no_room: false,
        is_active: false,
        ending: None,
        was_connected: false,
        ever_connected: false,
        timer: None,
    };
    loop {
        let command = poll_fn(|cx| {
            driver.take_commands(cx);
            match driver.ending.take() {
                Some(end) => Poll::Ready(Some(end)),
                None if driver.is_active => Poll::Ready(None),
                None => Poll::Pending,
            }
        });
        let end = match command.await {
            Some(End::Close) => End::Close,
            Some(end) => {
                driver.tell_end(&end, false);
                end
            }
            None => driver.connect().await,
        };
        driver.is_active = false;
        if matches!(end, End::Close) {
            return;
        }
    }
}

impl Driver {
    /// Connects, again and again if asked, until it is over.
    async fn connect(&mut self) -> End {
        let mut attempt = 0;
        loop {
            let end = self.attempt().await;
            if std::mem::take(&mut self.was_connected) {
                self.ever_connected = true;
                attempt = 0;
            }
            self.link.lost();
            self.partial = Vec::new();
            self.timer = None;
            let may_retry = end.may_retry() && (self.ever_connected || self.options.retries_first);
            let backoff = self.options.reconnect.filter(|_| may_retry);
            self.tell_end(&end, backoff.is_some());
            let Some(backoff) = backoff else { return end };
            if let Err(end) = self.pause(wait(backoff, attempt)).await {
                self.tell_end(&end, false);
                return end;
            }
            attempt += 1;
        }
    }

    fn tell_end(&mut self, end: &End, retries: bool) {
        self.events.push(match end {
            End::Goodbye => Event::Closed,
            End::Close => return,
            End::Refused(reason, properties) => Event::Refused {
                reason: *reason,
                properties: properties.clone(),
                retries,
            },
            End::Lost {
                reason,
                properties,
                text,
            } => {
                let (properties, text) = (properties.clone(), text.clone());
                Event::Lost {
                    reason: *reason,
                    properties,
                    text,
                    retries,
                }
            }
        });
        self.mailbox.tell(&mut self.events);
    }

    /// Waits, unless a command ends it.
    async fn pause(&mut self, time: Duration) -> Result<(), End> {
        let mut sleep = pin!(tokio::time::sleep(time));
        poll_fn(|cx| {
            self.take_commands(cx);
            match self.ending.take() {
                Some(end) => Poll::Ready(Err(end)),
                None => sleep.as_mut().poll(cx).map(Ok),
            }
        })
        .await
    }

    /// One connection from dialling to its end.
    async fn attempt(&mut self) -> End {
        let (target, tls) = (self.options.target.clone(), self.options.tls.clone());
        let mut dialled = pin!(dial(&target, tls.as_ref(), self.options.connect_timeout));
        let opened = poll_fn(|cx| {
            self.take_commands(cx);
            match self.ending.take() {
                Some(end) => Poll::Ready(Err(end)),
                None => dialled.as_mut().poll(cx).map_err(End::lost),
            }
        });
        let mut stream = match opened.await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        if let Some(Scram { username, password }) = &self.options.scram {
            match nonce() {
                Some(nonce) => self
                    .link
                    .authenticate_with(ScramClient::new(username, password, nonce)),
                None => return End::lost("the system gave no random numbers"),
            }
        }
        self.link.start(now());
        let end = poll_fn(|cx| self.poll_connection(cx, &mut stream)).await;
        if !matches!(end, End::Close) {
            // The peer may be gone, then nothing can be done.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.close(&mut stream)).await;
        }
        end
    }

    /// Writes what is left, a DISCONNECT perhaps, and closes.
    async fn close(&mut self, stream: &mut Stream) -> io::Result<()> {
        poll_fn(|cx| stream.poll_write(cx, &mut self.link.output)).await?;
        poll_fn(|cx| stream.poll_close(cx)).await
    }

    /// Everything that can be done now: commands, writing, reading, time.
    fn poll_connection(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<End> {
        for _ in 0..TURNS {
            // An answer stands behind the messages: who waits for it before taking more would wait for ever. So they
            // are read on, but the server is not told that they came, and QoS 0 goes no further.
            self.has_no_room = self.take_commands(cx);
            self.link.hold_back(now(), self.has_no_room);
            let is_full = self.has_no_room && !self.link.awaits_answers();
            if let Some(end) = self.ending.take() {
                return Poll::Ready(end);
            }
            let is_blocked = match stream.poll_write(cx, &mut self.link.output) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => return Poll::Ready(End::lost(error)),
                Poll::Pending => true,
            };
            let has_read = match self.poll_read(cx, stream, is_full) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => false,
            };
            if let Poll::Ready(Err(error)) = self.poll_time(cx, is_full) {
                return Poll::Ready(End::lost(error));
            }
            let has_work = !self.link.output.is_empty() || !self.commands.is_empty();
            if !has_read && (is_blocked || !has_work) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        is_full: bool,
    ) -> Poll<Result<(), End>> {
        if is_full {
            return Poll::Pending;
        }
        SCRATCH.with_borrow_mut(|buf| {
            let count = ready!(stream.poll_read(cx, buf)).map_err(End::lost)?;
            if count == 0 {
                return Poll::Ready(Err(End::lost("the server closed the connection")));
            }
            let input = buf.get(..count).unwrap_or_default();
            if self.partial.is_empty() {
                let used = self.receive(input)?;
                self.partial
                    .extend_from_slice(input.get(used..).unwrap_or_default());
            } else {
                let mut partial = std::mem::take(&mut self.partial);
                partial.extend_from_slice(input);
                let used = self.receive(&partial)?;
                partial.drain(..used);
                if partial.is_empty() && partial.capacity() > READ_BYTES {
                    partial = Vec::new();
                }
                self.partial = partial;
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Feeds the link; its acknowledgements leave after the messages are in the mailbox.
    fn receive(&mut self, input: &[u8]) -> Result<usize, End> {
        let mut end = None;
        let events = &mut self.events;
        let mut client_id_at = None;
        let has_room = !self.has_no_room;
        let mut dropped = 0;
        let result = self.link.receive(now(), input, &mut |event| match event {
            LinkEvent::Refused { reason, properties } => {
                end = Some(End::Refused(reason, properties.as_bytes().to_vec()));
            }
            LinkEvent::Disconnected { reason, properties } => {
                let text = format!("the server closed the connection: {}", reason.name());
                end = Some(End::Lost {
                    reason: Some(reason),
                    properties: properties.as_bytes().to_vec(),
                    text,
                });
            }
            LinkEvent::Message(message) if message.qos == QoS::AtMostOnce && !has_room => {
                dropped += 1
            }
            event => {
                if matches!(event, LinkEvent::Connected { .. }) {
                    client_id_at = Some(events.len());
                }
                events.extend(owned(event));
            }
        });
        if let Some(Event::Connected { client_id, .. }) =
            client_id_at.and_then(|at| events.get_mut(at))
        {
            self.link.client_id().clone_into(client_id);
            self.was_connected = true;
        }
        self.mailbox.tell(&mut self.events);
        self.mailbox.count_dropped(dropped);
        let used = result.map_err(End::lost)?;
        end.map_or(Ok(used), Err)
    }

    fn poll_time(&mut self, cx: &mut Context<'_>, is_full: bool) -> Poll<Result<(), LinkError>> {
        let Some(deadline) = self.link.deadline() else {
            return Poll::Pending;
        };
        let is_set = self
            .timer
            .as_ref()
            .is_some_and(|(time, _)| *time <= deadline);
        if !is_set {
            let sleep = tokio::time::sleep(Duration::from_micros(deadline.saturating_sub(now())));
            self.timer = Some((deadline, Box::pin(sleep)));
        }
        let Some((_, sleep)) = &mut self.timer else {
            return Poll::Pending;
        };
        ready!(sleep.as_mut().poll(cx));
        self.timer = None;
        if is_full {
            self.link.excuse(now());
        }
        let result = self.link.expire(now());
        // The next deadline is set at the next turn.
        cx.waker().wake_by_ref();
        Poll::Ready(result)
    }

    /// Carries out waiting commands, as far as there is room to write; whether the events are full.
    fn take_commands(&mut self, cx: &Context<'_>) -> bool {
        let is_full = self.mailbox.take(cx, &mut self.commands);
        if matches!(self.commands.back(), Some(Command::Close)) && !self.link.output.is_empty() {
            // Nobody waits for what the peer does not take.
            self.ending = Some(End::Close);
        }
        while self.ending.is_none() && self.link.output.len() < HIGH_WATER_BYTES {
            let Some(command) = self.commands.pop_front() else {
                break;
            };
            self.carry_out(command);
        }
        self.mailbox.tell(&mut self.events);
        is_full
    }

    fn carry_out(&mut self, command: Command) {
        let now = now();
        let (token, result) = match command {
            Command::Connect => return self.is_active = true,
            Command::Close => return self.ending = Some(End::Close),
            Command::Publish(message, token) => (token, self.publish(now, &message, token)),
            Command::Subscribe {
                filters,
                properties,
                token,
            } => {
                let filters: Vec<_> = filters
                    .iter()
                    .map(|(filter, options)| (filter.as_str(), *options))
                    .collect();
                (
                    token,
                    self.link.subscribe(
                        now,
                        &filters,
                        Properties::from_validated(&properties),
                        token,
                    ),
                )
            }
            Command::Unsubscribe {
                filters,
                properties,
                token,
            } => {
                let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
                (
                    token,
                    self.link.unsubscribe(
                        now,
                        &filters,
                        Properties::from_validated(&properties),
                        token,
                    ),
                )
            }
            Command::Acknowledge { packet_id, reason } => {
                return self.link.acknowledge(now, packet_id, reason);
            }
            Command::Auth { reason, properties } => (0, self.link.auth(now, reason, &properties)),
            Command::Reauthenticate(Scram { username, password }) => {
                let client = nonce().map(|nonce| ScramClient::new(&username, &password, nonce));
                (
                    0,
                    client.map_or(Err(LinkError::NotConnected), |client| {
                        self.link.reauthenticate(now, client)
                    }),
                )
            }
            Command::Disconnect { reason, properties } => {
                let result = self.link.disconnect(reason, &properties);
                if result.is_ok() {
                    self.ending = Some(End::Goodbye);
                }
                (0, result)
            }
        };
        if let Err(error) = result {
            self.events.push(Event::Failed {
                token,
                reason: error.reason(),
                text: error.to_string(),
            });
        }
    }

    fn publish(&mut self, now: Time, message: &OwnedPublish, token: u64) -> Result<(), LinkError> {
        let publish = Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic: &message.topic,
            packet_id: 0,
            properties: Properties::from_validated(&message.properties),
            payload: &message.payload,
        };
        let accepted = self.link.publish(now, &publish, token)?;
        if accepted == Accepted::Sent && message.qos == QoS::AtMostOnce {
            self.events.push(Event::Published {
                token,
                reason: ReasonCode::SUCCESS,
                properties: Vec::new(),
            });
        }
        Ok(())
    }
}

/// The event with its own copy of everything.
fn owned(event: LinkEvent<'_>) -> Option<Event> {
    Some(match event {
        LinkEvent::Message(message) => Event::Message {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            dup: message.dup,
            packet_id: message.packet_id,
            properties: message.properties.as_bytes().to_vec(),
        },
        LinkEvent::Published {
            token,
            reason,
            properties,
        } => Event::Published {
            token,
            reason,
            properties: properties.as_bytes().to_vec(),
        },
        LinkEvent::Connected {
            session_present,
            properties,
        } => Event::Connected {
            session_present,
            client_id: String::new(),
            properties: properties.as_bytes().to_vec(),
        },
        LinkEvent::Subscribed {
            token,
            reasons,
            properties,
        } => Event::Subscribed {
            token,
            reasons: reasons.to_vec(),
            properties: properties.as_bytes().to_vec(),
        },
        LinkEvent::Unsubscribed {
            token,
            reasons,
            properties,
        } => Event::Unsubscribed {
            token,
            reasons: reasons.to_vec(),
            properties: properties.as_bytes().to_vec(),
        },
        LinkEvent::Auth { reason, properties } => Event::Auth {
            reason,
            properties: properties.as_bytes().to_vec(),
        },
        LinkEvent::Refused { .. } | LinkEvent::Disconnected { .. } => return None,
    })
}

/// Microseconds since the first use.
fn now() -> Time {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Time::try_from(START.elapsed().as_micros()).unwrap_or(Time::MAX)
}

/// A number that was never used before.
fn nonce() -> Option<u128> {
    random().ok().map(u128::from_ne_bytes)
}

/// Between half and all of a time that doubles up to its ceiling, so that clients do not come back all at once.
fn wait(backoff: Backoff, attempt: u32) -> Duration {
    let full = backoff
        .first
        .saturating_mul(1 << attempt.min(20))
        .min(backoff.most);
    let part = nonce().map_or(0, |nonce| (nonce % 1024) as u32);
    full / 2 + full * part / 2048
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_its_ceiling_with_jitter() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            most: Duration::from_secs(30),
        };
        for (attempt, full) in [(0, 1), (1, 2), (4, 16), (5, 30), (400, 30)] {
            let full = Duration::from_secs(full);
            let waited = wait(backoff, attempt);
            assert!(
                waited >= full / 2 && waited <= full,
                "{attempt}: {waited:?}"
            );
        }
    }
}
