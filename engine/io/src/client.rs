//! MQTT clients for Python and the command line: links on streams, driven by one background thread.
//!
//! A [`Client`] is a handle. Commands go into its mailbox, events come out of it; the thread `nanomq-client` of the
//! process, started with the first client, drives them all. A client whose messages are not taken stops reading its
//! connection, so a slow user holds the server up instead of filling memory. An answer that is awaited stands behind the
//! messages, so until it comes they are read: those of QoS 1 and 2 are left unacknowledged, which holds the server up at
//! the receive maximum, and those of QoS 0 are dropped and counted.

mod driver;
mod mailbox;

pub use mailbox::Event;

use crate::net::dial::Target;
use mailbox::{Command, Mailbox};
use nanomq_proto::session::link::{Link, LinkError, LinkOptions};
use nanomq_proto::wire::packet::{QoS, SubscribeOptions};
use nanomq_proto::wire::tables::ReasonCode;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// Waiting time between attempts to connect again: doubled from `first` to `most`, with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Before the first attempt.
    pub first: Duration,
    /// Longest wait.
    pub most: Duration,
}

/// Everything that makes a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where to.
    pub target: Target,
    /// For the TLS transports.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The MQTT side.
    pub link: LinkOptions,
    /// User and password of SCRAM-SHA-256, 5.0 only.
    pub scram: Option<Scram>,
    /// Connects again after a lost connection.
    pub reconnect: Option<Backoff>,
    /// Applies `reconnect` to the first attempt too.
    pub retries_first: bool,
    /// For name lookup, connection and handshakes together; the answer to CONNECT has its own in `link`.
    pub connect_timeout: Duration,
}

/// User and password of SCRAM-SHA-256.
#[derive(Clone)]
pub struct Scram {
    /// User.
    pub username: String,
    /// Password.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Scram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scram(…)")
    }
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct OwnedPublish {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Encoded properties without their length, 5.0 only.
    pub properties: Vec<u8>,
}

/// One MQTT client. Dropping it closes the connection without DISCONNECT.
#[derive(Debug)]
pub struct Client {
    mailbox: Arc<Mailbox>,
}

impl Client {
    /// A client that waits for [`connect`](Self::connect).
    ///
    /// # Errors
    /// The options are not legal, or the system has no threads or descriptors left.
    pub fn new(options: ClientOptions) -> io::Result<Self> {
        let link = Link::new(options.link.clone())
            .map_err(|error: LinkError| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mailbox = Arc::new(Mailbox::new()?);
        background()?.spawn(driver::run(Arc::clone(&mailbox), link, options));
        Ok(Self { mailbox })
    }

    /// Readable while events wait.
    pub fn fd(&self) -> RawFd {
        self.mailbox.fd.as_raw_fd()
    }

    /// Takes the events that wait; messages only if wanted, behind the others.
    pub fn drain(&self, with_messages: bool) -> Vec<Event> {
        self.mailbox.drain(with_messages)
    }

    /// Messages of QoS 0 dropped since the client was made, because too many waited while an answer was awaited.
    pub fn dropped(&self) -> u64 {
        self.mailbox.dropped()
    }

    /// Connects; [`Event::Connected`], [`Event::Refused`] or [`Event::Lost`] follows.
    pub fn connect(&self) {
        self.mailbox.send(Command::Connect);
    }

    /// Publishes; [`Event::Published`] or [`Event::Failed`] with `token` follows: for QoS 0 as soon as the connection
    /// takes it, otherwise when the server has acknowledged it.
    pub fn publish(&self, message: OwnedPublish, token: u64) {
        self.mailbox
            .send(Command::Publish(Box::new(message), token));
    }

    /// Subscribes; [`Event::Subscribed`] or [`Event::Failed`] follows. Subscriptions are asked for again when the
    /// server has lost the session.
    pub fn subscribe(
        &self,
        filters: Vec<(String, SubscribeOptions)>,
        properties: Vec<u8>,
        token: u64,
    ) {
        self.mailbox.send(Command::Subscribe {
            filters,
            properties,
            token,
        });
    }

    /// Gives subscriptions up; [`Event::Unsubscribed`] or [`Event::Failed`] follows.
    pub fn unsubscribe(&self, filters: Vec<String>, properties: Vec<u8>, token: u64) {
        self.mailbox.send(Command::Unsubscribe {
            filters,
            properties,
            token,
        });
    }

    /// Acknowledges a received message, with manual acknowledgements.
    pub fn acknowledge(&self, packet_id: u16, reason: ReasonCode) {
        self.mailbox
            .send(Command::Acknowledge { packet_id, reason });
    }

    /// Sends AUTH with encoded properties, for a method of the caller's own.
    pub fn auth(&self, reason: ReasonCode, properties: Vec<u8>) {
        self.mailbox.send(Command::Auth { reason, properties });
    }

    /// Authenticates again with SCRAM-SHA-256; [`Event::Auth`] or [`Event::Lost`] follows.
    pub fn reauthenticate(&self, scram: Scram) {
        self.mailbox.send(Command::Reauthenticate(scram));
    }

    /// Says goodbye and closes; [`Event::Closed`] follows.
    pub fn disconnect(&self, reason: ReasonCode, properties: Vec<u8>) {
        self.mailbox
            .send(Command::Disconnect { reason, properties });
    }

    /// Drops the connection without DISCONNECT and ends the client for good.
    pub fn close(&self) {
        self.mailbox.send(Command::Close);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// The loop of all clients of this process. Written once, read by every new client; no other lock is taken inside.
static BACKGROUND: Mutex<Option<Handle>> = Mutex::new(None);

fn background() -> io::Result<Handle> {
    let mut slot = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*slot {
        return Ok(handle.clone());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(4)
        .thread_name("nanomq-lookup")
        .build()?;
    let handle = runtime.handle().clone();
    let park = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new()
        .name("nanomq-client".to_owned())
        .spawn(park)?;
    *slot = Some(handle.clone());
    Ok(handle)
}
