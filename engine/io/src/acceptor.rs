//! The open listeners: accepting, and changed while the broker runs.
//!
//! One thread accepts for all of them and hands each connection to the next shard; everything that costs
//! (TLS, upgrades, CONNECT) happens there.

use crate::engine::ReloadReport;
use crate::mailbox::Mailbox;
use crate::net::certificate::CertificateInfo;
use crate::net::listener::{Bound, Shared};
use crate::settings::Listener;
use crate::shard::Order;
use crate::tap::Tap;
use nanomq_proto::session::registry::{Event, Level};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Rest after a failed accept: no file descriptor is left, and trying again at once would only spin.
const REST: Duration = Duration::from_millis(100);

/// A listener that is open.
#[derive(Clone, Debug, Serialize)]
pub struct BoundListener {
    /// Name in the configuration.
    pub name: String,
    /// tcp, tls, ws, wss or unix.
    pub kind: String,
    /// Address with the port that the system chose, or the path.
    pub address: String,
}

/// All listeners and the thread that accepts.
#[derive(Debug)]
pub struct Acceptor {
    runtime: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    open: Vec<Open>,
    turn: Turn,
    tap: Arc<Tap>,
}

#[derive(Debug)]
struct Open {
    address: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

/// Whose turn it is to get a connection.
#[derive(Clone, Debug)]
struct Turn {
    mailboxes: Arc<[Mailbox]>,
    next: Arc<AtomicUsize>,
}

impl Acceptor {
    /// Binds every listener and begins to accept.
    ///
    /// # Errors
    /// A listener cannot be opened; none is open then.
    pub fn start(
        listeners: &[Listener],
        mailboxes: Arc<[Mailbox]>,
        tap: Arc<Tap>,
    ) -> Result<Self, String> {
        let problem = |error: io::Error| format!("cannot start the accepting thread: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(problem)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("nanomq-accept".to_owned())
            .spawn(move || {
                // The sender is dropped to end this.
                let _ = runtime.block_on(ended);
            })
            .map_err(problem)?;
        let mut acceptor = Self {
            runtime: handle,
            end: Some(end),
            thread: Some(thread),
            open: Vec::new(),
            turn: Turn {
                mailboxes,
                next: Arc::default(),
            },
            tap,
        };
        for listener in listeners {
            acceptor.open(listener)?;
        }
        Ok(acceptor)
    }

    /// The open listeners.
    pub fn listeners(&self) -> Vec<BoundListener> {
        let report = |open: &Open| BoundListener {
            name: open.shared.settings.name.clone(),
            kind: open.shared.settings.kind.clone(),
            address: open.address.clone(),
        };
        self.open.iter().map(report).collect()
    }

    /// The certificates of all TLS listeners.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.open
            .iter()
            .filter_map(|open| open.shared.tls.as_ref())
            .flat_map(|tls| tls.certificates().to_vec())
            .collect()
    }

    /// Closes what is not configured any more, opens what is new, reloads certificates. Connections stay.
    pub fn reload(&mut self, listeners: &[Listener], report: &mut ReloadReport) {
        let (kept, closed): (Vec<Open>, Vec<Open>) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| listeners.contains(&open.shared.settings));
        self.open = kept;
        for open in &self.open {
            if let Some(tls) = &open.shared.tls {
                let name = &open.shared.settings.name;
                match tls.reload(&open.shared.settings.tls) {
                    Ok(()) => report
                        .applied
                        .push(format!("listeners.{name}: certificates")),
                    Err(error) => report.rejected.push(format!("listeners.{name}: {error}")),
                }
            }
        }
        for open in closed {
            report
                .applied
                .push(format!("listeners.{}", open.shared.settings.name));
            self.close(open);
        }
        for listener in listeners {
            if self
                .open
                .iter()
                .any(|open| open.shared.settings == *listener)
            {
                continue;
            }
            match self.open(listener) {
                Ok(()) => {
                    let entry = format!("listeners.{}", listener.name);
                    if !report.applied.contains(&entry) {
                        report.applied.push(entry);
                    }
                }
                Err(problem) => report.rejected.push(problem),
            }
        }
    }

    /// Accepts nothing more.
    pub fn stop(&mut self) {
        for open in std::mem::take(&mut self.open) {
            self.close(open);
        }
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn open(&mut self, listener: &Listener) -> Result<(), String> {
        let shared = Arc::new(Shared::new(listener)?);
        let bound = {
            let _guard = self.runtime.enter();
            Bound::bind(listener)?
        };
        let address = bound.address();
        let task = self.runtime.spawn(accept(
            bound,
            Arc::clone(&shared),
            self.turn.clone(),
            Arc::clone(&self.tap),
        ));
        self.open.push(Open {
            address,
            shared,
            task,
        });
        Ok(())
    }

    /// Returns when the socket is closed, so that its address can be bound again.
    fn close(&self, open: Open) {
        open.task.abort();
        let (done, closed) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let _ = open.task.await;
            let _ = done.send(());
        });
        let _ = closed.recv_timeout(Duration::from_secs(1));
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(bound: Bound, shared: Arc<Shared>, turn: Turn, tap: Arc<Tap>) {
    loop {
        match bound.accept().await {
            Ok(stream) => match shared.admit(stream) {
                Some(accepted) => turn.give(Order::Accepted(accepted)),
                None => tap.push(event(
                    Level::Info,
                    "connection_limit",
                    &shared,
                    "over the listener's limits",
                )),
            },
            Err(error) if is_exhausted(&error) => {
                tap.push(event(
                    Level::Error,
                    "accept_failed",
                    &shared,
                    &error.to_string(),
                ));
                tokio::time::sleep(REST).await;
            }
            // The peer was gone before it was accepted.
            Err(_) => {}
        }
    }
}

impl Turn {
    fn give(&self, order: Order) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len().max(1);
        if let Some(mailbox) = self.mailboxes.get(next) {
            mailbox.order(order);
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn event(level: Level, name: &'static str, shared: &Shared, what: &str) -> Event {
    let fields = vec![
        ("listener", shared.settings.name.clone()),
        ("reason", what.to_owned()),
    ];
    Event {
        level,
        name,
        fields,
    }
}
