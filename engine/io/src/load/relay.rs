//! The floor: a relay on the same loop and streams that reads no message. What it costs is what the kernel costs.
//!
//! A connection is greeted with a CONNACK. If its next packet is a SUBSCRIBE, it is a subscriber and gets a SUBACK;
//! otherwise all its bytes go to the subscribers as they are, whole or cut, so only QoS 0 makes sense, and a
//! subscriber must have one publisher.

use crate::net::stream::Stream;
use nanomq_proto::Output;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A publisher is not read while one of its subscribers has so much waiting.
const MOST_WAITING: usize = 1024 * 1024;

/// Reads of one turn.
const TURNS: usize = 8;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const SUBSCRIBE: u8 = 0x82;

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Everything goes to every subscriber.
    Fan,
    /// The first publisher's goes to the first subscriber, and so on.
    Pair,
}

struct Relay {
    way: Way,
    subscribers: RefCell<Vec<Rc<RefCell<Subscriber>>>>,
    publishers: Cell<usize>,
    scratch: RefCell<Vec<u8>>,
}

struct Subscriber {
    stream: Stream,
    out: Output,
}

/// Relays for ever.
///
/// # Errors
/// The socket cannot be used.
pub fn run(listener: std::net::TcpListener, way: Way) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let relay = Rc::new(Relay {
        way,
        subscribers: RefCell::default(),
        publishers: Cell::new(0),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
    });
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            spawn_local(serve(Rc::clone(&relay), socket));
        }
    })
}

/// A connection's life. How it ends is of no interest.
async fn serve(relay: Rc<Relay>, socket: TcpStream) {
    let mut peer = Subscriber {
        stream: Stream::tcp(socket),
        out: Output::new(),
    };
    let mut first = [0; 4096];
    // CONNECT.
    if peer.read(&mut first).await == 0 {
        return;
    }
    peer.out.extend(&CONNACK);
    if peer.flush().await.is_err() {
        return;
    }
    let count = peer.read(&mut first).await;
    if count == 0 {
        return;
    }
    if first[0] != SUBSCRIBE {
        return publish(&relay, peer, &first[..count]).await;
    }
    // A short packet: the id stands behind a length of one byte.
    peer.out.extend(&[0x90, 3, first[2], first[3], 0]);
    if peer.flush().await.is_err() {
        return;
    }
    let peer = Rc::new(RefCell::new(peer));
    relay.subscribers.borrow_mut().push(Rc::clone(&peer));
    while poll_fn(|cx| peer.borrow_mut().stream.poll_read(cx, &mut first))
        .await
        .is_ok_and(|count| count > 0)
    {}
    relay
        .subscribers
        .borrow_mut()
        .retain(|other| !Rc::ptr_eq(other, &peer));
}

impl Subscriber {
    async fn read(&mut self, buf: &mut [u8]) -> usize {
        poll_fn(|cx| self.stream.poll_read(cx, buf))
            .await
            .unwrap_or(0)
    }

    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.stream.poll_write(cx, &mut self.out)).await
    }
}

/// Forwards a publisher's bytes.
async fn publish(relay: &Relay, mut peer: Subscriber, first: &[u8]) {
    let number = relay.publishers.replace(relay.publishers.get() + 1);
    let targets = match relay.way {
        Way::Fan => relay.subscribers.borrow().clone(),
        Way::Pair => {
            let subscribers = relay.subscribers.borrow();
            let count = subscribers.len().max(1);
            subscribers
                .get(number % count)
                .cloned()
                .into_iter()
                .collect()
        }
    };
    for target in &targets {
        target.borrow_mut().out.extend(first);
    }
    poll_fn(|cx| poll_forward(relay, &mut peer.stream, &targets, cx)).await;
    relay.publishers.set(relay.publishers.get() - 1);
}

/// Reads and writes until the publisher has gone. Its task is the one that a subscriber's socket wakes.
fn poll_forward(
    relay: &Relay,
    stream: &mut Stream,
    targets: &[Rc<RefCell<Subscriber>>],
    cx: &mut Context<'_>,
) -> Poll<()> {
    let mut scratch = relay.scratch.borrow_mut();
    for _ in 0..TURNS {
        let mut is_full = false;
        for target in targets {
            let Subscriber { stream, out } = &mut *target.borrow_mut();
            if out.is_empty() {
                continue;
            }
            match stream.poll_write(cx, out) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => out.clear(),
                Poll::Pending => is_full |= out.len() > MOST_WAITING,
            }
        }
        if is_full {
            return Poll::Pending;
        }
        let Ok(count @ 1..) = ready!(stream.poll_read(cx, &mut scratch)) else {
            return Poll::Ready(());
        };
        for target in targets {
            target.borrow_mut().out.extend(&scratch[..count]);
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
