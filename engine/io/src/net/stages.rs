//! The stages between a socket and MQTT: PROXY header, TLS, WebSocket.
//!
//! What they hold for more than a call is only what the socket did not take or what is not complete; all
//! else is done in buffers that the connections of a thread share.

use super::backlog::Backlog;
use super::proxy;
use super::record::Tls;
use super::socket::{CHUNKS, Socket};
use super::upgrade::{self, Upgrade};
use super::websocket::{self, CloseCode, Websocket};
use nanomq_proto::Output;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Ciphertext read at once.
const CIPHER_BYTES: usize = 64 * 1024;

/// Output that goes through the stages at once, and the largest WebSocket frame sent: some clients take no
/// message above a limit, and within 65535 bytes the header is the short one.
const BATCH_BYTES: usize = 65535;

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

/// All stages of one stream, those that it has and what waits between them.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// Whether a PROXY protocol header is still to come.
    pub(super) awaits_proxy: bool,
    /// Whether our good-byes are said.
    is_closing: bool,
    /// The peer as the PROXY protocol told it.
    pub(super) peer: Option<SocketAddr>,
    /// Read from the socket together with the PROXY header.
    raw: Backlog,
    pub(super) tls: Option<Box<Tls>>,
    pub(super) websocket: Option<Box<WebsocketStage>>,
    /// Ready for the socket, which was full.
    unsent: Backlog,
    /// How many bytes of the caller's output `unsent` stands for. They are taken off when it is gone, so
    /// that an empty output means that everything is written.
    covered: usize,
}

/// A WebSocket, from its HTTP upgrade on.
#[derive(Debug)]
pub(super) struct WebsocketStage {
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
    /// The key of the request, and the request while it is not sent.
    Client { key: String, request: Vec<u8> },
}

impl Stages {
    pub(super) fn poll_handshake(
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
    pub(super) fn is_needless(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none() && self.peer.is_none() && self.raw.is_empty()
    }

    pub(super) fn poll_read(
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
                return Poll::Ready(
                    stage
                        .codec
                        .violation()
                        .map_or(Ok(0), |code| Err(broken(code))),
                );
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
                Err(code) => return Poll::Ready(Err(broken(code))),
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

    pub(super) fn poll_write(
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
            let has_closed = |stage: &WebsocketStage| stage.codec.has_closed();
            if self.websocket.as_deref().is_some_and(has_closed) {
                out.clear();
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

    /// Says good-bye on every stage; the socket stays open.
    pub(super) fn poll_close(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_closing {
            self.is_closing = true;
            self.say_good_bye();
        }
        self.poll_flush(socket, cx)
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

    pub(super) fn poll_flush(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let count = ready!(socket.poll_write_some(cx, self.unsent.rest())?);
            self.unsent.skip(count);
        }
        self.covered = 0;
        Poll::Ready(Ok(()))
    }
}

impl WebsocketStage {
    pub(super) fn server(path: Arc<str>) -> Box<Self> {
        Self::new(Websocket::server(), Role::Server(path))
    }

    pub(super) fn client(host: &str, path: &str, random: [u64; 3]) -> Box<Self> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random[0].to_le_bytes());
        bytes[8..].copy_from_slice(&random[1].to_le_bytes());
        let key = upgrade::new_key(bytes);
        let request = upgrade::client_request(host, path, &key);
        Self::new(Websocket::client(random[2]), Role::Client { key, request })
    }

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

fn broken(code: CloseCode) -> io::Error {
    invalid(format!("WebSocket: {code}"))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
