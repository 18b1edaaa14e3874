//! Which connections have something to do: their sockets' wakers put them on a list.
//!
//! A task for each connection would cost 256 bytes and several locked instructions a turn.

use nanomq_proto::session::registry::ConnectionKey;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The list of a shard, filled by the runtime while it looks at its sockets.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    turns: Vec<Arc<Turn>>,
    /// Wakes the shard; taken by the first who has something.
    shard: Option<Waker>,
}

/// A connection's entry in the list. As a waker it is what its socket knows of it.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) key: ConnectionKey,
    ready: Arc<Ready>,
    is_listed: AtomicBool,
}

impl Ready {
    /// The waker of a connection.
    pub(super) fn waker(self: &Arc<Self>, key: ConnectionKey) -> Waker {
        Waker::from(Arc::new(Turn {
            key,
            ready: Arc::clone(self),
            is_listed: AtomicBool::new(false),
        }))
    }

    /// Exchanges the list for the empty `turns`, and notes who is to be woken for more.
    pub(super) fn collect(&self, turns: &mut Vec<Arc<Turn>>, shard: &Waker) {
        let mut list = self.lock();
        std::mem::swap(&mut list.turns, turns);
        if !list.shard.as_ref().is_some_and(|old| old.will_wake(shard)) {
            list.shard = Some(shard.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The connection has its turn now and may be listed again.
    pub(super) fn begin(self: Arc<Self>) -> (ConnectionKey, Waker) {
        self.is_listed.store(false, Ordering::Release);
        (self.key, Waker::from(self))
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let ready = Arc::clone(&self.ready);
        let mut list = ready.lock();
        list.turns.push(self);
        let shard = list.shard.take();
        drop(list);
        if let Some(shard) = shard {
            shard.wake();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_listed.load(Ordering::Acquire) {
            Arc::clone(self).wake();
        }
    }
}
