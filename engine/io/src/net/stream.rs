//! One byte stream over a TCP or Unix socket, with PROXY header, TLS and WebSocket as optional stages.
//!
//! A plain connection costs its socket and a null pointer. The stages live in a box, and what they hold for
//! more than a call is only what the socket did not take or what is not complete; all else is done in
//! buffers that the connections of a thread share.

use super::backlog::Backlog;
use super::proxy;
use super::record::{Tls, TlsInfo};
use super::upgrade::{self, Upgrade};
use super::websocket::{self, CloseCode, Websocket};
use nanomq_proto::Output;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Ciphertext read at once.
const CIPHER_BYTES: usize = 64 * 1024;

/// Output that goes through the stages at once, and the largest WebSocket frame sent: some clients take no
/// message above a limit, and within 65535 bytes the header is the short one.
const BATCH_BYTES: usize = 65535;

/// Most chunks of one `writev`.
const CHUNKS: usize = 64;

/// Reads of a turn that may bring nothing but control frames.
const FRUITLESS_READS: usize = 16;

thread_local! {
    /// Ciphertext as read.
    static CIPHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Plaintext of a batch, framed and masked if it is a WebSocket.
    static FRAMED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The same, encrypted.
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One byte stream. It is polled by hand: every method that takes a context wakes it when to call again.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    stages: Option<Box<Stages>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug, Default)]
struct Stages {
    /// Whether a PROXY protocol header is still to come.
    awaits_proxy: bool,
    /// Whether our good-byes are said.
    is_closing: bool,
    /// The peer as the PROXY protocol told it.
    peer: Option<SocketAddr>,
    /// Read from the socket together with the PROXY header.
    raw: Backlog,
    tls: Option<Box<Tls>>,
    websocket: Option<Box<WebsocketStage>>,
    /// Ready for the socket, which was full.
    unsent: Backlog,
    /// How many bytes of the caller's output `unsent` stands for. They are taken off when it is gone, so
    /// that an empty output means that everything is written.
    covered: usize,
}

#[derive(Debug)]
struct WebsocketStage {
    codec: Websocket,
    /// What the HTTP upgrade needs; `None` when it is through.
    role: Option<Role>,
    /// Read together with the upgrade.
    early: Backlog,
    /// Bytes of the frame that was begun and is not sent to its end.
    frame_left: usize,
}

#[derive(Debug)]
enum Role {
    /// The path that is served.
    Server(Arc<str>),
    Client {
        key: String,
        request: Vec<u8>,
    },
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
        self.stages().websocket =
            Some(WebsocketStage::new(Websocket::server(), Role::Server(path)));
        self
    }

    /// Asks for a WebSocket upgrade. `random`, which nobody may guess, makes the key and the masks.
    #[must_use]
    pub fn with_websocket_client(mut self, host: &str, path: &str, random: [u64; 3]) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random[0].to_le_bytes());
        bytes[8..].copy_from_slice(&random[1].to_le_bytes());
        let key = upgrade::new_key(bytes);
        let request = upgrade::client_request(host, path, &key);
        let role = Role::Client { key, request };
        self.stages().websocket = Some(WebsocketStage::new(Websocket::client(random[2]), role));
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
            if !stages.is_closing {
                stages.is_closing = true;
                stages.say_good_bye();
            }
            ready!(stages.poll_flush(socket, cx))?;
        }
        socket.poll_shutdown(cx)
    }
}

impl Stages {
    fn poll_handshake(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        while self.awaits_proxy {
            match proxy::parse(self.raw.rest()) {
                proxy::Header::Done { consumed, source } => {
                    self.raw.skip(consumed);
                    self.peer = source;
                    self.awaits_proxy = false;
                }
                proxy::Header::Invalid(what) => {
                    return Poll::Ready(Err(invalid(format!("PROXY protocol: {what}"))));
                }
                proxy::Header::Incomplete => {
                    let read = some(ready!(socket.poll_read(cx, scratch))?)?;
                    self.raw.put(&scratch[..read]);
                }
            }
        }
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.is_handshaking()) {
            tls.start(self.unsent.tail())?;
            ready!(self.poll_flush(socket, cx))?;
            if ready!(self.poll_cipher(socket, cx, &mut []))?.is_none() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        while self
            .websocket
            .as_ref()
            .is_some_and(|stage| stage.role.is_some())
        {
            if !self.upgrade()? {
                ready!(self.poll_flush(socket, cx))?;
                let read = some(ready!(self.poll_plain(socket, cx, scratch))?)?;
                if let Some(stage) = &mut self.websocket {
                    stage.early.put(&scratch[..read]);
                }
            }
        }
        self.poll_flush(socket, cx)
    }

