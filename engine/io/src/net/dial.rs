//! Dialling out: a URL becomes a stream that is ready for CONNECT.

use super::stream::Stream;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Path of a WebSocket URL that names none.
const DEFAULT_PATH: &str = "/mqtt";

/// Bytes of the buffer for handshakes.
const SCRATCH_BYTES: usize = 16 * 1024;

/// How to reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// Unix socket.
    Unix,
}

/// URL schemes, their transports and default ports.
const SCHEMES: [(&str, Transport, u16); 16] = [
    ("mqtt", Transport::Tcp, 1883),
    ("mqtt-tcp", Transport::Tcp, 1883),
    ("tcp", Transport::Tcp, 1883),
    ("nmq-tcp", Transport::Tcp, 1883),
    ("mqtts", Transport::Tls, 8883),
    ("tls+mqtt-tcp", Transport::Tls, 8883),
    ("tls", Transport::Tls, 8883),
    ("ssl", Transport::Tls, 8883),
    ("tls+nmq-tcp", Transport::Tls, 8883),
    ("ws", Transport::Ws, 8083),
    ("nmq-ws", Transport::Ws, 8083),
    ("wss", Transport::Wss, 8086),
    ("nmq-wss", Transport::Wss, 8086),
    ("unix", Transport::Unix, 0),
    ("mqtt-unix", Transport::Unix, 0),
    ("mqtt+unix", Transport::Unix, 0),
];

/// A parsed URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// How to reach it.
    pub transport: Transport,
    /// Host name or address, IPv6 without brackets; empty for a Unix socket.
    pub host: String,
    /// Port, 0 for a Unix socket.
    pub port: u16,
    /// Path of the WebSocket or of the Unix socket.
    pub path: String,
    /// User of `user:password@host`.
    pub username: Option<String>,
    /// Password of `user:password@host`.
    pub password: Option<String>,
}

impl Target {
    /// Whether the connection is encrypted.
    pub const fn is_secure(&self) -> bool {
        matches!(self.transport, Transport::Tls | Transport::Wss)
    }

    /// `host:port` as in a URL.
    fn authority(&self) -> String {
        let host = &self.host;
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("`{url}` is no URL; write it like mqtt://127.0.0.1:1883"))?;
        let known = SCHEMES
            .iter()
            .find(|(name, ..)| name.eq_ignore_ascii_case(scheme));
        let &(_, transport, default_port) = known.ok_or_else(|| {
            format!("scheme `{scheme}` is not known; write mqtt, mqtts, ws, wss or unix")
        })?;
        if transport == Transport::Unix {
            if rest.is_empty() {
                return Err(format!(
                    "`{url}` has no path; write it like unix:///run/nanomq.sock"
                ));
            }
            let path = decode_percent(rest);
            return Ok(Self {
                transport,
                host: String::new(),
                port: 0,
                path,
                username: None,
                password: None,
            });
        }
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        let path = if path.is_empty() || path == "/" {
            DEFAULT_PATH
        } else {
            path
        };
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (host, port) = split_address(address, default_port)
            .ok_or_else(|| format!("`{address}` is no host and port"))?;
        let (username, password) = match user.map(|user| {
            user.split_once(':')
                .map_or((user, None), |(u, p)| (u, Some(p)))
        }) {
            Some((username, password)) => {
                (Some(decode_percent(username)), password.map(decode_percent))
            }
            None => (None, None),
        };
        Ok(Self {
            transport,
            host,
            port,
            path: path.to_owned(),
            username,
            password,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without user and password: this is what logs show.
        match self.transport {
            Transport::Tcp => write!(f, "mqtt-tcp://{}", self.authority()),
            Transport::Tls => write!(f, "tls+mqtt-tcp://{}", self.authority()),
            Transport::Ws => write!(f, "ws://{}{}", self.authority(), self.path),
            Transport::Wss => write!(f, "wss://{}{}", self.authority(), self.path),
            Transport::Unix => write!(f, "unix://{}", self.path),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_address(address: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                },
            )
        }
        None => address
            .split_once(':')
            .map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return None;
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port > 0)?,
        None => default_port,
    };
    Some((host.to_owned(), port))
}

/// `%41` becomes `A`; what is no escape stays.
fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escape = behind
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Opens a stream, handshakes included. All addresses of the name are tried in turn within `timeout`.
///
/// # Errors
/// The last address's error; `TimedOut`.
pub async fn dial(
    target: &Target,
    tls: Option<&Arc<rustls::ClientConfig>>,
    timeout: Duration,
) -> io::Result<Stream> {
    dial_from(None, target, tls, timeout).await
}

