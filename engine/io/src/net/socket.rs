//! The socket of a stream, TCP or Unix.

use nanomq_proto::Output;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Most chunks of one `writev`.
pub(super) const CHUNKS: usize = 64;

/// A connected socket, registered with this thread's runtime.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    #[inline]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        match self {
            Self::Tcp(socket) => ready!(Pin::new(socket).poll_read(cx, &mut buf))?,
            Self::Unix(socket) => ready!(Pin::new(socket).poll_read(cx, &mut buf))?,
        }
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes a part of `bytes`, at least one.
    #[inline]
    pub(super) fn poll_write_some(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
    pub(super) fn poll_write_chunks(
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
    pub(super) fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<io::Result<()>> {
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

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
