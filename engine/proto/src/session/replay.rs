//! Retained messages on their way to one session, for the subscriptions it made.
//!
//! Looking them up may mean to walk over all retained messages of the broker, so a session does that for one
//! subscription after another, and pauses in proportion: a client that subscribes again and again costs itself.

use super::inflight::Delivery;
use super::queue::QueueTotal;
use crate::Time;
use crate::route::SessionKey;
use crate::route::index::FilterId;
use crate::route::router::Router;
use crate::route::verdict::{Drop, Ledger};
use crate::wire::packet::{QoS, SubscribeOptions};
use crate::wire::topic::check_topic_filter;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// What one session waits for.
#[derive(Debug, Default)]
pub struct Replay {
    /// Looked up, still to be sent.
    waiting: VecDeque<Delivery>,
    /// Still to be looked up.
    wanted: VecDeque<Wanted>,
    /// Until then its look-ups so far are paid for.
    paid_until: Time,
    total: Arc<QueueTotal>,
}

/// A subscription whose retained messages are still to be looked up.
#[derive(Debug)]
pub struct Wanted {
    /// Topic filter, not shared.
    pub filter: Box<str>,
    /// Granted options.
    pub options: SubscribeOptions,
    /// Subscription identifier; 0 = none.
    pub id: u32,
}

/// What a look-up needs to know of its session.
#[derive(Debug)]
pub struct Asker<'a> {
    /// The session.
    pub session: SessionKey,
    /// Its subscriptions.
    pub subscriptions: &'a HashMap<FilterId, SubscribeOptions, FixedState>,
    /// Most bytes in the queues of all sessions; 0 = no limit.
    pub most_total_bytes: usize,
}

impl Replay {
    /// An empty one; what waits counts in `total`.
    pub fn new(total: Arc<QueueTotal>) -> Self {
        Self {
            waiting: VecDeque::new(),
            wanted: VecDeque::new(),
            paid_until: 0,
            total,
        }
    }

    /// Whether no message waits; some may still have to be [looked up](Self::has_wanted).
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether messages still have to be looked up.
    #[inline]
    pub fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// The next message.
    pub fn front(&self) -> Option<&Delivery> {
        self.waiting.front()
    }

    /// Takes the next message.
    pub fn pop_front(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.total.sub(ENTRY_BYTES);
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(delivery)
    }

    /// Asks for the messages of a subscription; false if `most` are asked for already.
    pub fn want(&mut self, wanted: Wanted, most: usize) -> bool {
        let has_room = self.wanted.len() < most;
        if has_room {
            self.wanted.push_back(wanted);
        }
        has_room
    }

    /// When the next look-up may begin, if not now.
    pub const fn pause(&self, now: Time) -> Option<Time> {
        let at = self.paid_until.saturating_sub(BURST);
        if at > now { Some(at) } else { None }
    }

    /// Looks the messages of one subscription up.
    pub fn look_up(&mut self, now: Time, router: &Router, ledger: &Ledger, asker: &Asker<'_>) {
        let Some(wanted) = self.wanted.pop_front() else {
            return;
        };
        let filter = check_topic_filter(&wanted.filter).ok();
        let id = filter.and_then(|filter| router.filter_id(&filter));
        if !id.is_some_and(|id| asker.subscriptions.contains_key(&id)) {
            // Given up meanwhile.
            return;
        }
        let own = wanted.options.no_local.then_some(asker.session);
        let (waiting, total) = (&mut self.waiting, &self.total);
        let visited = router.retained(&wanted.filter, now, &mut |message| {
            if own.is_some() && message.publisher == own {
                return;
            }
            ledger.accepted.add(1);
            let most = asker.most_total_bytes;
            if most > 0 && total.bytes() + ENTRY_BYTES > most {
                return ledger.count_drop(Drop::TotalQueueFull, 1);
            }
            ledger.queued.add(1);
            total.add(ENTRY_BYTES);
            waiting.push_back(Delivery {
                message: Arc::clone(message),
                ids: (wanted.id != 0).then(|| [wanted.id].into()),
                shared: None,
                qos: message.qos.min(wanted.options.qos),
                retain: true,
            });
        });
        self.paid_until = self.paid_until.max(now) + visited as Time / NODES_A_MICROSECOND;
    }

    /// Drops the QoS 0 messages of a session that lost its connection.
    pub fn drop_qos0(&mut self, dropped: &mut dyn FnMut(Delivery, Drop)) {
        for delivery in std::mem::take(&mut self.waiting) {
            if delivery.qos == QoS::AtMostOnce {
                self.total.sub(ENTRY_BYTES);
                dropped(delivery, Drop::ConnectionLost);
            } else {
                self.waiting.push_back(delivery);
            }
        }
    }
}

impl std::ops::Drop for Replay {
    fn drop(&mut self) {
        self.total.sub(self.waiting.len() * ENTRY_BYTES);
    }
}

/// Memory of a message that waits here; its content is shared with the retained messages.
const ENTRY_BYTES: usize = size_of::<Delivery>();

/// What a session pays: a walk visits tens of nodes a microsecond, so that it takes a part of its shard's time.
const NODES_A_MICROSECOND: Time = 8;

/// Look-ups of so much time are done at once: some 16,000 nodes.
const BURST: Time = 2_000;