/// As [`dial`], from this local address.
///
/// # Errors
/// As [`dial`]; the address is not one of this machine.
pub async fn dial_from(
    local: Option<IpAddr>,
    target: &Target,
    tls: Option<&Arc<rustls::ClientConfig>>,
    timeout: Duration,
) -> io::Result<Stream> {
    match tokio::time::timeout(timeout, open(local, target, tls, timeout)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no connection within {} s", timeout.as_secs_f32()),
        )),
    }
}

async fn open(
    local: Option<IpAddr>,
    target: &Target,
    tls: Option<&Arc<rustls::ClientConfig>>,
    timeout: Duration,
) -> io::Result<Stream> {
    let mut stream = if target.transport == Transport::Unix {
        Stream::unix(UnixStream::connect(&target.path).await?)
    } else {
        Stream::tcp(connect(local, target, timeout).await?)
    };
    if target.is_secure() {
        let config = tls.ok_or_else(|| io::Error::other("no TLS configuration"))?;
        let name = rustls_pki_types::ServerName::try_from(target.host.clone())
            .map_err(io::Error::other)?;
        stream = stream.with_tls_client(Arc::clone(config), name)?;
    }
    if matches!(target.transport, Transport::Ws | Transport::Wss) {
        let key = [random()?, random()?, random()?].map(u64::from_ne_bytes);
        stream = stream.with_websocket_client(&target.authority(), &target.path, key);
    }
    let mut scratch = vec![0; SCRATCH_BYTES];
    poll_fn(|cx| stream.poll_handshake(cx, &mut scratch)).await?;
    Ok(stream)
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gave no random numbers"))?;
    Ok(bytes)
}

async fn connect(
    local: Option<IpAddr>,
    target: &Target,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let addresses = resolve(&target.host, target.port).await?;
    // One silent address must not use up the time of the others.
    let share = timeout / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("`{}` has no address", target.host),
    );
    for address in addresses {
        match tokio::time::timeout(share, connect_to(local, address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer"))
            }
        }
    }
    Err(last)
}

async fn connect_to(local: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(local) = local else {
        return TcpStream::connect(address).await;
    };
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(SocketAddr::new(local, 0))?;
    socket.connect(address).await
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    // The system's resolver blocks: never on the loop.
    let lookup = move || {
        (name.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect)
    };
    tokio::task::spawn_blocking(lookup)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        url.parse::<Target>()
            .map_or_else(|error| error, |target| target.to_string())
    }

    #[test]
    fn every_scheme_has_its_default_port() {
        assert_eq!(shown("mqtt://h"), "mqtt-tcp://h:1883");
        assert_eq!(shown("mqtt-tcp://h:1"), "mqtt-tcp://h:1");
        assert_eq!(shown("TCP://h/"), "mqtt-tcp://h:1883");
        assert_eq!(shown("mqtts://h"), "tls+mqtt-tcp://h:8883");
        assert_eq!(shown("tls+mqtt-tcp://h"), "tls+mqtt-tcp://h:8883");
        assert_eq!(shown("ssl://h"), "tls+mqtt-tcp://h:8883");
        assert_eq!(shown("ws://h"), "ws://h:8083/mqtt");
        assert_eq!(shown("wss://h:443/a/b?c=d"), "wss://h:443/a/b?c=d");
        assert_eq!(shown("unix:///run/a%20b"), "unix:///run/a b");
    }

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        let target: Target = "mqtt://[::1]:1884".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 1884));
        assert_eq!(target.to_string(), "mqtt-tcp://[::1]:1884");
    }

    #[test]
    fn user_and_password_are_taken_out_and_never_shown() {
        let target: Target = "mqtt://ann:p%40ss:1@h".parse().unwrap();
        assert_eq!(
            (target.username.as_deref(), target.password.as_deref()),
            (Some("ann"), Some("p@ss:1"))
        );
        assert_eq!(
            format!("{target} {target:?}"),
            "mqtt-tcp://h:1883 Target(mqtt-tcp://h:1883)"
        );
    }

    #[test]
    fn what_is_no_url_is_refused_with_advice() {
        for url in [
            "h:1883",
            "http://h",
            "mqtt://",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://[::g]",
            "mqtt://a:b:c",
            "unix://",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
