//! TCP and Unix sockets as byte streams.

use nanomq_proto::Output;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// One byte stream.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream between two threads.
#[derive(Debug)]
pub enum DetachedStream {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// Unix.
    Unix(std::os::unix::net::UnixStream),
}

impl DetachedStream {
    /// Registers it with this thread's runtime.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(Stream { socket: match self {
            Self::Tcp(s) => Socket::Tcp(TcpStream::from_std(s)?),
            Self::Unix(s) => Socket::Unix(UnixStream::from_std(s)?),
        }})
    }
}

impl Stream {
    pub fn tcp(s: TcpStream) -> Self { Self { socket: Socket::Tcp(s) } }
    pub fn unix(s: UnixStream) -> Self { Self { socket: Socket::Unix(s) } }
    pub fn detach(self) -> io::Result<DetachedStream> {
        Ok(match self.socket {
            Socket::Tcp(s) => DetachedStream::Tcp(s.into_std()?),
            Socket::Unix(s) => DetachedStream::Unix(s.into_std()?),
        })
    }
    pub fn poll_handshake(&mut self, _cx: &mut Context<'_>, _scratch: &mut [u8]) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    pub fn peer_addr(&self) -> String {
        match &self.socket {
            Socket::Tcp(s) => s.peer_addr().map(|a| a.to_string()).unwrap_or_default(),
            Socket::Unix(_) => "unix".into(),
        }
    }
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let r = match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_read(cx, &mut buf),
            Socket::Unix(s) => Pin::new(s).poll_read(cx, &mut buf),
        };
        r.map_ok(|()| buf.filled().len())
    }
    pub fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            let r = if let Some(bytes) = out.single() {
                match &mut self.socket {
                    Socket::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
                    Socket::Unix(s) => Pin::new(s).poll_write(cx, bytes),
                }
            } else {
                let mut slices = [IoSlice::new(&[]); 64];
                let n = out.chunks(&mut slices);
                match &mut self.socket {
                    Socket::Tcp(s) => Pin::new(s).poll_write_vectored(cx, &slices[..n]),
                    Socket::Unix(s) => Pin::new(s).poll_write_vectored(cx, &slices[..n]),
                }
            };
            match r {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => out.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Socket::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
