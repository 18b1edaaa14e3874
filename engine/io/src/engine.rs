//! The engine: shards, acceptor, clock and router put together, and what Python may ask of them.

use crate::acceptor::{Acceptor, BoundListener};
use crate::clock::Clock;
use crate::mailbox::Mailbox;
use crate::net::certificate::CertificateInfo;
use crate::settings::{EngineSettings, random_u64};
use crate::shard::{self, LocalMessage, Order, Surroundings, Visitor};
use crate::tap::Tap;
use nanomq_proto::route::router::Router;
use nanomq_proto::route::verdict::{Drop, Ledger};
use nanomq_proto::session::connection::Connection;
use nanomq_proto::session::queue::QueueTotal;
use nanomq_proto::session::registry::{Command, Event, Level, Registry, protocol_name};
use nanomq_proto::session::session::Session;
use nanomq_proto::wire::tables::ReasonCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for the answer of a shard: far beyond any tick, so that a lost shard is an error, not a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A running broker.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    router: Arc<Router>,
    clock: Arc<Clock>,
    tap: Arc<Tap>,
    mailboxes: Arc<[Mailbox]>,
    ledgers: Vec<Arc<Ledger>>,
    queue_total: Arc<QueueTotal>,
    threads: Vec<JoinHandle<()>>,
    acceptor: Acceptor,
    started: Instant,
}

/// What a reload did with each part of the settings.
#[derive(Debug, Default, Serialize)]
pub struct ReloadReport {
    /// Took effect.
    pub applied: Vec<String>,
    /// Will after a restart.
    pub needs_restart: Vec<String>,
    /// Was refused; what was before goes on.
    pub rejected: Vec<String>,
}

/// One client in a report.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names are those of the HTTP API")]
pub struct ClientReport {
    pub client_id: String,
    pub username: String,
    pub keepalive: u16,
    pub conn_state: &'static str,
    pub clean_start: bool,
    pub proto_name: &'static str,
    pub proto_ver: u8,
    pub recv_msg: u64,
    pub peer: String,
    pub listener: String,
    pub subscriptions: usize,
    pub queue: usize,
    pub inflight: usize,
    pub expiry_s: u32,
}

impl Engine {
    /// Binds all listeners, starts all threads, accepts.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do; nothing keeps running then.
    pub fn start(settings: EngineSettings) -> Result<Self, String> {
        let core = Arc::new(settings.core()?);
        let shards = match settings.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
        .clamp(1, 255);
        let tap = Arc::new(Tap::new().map_err(|error| format!("cannot make an eventfd: {error}"))?);
        let clock = Arc::new(Clock::default());
        let seed = random_u64();
        let router = Arc::new(Router::new(
            seed,
            core.share_strategy,
            settings.retained_limits(),
        ));
        let mailboxes: Arc<[Mailbox]> = (0..shards).map(|_| Mailbox::default()).collect();
        let acceptor = Acceptor::start(
            &settings.listeners,
            Arc::clone(&mailboxes),
            Arc::clone(&tap),
        )?;
        let mut engine = Self {
            router,
            clock,
            tap,
            mailboxes,
            ledgers: Vec::new(),
            queue_total: Arc::default(),
            threads: Vec::new(),
            acceptor,
            started: Instant::now(),
            settings,
        };
        let level = level(&engine.settings.event_level);
        for number in 0..shards as u16 {
            let router = Arc::clone(&engine.router);
            let mut registry = Registry::new(
                number,
                shards as u16,
                router,
                Arc::clone(&core),
                random_u64(),
            );
            registry.level = level;
            registry.queue_total = Arc::clone(&engine.queue_total);
            engine.ledgers.push(registry.ledger());
            let surroundings = Surroundings {
                clock: Arc::clone(&engine.clock),
                tap: Arc::clone(&engine.tap),
                mailboxes: Arc::clone(&engine.mailboxes),
                number,
            };
            let thread = std::thread::Builder::new()
                .name(format!("nanomq-shard-{number}"))
                .spawn(move || run_shard(registry, surroundings))
                .map_err(|error| format!("cannot start a thread: {error}"))?;
            engine.threads.push(thread);
        }
        Ok(engine)
    }