    /// One step of the HTTP upgrade; whether it is through.
    fn upgrade(&mut self) -> io::Result<bool> {
        let Some(stage) = &mut self.websocket else {
            return Ok(true);
        };
        let input = stage.early.rest();
        let (consumed, answer) = match &mut stage.role {
            None => return Ok(true),
            Some(Role::Server(path)) => match upgrade::server(input, path) {
                Upgrade::Incomplete => return Ok(false),
                Upgrade::Done { response, consumed } => (consumed, response),
                Upgrade::Refused { response, why } => {
                    self.push_plain(&response)?;
                    return Err(invalid(format!("WebSocket: {why}")));
                }
            },
            Some(Role::Client { request, .. }) if !request.is_empty() => {
                let request = std::mem::take(request);
                self.push_plain(&request)?;
                return Ok(false);
            }
            Some(Role::Client { key, .. }) => {
                match upgrade::client_response(input, key).map_err(invalid)? {
                    Some(consumed) => (consumed, Vec::new()),
                    None => return Ok(false),
                }
            }
        };
        stage.early.skip(consumed);
        stage.role = None;
        self.push_plain(&answer)?;
        Ok(true)
    }

    /// Whether the stages have done their work and change nothing any more.
    fn is_needless(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none() && self.peer.is_none() && self.raw.is_empty()
    }

