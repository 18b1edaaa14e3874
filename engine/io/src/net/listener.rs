//! Where connections are accepted: binding, limits, the hot parts of a listener's settings.

use super::stream::{DetachedStream, Stream};
use super::tls::ServerTls;
use crate::settings::Listener as Settings;
use nanomq_proto::session::settings::ListenerLimits;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener};

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// TCP, with the port that the system chose.
    Tcp(TcpListener, SocketAddr),
    /// Unix socket.
    Unix(UnixListener, String),
}

/// What the connections of one listener share.
#[derive(Debug)]
pub struct Shared {
    /// Its settings.
    pub settings: Settings,
    /// Limits that the protocol core keeps.
    pub limits: Arc<ListenerLimits>,
    /// TLS, for tls and wss.
    pub tls: Option<Arc<ServerTls>>,
    path: Option<Arc<str>>,
    connections: Arc<AtomicUsize>,
    rate: Mutex<ConnectRate>,
}

/// A connection on its way from the acceptor to its shard.
#[derive(Debug)]
pub struct Accepted {
    stream: DetachedStream,
    shared: Arc<Shared>,
    guard: Guard,
}

/// Counts a connection of a listener for as long as it lives.
#[derive(Debug)]
pub struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bound {
    /// Binds the listener's address. Call it inside the runtime that will accept.
    ///
    /// # Errors
    /// A sentence with the listener, the address, what is wrong and what to do.
    pub fn bind(settings: &Settings) -> Result<Self, String> {
        let bound = if settings.kind == "unix" {
            bind_unix(settings)
        } else {
            bind_tcp(settings)
        };
        bound.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "; another broker may be running: stop it or choose another port"
                }
                io::ErrorKind::PermissionDenied => {
                    "; ports below 1024 and foreign directories need privileges"
                }
                io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
                _ => "",
            };
            format!(
                "listener {}: cannot bind {}: {error}{advice}",
                settings.name, settings.bind
            )
        })
    }

    /// The address as text.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => address.to_string(),
            Self::Unix(_, path) => path.clone(),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// The connection is gone already, or no file descriptor is left.
    pub async fn accept(&self) -> io::Result<DetachedStream> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(DetachedStream::tcp(stream.into_std()?))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(DetachedStream::unix(stream.into_std()?))
            }
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Shared {
    /// Loads what the listener needs beside its socket.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let is_secure = matches!(settings.kind.as_str(), "tls" | "wss");
        let is_websocket = matches!(settings.kind.as_str(), "ws" | "wss");
        let problem = |error| format!("listener {}: {error}", settings.name);
        let tls = if is_secure {
            Some(Arc::new(ServerTls::load(&settings.tls).map_err(problem)?))
        } else {
            None
        };
        Ok(Self {
            settings: settings.clone(),
            limits: Arc::new(settings.limits()),
            tls,
            path: is_websocket.then(|| settings.path.as_str().into()),
            connections: Arc::default(),
            rate: Mutex::new(ConnectRate::new(settings.max_conn_rate)),
        })
    }

    /// Takes a connection on if the limits allow it; otherwise it is closed at once.
    pub fn admit(self: &Arc<Self>, stream: DetachedStream) -> Option<Accepted> {
        let limit = self.settings.max_connections;
        let guard = Guard(Arc::clone(&self.connections));
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if limit > 0 && before >= limit {
            return None;
        }
        let may = self
            .rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(Instant::now());
        if !may {
            return None;
        }
        self.set_options(&stream);
        Some(Accepted {
            stream,
            shared: Arc::clone(self),
            guard,
        })
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Best effort: a connection without its options is better than none.
    fn set_options(&self, stream: &DetachedStream) {
        let Some(socket) = stream.as_tcp() else {
            return;
        };
        let socket = SockRef::from(socket);
        let _ = socket.set_tcp_nodelay(self.settings.nodelay);
        if self.settings.tcp_keepalive_s > 0 {
            let idle = Duration::from_secs(self.settings.tcp_keepalive_s);
            let _ =
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle));
        }
    }
}

impl Accepted {
    /// Limits and name of its listener.
    pub fn limits(&self) -> Arc<ListenerLimits> {
        Arc::clone(&self.shared.limits)
    }

    /// Registers the connection with this thread's runtime and adds the listener's stages.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn into_stream(self) -> io::Result<(Stream, Guard)> {
        let mut stream = self.stream.attach()?;
        if self.shared.settings.proxy_protocol {
            stream = stream.with_proxy();
        }
        if let Some(tls) = &self.shared.tls {
            stream = stream.with_tls_server(tls.config())?;
        }
        if let Some(path) = &self.shared.path {
            stream = stream.with_websocket_server(Arc::clone(path));
        }
        Ok((stream, self.guard))
    }
}

fn bind_tcp(settings: &Settings) -> io::Result<Bound> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in settings.bind.to_socket_addrs()? {
        match listen(address, settings.backlog) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                return Ok(Bound::Tcp(listener, address));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can both be configured, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(backlog.max(1))?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(settings: &Settings) -> io::Result<Bound> {
    let path = Path::new(&settings.bind);
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // Left behind by a process that is gone.
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(settings.backlog.max(1))?;
    let listener = UnixListener::from_std(OwnedFd::from(socket).into())?;
    Ok(Bound::Unix(listener, settings.bind.clone()))
}

/// New connections a second; a burst of one second's worth is free.
#[derive(Debug)]
struct ConnectRate {
    rate: f64,
    level: f64,
    at: Option<Instant>,
}

impl ConnectRate {
    const fn new(rate: f64) -> Self {
        Self {
            rate,
            level: rate,
            at: None,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.rate <= 0.0 {
            return true;
        }
        let passed = self
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.level = (self.level + passed * self.rate).min(self.rate.max(1.0));
        if self.level < 1.0 {
            return false;
        }
        self.level -= 1.0;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_connects_is_cut_at_the_rate() {
        let mut rate = ConnectRate::new(5.0);
        let start = Instant::now();
        assert_eq!((0..20).filter(|_| rate.take(start)).count(), 5);
        assert_eq!(
            (0..20)
                .filter(|_| rate.take(start + Duration::from_millis(400)))
                .count(),
            2
        );
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let settings = Settings {
            max_connections: 1,
            ..Settings::default()
        };
        let shared = Arc::new(Shared::new(&settings).unwrap());
        let pair = || std::os::unix::net::UnixStream::pair().unwrap().0;
        let first = shared.admit(DetachedStream::unix(pair()));
        assert!(first.is_some());
        assert!(shared.admit(DetachedStream::unix(pair())).is_none());
        drop(first);
        assert_eq!(shared.connections(), 0);
        assert!(shared.admit(DetachedStream::unix(pair())).is_some());
    }
}
