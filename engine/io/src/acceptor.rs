//! Listeners: bound, accepting, limited, changed while the broker runs.
//!
//! One thread accepts for all listeners and hands each connection to the next shard; everything that costs
//! (TLS, upgrades, CONNECT) happens there.

use crate::engine::ReloadReport;
use crate::mailbox::Mailbox;
use crate::net::stream::{DetachedStream, Stream};
use crate::settings::Listener;
use crate::shard::Order;
use crate::tap::Tap;
use nanomq_proto::session::settings::ListenerLimits;
use serde::Serialize;
use std::io;
use std::sync::Arc;

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

/// A connection on its way from the acceptor to its shard.
#[derive(Debug)]
pub struct Accepted {
    stream: DetachedStream,
}

impl Accepted {
    /// Registers the connection with this thread's runtime.
    pub fn into_stream(self) -> io::Result<Stream> {
        self.stream.attach()
    }
}

/// All listeners and the thread that accepts.
#[derive(Debug)]
pub struct Acceptor {
    runtime: tokio::runtime::Handle,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    open: Vec<(Listener, BoundListener, tokio::task::JoinHandle<()>)>,
    mailboxes: Arc<[Mailbox]>,
    _tap: Arc<Tap>,
}

impl Acceptor {
    /// Binds every listener and begins to accept.
    pub fn start(listeners: &[Listener], mailboxes: Arc<[Mailbox]>, tap: Arc<Tap>) -> Result<Self, String> {
        let problem = |error: io::Error| format!("cannot start the accepting thread: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(problem)?;
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("nanomq-accept".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(ended);
            })
            .map_err(problem)?;
        let mut acceptor = Self { runtime: handle, end: Some(end), thread: Some(thread), open: Vec::new(), mailboxes, _tap: tap };
        for listener in listeners {
            acceptor.open(listener)?;
        }
        Ok(acceptor)
    }

    fn open(&mut self, listener: &Listener) -> Result<(), String> {
        let runtime = self.runtime.clone();
        let _guard = runtime.enter();
        let mailboxes = Arc::clone(&self.mailboxes);
        let limits = Arc::new(listener.limits());
        let problem = |error: io::Error| format!("listener {}: cannot bind {}: {error}", listener.name, listener.bind);
        let (address, task) = if listener.kind == "unix" {
            let _ = std::fs::remove_file(&listener.bind);
            let socket = tokio::net::UnixListener::bind(&listener.bind).map_err(problem)?;
            let task = runtime.spawn(async move {
                let mut next = 0;
                while let Ok((stream, _)) = socket.accept().await {
                    if let Ok(stream) = stream.into_std() {
                        give(&mailboxes, &mut next, DetachedStream::Unix(stream), &limits);
                    }
                }
            });
            (listener.bind.clone(), task)
        } else {
            let socket = std::net::TcpListener::bind(&listener.bind).map_err(problem)?;
            socket.set_nonblocking(true).map_err(problem)?;
            let address = socket.local_addr().map_err(problem)?.to_string();
            let socket = tokio::net::TcpListener::from_std(socket).map_err(problem)?;
            let task = runtime.spawn(async move {
                let mut next = 0;
                while let Ok((stream, _)) = socket.accept().await {
                    let _ = stream.set_nodelay(true);
                    if let Ok(stream) = stream.into_std() {
                        give(&mailboxes, &mut next, DetachedStream::Tcp(stream), &limits);
                    }
                }
            });
            (address, task)
        };
        let bound = BoundListener { name: listener.name.clone(), kind: listener.kind.clone(), address };
        self.open.push((listener.clone(), bound, task));
        Ok(())
    }

    /// The open listeners.
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.open.iter().map(|(_, bound, _)| bound.clone()).collect()
    }

    /// Changes listeners.
    pub fn reload(&mut self, _listeners: &[Listener], _report: &mut ReloadReport) {}

    /// Accepts nothing more.
    pub fn stop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn give(mailboxes: &[Mailbox], next: &mut usize, stream: DetachedStream, limits: &Arc<ListenerLimits>) {
    *next = (*next + 1) % mailboxes.len();
    mailboxes[*next].order(Order::Accepted(Accepted { stream }, Arc::clone(limits)));
}