    /// The listeners with the addresses they are bound to.
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.acceptor.listeners()
    }

    /// Says good-bye to every client (5.0: reason 0x8B) and ends; false if a shard did not end in time.
    pub fn stop(&mut self, timeout: Duration) -> bool {
        self.acceptor.stop();
        for mailbox in self.mailboxes.iter() {
            mailbox.order(Order::Stop);
        }
        let until = Instant::now() + timeout;
        for thread in std::mem::take(&mut self.threads) {
            while !thread.is_finished() {
                if Instant::now() >= until {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = thread.join();
        }
        true
    }

    /// Takes new settings: what can change on a running broker changes, connections stay.
    pub fn reload(&mut self, settings: EngineSettings) -> ReloadReport {
        let mut report = ReloadReport::default();
        match settings.core() {
            Err(problem) => {
                report.rejected.push(problem);
                return report;
            }
            Ok(core) => {
                if settings.mqtt != self.settings.mqtt {
                    report.applied.push("mqtt".to_owned());
                }
                if settings.auth != self.settings.auth {
                    report.applied.push("auth".to_owned());
                }
                self.router
                    .configure(core.share_strategy, settings.retained_limits());
                let core = Arc::new(core);
                let level = level(&settings.event_level);
                for mailbox in self.mailboxes.iter() {
                    mailbox.order(Order::Command(Command::Configure(Arc::clone(&core), level)));
                }
            }
        }
        if settings.shards != self.settings.shards {
            report
                .needs_restart
                .push("system.num_taskq_thread".to_owned());
        }
        self.acceptor.reload(&settings.listeners, &mut report);
        self.settings = EngineSettings {
            shards: self.settings.shards,
            ..settings
        };
        report
    }

    /// All counters, summed over the shards.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        let mut metrics = BTreeMap::new();
        for ledger in &self.ledgers {
            ledger.visit(&mut |name, value| {
                let sum = metrics.entry(name.to_owned()).or_insert(0u64);
                *sum = sum.wrapping_add(value);
            });
            for reason in Drop::ALL {
                *metrics
                    .entry(format!("dropped.{}", reason.name()))
                    .or_insert(0) += ledger.dropped(reason);
            }
        }
        let (count, bytes) = self.router.retained_size();
        metrics.insert("retained".to_owned(), count as u64);
        metrics.insert("retained_bytes".to_owned(), bytes as u64);
        metrics.insert("queue_bytes".to_owned(), self.queue_total.bytes() as u64);
        metrics.insert("uptime_s".to_owned(), self.started.elapsed().as_secs());
        metrics
    }

    /// All sessions.
    pub fn clients(&self) -> Vec<ClientReport> {
        self.gather(client_report)
    }

    /// Turns the clock forward; returns when every shard has looked at its deadlines.
    ///
    /// # Errors
    /// A shard did not answer.
    pub fn advance(&self, by: Duration) -> Result<(), String> {
        self.clock.advance(by);
        // Twice: what expired on one shard may have sent something to another.
        for _ in 0..2 {
            self.ask_all(Order::Expire)?;
        }
        Ok(())
    }

    /// Drops the TCP connection of a client without a word, as a cut cable would.
    ///
    /// # Errors
    /// The shard did not answer.
    pub fn cut(&self, client_id: &str) -> Result<bool, String> {
        let mut was_connected = false;
        for mailbox in self.mailboxes.iter() {
            was_connected |= ask(mailbox, |answer| Order::Cut(client_id.to_owned(), answer))?;
        }
        Ok(was_connected)
    }

    /// Ends a client's connection; a 5.0 client is told the reason. False if it has none.
    ///
    /// # Errors
    /// The shard did not answer.
    pub fn kick(&self, client_id: &str, reason: u8) -> Result<bool, String> {
        let mut was_connected = false;
        for mailbox in self.mailboxes.iter() {
            let order = |answer| Order::Kick(client_id.to_owned(), ReasonCode(reason), answer);
            was_connected |= ask(mailbox, order)?;
        }
        Ok(was_connected)
    }

    /// Publishes a message; returns how many sessions it was addressed to.
    ///
    /// # Errors
    /// The shard did not answer.
    pub fn publish(&self, message: LocalMessage) -> Result<usize, String> {
        let first = self.mailboxes.first().ok_or("the engine has no shard")?;
        ask(first, |answer| Order::Publish(message, answer))
    }

    /// Events, also those after the end.
    pub fn tap(&self) -> Arc<Tap> {
        Arc::clone(&self.tap)
    }

    /// The certificates of all TLS listeners, with their dates.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.acceptor.certificates()
    }

    fn ask_all(&self, order: impl Fn(Sender<()>) -> Order) -> Result<(), String> {
        let answers: Vec<Receiver<()>> = self
            .mailboxes
            .iter()
            .map(|mailbox| {
                let (sender, receiver) = channel();
                mailbox.order(order(sender));
                receiver
            })
            .collect();
        answers.iter().try_for_each(wait)
    }

    /// Collects something from every session of every shard.
    fn gather<T: Send + 'static>(&self, report: fn(&Session, Option<&Connection>) -> T) -> Vec<T> {
        let all = Arc::new(Mutex::new(Vec::new()));
        let (done, finished) = channel::<()>();
        for mailbox in self.mailboxes.iter() {
            let (all, done) = (Arc::clone(&all), done.clone());
            mailbox.order(Order::Visit(Visitor(Box::new(
                move |session, connection| {
                    let _keeps_the_channel_open = &done;
                    all.lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push(report(session, connection));
                },
            ))));
        }
        drop(done);
        // Every shard drops its end when it is through.
        let _ = finished.recv_timeout(ANSWER_TIMEOUT);
        std::mem::take(
            &mut *all
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl std::ops::Drop for Engine {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

/// Runs a shard; if it fails, which only a bug or the lack of file descriptors can bring about, that is loud.
fn run_shard(registry: Registry, surroundings: Surroundings) {
    let (tap, number) = (Arc::clone(&surroundings.tap), surroundings.number);
    let outcome = catch_unwind(AssertUnwindSafe(|| shard::run(registry, surroundings)));
    let error = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            "panic; its connections are lost, restart the broker and report the bug".to_owned()
        }
    };
    let fields = vec![("shard", number.to_string()), ("error", error)];
    tap.push(Event {
        level: Level::Error,
        name: "shard_failed",
        fields,
    });
}

