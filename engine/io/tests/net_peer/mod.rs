//! Two ends of a stream on one runtime, and certificates in a directory of their own.

#![allow(clippy::unwrap_used, reason = "a test may stop")]
#![allow(dead_code, reason = "each test file uses its part")]

use nanomq_engine::net::stream::Stream;
use nanomq_engine::net::tls::{ClientTlsOptions, ServerTls, client_config};
use nanomq_engine::settings::Tls;
use nanomq_proto::Output;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DnType, IsCa,
    KeyPair, KeyUsagePurpose,
};
use std::future::{Future, poll_fn};
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Runs a test on a runtime like that of a shard.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

/// Polls both until both are done.
pub async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none() {
            if let Poll::Ready(value) = a.as_mut().poll(cx) {
                first = Some(value);
            }
        }
        if second.is_none() {
            if let Poll::Ready(value) = Pin::new(&mut b).poll(cx) {
                second = Some(value);
            }
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// A connected pair: the server's end first.
pub async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, client) = both(listener.accept(), TcpStream::connect(address)).await;
    (server.unwrap().0, client.unwrap())
}

/// The kinds of stream that must all behave alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Tcp,
    Unix,
    Tls12,
    Tls13,
    Ws,
    Wss,
}

pub const KINDS: [Kind; 6] = [
    Kind::Tcp,
    Kind::Unix,
    Kind::Tls12,
    Kind::Tls13,
    Kind::Ws,
    Kind::Wss,
];

/// A pair of streams before their handshakes.
pub async fn raw_pair(kind: Kind) -> (Stream, Stream) {
    if kind == Kind::Unix {
        let (server, client) = UnixStream::pair().unwrap();
        return (Stream::unix(server), Stream::unix(client));
    }
    let (server, client) = tcp_pair().await;
    let (mut server, mut client) = (Stream::tcp(server), Stream::tcp(client));
    if matches!(kind, Kind::Tls12 | Kind::Tls13 | Kind::Wss) {
        let authority = Authority::new();
        let version = if kind == Kind::Tls12 { "1.2" } else { "1.3" };
        let settings = Tls {
            versions: vec![version.to_owned()],
            ..authority.server(&["localhost"])
        };
        server = server
            .with_tls_server(ServerTls::load(&settings).unwrap().config())
            .unwrap();
        let config = client_config(&authority.client()).unwrap();
        client = client
            .with_tls_client(config, "localhost".try_into().unwrap())
            .unwrap();
    }
    if matches!(kind, Kind::Ws | Kind::Wss) {
        server = server.with_websocket_server("/mqtt".into());
        client = client.with_websocket_client("localhost:1", "/mqtt", [1, 2, 3]);
    }
    (server, client)
}

/// A pair of streams, ready.
pub async fn pair(kind: Kind) -> (Stream, Stream) {
    let (mut server, mut client) = raw_pair(kind).await;
    let (first, second) = both(handshake(&mut server), handshake(&mut client)).await;
    first.unwrap();
    second.unwrap();
    (server, client)
}

pub async fn handshake(stream: &mut Stream) -> io::Result<()> {
    let mut scratch = vec![0; 16 * 1024];
    poll_fn(|cx| stream.poll_handshake(cx, &mut scratch)).await
}

pub async fn write(stream: &mut Stream, out: &mut Output) -> io::Result<()> {
    poll_fn(|cx| stream.poll_write(cx, out)).await
}

pub async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let mut out = Output::new();
    out.extend(bytes);
    write(stream, &mut out).await
}

/// Reads once, into a buffer of this size.
pub async fn read(stream: &mut Stream, size: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; size];
    let count = poll_fn(|cx| stream.poll_read(cx, &mut buf)).await?;
    buf.truncate(count);
    Ok(buf)
}

/// Reads until there are so many bytes or the end comes.
pub async fn read_all(stream: &mut Stream, len: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < len {
        let more = read(stream, 10_000.min(len - all.len())).await?;
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    Ok(all)
}

pub async fn close(stream: &mut Stream) -> io::Result<()> {
    poll_fn(|cx| stream.poll_close(cx)).await
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}

/// A certificate authority and the files it wrote; they go when it does.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: AtomicUsize,
}

impl Authority {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("nanomq-net-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, format!("test authority {number}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            dir,
            issuer,
            files: AtomicUsize::new(0),
        }
    }

    /// Writes a file and gives its path.
    pub fn file(&self, text: &str) -> String {
        let path = self.dir.join(format!(
            "{}.pem",
            self.files.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn ca_file(&self) -> String {
        self.file(&self.issuer.pem())
    }

    /// A certificate and its key, for these names; the first is the common name. `serial` for revocation.
    pub fn issue(&self, names: &[&str], serial: u64) -> (String, KeyPair) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, names[0].as_str());
        params.serial_number = Some(serial.into());
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        params.crl_distribution_points = Vec::<CrlDistributionPoint>::new();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key)
    }

    /// Files of a server's certificate and key.
    pub fn server(&self, names: &[&str]) -> Tls {
        let (certificate, key) = self.issue(names, 1);
        Tls {
            certfile: self.file(&certificate),
            keyfile: self.file(&key.serialize_pem()),
            ..Tls::default()
        }
    }

    /// A client that trusts this authority.
    pub fn client(&self) -> ClientTlsOptions {
        ClientTlsOptions {
            cafile: self.ca_file(),
            ..ClientTlsOptions::default()
        }
    }

    /// The same with a certificate of its own.
    pub fn known_client(&self, name: &str, serial: u64) -> ClientTlsOptions {
        let (certificate, key) = self.issue(&[name], serial);
        ClientTlsOptions {
            certfile: self.file(&certificate),
            keyfile: self.file(&key.serialize_pem()),
            ..self.client()
        }
    }

    pub fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The two ends of one TLS connection after the handshake, or who refused whom.
pub async fn tls_pair(
    settings: &Arc<ServerTls>,
    client: &ClientTlsOptions,
    name: &'static str,
) -> (Result<Stream, String>, Result<Stream, String>) {
    let (server, peer) = tcp_pair().await;
    let mut server = Stream::tcp(server)
        .with_tls_server(settings.config())
        .unwrap();
    let config = client_config(client).unwrap();
    let mut client = Stream::tcp(peer)
        .with_tls_client(config, name.try_into().unwrap())
        .unwrap();
    let server_side = async {
        let result = handshake(&mut server).await;
        result.map(|()| server).map_err(|error| error.to_string())
    };
    let client_side = async {
        let result = async {
            handshake(&mut client).await?;
            // In TLS 1.3 a refusal comes after the client is through.
            send(&mut client, b"hello").await
        };
        let result = result.await;
        result.map(|()| client).map_err(|error| error.to_string())
    };
    both(server_side, client_side).await
}
