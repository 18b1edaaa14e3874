//! One byte stream over a TCP or Unix socket, with PROXY header, TLS and WebSocket as optional stages.
//!
//! A plain connection costs its socket and a null pointer. The stages live in a box.

use super::record::Tls;
pub use super::record::TlsInfo;
use super::socket::Socket;
use super::stages::{Stages, WebsocketStage};
use nanomq_proto::Output;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::net::{TcpStream, UnixStream};

/// One byte stream. It is polled by hand: every method that takes a context wakes it when to call again.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    stages: Option<Box<Stages>>,
}

/// A stream between two threads: registered with no runtime.
#[derive(Debug)]
pub struct DetachedStream {
    socket: DetachedSocket,
    stages: Option<Box<Stages>>,
}

#[derive(Debug)]
enum DetachedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl DetachedStream {
    /// A connection as accepted; it must not block.
    pub const fn tcp(socket: std::net::TcpStream) -> Self {
        Self {
            socket: DetachedSocket::Tcp(socket),
            stages: None,
        }
    }

    /// A connection as accepted; it must not block.
    pub const fn unix(socket: std::os::unix::net::UnixStream) -> Self {
        Self {
            socket: DetachedSocket::Unix(socket),
            stages: None,
        }
    }

    /// The TCP socket, to set its options.
    pub const fn as_tcp(&self) -> Option<&std::net::TcpStream> {
        match &self.socket {
            DetachedSocket::Tcp(socket) => Some(socket),
            DetachedSocket::Unix(_) => None,
        }
    }

    /// Registers it with this thread's runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the socket.
    pub fn attach(self) -> io::Result<Stream> {
        let socket = match self.socket {
            DetachedSocket::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket)?),
            DetachedSocket::Unix(socket) => Socket::Unix(UnixStream::from_std(socket)?),
        };
        Ok(Stream {
            socket,
            stages: self.stages,
        })
    }
}

impl Stream {
    /// A plain TCP stream.
    pub const fn tcp(socket: TcpStream) -> Self {
        Self {
            socket: Socket::Tcp(socket),
            stages: None,
        }
    }

    /// A plain Unix stream.
    pub const fn unix(socket: UnixStream) -> Self {
        Self {
            socket: Socket::Unix(socket),
            stages: None,
        }
    }

    /// Expects a PROXY protocol header first.
    #[must_use]
    pub fn with_proxy(mut self) -> Self {
        self.stages().awaits_proxy = true;
        self
    }

    /// Adds the server side of TLS.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn with_tls_server(mut self, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = Tls::server(config).map_err(io::Error::other)?;
        self.stages().tls = Some(Box::new(tls));
        Ok(self)
    }

    /// Adds the client side of TLS, towards the server of this name.
    ///
    /// # Errors
    /// rustls refuses the configuration.
    pub fn with_tls_client(
        mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let tls = Tls::client(config, name).map_err(io::Error::other)?;
        self.stages().tls = Some(Box::new(tls));
        Ok(self)
    }

    /// Expects a WebSocket upgrade at this path.
    #[must_use]
    pub fn with_websocket_server(mut self, path: Arc<str>) -> Self {
        self.stages().websocket = Some(WebsocketStage::server(path));
        self
    }

    /// Asks for a WebSocket upgrade. `random`, which nobody may guess, makes the key and the masks.
    #[must_use]
    pub fn with_websocket_client(mut self, host: &str, path: &str, random: [u64; 3]) -> Self {
        self.stages().websocket = Some(WebsocketStage::client(host, path, random));
        self
    }

    fn stages(&mut self) -> &mut Stages {
        self.stages.get_or_insert_default()
    }

    /// Unregisters it, so that it can go to another thread.
    ///
    /// # Errors
    /// The runtime does not let go of the socket.
    pub fn detach(self) -> io::Result<DetachedStream> {
        let socket = match self.socket {
            Socket::Tcp(socket) => DetachedSocket::Tcp(socket.into_std()?),
            Socket::Unix(socket) => DetachedSocket::Unix(socket.into_std()?),
        };
        Ok(DetachedStream {
            socket,
            stages: self.stages,
        })
    }

    /// The peer as text, as the PROXY protocol told it if it did; `unix` for a Unix socket.
    pub fn peer_addr(&self) -> String {
        match (
            self.stages.as_ref().and_then(|stages| stages.peer),
            &self.socket,
        ) {
            (Some(peer), _) => peer.to_string(),
            (None, Socket::Tcp(socket)) => socket
                .peer_addr()
                .map(|peer| peer.to_string())
                .unwrap_or_default(),
            (None, Socket::Unix(_)) => "unix".to_owned(),
        }
    }

    /// Whether TLS protects it.
    pub fn is_secure(&self) -> bool {
        self.stages
            .as_ref()
            .is_some_and(|stages| stages.tls.is_some())
    }

    /// What TLS agreed on, and the peer's certificate; `None` without TLS or before its handshake.
    pub fn tls_info(&self) -> Option<TlsInfo> {
        self.stages.as_ref()?.tls.as_ref()?.info()
    }

    /// PROXY header, TLS handshake, WebSocket upgrade, as far as configured. `scratch` is overwritten.
    ///
    /// # Errors
    /// The peer does not keep to a protocol (`InvalidData`; it was told if the protocol can), or is gone.
    pub fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let Self {
            socket,
            stages: Some(stages),
        } = self
        else {
            return Poll::Ready(Ok(()));
        };
        let result = ready!(stages.poll_handshake(socket, cx, scratch));
        if result.is_err() {
            // The peer learns why, if its socket takes it now: an alert or an HTTP status waits here.
            let _ = stages.poll_flush(socket, cx);
        } else if stages.is_needless() {
            self.stages = None;
        }
        Poll::Ready(result)
    }

    /// Reads MQTT bytes into `buf`; 0 = nothing more comes.
    ///
    /// A plain socket is read straight into `buf`; tokio notes from a partial read that it is empty, so no
    /// second call finds that out. After a full `buf` call again: a stage may hold more without a wake-up.
    ///
    /// # Errors
    /// The connection is lost, or the peer does not keep to a stage's protocol (`InvalidData`).
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.stages {
            None => self.socket.poll_read(cx, buf),
            Some(stages) => stages.poll_read(&mut self.socket, cx, buf),
        }
    }

    /// Writes as much of `out` as the socket takes. Ready when all of it, and all that the stages have to
    /// say, is written. While it is pending, `out` may only grow.
    ///
    /// # Errors
    /// The connection is lost.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<io::Result<()>> {
        match &mut self.stages {
            None => self.socket.poll_write_all(cx, out),
            Some(stages) => stages.poll_write(&mut self.socket, cx, out),
        }
    }

    /// Says good-bye on every stage and closes our direction. What the peer sends can still be read.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, stages } = self;
        if let Some(stages) = stages {
            ready!(stages.poll_close(socket, cx))?;
        }
        socket.poll_shutdown(cx)
    }
}