fn level(name: &str) -> Level {
    match name {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "warn" => Level::Warn,
        "error" | "fatal" => Level::Error,
        _ => Level::Info,
    }
}

fn client_report(session: &Session, connection: Option<&Connection>) -> ClientReport {
    ClientReport {
        client_id: session.client_id.to_string(),
        username: session.username.as_deref().unwrap_or_default().to_owned(),
        keepalive: connection.map_or(0, |connection| connection.keepalive_s),
        conn_state: if connection.is_some() {
            "connected"
        } else {
            "disconnected"
        },
        clean_start: connection.is_some_and(|connection| connection.clean_start),
        proto_name: protocol_name(session.version),
        proto_ver: session.version as u8,
        recv_msg: connection.map_or(0, |connection| connection.received),
        peer: connection.map_or_else(String::new, |connection| connection.origin.peer.clone()),
        listener: connection.map_or_else(String::new, |connection| {
            connection.origin.listener.name.clone()
        }),
        subscriptions: session.subscriptions.len(),
        queue: session.queue.len(),
        inflight: session.inflight.len(),
        expiry_s: session.expiry_s,
    }
}

fn ask<T>(mailbox: &Mailbox, order: impl FnOnce(Sender<T>) -> Order) -> Result<T, String> {
    let (sender, receiver) = channel();
    mailbox.order(order(sender));
    wait(&receiver)
}

fn wait<T>(receiver: &Receiver<T>) -> Result<T, String> {
    receiver
        .recv_timeout(ANSWER_TIMEOUT)
        .map_err(|_| "a shard did not answer; is the engine stopped".to_owned())
}
