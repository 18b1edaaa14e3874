//! TLS of one connection, on bytes: records in, plaintext out, and back.
//!
//! rustls' unbuffered connection keeps no buffers of its own. Ciphertext is processed in a buffer that all
//! connections of a thread share, so an idle connection holds its keys and nothing else.

use super::backlog::Backlog;
use super::certificate::{self, CertificateInfo};
use super::tls::ASKED_NAME;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ProtocolVersion, ServerConfig};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Plaintext of a full record.
const RECORD_BYTES: usize = 16 * 1024;

/// What a record adds to its plaintext at most, rounded up: header, nonce, type, tag.
const RECORD_OVERHEAD: usize = 64;

/// What was agreed with the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Name of the cipher suite.
    pub cipher: String,
    /// The name that the client asked for, if it did.
    pub server_name: Option<String>,
    /// The certificate that the peer showed, if it did.
    pub certificate: Option<CertificateInfo>,
}

/// The TLS stage of a stream.
pub(super) struct Tls {
    connection: Connection,
    /// The beginning of a record, or of a message over several records.
    partial: Vec<u8>,
    /// Decrypted, but the caller's buffer was full.
    plain: Backlog,
    server_name: Option<Box<str>>,
    is_over: bool,
    /// After an error rustls' state and `partial` do not belong together any more.
    is_broken: bool,
}

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is to be sent once the state of the connection allows it.
#[derive(Clone, Copy)]
enum Send<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

/// Where plaintext goes: into the caller's buffer, then behind it.
struct Plain<'a> {
    buf: &'a mut [u8],
    filled: usize,
    rest: &'a mut Backlog,
}

impl Tls {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(Connection::Server(
            UnbufferedServerConnection::new(config)?,
        )))
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        Ok(Self::new(Connection::Client(
            UnbufferedClientConnection::new(config, name)?,
        )))
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            partial: Vec::new(),
            plain: Backlog::default(),
            server_name: None,
            is_over: false,
            is_broken: false,
        }
    }

    /// Whether application data cannot flow yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer said that nothing more comes.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// What was agreed; `None` before the handshake is through.
    pub(super) fn info(&self) -> Option<TlsInfo> {
        let common = self.common();
        let version = match common.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => "TLS",
        };
        let suite = common.negotiated_cipher_suite()?;
        let shown = common.peer_certificates().and_then(<[_]>::first);
        Some(TlsInfo {
            version,
            cipher: suite.suite().as_str().unwrap_or_default().to_owned(),
            server_name: self.server_name.as_deref().map(str::to_owned),
            certificate: shown.and_then(|certificate| certificate::info(certificate).ok()),
        })
    }

    /// Moves what was decrypted before into `buf`.
    pub(super) fn take_plain(&mut self, buf: &mut [u8]) -> usize {
        self.plain.take(buf)
    }

    /// Puts the beginning of a record where the rest will be read behind it.
    ///
    /// # Errors
    /// It fills the buffer: no handshake needs so much.
    pub(super) fn load_partial(&self, cipher: &mut [u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let len = self.partial.len();
        if len >= cipher.len() {
            return Err(invalid("a handshake message is too long"));
        }
        cipher[..len].copy_from_slice(&self.partial);
        Ok(len)
    }

    /// Decrypts `cipher`, which begins with what [`load_partial`](Self::load_partial) put there. Returns how
    /// much plaintext is in `buf`; what TLS itself has to say is appended to `out`.
    ///
    /// # Errors
    /// The peer does not keep to the protocol or cannot be trusted; `out` holds the alert that says so.
    pub(super) fn decrypt(
        &mut self,
        cipher: &mut [u8],
        buf: &mut [u8],
        out: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let mut plain = Plain {
            buf,
            filled: 0,
            rest: &mut self.plain,
        };
        let result = pump_any(&mut self.connection, cipher, &mut plain, out, Send::Nothing);
        let filled = plain.filled;
        if self.server_name.is_none() {
            self.server_name = ASKED_NAME.take();
        }
        let pumped = result.inspect_err(|_| self.is_broken = true)?;
        self.is_over |= pumped.is_over;
        let rest = cipher.get(pumped.used..).unwrap_or_default();
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        Ok(filled)
    }

    /// Begins the handshake: appends what the client says first.
    ///
    /// # Errors
    /// The configuration does not allow any.
    pub(super) fn start(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.send(Send::Nothing, out)
    }

    /// Appends `bytes` to `out`, encrypted.
    ///
    /// # Errors
    /// The handshake is not through, or the connection's keys are used up.
    pub(super) fn encrypt(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.send(Send::Data(bytes), out)
    }

    /// Appends the message that nothing more comes from us, if the handshake is through.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !self.is_handshaking() {
            // The connection ends whether or not the peer can be told.
            let _ = self.send(Send::CloseNotify, out);
        }
    }

    fn send(&mut self, send: Send<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        if self.is_broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut plain = Plain {
            buf: &mut [],
            filled: 0,
            rest: &mut self.plain,
        };
        let pumped = pump_any(
            &mut self.connection,
            &mut self.partial,
            &mut plain,
            out,
            send,
        )
        .inspect_err(|_| self.is_broken = true)?;
        self.is_over |= pumped.is_over;
        self.partial.drain(..pumped.used);
        if pumped.has_sent || matches!(send, Send::Nothing) {
            Ok(())
        } else {
            Err(invalid("the handshake is not through"))
        }
    }

    fn common(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("is_handshaking", &self.is_handshaking())
            .finish_non_exhaustive()
    }
}

