//! What shards and other threads hand to a shard: one lock and one wake a batch.

use crate::shard::Order;
use nanomq_proto::session::parcel::Batch;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// A shard with more than this waiting makes the others stop reading.
const FULL_BYTES: usize = 4 * 1024 * 1024;

/// The way into one shard.
#[derive(Debug, Default)]
pub struct Mailbox {
    mail: Mutex<Mail>,
    /// Bytes of messages waiting or being delivered.
    backlog: AtomicUsize,
    /// Somebody stopped reading because of the backlog.
    has_waiters: AtomicBool,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Mail {
    /// Messages from other shards, in the order of each.
    pub messages: Batch,
    /// Everything else.
    pub orders: Vec<Order>,
    /// Wakes the shard; taken by the first who leaves mail.
    waker: Option<Waker>,
}

impl Mailbox {
    /// Leaves an order.
    pub fn order(&self, order: Order) {
        let mut mail = self.lock();
        mail.orders.push(order);
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Leaves messages; `batch` is empty afterwards.
    pub fn deliver(&self, batch: &mut Batch) {
        self.backlog
            .fetch_add(batch.size_bytes(), Ordering::Relaxed);
        let mut mail = self.lock();
        mail.messages.append(batch);
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the shard, if it sleeps.
    pub fn wake(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Exchanges what waits for the empty `mail`, and notes who is to be woken for more. The shard calls it
    /// at the begin of a tick.
    pub fn collect(&self, mail: &mut Mail, waker: &Waker) {
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.messages, &mut mail.messages);
        std::mem::swap(&mut waiting.orders, &mut mail.orders);
        if !waiting
            .waker
            .as_ref()
            .is_some_and(|old| old.will_wake(waker))
        {
            waiting.waker = Some(waker.clone());
        }
    }

    /// The collected messages are delivered; true if somebody waits to hear that.
    pub fn delivered(&self, bytes: usize) -> bool {
        // In one order with `wait` for all threads, so that one of the two sees the other: a waiter that nobody
        // wakes would not be read until something else happens on its shard.
        let before = self.backlog.fetch_sub(bytes, Ordering::SeqCst);
        before - bytes <= FULL_BYTES && self.has_waiters.swap(false, Ordering::SeqCst)
    }

    /// Whether senders should stop reading their publishers.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) > FULL_BYTES
    }

    /// Asks for a wake when there is room again; false if there is room already.
    pub fn wait(&self) -> bool {
        self.has_waiters.store(true, Ordering::SeqCst);
        self.backlog.load(Ordering::SeqCst) > FULL_BYTES
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
