//! Messages waiting for one session: bounded by count, bytes and age.

use super::inflight::Delivery;
use crate::Time;
use crate::route::verdict::Drop;
use crate::wire::packet::QoS;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Limits of a queue. 0 = none.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Most messages.
    pub count: usize,
    /// Most bytes.
    pub bytes: usize,
    /// Most bytes in the queues of all sessions together.
    pub total: usize,
    /// Longest wait.
    pub age: Time,
}

/// Bytes that wait in the queues of all sessions of all shards. Written by the shard that lets a message wait or
/// takes it out again, never for a message that is sent at once.
#[derive(Debug, Default)]
pub struct QueueTotal(AtomicUsize);

impl QueueTotal {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many more wait.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many fewer wait.
    pub fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    since: Time,
}

/// Messages waiting to be sent, oldest first.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// How many of them are QoS 0: the first to go when room is needed.
    qos0: usize,
    total: Arc<QueueTotal>,
}

impl Queue {
    /// An empty queue, which counts in `total`.
    pub fn new(total: Arc<QueueTotal>) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            qos0: 0,
            total,
        }
    }

    /// Messages waiting.
    #[inline]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of the messages waiting.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message, and makes room for it: aged ones go first, then QoS 0, then the oldest. A QoS 0
    /// message does not push others out. `dropped` is told of every message that goes.
    pub fn push(
        &mut self,
        now: Time,
        delivery: Delivery,
        limits: &QueueLimits,
        dropped: &mut dyn FnMut(Delivery, Drop),
    ) {
        self.drop_aged(now, limits, dropped);
        let size = delivery.message.len();
        if let Some(reason) = self.never_fits(size, limits) {
            return dropped(delivery, reason);
        }
        while let Some(reason) = self.is_full(size, limits) {
            if delivery.qos == QoS::AtMostOnce || self.is_empty() {
                return dropped(delivery, reason);
            }
            if let Some(victim) = self.evict() {
                dropped(victim, reason);
            }
        }
        self.total.add(size);
        self.bytes += size;
        self.qos0 += usize::from(delivery.qos == QoS::AtMostOnce);
        self.waiting.push_back(Waiting {
            delivery,
            since: now,
        });
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Delivery> {
        self.take(0)
    }

    /// The oldest message.
    pub fn front(&self) -> Option<&Delivery> {
        self.waiting.front().map(|waiting| &waiting.delivery)
    }

    /// Drops what waited longer than the limit.
    pub fn drop_aged(
        &mut self,
        now: Time,
        limits: &QueueLimits,
        dropped: &mut dyn FnMut(Delivery, Drop),
    ) {
        if limits.age == 0 {
            return;
        }
        while self
            .waiting
            .front()
            .is_some_and(|first| first.since.saturating_add(limits.age) <= now)
        {
            if let Some(delivery) = self.pop() {
                dropped(delivery, Drop::QueueAge);
            }
        }
    }

    /// Drops the QoS 0 messages of a session that lost its connection.
    pub fn drop_qos0(&mut self, dropped: &mut dyn FnMut(Delivery, Drop)) {
        if self.qos0 == 0 {
            return;
        }
        // In one pass: taking them out one by one would move the others each time.
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.delivery.qos == QoS::AtMostOnce {
                let size = waiting.delivery.message.len();
                self.bytes -= size;
                self.total.sub(size);
                dropped(waiting.delivery, Drop::ConnectionLost);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        self.qos0 = 0;
    }

    /// Why a message finds no room now.
    fn is_full(&self, size: usize, limits: &QueueLimits) -> Option<Drop> {
        if (limits.count > 0 && self.len() >= limits.count)
            || (limits.bytes > 0 && self.bytes + size > limits.bytes)
        {
            Some(Drop::QueueFull)
        } else if limits.total > 0 && self.total.bytes() + size > limits.total {
            Some(Drop::TotalQueueFull)
        } else {
            None
        }
    }

    /// Why a message would find no room even if all others went: then none of them shall go.
    fn never_fits(&self, size: usize, limits: &QueueLimits) -> Option<Drop> {
        let others = self.total.bytes().saturating_sub(self.bytes);
        if limits.bytes > 0 && size > limits.bytes {
            Some(Drop::QueueFull)
        } else if limits.total > 0 && others + size > limits.total {
            Some(Drop::TotalQueueFull)
        } else {
            None
        }
    }

    /// The newest QoS 0 message if there is one, otherwise the oldest of all.
    fn evict(&mut self) -> Option<Delivery> {
        let at = if self.qos0 > 0 {
            self.waiting
                .iter()
                .rposition(|waiting| waiting.delivery.qos == QoS::AtMostOnce)
        } else {
            None
        };
        self.take(at.unwrap_or(0))
    }

    fn take(&mut self, at: usize) -> Option<Delivery> {
        let waiting = if at == 0 {
            self.waiting.pop_front()?
        } else {
            self.waiting.remove(at)?
        };
        let size = waiting.delivery.message.len();
        self.bytes -= size;
        self.total.sub(size);
        self.qos0 -= usize::from(waiting.delivery.qos == QoS::AtMostOnce);
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        Some(waiting.delivery)
    }
}

impl std::ops::Drop for Queue {
    fn drop(&mut self) {
        self.total.sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::message::{Content, NEVER};

    const LIMITS: QueueLimits = QueueLimits {
        count: 3,
        bytes: 0,
        total: 0,
        age: 10,
    };

    fn delivery(topic: &str, qos: QoS) -> Delivery {
        let message = Content {
            topic: topic.as_bytes(),
            properties: &[],
            payload: b"x",
            qos,
            retain: false,
            expires_at: NEVER,
            publisher: None,
        }
        .to_message();
        Delivery {
            message,
            ids: None,
            shared: None,
            qos,
            retain: false,
        }
    }

    fn push(queue: &mut Queue, now: Time, topic: &str, qos: QoS) -> Vec<(String, Drop)> {
        let mut gone = Vec::new();
        queue.push(
            now,
            delivery(topic, qos),
            &LIMITS,
            &mut |delivery, reason| {
                gone.push((delivery.message.content().topic_str().to_owned(), reason));
            },
        );
        gone
    }

    #[test]
    fn a_full_queue_drops_qos_0_before_the_oldest() {
        let mut queue = Queue::default();
        for (topic, qos) in [
            ("a", QoS::AtLeastOnce),
            ("b", QoS::AtMostOnce),
            ("c", QoS::AtLeastOnce),
        ] {
            assert!(push(&mut queue, 0, topic, qos).is_empty());
        }
        assert_eq!(
            push(&mut queue, 0, "d", QoS::AtLeastOnce),
            [("b".into(), Drop::QueueFull)]
        );
        assert_eq!(
            push(&mut queue, 0, "e", QoS::AtLeastOnce),
            [("a".into(), Drop::QueueFull)]
        );
        assert_eq!(
            push(&mut queue, 0, "f", QoS::AtMostOnce),
            [("f".into(), Drop::QueueFull)]
        );
        assert_eq!(queue.len(), 3);
    }

    #[test]
    fn a_message_that_can_never_fit_pushes_nobody_out() {
        let mut queue = Queue::default();
        push(&mut queue, 0, "a", QoS::AtLeastOnce);
        let limits = QueueLimits {
            bytes: queue.bytes() + 10,
            ..LIMITS
        };
        let long = "x".repeat(queue.bytes() + 10);
        let mut gone = Vec::new();
        queue.push(
            0,
            delivery(&long, QoS::AtLeastOnce),
            &limits,
            &mut |delivery, _| {
                gone.push(delivery.message.content().topic_str().to_owned());
            },
        );
        assert_eq!((gone, queue.len()), (vec![long], 1));
    }

    #[test]
    fn all_queues_together_are_bounded_and_each_pays_for_itself() {
        let total = Arc::new(QueueTotal::default());
        let (mut first, mut second) = (
            Queue::new(Arc::clone(&total)),
            Queue::new(Arc::clone(&total)),
        );
        let size = delivery("a", QoS::AtLeastOnce).message.len();
        let limits = QueueLimits {
            count: 0,
            bytes: 0,
            total: 2 * size,
            age: 0,
        };
        let mut gone = Vec::new();
        let mut push = |queue: &mut Queue, topic: &str| {
            queue.push(
                0,
                delivery(topic, QoS::AtLeastOnce),
                &limits,
                &mut |delivery, reason| {
                    gone.push((delivery.message.content().topic_str().to_owned(), reason));
                },
            );
        };
        push(&mut first, "a");
        push(&mut first, "b");
        push(&mut second, "c");
        push(&mut first, "d");
        let full = Drop::TotalQueueFull;
        assert_eq!(gone, [("c".to_owned(), full), ("a".to_owned(), full)]);
        assert_eq!(total.bytes(), first.bytes());
        first.pop();
        std::mem::drop(first);
        assert_eq!(total.bytes(), 0);
    }

    #[test]
    fn aged_messages_make_room_first() {
        let mut queue = Queue::default();
        push(&mut queue, 0, "a", QoS::AtLeastOnce);
        push(&mut queue, 5, "b", QoS::AtLeastOnce);
        assert_eq!(
            push(&mut queue, 10, "c", QoS::AtLeastOnce),
            [("a".into(), Drop::QueueAge)]
        );
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn losing_the_connection_drops_qos_0_only() {
        let mut queue = Queue::default();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce] {
            push(&mut queue, 0, "a", qos);
        }
        let mut gone = 0;
        queue.drop_qos0(&mut |_, _| gone += 1);
        assert_eq!((gone, queue.len()), (2, 1));
        assert_eq!(
            queue.bytes(),
            queue.front().map_or(0, |first| first.message.len())
        );
    }
}