    fn poll_read(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.try_flush(socket, cx)?;
        for _ in 0..FRUITLESS_READS {
            let Some(stage) = &mut self.websocket else {
                return self.poll_plain(socket, cx, buf);
            };
            if stage.codec.is_over() {
                return Poll::Ready(Ok(0));
            }
            let read = match stage.early.take(buf) {
                0 => ready!(self.poll_plain(socket, cx, buf))?,
                read => read,
            };
            let Some(stage) = self.websocket.as_mut().filter(|_| read > 0) else {
                return Poll::Ready(Ok(0));
            };
            let outcome = stage.codec.unwrap(&mut buf[..read]);
            if self.may_reply() {
                self.push_reply()?;
                self.try_flush(socket, cx)?;
            }
            match outcome {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(code) => return Poll::Ready(Err(invalid(format!("WebSocket: {code}")))),
            }
        }
        // A peer that sends nothing but control frames must not keep the others waiting.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Bytes after TLS.
    fn poll_plain(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let Some(tls) = &mut self.tls else {
                return self.poll_raw(socket, cx, buf);
            };
            match tls.take_plain(buf) {
                0 if buf.is_empty() || tls.is_over() => return Poll::Ready(Ok(0)),
                0 => {}
                count => return Poll::Ready(Ok(count)),
            }
            match ready!(self.poll_cipher(socket, cx, buf)) {
                Ok(Some(0)) => {}
                Ok(Some(count)) => return Poll::Ready(Ok(count)),
                // Without close_notify: MQTT has an end of its own, so this is one like any other.
                Ok(None) => return Poll::Ready(Ok(0)),
                Err(error) => {
                    // The peer learns why from the alert, if its socket takes it now.
                    let _ = self.try_flush(socket, cx);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Reads from the socket once and decrypts; gives the plaintext in `buf`, or `None` at the end.
    fn poll_cipher(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        CIPHER.with_borrow_mut(|cipher| {
            cipher.resize(CIPHER_BYTES, 0);
            let kept = self
                .tls
                .as_ref()
                .map_or(Ok(0), |tls| tls.load_partial(cipher))?;
            let read = ready!(self.poll_raw(socket, cx, &mut cipher[kept..]))?;
            let Some(tls) = self.tls.as_mut().filter(|_| read > 0) else {
                return Poll::Ready(Ok(None));
            };
            let count = tls.decrypt(&mut cipher[..kept + read], buf, self.unsent.tail())?;
            self.try_flush(socket, cx)?;
            Poll::Ready(Ok(Some(count)))
        })
    }

    /// Bytes of the socket, what came with the PROXY header first.
    fn poll_raw(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.raw.take(buf) {
            0 => socket.poll_read(cx, buf),
            count => Poll::Ready(Ok(count)),
        }
    }

    fn poll_write(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<io::Result<()>> {
        loop {
            let covered = self.covered;
            ready!(self.poll_flush(socket, cx))?;
            out.advance(covered);
            if self.may_reply() {
                self.push_reply()?;
                continue;
            }
            if out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match (&mut self.tls, &mut self.websocket) {
                (None, None) => return socket.poll_write_all(cx, out),
                (None, Some(stage)) if !stage.codec.is_client() => {
                    ready!(stage.poll_write_frame(socket, cx, out, &mut self.unsent))?;
                }
                _ => ready!(self.poll_write_batch(socket, cx, out))?,
            }
        }
    }

    /// Frames, masks and encrypts a good part of `out` and sends it in one piece.
    fn poll_write_batch(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<io::Result<()>> {
        let mut chunks = [IoSlice::new(&[]); CHUNKS];
        let count = out.chunks(&mut chunks);
        let chunks = &chunks[..count];
        let len = chunks
            .iter()
            .map(|chunk| chunk.len())
            .sum::<usize>()
            .min(BATCH_BYTES);
        let (mut framed, mut sealed) = (FRAMED.take(), SEALED.take());
        framed.clear();
        sealed.clear();
        let plain = match chunks {
            [chunk] if self.websocket.is_none() => &chunk[..len],
            _ => {
                let codec = self.websocket.as_mut().map(|stage| &mut stage.codec);
                frame(codec, chunks, len, &mut framed);
                &framed
            }
        };
        let wire = match &mut self.tls {
            Some(tls) => tls.encrypt(plain, &mut sealed).map(|()| &*sealed),
            None => Ok(plain),
        };
        let sent = wire.and_then(|wire| {
            let mut sent = 0;
            while sent < wire.len() {
                match socket.poll_write_some(cx, &wire[sent..])? {
                    Poll::Ready(count) => sent += count,
                    Poll::Pending => {
                        self.unsent.put(&wire[sent..]);
                        self.covered = len;
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        });
        FRAMED.set(framed);
        SEALED.set(sealed);
        if sent? {
            out.advance(len);
        }
        Poll::Ready(Ok(()))
    }

    /// Appends bytes of the stage above TLS.
    fn push_plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) if !bytes.is_empty() => tls.encrypt(bytes, self.unsent.tail()),
            Some(_) => Ok(()),
            None => {
                self.unsent.put(bytes);
                Ok(())
            }
        }
    }

    /// Whether a pong or a close frame waits and can go now. While a frame is on its way or the peer does
    /// not read, it stays in the codec, which keeps only the newest.
    fn may_reply(&self) -> bool {
        let is_between = |stage: &WebsocketStage| stage.codec.has_reply() && stage.frame_left == 0;
        self.unsent.is_empty() && self.websocket.as_deref().is_some_and(is_between)
    }

    fn push_reply(&mut self) -> io::Result<()> {
        let mut frame = Vec::new();
        if let Some(stage) = &mut self.websocket {
            stage.codec.push_reply(&mut frame);
        }
        self.push_plain(&frame)
    }

    fn say_good_bye(&mut self) {
        let mut frame = Vec::new();
        if let Some(stage) = self
            .websocket
            .as_mut()
            .filter(|stage| stage.role.is_none() && stage.frame_left == 0)
        {
            stage.codec.push_close(CloseCode::NORMAL, &mut frame);
        }
        // The connection ends whether or not the peer can be told.
        let _ = self.push_plain(&frame);
        if let Some(tls) = &mut self.tls {
            tls.close(self.unsent.tail());
        }
    }

    /// Sends what is ready as far as the socket takes it now. What stands for the caller's output is left to
    /// `poll_write`, which takes it off there.
    fn try_flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> io::Result<()> {
        if self.covered > 0 {
            return Ok(());
        }
        match self.poll_flush(socket, cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let count = ready!(socket.poll_write_some(cx, self.unsent.rest())?);
            self.unsent.skip(count);
        }
        self.covered = 0;
        Poll::Ready(Ok(()))
    }
}

impl WebsocketStage {
    fn new(codec: Websocket, role: Role) -> Box<Self> {
        Box::new(Self {
            codec,
            role: Some(role),
            early: Backlog::default(),
            frame_left: 0,
        })
    }

    /// Sends one frame of the server without copying its payload.
    fn poll_write_frame(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        out: &mut Output,
        unsent: &mut Backlog,
    ) -> Poll<io::Result<()>> {
        let (mut header, mut header_len) = ([0; websocket::LONGEST_HEADER], 0);
        if self.frame_left == 0 {
            self.frame_left = out.len().min(BATCH_BYTES);
            (header, header_len, _) = self.codec.header(self.frame_left);
        }
        let mut chunks = [IoSlice::new(&[]); CHUNKS];
        let count = out.chunks(&mut chunks);
        let mut slices = [IoSlice::new(&[]); CHUNKS + 1];
        slices[0] = IoSlice::new(&header[..header_len]);
        let mut left = self.frame_left;
        for (slice, chunk) in slices[1..].iter_mut().zip(&chunks[..count]) {
            *slice = IoSlice::new(&chunk[..chunk.len().min(left)]);
            left -= slice.len();
        }
        let first = usize::from(header_len == 0);
        match socket.poll_write_chunks(cx, &slices[first..=count])? {
            Poll::Ready(sent) if sent >= header_len => {
                self.frame_left -= sent - header_len;
                out.advance(sent - header_len);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(sent) => {
                unsent.put(&header[sent..header_len]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                // The header is made; it leaves first when the socket has room again.
                unsent.put(&header[..header_len]);
                Poll::Pending
            }
        }
    }
}

impl Socket {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        match self {
            Self::Tcp(socket) => ready!(Pin::new(socket).poll_read(cx, &mut buf))?,
            Self::Unix(socket) => ready!(Pin::new(socket).poll_read(cx, &mut buf))?,
        }
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes a part of `bytes`, at least one.
    #[inline]
    fn poll_write_some(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        })?;
        Poll::Ready(if written == 0 {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(written)
        })
    }

    /// Writes a part of `chunks`, at least one byte.
    fn poll_write_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, chunks),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, chunks),
        })?;
        Poll::Ready(if written == 0 {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(written)
        })
    }

    #[inline]
    fn poll_write_all(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let written = match out.single() {
                Some(bytes) => ready!(self.poll_write_some(cx, bytes))?,
                None => {
                    let mut slices = [IoSlice::new(&[]); CHUNKS];
                    let count = out.chunks(&mut slices);
                    ready!(self.poll_write_chunks(cx, &slices[..count]))?
                }
            };
            out.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// Appends the first `len` bytes of `chunks`, as one frame if this is a WebSocket.
fn frame(codec: Option<&mut Websocket>, chunks: &[IoSlice<'_>], len: usize, framed: &mut Vec<u8>) {
    let mut key = None;
    if let Some(codec) = codec {
        let (header, header_len, mask) = codec.header(len);
        framed.extend_from_slice(&header[..header_len]);
        key = mask;
    }
    let start = framed.len();
    for chunk in chunks {
        let left = start + len - framed.len();
        framed.extend_from_slice(&chunk[..chunk.len().min(left)]);
    }
    if let Some(key) = key {
        websocket::mask(&mut framed[start..], key);
    }
}

/// What was read, unless it is the end.
fn some(read: usize) -> io::Result<usize> {
    if read == 0 {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(read)
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