impl Plain<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let space = self.buf.get_mut(self.filled..).unwrap_or_default();
        // Once something waits behind the buffer, all that follows must.
        let count = if self.rest.is_empty() {
            bytes.len().min(space.len())
        } else {
            0
        };
        space[..count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        if count < bytes.len() {
            self.rest.put(&bytes[count..]);
        }
    }
}

struct Pumped {
    /// Bytes of the input that are done with.
    used: usize,
    has_sent: bool,
    is_over: bool,
}

/// The two kinds of connection have the same method, but no common name for it.
trait Records<Data> {
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Data>;
}

impl Records<ServerConnectionData> for UnbufferedConnectionCommon<ServerConnectionData> {
    fn process<'c, 'i>(
        &'c mut self,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(input)
    }
}

impl Records<ClientConnectionData> for UnbufferedConnectionCommon<ClientConnectionData> {
    fn process<'c, 'i>(
        &'c mut self,
        input: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(input)
    }
}

fn pump_any(
    connection: &mut Connection,
    input: &mut [u8],
    plain: &mut Plain<'_>,
    out: &mut Vec<u8>,
    send: Send<'_>,
) -> io::Result<Pumped> {
    match connection {
        Connection::Server(connection) => pump(&mut **connection, input, plain, out, send),
        Connection::Client(connection) => pump(&mut **connection, input, plain, out, send),
    }
}

/// Lets the connection work until it needs more input, then sends.
fn pump<Data>(
    connection: &mut impl Records<Data>,
    input: &mut [u8],
    plain: &mut Plain<'_>,
    out: &mut Vec<u8>,
    send: Send<'_>,
) -> io::Result<Pumped> {
    let mut pumped = Pumped {
        used: 0,
        has_sent: false,
        is_over: false,
    };
    loop {
        let UnbufferedStatus { mut discard, state } = connection.process(&mut input[pumped.used..]);
        match state {
            Err(error) => {
                let rest = input.get_mut(pumped.used + discard..).unwrap_or_default();
                push_alert(connection, rest, out);
                return Err(invalid(error));
            }
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    plain.put(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut message)) => encode(&mut message, out)?,
            // Whoever holds `out` sends it.
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => pumped.is_over = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                write(&mut traffic, send, out)?;
                pumped.has_sent = true;
                pumped.used += discard;
                break;
            }
            // Early data is not offered.
            Ok(_) => {
                pumped.used += discard;
                break;
            }
        }
        pumped.used += discard;
    }
    Ok(pumped)
}

/// After an error: appends the alert that tells the peer, if there is one. It comes out like any message, at
/// the next call; a call after that would begin to read again, which is over.
fn push_alert<Data>(connection: &mut impl Records<Data>, input: &mut [u8], out: &mut Vec<u8>) {
    if let Ok(ConnectionState::EncodeTlsData(mut alert)) = connection.process(input).state {
        // The connection ends whether or not the peer can be told.
        let _ = encode(&mut alert, out);
    }
}

fn encode<Data>(message: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> io::Result<()> {
    append(out, 0, |place| match message.encode(place) {
        Err(EncodeError::InsufficientSize(size)) => Err(size.into()),
        Err(error) => Err(Refused::Other(invalid(error))),
        Ok(written) => Ok(written),
    })
}

fn write<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    send: Send<'_>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let refused = |error| match error {
        EncryptError::InsufficientSize(size) => size.into(),
        EncryptError::EncryptExhausted => Refused::Other(invalid(error)),
    };
    match send {
        Send::Nothing => Ok(()),
        Send::Data(bytes) => {
            let records = bytes.len() / RECORD_BYTES + 1;
            let room = bytes.len() + records * RECORD_OVERHEAD;
            append(out, room, |place| {
                traffic.encrypt(bytes, place).map_err(refused)
            })
        }
        Send::CloseNotify => append(out, RECORD_OVERHEAD, |place| {
            traffic.queue_close_notify(place).map_err(refused)
        }),
    }
}

enum Refused {
    TooSmall(usize),
    Other(io::Error),
}

impl From<InsufficientSizeError> for Refused {
    fn from(error: InsufficientSizeError) -> Self {
        Self::TooSmall(error.required_size)
    }
}

/// Appends what `write` puts into a place of `room` bytes, or of as many as it asks for.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> io::Result<()> {
    let start = out.len();
    out.resize(start + room, 0);
    let mut result = write(&mut out[start..]);
    if let Err(Refused::TooSmall(room)) = result {
        out.resize(start + room, 0);
        result = write(&mut out[start..]);
    }
    out.truncate(start + *result.as_ref().unwrap_or(&0));
    match result {
        Ok(_) => Ok(()),
        Err(Refused::TooSmall(_)) => Err(io::ErrorKind::OutOfMemory.into()),
        Err(Refused::Other(error)) => Err(error),
    }
}

fn invalid(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {what}"))
}
