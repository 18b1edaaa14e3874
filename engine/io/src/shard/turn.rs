//! One turn of a connection: handshake, read, hand to the core, write, close.

use super::{READ_BYTES, REJOIN_BYTES, Shard};
use nanomq_proto::Time;
use nanomq_proto::session::connection::Origin;
use nanomq_proto::session::registry::{ConnectionKey, Event, Level};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How often a connection with a backlog is written to in one tick, 64 KiB each time.
const FLUSHES: usize = 4;

impl Shard {
    /// One turn of a connection that is ready.
    pub(super) fn take_turn(&mut self, now: Time, key: ConnectionKey, cx: &mut Context<'_>) {
        if self.poll_connection(now, key, cx) {
            self.drop_link(now, key);
        }
    }

    /// Handshake, input, output; true when it is over.
    fn poll_connection(&mut self, now: Time, key: ConnectionKey, cx: &mut Context<'_>) -> bool {
        let Some(link) = self.link(key) else {
            return true;
        };
        if link.is_handshaking {
            match self.poll_handshake(key, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(())) => return true,
                Poll::Pending => return self.link(key).is_none_or(|link| link.closes_at.is_some()),
            }
        }
        let Some(link) = self.link(key) else {
            return true;
        };
        if link.closes_at.is_some() {
            return self.poll_closing(now, key, cx);
        }
        if link.is_blocked && self.flush(now, key.slot).is_err() {
            return true;
        }
        self.poll_input(now, key, cx)
    }

    /// TLS, WebSocket upgrade, PROXY header.
    fn poll_handshake(&mut self, key: ConnectionKey, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let Self {
            links,
            buffer,
            registry,
            surroundings,
            ..
        } = self;
        let Some(Some(link)) = links.get_mut(key.slot as usize) else {
            return Poll::Ready(Err(()));
        };
        match link.stream.poll_handshake(cx, buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                link.is_handshaking = false;
                let origin = Origin {
                    peer: link.stream.peer_addr(),
                    listener: Arc::clone(&link.origin.listener),
                };
                link.origin = Arc::new(origin);
                registry.set_origin(key, Arc::clone(&link.origin));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                surroundings
                    .tap
                    .push(handshake_failed(&link.origin, &error));
                Poll::Ready(Err(()))
            }
        }
    }

    /// Reads until the socket is empty or the turn is used up.
    fn poll_input(&mut self, now: Time, key: ConnectionKey, cx: &mut Context<'_>) -> bool {
        if self.surroundings.mailboxes.len() > 1 && self.must_stall() {
            self.stalled.push(key);
            return false;
        }
        let Some(link) = self.link(key) else {
            return true;
        };
        if link.is_paused {
            return false;
        }
        let kept = link.unread.len();
        if kept > REJOIN_BYTES {
            return self.poll_large(now, key, cx);
        }
        let Self {
            links,
            buffer,
            registry,
            ..
        } = self;
        let Some(Some(link)) = links.get_mut(key.slot as usize) else {
            return true;
        };
        let mut kept = kept;
        let mut taken = 0;
        loop {
            buffer[..kept].copy_from_slice(&link.unread);
            let read = match link
                .stream
                .poll_read(cx, &mut buffer[kept..kept + READ_BYTES])
            {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(read)) => read,
            };
            let input = &buffer[..kept + read];
            let received = registry.receive(now, key, input);
            let rest = &input[received.consumed.min(input.len())..];
            if rest.is_empty() {
                link.unread = Vec::new();
            } else {
                link.unread.clear();
                link.unread.extend_from_slice(rest);
            }
            kept = rest.len();
            if !received.goes_on {
                link.is_paused = true;
                break;
            }
            taken += read;
            if taken >= READ_BYTES || kept > REJOIN_BYTES {
                // The others have their turn before this one goes on. TLS and WebSocket read in smaller pieces.
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.flush_urgent(now);
        false
    }

    /// Reads into a large partial packet in place.
    fn poll_large(&mut self, now: Time, key: ConnectionKey, cx: &mut Context<'_>) -> bool {
        let Some(Some(link)) = self.links.get_mut(key.slot as usize) else {
            return true;
        };
        let kept = link.unread.len();
        link.unread.resize(kept + READ_BYTES, 0);
        let read = match link.stream.poll_read(cx, &mut link.unread[kept..]) {
            Poll::Pending => {
                link.unread.truncate(kept);
                return false;
            }
            Poll::Ready(Ok(0) | Err(_)) => return true,
            Poll::Ready(Ok(read)) => read,
        };
        link.unread.truncate(kept + read);
        self.take_unread(now, key);
        cx.waker().wake_by_ref();
        self.flush_urgent(now);
        false
    }

    /// Hands what was read and not consumed to the core.
    pub(super) fn take_unread(&mut self, now: Time, key: ConnectionKey) {
        let Self {
            links, registry, ..
        } = self;
        let Some(Some(link)) = links.get_mut(key.slot as usize) else {
            return;
        };
        let received = registry.receive(now, key, &link.unread);
        let rest = link.unread.len() - received.consumed.min(link.unread.len());
        if rest == 0 {
            link.unread = Vec::new();
        } else if received.consumed > 0 {
            link.unread.drain(..received.consumed);
        }
        link.is_paused = !received.goes_on;
    }

    /// Whether a mailbox is so full that its shard must catch up first.
    pub(super) fn must_stall(&self) -> bool {
        let own = usize::from(self.surroundings.number);
        let mailboxes = &self.surroundings.mailboxes;
        mailboxes
            .iter()
            .enumerate()
            .any(|(number, mailbox)| number != own && mailbox.is_full() && mailbox.wait())
    }

    /// Sends the last bytes, closes our side, reads on until the peer closed its own: closing with unread
    /// input would reset the connection and could destroy what we said last.
    fn poll_closing(&mut self, now: Time, key: ConnectionKey, cx: &mut Context<'_>) -> bool {
        let slot = key.slot;
        let Self {
            links,
            buffer,
            registry,
            ..
        } = self;
        let Some(Some(link)) = links.get_mut(slot as usize) else {
            return true;
        };
        if link.closes_at.is_some_and(|at| at <= Instant::now()) {
            return true;
        }
        if !link.is_shut {
            if let Some(output) = registry.output(slot) {
                let bytes = output.len() as u64;
                match link.stream.poll_write(cx, output) {
                    Poll::Pending => return false,
                    Poll::Ready(Err(_)) => return true,
                    Poll::Ready(Ok(())) => {
                        registry.flushed(now, slot, bytes);
                    }
                }
            }
            match link.stream.poll_close(cx) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(())) => link.is_shut = true,
            }
        }
        for _ in 0..16 {
            match link.stream.poll_read(cx, &mut buffer[..READ_BYTES]) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Writes what a connection has to send. The socket's readiness wakes the connection's task.
    fn flush(&mut self, now: Time, slot: u32) -> Result<(), ()> {
        let Self {
            links, registry, ..
        } = self;
        let Some(Some(link)) = links.get_mut(slot as usize) else {
            return Ok(());
        };
        let mut cx = Context::from_waker(&link.waker);
        for _ in 0..FLUSHES {
            let Some(output) = registry.output(slot) else {
                return Ok(());
            };
            let before = output.len() as u64;
            match link.stream.poll_write(&mut cx, output) {
                Poll::Ready(Ok(())) => {
                    link.is_blocked = false;
                    if !registry.flushed(now, slot, before) {
                        return Ok(());
                    }
                }
                Poll::Pending => {
                    link.is_blocked = true;
                    registry.set_blocked(slot);
                    return Ok(());
                }
                Poll::Ready(Err(_)) => return Err(()),
            }
        }
        // It still has a backlog and goes on in the next tick: the core has listed it again.
        Ok(())
    }

    /// Sends to everybody for whom the tick brought something.
    pub(super) fn flush_dirty(&mut self, now: Time) {
        let mut slots = std::mem::take(&mut self.dirty);
        self.registry.take_dirty(&mut slots);
        for slot in slots.drain(..) {
            self.registry.unlist(slot);
            self.flush_unless_blocked(now, slot);
        }
        self.dirty = slots;
    }

    /// Sends where so much gathered that it should not wait for the end of the tick.
    #[inline]
    pub(super) fn flush_urgent(&mut self, now: Time) {
        while let Some(slot) = self.registry.next_urgent() {
            self.flush_unless_blocked(now, slot);
        }
    }

    fn flush_unless_blocked(&mut self, now: Time, slot: u32) {
        let Some(Some(link)) = self.links.get(slot as usize) else {
            return;
        };
        if link.is_blocked || link.is_handshaking || link.closes_at.is_some() {
            return;
        }
        let key = ConnectionKey {
            slot,
            generation: link.generation,
        };
        if self.flush(now, slot).is_err() {
            self.drop_link(now, key);
        }
    }
}

fn handshake_failed(origin: &Origin, error: &io::Error) -> Event {
    Event {
        level: Level::Info,
        name: "handshake_failed",
        fields: vec![
            ("peer", origin.peer.clone()),
            ("listener", origin.listener.name.clone()),
            ("error", error.to_string()),
        ],
    }
}
